"""The little language that the patterns of gate `leak` are written in.

A pattern is a row of items that stand for the words of a sentence, one after the other:

    the ADJ* <TEXT> REPORTS        "the second written analysis mentions"

`the` is a word, `ADJ` a class (leak_words.py), `a|TEXT` one of several, `in_hand` a phrase, `_` any
word, `_*` up to four, `~` up to six words and commas, `LETTER` an option's letter, `,` a comma, `.`
the end of a clause, `^` the begin of the sentence. `?` makes an item optional, `*` lets it come up
to three times, `!` says that it must not follow, and `<…>` names the noun of which a context asks
whether it belongs to the clip.

Speed: each pattern is filed under the words of its rarest item, and every word or class that it
cannot do without is a bit of its needs. Its regular expression runs only in a sentence that has one
of those words and all of those bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from textwrap import dedent

from avrt.generate.gates.case import Case
from avrt.generate.gates.leak_words import COMMON, words_of

__all__ = ["Group", "Index", "group", "normalise"]

_LETTER = re.compile(r"[A-H](?<![\w'].)(?![\w'])|(?<=['\"(])[A-H](?=['\")])")
_ARTICLE = re.compile(r"A (?!is\b|as\b|being\b|must\b|has\b|was\b)")
_BLANKS = str.maketrans("-()[]{}.!?", "          ")
_APART = [
    *((mark, " , ") for mark in ",/|–—"),
    (":", " ;"),
    (";", " ; "),
    *((f"'{ending} ", f" '{ending} ") for ending in ("s", "ve", "re", "m", "d", "ll")),
    ("s' ", "s ' "),
]
_LETTERS = [f"§{letter}" for letter in "abcdefgh"]
_BITS: dict[frozenset[str], int] = {}
_WORD_BITS: dict[str, int] = {}

Innocent = Callable[[re.Match[str], str, Case], bool]


@dataclass(frozen=True)
class Pattern:
    """One row of items."""

    signs: frozenset[str]
    """Words, one of which every match has: those of its rarest item."""
    needs: int
    """The bits without which it cannot match."""
    search: re.Pattern[str]


@dataclass(frozen=True)
class Group:
    """Patterns of one kind that are innocent in the same contexts."""

    kind: str
    innocent: Innocent | None
    patterns: tuple[Pattern, ...]


def normalise(sentence: str) -> str:
    """Lower-case words between single spaces; option B is "§b", and commas are words."""
    text = _LETTER.sub(_mark, sentence).lower().translate(_BLANKS) + " "
    for mark, apart in _APART:
        if mark in text:
            text = text.replace(mark, apart)
    return f" {' '.join(text.split())} "


def _mark(match: re.Match[str]) -> str:
    """The mark of an option's letter; an "A" that begins a sentence is mostly an article."""
    before = match.string[max(0, match.start() - 2) : match.start()].strip(" \"'")
    begins = not before or before[-1] in ".!?:"
    return match[0] if begins and _ARTICLE.match(match.string, match.start()) else f" §{match[0]} "


class Index:
    """Groups of patterns, to be looked up by the words of a sentence."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._filed: dict[str, list[tuple[Pattern, Group]]] = {}
        for one in groups:
            for pattern in one.patterns:
                for word in pattern.signs:
                    self._filed.setdefault(word, []).append((pattern, one))

    def matches(self, sentence: str) -> Iterator[tuple[re.Match[str], Group]]:
        """All matches in a normalised sentence."""
        found = dict.fromkeys(sentence.split())
        candidates = [one for word in found if word in self._filed for one in self._filed[word]]
        if not candidates:
            return
        bits = 0
        for word in found:
            bits |= _WORD_BITS.get(word, 0)
        for pattern, group in candidates:
            if pattern.needs & bits == pattern.needs:
                for match in pattern.search.finditer(sentence):
                    yield match, group


def group(kind: str, innocent: Innocent | None, table: str) -> Group:
    """The patterns of a table: one a line, an indented line goes on, "#" begins a comment."""
    rows: list[str] = []
    for line in dedent(table).splitlines():
        text = line.strip()
        if text and line[0] == " ":
            rows[-1] += text if rows[-1][-1] == "|" else f" {text}"
        elif text and text[0] != "#":
            rows.append(text)
    return Group(kind, innocent, tuple(map(_compile, rows)))


def _compile(row: str) -> Pattern:
    items = [_item(item) for item in row.split()]
    required = [words for _, words in items if words]
    needs = 0
    for words in required:
        needs |= _bit(words)
    signs = min(required, key=lambda words: len(words) + 100 * len(words & COMMON))
    return Pattern(signs, needs, re.compile("".join(part for part, _ in items) + "(?= )"))


def _item(item: str) -> tuple[str, frozenset[str]]:
    """The expression of one item, and the words one of which it cannot do without."""
    if item in _SIGNS:
        return _SIGNS[item], frozenset()
    core = item.strip("!?*<>")
    choices = [word for one in core.split("|") for word in _choices(one)]
    ordered = sorted(set(choices), key=lambda word: (-len(word), word))
    part = f" (?:{'|'.join(map(re.escape, ordered))})"
    if item[0] == "<":
        part = f"(?P<noun>{part})"
    if item[0] == "!":
        return f"(?!{part} )", frozenset()
    if item[-1] == "?":
        return f"(?:{part}(?= ))?", frozenset()
    if item[-1] == "*":
        return f"(?:{part}(?= )){{0,3}}", frozenset()
    return f"{part}(?= )", frozenset(word.split()[0] for word in ordered)


_SIGNS = {
    "_": "(?: [^ ,;]+)",
    "_?": "(?: [^ ,;]+)?",
    "_*": "(?: [^ ,;]+){0,4}?",
    "~": "(?: [^ ;]+){0,6}?",
    ",": " ,",
    ",?": "(?: ,)?",
    "^": "^",
    ".": "(?= [,;]| $)",
}


def _choices(one: str) -> list[str]:
    """The words and phrases of a class, or the one that is written out."""
    if one == "LETTER":
        return _LETTERS
    return words_of(one) if one.isupper() else [one.replace("_", " ")]


def _bit(required: frozenset[str]) -> int:
    """The bit of a set of words, given to each of them."""
    if required not in _BITS:
        _BITS[required] = 1 << len(_BITS)
        for word in required:
            _WORD_BITS[word] = _WORD_BITS.get(word, 0) | _BITS[required]
    return _BITS[required]
