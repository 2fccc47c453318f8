"""What the patterns of gate `leak` are made of.

A pattern is matched against one sentence in lower case with a space before it. It begins with a
space, not with a word boundary, because a fixed first character is found many times faster.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from avrt.generate.gates.case import Case, stem

__all__ = ["ANSWER", "ANY_LETTER", "GIVEN", "OPTION", "SENSE", "Group", "group", "mark_letters"]

ANY_LETTER = "§[a-h]"
"""An option's letter, as `mark_letters` writes it; "§" is the anchor of patterns that name one."""
_LETTER = re.compile(
    r"\(([A-H])\)|\b([B-H])\b(?!')|\b(A)(?=[,.;:)]| (?:is|as|being|must|has|was)\b)"
)
ANSWER = r"(?:answer|option|choice|solution|alternative)"
OPTION = rf"(?:(?:the |this |that )?(?:{ANSWER} )?{ANY_LETTER})"
GIVEN = (
    r"(?:provided|supplied|given|presented|handed|furnished|received|submitted|attached|included)"
)
SENSE = (
    r"(?:audio|visual|vision|video|auditory|acoustic|aural|sonic|sound|soundtrack|image|picture|"
    r"frames?|footage|listening|hearing|viewing|sight|scene|audio-?visual|multimodal|sensory)"
)

Innocent = Callable[[re.Match[str], str, Case], bool]


@dataclass(frozen=True)
class Group:
    """Patterns of one kind that are innocent in the same contexts."""

    kind: str
    innocent: Innocent | None
    anchors: frozenset[str]
    """Stems without one of which no pattern can match: most sentences are done after a look."""
    patterns: tuple[re.Pattern[str], ...]


def mark_letters(sentence: str) -> str:
    """The sentence in lower case, with "§b" for "B" and "(B)": patterns ignore case faster so."""
    return _LETTER.sub(r"§\1\2\3", sentence).lower()


def group(kind: str, innocent: Innocent | None, anchors: str, *patterns: str) -> Group:
    return Group(
        kind,
        innocent,
        frozenset(stem(word.lower()) for word in anchors.split()),
        tuple(re.compile(pattern) for pattern in patterns),
    )
