"""Why a reply to an item of world-bench is wrong: the first step of its reasoning that breaks.

A right reply describes what it sees and hears, says what each sense leaves open, concludes what
fits both, and walks over the options to that one. The scene behind an item is known, so every step
can be checked, with no model. Of a description only the properties count that the question turns
on: a wrong place does not explain a wrong thing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from avrt.answers import extract_answer
from avrt.errors import DataError
from avrt.evaluate.logs import iter_log
from avrt.types import LETTERS
from avrt.world.content import Scene, candidates_heard, candidates_seen
from avrt.world.make import items_of
from avrt.world.text import Question, could_be, describe_heard, describe_seen

__all__ = ["ERROR_CLASSES", "ErrorClass", "classify", "count_errors", "describe_errors"]

ErrorClass = Literal[
    "right", "format", "no_evidence", "perception", "candidates", "intersection", "walk"
]
ERROR_CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)
"""`right`; no answer to read (`format`); what a sense leaves open is not said (`no_evidence`); a
description contradicts the scene (`perception`); what a sense leaves open does not follow from its
description (`candidates`); the conclusion is missing or not in both (`intersection`); another
letter than the conclusion's (`walk`). The first that holds, in this order.
"""

_SEEN = re.compile(r"I see a (?P<shape>\w+) (?P<colour>\w+) thing at the (?P<place>\w+),")
_HEARD = re.compile(r"I hear a (?P<rhythm>\w+) (?P<pitch>\w+) sound,")
_OPEN = re.compile(r"It could be [^.]*\.")
_CONCLUSION = re.compile(r"Only (\w+) fits both\.")
_TURNS_ON = {"thing": {"shape", "colour", "rhythm", "pitch"}, "place": {"place"}}
"""The properties that decide a question of each kind about a still picture and a sound."""


def classify(text: str, scene: Scene, question: Question, *, cut: bool = False) -> ErrorClass:
    """Give the class of a reply about picture and sound; `cut`: it ended at its limit of tokens."""
    answer = extract_answer(text, question.options, cut=cut)
    if answer is None:
        return "format"
    if answer == LETTERS[question.answer_index]:
        return "right"
    seen, heard_at, rest = text.partition("I hear")
    heard = heard_at + rest
    possible = [_OPEN.search(part) for part in (seen, heard)]
    if None in possible:
        return "no_evidence"
    if _properties(seen, heard, question.kind) != _properties(
        f"I see {describe_seen(scene)}", f"I hear {describe_heard(scene)}", question.kind
    ):
        return "perception"
    wanted = candidates_seen(scene, question.kind), candidates_heard(scene, question.kind)
    if [_words(found[0]) for found in possible if found] != [_words(could_be(c)) for c in wanted]:
        return "candidates"
    conclusion = _CONCLUSION.search(heard)
    if conclusion is None or any(conclusion[1] not in candidates for candidates in wanted):
        return "intersection"
    return "walk"


def _properties(seen: str, heard: str, kind: str) -> dict[str, str]:
    """The properties that the question turns on, as far as they can be read in the descriptions."""
    found = [_SEEN.search(seen), _HEARD.search(heard)]
    return {
        name: word
        for match in found
        if match
        for name, word in match.groupdict().items()
        if name in _TURNS_ON[kind]
    }


def _words(text: str) -> frozenset[str]:
    return frozenset(text.rstrip(".").split())


def count_errors(log: Path, root: Path) -> Counter[ErrorClass]:
    """Count the replies of each class in a log of world-bench, RUN/eval/world-bench/MODEL/av.jsonl.

    Replies that never came, because a call failed or media could not be read, are not among them.

    Raises:
        DataError: `root` holds no finished world, or not the one that the log is about; else as
            `iter_log`.
    """
    items, counts = items_of(root, "bench"), Counter[ErrorClass]()
    for line in iter_log(log):
        scene, question = items.get(line.sample_id, (None, None))
        if scene is None or question is None or line.target != LETTERS[question.answer_index]:
            raise DataError(
                f"{log}: item {line.sample_id!r} is not of the world in {root}; name the folder "
                "that world-bench was read from"
            )
        if line.status in ("scored", "unparsable"):
            cut = line.finish_reason == "length"
            counts[classify(line.text, scene, question, cut=cut)] += 1
    return counts


def describe_errors(counts: Mapping[str, Mapping[ErrorClass, int]]) -> str:
    """Write a table of the classes, a line for each model by its name."""
    heads = ["model", "replies", *(name.replace("_", " ") for name in ERROR_CLASSES)]
    rows = [
        [name, str(sum(of.values())), *(str(of.get(kind, 0)) for kind in ERROR_CLASSES)]
        for name, of in counts.items()
    ]
    return "\n".join(map(_line, [heads, *rows]))


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:<12}" + "".join(f"{cell:>14}" for cell in cells[1:])
