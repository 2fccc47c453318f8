"""What a merged trace took from which teacher, and where a quote stands in a text.

Pure functions over text. A word of the merged trace comes from a teacher when it stands in a run of
at least `MIN_RUN` words that the teacher's text has in the same order, at least `MIN_CONTENT` of
which are neither function words nor words of the traces' form ("the sound of", "it could be").
Words are compared without case and punctuation; a run that the question or an option has too is
nobody's.

The decision to question: equal words are no proof of their source, and a fact in other words has no
mark. Marks are a help for the eye, not a measurement.

Offsets are UTF-16 code units, as a browser counts them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Literal, TypeAlias

__all__ = ["Mark", "Source", "find_quote", "mark_sources"]

Source: TypeAlias = Literal["vision", "audio", "both"]
Mark: TypeAlias = tuple[int, int, Source]
"""Start, end and source of a stretch of a text."""

MIN_RUN, MIN_CONTENT = 3, 2
MAX_RUN, MAX_PLACES = 32, 4
"""Longest run and most places of its beginning that are looked at: a bound for texts in loops; a
longer run is covered by the runs that begin inside it.
"""
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an the and or but nor so as if of in on at to by for from with without into onto "
        "over under up down out off near about between through during before after while when "
        "where which who whom whose what why how than then there here this that these those it "
        "its he she they them his her their i me my we us our you your is are was were be been "
        "being am do does did done has have had having can could may might must shall should "
        "will would not no yes also very more most some any each both either only just even "
        "still too such same other another one see seen sees hear heard hears seem seems appear "
        "appears suggest suggests indicate indicates sound sounds audio visual video clip frame "
        "frames scene image picture description reasoning answer option options correct because "
        "since likely clearly therefore thus overall"
    )
)


def mark_sources(text: str, vision: str, audio: str, asked: str = "") -> list[Mark]:
    """The stretches of `text` that its teachers' texts have too, in order, without overlap.

    `asked` is the question with its options.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[start:end].casefold() for start, end in spans]
    asked_too = _in_runs(words, asked)
    seen, heard = (
        [found and not common for found, common in zip(_in_runs(words, of), asked_too, strict=True)]
        for of in (vision, audio)
    )
    units = Utf16(text)
    marks: list[Mark] = []
    sources = enumerate(zip(seen, heard, strict=True))
    for (is_seen, is_heard), group in groupby(sources, key=lambda each: each[1]):
        if not is_seen and not is_heard:
            continue
        places = [place for place, _ in group]
        source: Source = "both" if is_seen and is_heard else "vision" if is_seen else "audio"
        start, end = spans[places[0]][0], spans[places[-1]][1]
        marks.append((units.of(start), units.of(end), source))
    return marks


def find_quote(text: str, quote: str, everywhere: bool = False) -> list[tuple[int, int]]:
    """Where the words of a quote stand in a text: the first place, or with `everywhere` all.

    The first and the last word of the quote may be cut. Empty: it is not in the text.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[start:end].casefold() for start, end in spans]
    wanted = [match[0].casefold() for match in _WORD.finditer(quote)]
    units = Utf16(text)
    if not wanted:
        start = text.find(quote) if quote.strip() else -1
        return [(units.of(start), units.of(start + len(quote)))] if start >= 0 else []
    for part in (wanted, wanted[1:], wanted[:-1], wanted[1:-1]):
        places = _places(words, part) if part is wanted or len(part) >= MIN_RUN else []
        if places:
            found = [
                (units.of(spans[place][0]), units.of(spans[place + len(part) - 1][1]))
                for place in places
            ]
            return found if everywhere else found[:1]
    return []


class Utf16:
    """Offsets in a text as a browser counts them: a character beyond U+FFFF is two."""

    def __init__(self, text: str) -> None:
        is_plain = text.isascii() or max(text) <= "\uffff"
        self._wide = [] if is_plain else [i for i, mark in enumerate(text) if mark > "\uffff"]

    def of(self, offset: int) -> int:
        return offset + bisect_right(self._wide, offset - 1)


def _in_runs(words: Sequence[str], other: str) -> list[bool]:
    """For every word whether it stands in a run that the other text has."""
    covered = [False] * len(words)
    theirs = [match[0].casefold() for match in _WORD.finditer(other)]
    begins: dict[tuple[str, ...], list[int]] = {}
    for place, gram in enumerate(_grams(theirs)):
        places = begins.setdefault(gram, [])
        if len(places) < MAX_PLACES:
            places.append(place)
    n_content = [0, *accumulate(word not in _FUNCTION_WORDS for word in words)]
    lengths: dict[int, int] = {}
    """By a place in the other text, of the run that begins there and at the word behind `start`."""
    for start, gram in reversed([*enumerate(_grams(words))]):
        before, lengths = lengths, {}
        for place in begins.get(gram, ()):
            known = before.get(place + 1)
            common = _common(words, start, theirs, place) if known is None else known + 1
            lengths[place] = min(common, MAX_RUN)
        end = start + max(lengths.values(), default=0)
        if n_content[end] - n_content[start] >= MIN_CONTENT:
            covered[start:end] = [True] * (end - start)
    return covered


def _grams(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[i:] for i in range(MIN_RUN)), strict=False)


def _common(words: Sequence[str], start: int, theirs: Sequence[str], place: int) -> int:
    """How many words are equal from two places on."""
    most = min(MAX_RUN, len(words) - start, len(theirs) - place)
    length = MIN_RUN
    while length < most and words[start + length] == theirs[place + length]:
        length += 1
    return length


def _places(words: Sequence[str], part: Sequence[str]) -> list[int]:
    """Where the words of `part` begin in a row, without overlap."""
    places: list[int] = []
    start, n = 0, len(part)
    while n and start <= len(words) - n:
        if words[start] == part[0] and list(words[start : start + n]) == list(part):
            places.append(start)
            start += n
        else:
            start += 1
    return places
