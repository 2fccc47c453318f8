"""The rules by which each benchmark's authors score a reply, with their oddities.

Every rule is a function `(text, item) -> Official` of the whole reply, or of None for a call that
failed. They are reproduced from what the published scripts do, not from their code, so that a
number here is one that the authors would get; the headline of every table is AVRT's own strict
score (`scoring.py`). Where a published script would stop or draw a random letter, the item is wrong
and the reason says so.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from avrt.answers import extract_answer
from avrt.types import LETTERS, BenchmarkItem

__all__ = [
    "Official",
    "avhbench",
    "avhbench_of_option",
    "daily_omni",
    "letter",
    "omnibench",
    "omnibench_gold_by_index",
    "omnivideobench",
    "token_sets",
    "token_sets_of_option",
    "video_holmes",
    "video_mme",
    "video_mme_of_all",
    "worldsense",
]


@dataclass(frozen=True)
class Official:
    """The authors' verdict on one reply."""

    correct: bool
    parsed: str | None
    """Read in the reply by their rule; None when it read nothing."""
    why: str
    counted: bool = True
    """False where their script leaves the item out of the denominator."""


def letter(text: str | None, item: BenchmarkItem) -> Official:
    """AVQA, and AVRT's own sets: the letter is that of the gold index.

    AVQA's authors compare the index of the largest of four outputs; for a model that writes, they
    define nothing, and the letter that `avrt.answers` reads takes that place.
    """
    if text is None:
        return _failed()
    answer = extract_answer(text, item.sample.options)
    return _compare(answer, item.sample.target)


def omnibench(text: str | None, item: BenchmarkItem) -> Official:
    """OmniBench: reply and gold text both go through one parser (see `_omnibench_letter`).

    So a gold text that begins with "A man" is read as A. Their script stops at a gold text in which
    it finds no letter; here that item is wrong.
    """
    gold = _omnibench_letter(str(item.row["answer"]), _published_options(item))
    if text is None:
        return _failed()
    if gold is None:
        return Official(False, None, "the authors' script stops here: no letter in the gold text")
    parsed = _omnibench_letter(text, _published_options(item))
    return _compare(parsed, gold, "N/A")


def omnibench_gold_by_index(text: str | None, item: BenchmarkItem) -> Official:
    """OmniBench's parser for the reply alone; gold is the place of the answer in the options."""
    if text is None:
        return _failed()
    return _compare(_omnibench_letter(text, _published_options(item)), item.sample.target, "N/A")


def daily_omni(text: str | None, item: BenchmarkItem) -> Official:
    """Daily-Omni: the first letter behind the first "assistant", else the first of all.

    It counts in either case and whatever follows, so "Because" is B. A call that failed leaves the
    denominator.
    """
    if text is None:
        return Official(False, None, "the call failed; left out of the denominator", counted=False)
    _, marker, after = text.partition("assistant")
    reply = (after if marker else text).strip()
    parsed = reply[:1].upper()
    return _compare(parsed if parsed and parsed in "ABCD" else None, item.sample.target)


def token_sets(text: str | None, item: BenchmarkItem) -> Official:
    """MMAR and MMAU, on the whole reply: all words of the answer, no word that only others have.

    Words are compared as sets in lower case: their order and number do not count, and a bare letter
    is no answer. An item without a reply leaves the denominator.
    """
    if text is None:
        return Official(False, None, "no reply; left out of the denominator", counted=False)
    choices = item.row["choices"]
    answer, reply = _words(str(item.row["answer"])), _words(text)
    lacking = answer - reply
    foreign = reply & (set().union(*map(_words, map(str, choices))) - answer)
    if not reply:
        return Official(False, None, "the reply has no word")
    if lacking or foreign:
        what = f"lacks {_some(lacking)}" if lacking else f"has {_some(foreign)} of other choices"
        return Official(False, text.strip(), f"the reply {what}")
    return Official(True, text.strip(), "the reply has all words of the answer and none of others")


def token_sets_of_option(text: str | None, item: BenchmarkItem) -> Official:
    """MMAR and MMAU, on the text of the option whose letter the reply gives.

    Models that answer with a letter need this step, which the authors leave to their users. A reply
    without a letter is scored as it is.
    """
    return token_sets(_option_text(text, item), item)


def video_holmes(text: str | None, item: BenchmarkItem) -> Official:
    """Video-Holmes: the last `<answer>`, else all of the reply; in it "A ", "A:" or "[A" of the
    first letter that has one, else the first letter of A to F that occurs as a capital at all.

    A call that failed counts as wrong.
    """
    if text is None:
        return _failed()
    blocks = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    payload = blocks[-1].strip() if blocks else text
    marked = (
        name for name in "ABCDEF" if any(m in payload for m in (f"{name} ", f"{name}:", f"[{name}"))
    )
    bare = (name for name in "ABCDEF" if name in payload)
    return _compare(next(marked, None) or next(bare, None), item.sample.target, "WRONG")


_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)
"""Of Video-MME. Two commas are missing in the published list: four phrases became two that nobody
writes.
"""
_WORLDSENSE_PREFIXES = (*_PREFIXES, "Answer:", "Option:")


def worldsense(text: str | None, item: BenchmarkItem) -> Official:
    """WorldSense, as VLMEvalKit judges it: cut known phrases, then the first A, B, C or D anywhere.

    So "Best answer: C" is B, the first letter of "Best". Without any, the toolkit may ask a
    language model; by default it does not, and nothing was answered. A failed call is wrong.
    """
    if text is None:
        return _failed()
    return _compare(_first_of_four(text, _WORLDSENSE_PREFIXES), item.sample.target)


def video_mme(text: str | None, item: BenchmarkItem) -> Official:
    """Video-MME: cut known phrases, then the first A, B, C or D anywhere.

    So "Answer: C" is A, the first letter of "Answer". A reply without any of the four leaves the
    denominator, as a question without a reply does.
    """
    verdict = video_mme_of_all(text, item)
    if verdict.parsed is None:
        return Official(False, None, f"{verdict.why}; left out of the denominator", counted=False)
    return verdict


def video_mme_of_all(text: str | None, item: BenchmarkItem) -> Official:
    """As `video_mme`, but a reply that cannot be read is wrong: so do lmms-eval and most tables."""
    if text is None:
        return _failed()
    return _compare(_first_of_four(text, _PREFIXES), item.sample.target)


def avhbench(text: str | None, item: BenchmarkItem) -> Official:
    """AVHBench, by the script of AVCD, which one of its authors published: the reply has the gold
    word somewhere, in either case, also inside of another word.

    So "I cannot tell" is No, and "Yes and no" is right for every question.
    """
    if text is None:
        return _failed()
    found = [word for word in ("yes", "no") if word in text.lower()]
    if not found:
        return Official(False, None, "neither yes nor no was read")
    parsed, gold = " and ".join(found), item.sample.target_text.lower()
    verdict = "right" if gold in found else f"gold is {gold}"
    return Official(gold in found, parsed, f"read as {parsed}: {verdict}")


def avhbench_of_option(text: str | None, item: BenchmarkItem) -> Official:
    """AVHBench, on the word of the option whose letter the reply gives.

    A model that is asked for a letter never writes the word as its answer, and has "no" somewhere
    in its thought ("I know"). A reply without a letter or a word alone is scored as it is.
    """
    return avhbench(_option_text(text, item), item)


def omnivideobench(text: str | None, item: BenchmarkItem) -> Official:
    """OmniVideoBench: what is left behind the last "assistant" and inside `\\boxed{}`, in lower
    case and without punctuation, is the gold letter and nothing else; "B. text" is "b".

    A call that failed leaves the denominator, and so does a reply that begins with "Error:".
    """
    if text is None:
        return Official(False, None, "the call failed; left out of the denominator", counted=False)
    reply = text.rpartition("assistant")[2].strip()
    for pattern in (r"/box\{([^}]+)\}", r"\\boxed\{([^}]+)\}"):
        match = re.search(pattern, reply)
        reply = match[1].strip() if match else reply
    if reply.startswith(("Video file not found", "Error:")):
        return Official(False, None, "read as a failure; left out of the denominator", False)
    parsed = _omnivideobench_text(reply)
    gold = _omnivideobench_text(str(item.row["correct_option"]))
    if parsed == gold:
        return Official(True, parsed, f"read as {parsed!r}: right")
    return Official(False, parsed or None, f"read as {parsed[:40]!r}, not {gold!r}")


def _option_text(text: str | None, item: BenchmarkItem) -> str | None:
    """The text of the option that a reply names; the reply where it names none."""
    answer = None if text is None else extract_answer(text, item.sample.options)
    return text if answer is None else item.sample.options[LETTERS.index(answer)]


def _first_of_four(reply: str, prefixes: Iterable[str]) -> str | None:
    for prefix in prefixes:
        reply = reply.replace(prefix, "")
    match = re.search("[ABCD]", reply)
    return match and match[0]


def _omnivideobench_text(reply: str) -> str:
    reply = reply.lower()
    if match := re.search(r"/box\{([^}]+)\}", reply):
        reply = match[1]
    if reply[1:2] == ".":
        reply = reply[0]
    return " ".join(reply.translate(str.maketrans("", "", string.punctuation)).split())


def _omnibench_letter(reply: str, options: Sequence[str]) -> str | None:
    """The letter that OmniBench's authors read in a text, None for their N/A.

    The first of these that any letter X has decides: "(X)"; "X " anywhere, also inside "PICA B";
    "X."; and in texts of more than five words, the text of an option. Of several letters it is the
    one whose last "(X)", " X " or option text is last; where none has that, the first letter.
    """
    letters, padded = LETTERS[: len(options)], f" {reply} "
    for mark, last in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        marked = [name for name in letters if mark.format(name) in padded]
        if marked:
            return max(marked, key=lambda name: padded.rfind(last.format(name)))
    if len(padded.split()) <= 5:
        return None
    lowered = padded.lower()
    texts = {name: option.lower() for name, option in zip(letters, options, strict=True)}
    written = [name for name in letters if texts[name] in lowered]
    return max(written, key=lambda name: lowered.rfind(texts[name]), default=None)


def _published_options(item: BenchmarkItem) -> Sequence[str]:
    return item.row["options"]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))


def _some(words: Iterable[str]) -> str:
    *shown, last = sorted(words)[:3]
    return ", ".join(map(repr, [*shown, last]))


def _compare(parsed: str | None, gold: str, nothing: str = "no letter") -> Official:
    if parsed is None:
        return Official(False, None, f"{nothing} was read")
    verdict = "right" if parsed == gold else f"gold is {gold}"
    return Official(parsed == gold, parsed, f"read as {parsed}: {verdict}")


def _failed() -> Official:
    return Official(False, None, "the call failed")
