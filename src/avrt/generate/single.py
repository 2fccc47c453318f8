"""The traces of one teacher alone, in the form and the place of merged ones: `generate.traces_of`.

Nothing is asked. The reasoning is what the teacher wrote behind its private thought, without the
line that states the answer; where it wrote nothing there, the thought itself. Labels such as
"Audio Description:" stay.

The decision to question: the questions are those of the view, so that with the view of a merged
dataset only the traces differ, not the questions or their number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from avrt.answers.thoughts import after_thought
from avrt.generate.option_order import places_in, restore_letter, restore_letters
from avrt.generate.records import Answers, MergedTrace, best_answer
from avrt.types import Sample

__all__ = ["reasoning_of", "traces_of_teacher"]

_TAGS = re.compile(r"<\s*/?\s*(?:think(?:ing)?|answer)\s*>|◁/?think▷", re.IGNORECASE)
_ANSWER_BLOCK = re.compile(r"<answer>[^<]*</answer>", re.IGNORECASE)
_ANSWER_LINE = re.compile(
    r"^[\s*_#>-]*(?:(?:so|thus|therefore|hence),? )?(?:the |my )?(?:final |correct )?answer\b.*$",
    re.IGNORECASE | re.MULTILINE,
)


def traces_of_teacher(
    name: str,
    pairs: Iterable[tuple[Sample, Answers]],
    order_of: Callable[[Sample], Sequence[int]],
) -> Iterator[MergedTrace]:
    """The trace of a teacher about each sample, with the options in the order that `order_of` says.

    Of several answers it is the one that the merger would read. A teacher that was not asked, or
    whose calls failed, leaves a failure.
    """
    for sample, answers in pairs:
        best, order = best_answer(answers[name]), list(order_of(sample))
        text, places = best.text, places_in(order)
        if best.status == "ok":
            letter = "" if best.answer is None else restore_letter(best.answer, places)
            reasoning = restore_letters(reasoning_of(text), places, sample.options)
            text = f"<think>{reasoning}</think>\n<answer>{letter}</answer>"
        yield MergedTrace(
            sample_id=sample.id,
            key=best.key or "",
            status=best.status,
            text=text,
            order=order,
            finish_reason=best.finish_reason,
            n_prompt_tokens=best.n_prompt_tokens,
            n_completion_tokens=best.n_completion_tokens,
        )


def reasoning_of(text: str) -> str:
    """A teacher's reasoning without tags and without the statement of its answer at the end."""
    said = after_thought(text)
    thought = text[: len(text) - len(said)] if text.endswith(said) else text
    return _without_answer(said) or _without_answer(thought)


def _without_answer(text: str) -> str:
    plain = _TAGS.sub("", _ANSWER_BLOCK.sub("", text)).strip()
    lines = list(_ANSWER_LINE.finditer(plain))
    if lines and not plain[lines[-1].end() :].strip():
        plain = plain[: lines[-1].start()]
    return plain.strip()
