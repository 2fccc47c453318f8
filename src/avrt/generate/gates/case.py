"""A merged trace with everything that a gate may read, and how a gate reads English.

The decision to question: gates about wording read the first 20,000 characters of a text, and skip
speech in quotation marks, because what people in the clip say is no fault of the trace.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from avrt.answers import extract_answer, split_trace

__all__ = ["Case", "Gate", "sentences", "words"]

MAX_CHARS = 20_000
"""Characters that gates about wording read; a longer text fails the gate `length` anyway."""

_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_ANSWER_BLOCK = re.compile(r"<answer>[^<]{0,200}</answer>", re.IGNORECASE)
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_QUOTES = str.maketrans("‘’‚“”„", "'''\"\"\"")
_EMPHASIS = str.maketrans("\0", " ", "*`")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|(?<=[。！？])|\n")
_MARKS = dict.fromkeys(map(ord, '!"#$%&()*+,./:;<=>?@[\\]^_{|}~…–—«»「」、。，！？'), " ")
_QUOTED = re.compile(
    r"(?<!\w)'(?=\S)(?:[^'\n]|(?<=\w)'(?=\w)){6,200}'(?!\w)|\"[^\"\n]{6,300}\"|«[^«»\n]{1,300}»|"
    r"「[^「」\n]{1,300}」"
)


@dataclass(frozen=True)
class Case:
    """A merged trace with everything that its gates may read."""

    text: str
    """The merger's whole reply."""
    question: str
    options: tuple[str, ...]
    target: str
    """The gold letter."""
    finish_reason: str = "stop"
    teacher_texts: Mapping[str, str] = field(default_factory=dict)
    """The teachers' texts by modality: "v", "a" or "av"."""

    @cached_property
    def think(self) -> str:
        """The thought, in plain characters; of a malformed text, all but tags and answer block."""
        parts = split_trace(self.text)
        text = parts[0] if parts else _TAG.sub("\n", _ANSWER_BLOCK.sub("\n", self.text))
        text = text[:MAX_CHARS]
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)[:MAX_CHARS]
            text = _UNSEEN.sub("", text).translate(_QUOTES)
        return text.translate(_EMPHASIS)

    @cached_property
    def answer(self) -> str | None:
        """The letter in the answer block, or else the letter that the text settles on."""
        return extract_answer(self.text, self.options)

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences of the thought."""
        return sentences(self.think)

    @cached_property
    def own_text(self) -> str:
        """The thought with '"…"' for every quotation."""
        return _QUOTED.sub('"…"', self.think)

    @cached_property
    def own_words(self) -> list[str]:
        """The words of the thought without those that it quotes."""
        return words(self.own_text)


@dataclass(frozen=True)
class Gate:
    """A pure rule over stored text."""

    find: Callable[[Case], str | None]
    """The fault in the trace, in words; None when the trace passes."""
    version: int
    """Counted up whenever an equal text may get another verdict."""
    about: str
    """One sentence for people: the fault of a trace that it flags."""


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text."""
    return [plain for part in _SENTENCE_END.split(text) if (plain := " ".join(part.split()))]


def words(text: str) -> list[str]:
    """The words of a text in lower case; "don't" and "double-decker" are one word each."""
    return [word for raw in text.lower().translate(_MARKS).split() if (word := raw.strip("'-"))]
