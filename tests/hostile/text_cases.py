"""Text files as editors, spreadsheets, other programs and attackers write them.

A `Damage` changes the bytes of a sound file; a `Token` stands in the place of one value of JSON.
Each says what is right in every reader: the file is taken whole, or refused in one message.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["DAMAGES", "TOKENS", "YAML_VALUES", "Damage", "Token"]

Outcome = Literal["taken", "refused", "either"]


@dataclass(frozen=True)
class Damage:
    """A file in other bytes."""

    name: str
    change: Callable[[str], bytes]
    outcome: Outcome


@dataclass(frozen=True)
class Token:
    """What stands in a JSON file instead of a text."""

    name: str
    json: str
    outcome: Outcome


def _cut(text: str) -> bytes:
    return text.encode()[: text.encode().index("é".encode()) + 1]


def _with(extra: bytes) -> Callable[[str], bytes]:
    """Bytes in the place of the é of a sound text."""
    return lambda text: text.encode().replace("é".encode(), extra)


DAMAGES = (
    Damage("as it is", str.encode, "taken"),
    Damage("mark of utf-8", lambda text: text.encode("utf-8-sig"), "taken"),
    Damage("utf-16", lambda text: text.encode("utf-16"), "taken"),
    Damage("utf-16, large end first", lambda text: b"\xfe\xff" + text.encode("utf-16-be"), "taken"),
    Damage("ends of lines of Windows", lambda text: text.replace("\n", "\r\n").encode(), "taken"),
    Damage("ends of lines of old Macs", lambda text: text.replace("\n", "\r").encode(), "taken"),
    Damage("blank lines behind it", lambda text: f"{text}\n\n\n".encode(), "taken"),
    Damage("no end of the last line", lambda text: text.rstrip("\n").encode(), "taken"),
    Damage("a letter of two characters", _with("e\u0301".encode()), "taken"),
    Damage("letters of all widths", _with("犬 ａ 😀 \u200b \u2028 \ufeff".encode()), "taken"),
    Damage("latin-1", lambda text: text.encode("latin-1"), "refused"),
    Damage("cp1252", lambda text: text.replace("é", "“").encode("cp1252"), "refused"),
    Damage("shift-jis", lambda text: text.replace("é", "犬").encode("shift-jis"), "refused"),
    Damage("utf-16 without a mark", lambda text: text.encode("utf-16-le"), "refused"),
    Damage("utf-32", lambda text: text.encode("utf-32"), "refused"),
    Damage("utf-16 of an odd length", lambda text: text.encode("utf-16") + b"x", "refused"),
    Damage("half a pair in utf-8", _with(b"\xed\xa0\xbd"), "refused"),
    Damage("a pair as two halves", _with(b"\xed\xa0\xbd\xed\xb8\x80"), "refused"),
    Damage("an overlong slash", _with(b"\xc0\xaf"), "refused"),
    Damage("half a letter", _with(b"\xc3"), "refused"),
    Damage("NUL inside", _with(b"\0"), "refused"),
    Damage("NUL behind it", lambda text: text.encode() + b"\0" * 512, "refused"),
    Damage("cut in a letter", _cut, "refused"),
    Damage("compressed", lambda text: gzip.compress(text.encode(), mtime=0), "refused"),
    Damage("a picture", lambda _: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "refused"),
    Damage("nothing", lambda _: b"", "either"),
    Damage("only a mark", lambda _: b"\xef\xbb\xbf", "either"),
    Damage("only half a mark", lambda _: b"\xef\xbb", "refused"),
    Damage("only blanks", lambda _: b" \n\t\r\n", "either"),
)
_DEEP = 100_000
TOKENS = (
    Token("a text", '"x"', "taken"),
    Token("a pair", r'"\ud83d\ude00"', "taken"),
    Token("half a pair", r'"\ud83d"', "taken"),
    Token("the other half", r'"a \ude00 b"', "taken"),
    Token("two halves in the wrong order", r'"\ude00\ud83d"', "taken"),
    Token("NUL", r'"a\u0000b"', "taken"),
    Token("colours of a terminal", r'"\u001b[31m\u001b]0;x\u0007"', "taken"),
    Token("a turn of direction", r'"\u202egpj.exe\u2066"', "taken"),
    Token("ends of lines", r'"\r\n\u2028\u2029\u0085\u000b\f"', "taken"),
    Token("a million characters", '"' + "x" * 1_000_000 + '"', "taken"),
    Token("marks and braces", json.dumps("<script>{question}</script>\\ \"' `"), "taken"),
    Token("NaN", "NaN", "refused"),
    Token("Infinity", "Infinity", "refused"),
    Token("-Infinity", "-Infinity", "refused"),
    Token("too large a float", "1e999", "refused"),
    Token("too long an integer", "9" * 5000, "refused"),
    Token("too long a negative integer", "-" + "9" * 5000, "refused"),
    Token("deep lists", "[" * _DEEP + "]" * _DEEP, "refused"),
    Token("deep objects", '{"a":' * _DEEP + "1" + "}" * _DEEP, "refused"),
    Token("deep enough for later trouble", "[" * 500 + "]" * 500, "refused"),
    Token("lists that do not end", "[" * _DEEP, "refused"),
    Token("a key twice", '{"a": 1, "b": 2, "a": 3}', "refused"),
    Token("a key twice by its escape", r'{"a": 1, "\u0061": 3}', "refused"),
    Token("keys that differ in halves", r'{"\ud800": 1, "\udfff": 3}', "refused"),
    Token("quotes of Python", "'x'", "refused"),
    Token("None", "None", "refused"),
    Token("a comment", '"x" // what', "refused"),
    Token("two commas", '"x",,', "refused"),
    Token("an unknown escape", r'"\x41"', "refused"),
    Token("a raw end of line", '"a\nb"', "refused"),
    Token("a raw control character", '"a\x1bb"', "refused"),
    Token("leading zeros", "007", "refused"),
    Token("a hexadecimal number", "0x10", "refused"),
    Token("a text that does not end", '"x', "refused"),
    Token("nothing", "", "refused"),
)
YAML_VALUES = {
    "half a pair": r'"a\ud83d"',
    "NUL": r'"a\0"',
    "colours of a terminal": r'"\e[31m"',
    "a raw control character": "a\x1bb",
    "an alias of nothing": "*x",
    "an alias of itself": "&x [*x]",
    "deep lists": "[" * _DEEP,
    "deep objects": "{a: " * 5000,
    "a number of 5,000 digits": "9" * 5000,
    "a long text": "x" * 100_000,
    "a wrong tag": "!!int x",
    "a tag of Python": "!!python/object/apply:os.system [true]",
    "a key twice": "{a: 1, a: 2}",
    "keys that are one": "{no: 1, off: 2}",
    "a list as a key": "{[a]: 1}",
    "no text": "no",
    "a number": "12",
    "a date": "2024-13-45",
    "sexagesimal": "1:2:3:4:5",
    "NaN": ".nan",
    "infinity": "-.inf",
    "bytes": "!!binary /9j/",
    "a set": "!!set {a, b}",
    "pairs": "!!omap [a: 1, b: 2]",
    "a merge of nothing": "{<<: 1}",
    "a merge of a list": "{<<: [1, 2]}",
    "an open bracket": "[a, b",
    "an open quote": "'a",
    "a tab": "\t- a",
    "a directive": "%YAML 9.9",
    "a colon": "a: b: c",
    "an at": "@a",
    "a brace of a template": "{{ x }}",
    "nothing": "",
    "a tilde": "~",
    "an empty list": "[]",
    "an empty mapping": "{}",
}
"""Values of a setting that wants a text."""
