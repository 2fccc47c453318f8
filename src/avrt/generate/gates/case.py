"""What a gate may look at, and the few tools with which gates read English.

The decision to question: gates about wording read the first 20,000 characters of a text, and clip
speech in quotation marks is taken out before leaks, loops and foreign words are looked for, because
what people in the clip say is no fault of the trace.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

from avrt.answers import extract_answer, split_trace

__all__ = [
    "Case",
    "Gate",
    "clauses",
    "mask_quotes",
    "plain",
    "quoted",
    "sentences",
    "stem",
    "stems",
    "supposes",
    "words",
]

MAX_CHARS = 20_000
"""How much of a text the gates about wording read; what is longer fails the gate of length."""

_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_ANSWER_BLOCK = re.compile(r"<answer>[^<]{0,200}</answer>", re.IGNORECASE)
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_QUOTES = str.maketrans("‘’‚“”„", "'''\"\"\"")
_EMPHASIS = str.maketrans("\0", " ", "*`")
_SENTENCE_END = re.compile(r"([.!?…。！？](?:(?<=[。！？])|[\"')\]]*(?=\s)))")
_BETWEEN_WORDS = dict.fromkeys(map(ord, '!"#$%&()*+,./:;<=>?@[\\]^_{|}~…–—«»「」、。，！？'), " ")
_BETWEEN_CLAUSES = {mark: gap for mark, gap in _BETWEEN_WORDS.items() if mark != ord(",")}
_CLAUSE_ENDS = ",.!?…;:"
_INNER_APOSTROPHE = re.compile(r"'(?<=\w')(?=\w)")
_QUOTED = re.compile(
    r"'(?<!\w')(?=\S)([^'\n]{1,200})'(?!\w)|\"([^\"\n]{1,300})\"|«([^«»\n]{1,300})»|"
    r"「([^「」\n]{1,300})」"
)
# Tried at the beginning of each line: MULTILINE would try them at every character.
_LABEL = r"[^\w\n]{0,8}(?:%s)[^\w\n]{0,4}:"
_HEADER = re.compile(
    _LABEL % r"(?:visual|audio|video|image|sound) (?:description|analysis)|description|reasoning",
    re.IGNORECASE,
)
_REASONING = re.compile(_LABEL % r"reasoning|(?:final )?answer", re.IGNORECASE)
_ANSWER_LINE = re.compile(_LABEL % r"(?:final )?answer" + r"[^\n]*", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One merged trace with everything that its gates may look at."""

    text: str
    """The merger's whole reply."""
    question: str
    options: tuple[str, ...]
    target: str
    """The gold letter."""
    question_relation: str = "both"
    """Which senses the question needs: "both", "visual" or "sound"."""
    finish_reason: str = "stop"
    teacher_texts: Mapping[str, str] = field(default_factory=dict)
    """What the merger was given, by the teacher's modality: "v", "a" or "av"; blank is absent."""

    @cached_property
    def think(self) -> str:
        """The thought; of a malformed text, all but its tags and what its answer block holds."""
        parts = split_trace(self.text)
        return plain(parts[0] if parts else _TAG.sub("\n", _ANSWER_BLOCK.sub("\n", self.text)))

    @cached_property
    def answer(self) -> str | None:
        """The letter in the answer block, or else the one that the text settles on."""
        return extract_answer(self.text, self.options)

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences of the thought."""
        return sentences(self.think)

    @cached_property
    def facts(self) -> list[list[str]]:
        """The words of each clause of the thought that states something as a fact."""
        return [clause for clause in clauses(self.think) if _SUPPOSING.isdisjoint(clause)]

    @cached_property
    def own_text(self) -> str:
        """The thought without what it quotes."""
        return mask_quotes(self.think)

    @cached_property
    def own_words(self) -> list[str]:
        """The words of the thought without those it quotes."""
        return words(self.own_text)

    @cached_property
    def bodies(self) -> dict[str, str]:
        """The teachers' texts without their labels ("Visual Description:") and answer lines."""
        return {
            modality: plain(_without(_ANSWER_LINE, _without(_HEADER, text)))
            for modality, text in self.teacher_texts.items()
            if text.strip()
        }

    @cached_property
    def scenes(self) -> dict[str, str]:
        """The teachers' descriptions alone, as far as a heading ends them."""
        return {
            modality: plain(_without(_HEADER, _split_at(_REASONING, text)[0]))
            for modality, text in self.teacher_texts.items()
            if text.strip()
        }

    @cached_property
    def scene_stems(self) -> dict[str, frozenset[str]]:
        """The stems of each description."""
        return {modality: frozenset(stems(scene)) for modality, scene in self.scenes.items()}

    @cached_property
    def asked(self) -> frozenset[str]:
        """The stems of the question and the options."""
        return frozenset(stems("\n".join([self.question, *self.options])))

    @cached_property
    def known(self) -> frozenset[str]:
        """The stems of everything that the teachers, the question and the options say."""
        reasonings = [
            plain(part)
            for text in self.teacher_texts.values()
            for part in _split_at(_REASONING, text)[1:]
        ]
        return self.in_clip.union(stems("\n".join(reasonings)))

    @cached_property
    def in_clip(self) -> frozenset[str]:
        """The stems of the words that belong to the clip: descriptions, question and options."""
        return self.asked.union(*self.scene_stems.values())


@dataclass(frozen=True)
class Gate:
    """A pure rule over stored text."""

    version: int
    """Counted up whenever an equal text may get another verdict."""
    reason: str
    """One sentence for people: what a rejected trace has wrong."""
    check: Callable[[Case], str | None]
    """What was found, or None when the trace passes."""


def plain(text: str) -> str:
    """The beginning of a text with straight quotes, without emphasis and unseen characters."""
    text = text[:MAX_CHARS]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)[:MAX_CHARS]
        text = _UNSEEN.sub("", text).translate(_QUOTES)
    return text.translate(_EMPHASIS)


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text."""
    lines = _SENTENCE_END.sub(r"\1\n", text).split("\n")
    return [sentence for line in lines if (sentence := " ".join(line.split()))]


def supposes(text: str) -> bool:
    """Whether a text supposes, denies, compares or speaks in general anywhere."""
    return not _SUPPOSING.isdisjoint(words(text))


def clauses(text: str) -> list[list[str]]:
    """The words of each clause, in lower case."""
    text = text.lower()
    for mark in _CLAUSE_ENDS:  # the comma first; `translate` is slow where one becomes three
        text = text.replace(mark, " , ")
    found = text.translate(_BETWEEN_CLAUSES).split()
    ends = [place for place, word in enumerate(found) if word in _CLAUSE_WORDS]
    *each, last = [found[one + 1 : other] for one, other in pairwise([-1, *ends, len(found)])]
    each = [*filter(None, each), last]
    if _has_marks(text, found):
        return [[word.strip("'-") for word in clause] for clause in each]
    return each


def words(text: str) -> list[str]:
    """The words of a text in lower case; "don't" and "double-decker" are one word each."""
    found = text.lower().translate(_BETWEEN_WORDS).split()
    if _has_marks(text, found):
        return [word for raw in found if (word := raw.strip("'-"))]
    return found


def _has_marks(text: str, found: list[str]) -> bool:
    """Whether a word has marks around it that are not its own; few texts do."""
    if "'" not in text and "-" not in text:
        return False
    text = f" {' '.join(found)} "
    return " '" in text or "' " in text or " -" in text or "- " in text


def stems(text: str) -> list[str]:
    """The stems of all words; a compound gives those of its parts too."""
    found = words(text)
    if "-" in text:
        found = found + [part for word in found if "-" in word for part in word.split("-")]
    return list(map(stem, found))


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """A word without its common English endings; not always a word, but always the same one."""
    word = word.split("'")[0] if "'" in word else word
    for ending, keep in (
        ("ies", "y"),
        ("ied", "y"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("s", ""),
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + keep
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]  # "running", "stopped"
    return word[:-1] if len(word) > 3 and word[-1] == "e" else word


def mask_quotes(text: str) -> str:
    """The text with '"…"' for whatever is in quotation marks; a lone letter stays."""
    text = _INNER_APOSTROPHE.sub("’", text)
    return _QUOTED.sub(_hide, text).replace("’", "'")


def quoted(text: str) -> list[str]:
    """What is in quotation marks."""
    text = _INNER_APOSTROPHE.sub("’", text)
    return ["".join(parts).replace("’", "'") for parts in _QUOTED.findall(text)]


def _hide(match: re.Match[str]) -> str:
    return match[0] if len(match[0]) <= 5 else '"…"'


def _split_at(label: re.Pattern[str], text: str) -> list[str]:
    """What stands before, between and behind the matches at the beginning of lines."""
    parts, begin, line = [], 0, 0
    while True:
        if match := label.match(text, line):
            parts.append(text[begin:line])
            begin = match.end()
        line = text.find("\n", line) + 1
        if not line:
            return [*parts, text[begin:]]


def _without(label: re.Pattern[str], text: str) -> str:
    return "".join(_split_at(label, text))


_CLAUSE_WORDS = frozenset(
    words("and while whereas but as when before after until so because for which who where that")
) | {","}
_SUPPOSING = frozenset(
    words(
        "would could might may should no not nor neither never none nothing nobody without cannot "
        "instead unlike rather need needs require requires exclude excludes excluded excluding "
        "rule rules ruled than if other usually often typical typically normally rarely seldom "
        "absent missing don't doesn't didn't isn't aren't wasn't weren't can't couldn't wouldn't "
        "won't hasn't haven't shouldn't"
    )
)
