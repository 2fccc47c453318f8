"""Text from outside is taken, or refused in one line that names the place."""

import json
import re

import pytest

from avrt.errors import DataError
from avrt.texts import clean, parse_json, printable, read_json, read_json_lines, read_text, shown

PLAIN = "Größe: 5\nein 犬\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_marked_encoding_gives_the_same_text(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(PLAIN.encode(encoding))
    assert read_text(path) == PLAIN


def test_utf16_in_the_other_byte_order_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xfe\xff" + PLAIN.encode("utf-16-be"))
    assert read_text(path) == PLAIN


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_are_alike(tmp_path, end):
    path = tmp_path / "a.txt"
    path.write_bytes(PLAIN.replace("\n", end).encode())
    assert read_text(path) == PLAIN


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("ok\nGröße".encode("latin-1"), "line 2: not UTF-8 (0xf6 at byte 5)"),
        ("ok\n“x”".encode("cp1252"), "line 2: not UTF-8 (0x93 at byte 3)"),
        (b"\xed\xa0\xbd", "line 1: not UTF-8"),
        ("ab".encode("utf-16-le"), "line 1: holds a NUL byte"),
        ("ab".encode("utf-32"), "holds a NUL byte"),
        (b"\xff\xfea", "broken UTF-16"),
        (b"\x1f\x8b\x08\x00\x00", "not UTF-8"),
        (b"one\ntwo\x00", "line 2: holds a NUL byte"),
    ],
)
def test_other_bytes_are_refused_with_their_line_and_the_remedy(tmp_path, data, found):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: .*save it as UTF-8$") as error:
        read_text(path)
    assert found in str(error.value)


@pytest.mark.parametrize("name", ["", "absent.txt", "x" * 5000, "a\0b", "\udcff"])
def test_a_file_that_cannot_be_read_is_named_in_short(tmp_path, name):
    with pytest.raises(DataError, match="cannot be read") as error:
        read_text(tmp_path / name)
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


def test_json_reads_as_the_standard_library_does(tmp_path):
    value = {"a": [1, -2.5e3, None, True, {"b": "\u001b[31m 犬 😀"}], "": []}
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps(value), encoding="utf-8-sig")
    assert read_json(path) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d"', "\ufffd"),
        (r'"a \ude00b"', "a \ufffdb"),
        (r'"\ud83d\ude00"', "😀"),
        (r'["\u0000"]', ["\ufffd"]),
        (r'{"\ud83d": ["\udfff"]}', {"\ufffd": ["\ufffd"]}),
    ],
)
def test_half_pairs_and_nul_become_the_replacement_character(text, value):
    assert parse_json(text, "a") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a: not valid JSON: Expecting value (column 1)"),
        ("[1,\n2,,]", "a: line 2: not valid JSON: Expecting value (column 3)"),
        ('[{"x": 1}, {"x": NaN}]', "a: row 2, x: NaN is no JSON number; write null"),
        ('[{"x": {"y": [-Infinity]}}]', "a: row 1, x, y, 0: -Infinity is no JSON number"),
        ("[1e999]", "a: row 1: '1e999' is too large a number"),
        ("[0, " + "9" * 5000 + "]", "a: row 2: a number of 5000 digits"),
        ("[{}, " + "[" * 101 + "]" * 101 + "]", "a: row 2, 0, 0, 0: over 100 levels of nesting"),
        ("[1,\n" + "[" * 100_000, "a: line 2: over 100 levels of nesting"),
        ("[" + '{"a":' * 100_000, "a: column 497: over 100 levels of nesting"),
        ('[{"q": 1, "q": 2}]', "a: row 1: the field 'q' stands twice"),
        ('{"x": {"q": 1, "p": 0, "q": 1}}', "a: x: the field 'q' stands twice"),
    ],
)
def test_what_json_leaves_open_is_refused_with_its_place(text, message):
    with pytest.raises(DataError) as error:
        parse_json(text, "a")
    assert str(error.value).startswith(message)


def test_lines_keep_their_numbers(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"a": "x\u2028y"}\r\n\r\n \n\ufeff2', encoding="utf-8", newline="")
    assert list(read_json_lines(path)) == [(1, {"a": "x\u2028y"}), (4, 2)]
    path.write_text("1\n{]\n")
    with pytest.raises(DataError, match=r"a\.jsonl: line 2: not valid JSON"):
        list(read_json_lines(path))


def test_clean_leaves_sound_text_alone():
    assert clean(PLAIN) is PLAIN
    assert clean("a\ud83db\0") == "a\ufffdb\ufffd"
    clean("\ud800").encode()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\rb\x07\x7f\x9b", r"a\rb\x07\x7f\x9b"),
        ("\u202ecod.exe\u2069\u2028", r"\u202ecod.exe\u2069\u2028"),
        ("\ud83d", r"\ud83d"),
        ("one\n\ttwo 犬", "one\n\ttwo 犬"),
    ],
)
def test_terminals_get_no_control_characters(text, safe):
    assert printable(text) == safe


def test_values_in_messages_are_short_and_on_one_line():
    assert shown("a\nb\ud83d") == r"'a\nb\ud83d'"
    assert len(shown("\x1b" * 10_000_000)) < 100
    assert len(shown([["x" * 1000] * 1000])) < 100
