"""Which samples are merged and which merged traces enter the dataset: two tables of functions.

A reason is `dropped/NAME` when a rule objects and `failed/CLASS` when a call failed, the form in
which stages count.
"""

from __future__ import annotations

from collections.abc import Callable

from avrt.answers import extract_answer, is_well_formed
from avrt.generate.records import MergedTrace, TeacherTrace
from avrt.types import Sample

__all__ = ["RULES", "VIEWS", "reject_merged", "reject_pair"]


def _paper(vision: TeacherTrace, audio: TeacherTrace) -> str | None:
    """Both teachers are right."""
    if vision.correct and audio.correct:
        return None
    if vision.answer is None or audio.answer is None:
        return "no_answer"
    return "one_teacher_wrong" if vision.correct or audio.correct else "both_teachers_wrong"


def _either(vision: TeacherTrace, audio: TeacherTrace) -> str | None:
    """At least one teacher is right."""
    if vision.correct or audio.correct:
        return None
    no_answer = vision.answer is None or audio.answer is None
    return "no_answer" if no_answer else "both_teachers_wrong"


def _unfiltered(vision: TeacherTrace, audio: TeacherTrace) -> str | None:
    """Both teachers gave an answer."""
    return "no_answer" if vision.answer is None or audio.answer is None else None


VIEWS: dict[str, Callable[[TeacherTrace, TeacherTrace], str | None]] = {
    "paper": _paper,
    "either": _either,
    "unfiltered": _unfiltered,
}
"""Settings of `build.view`: each gives the reason why a sample is left out, or None."""

RULES: dict[str, Callable[[MergedTrace, Sample], bool]] = {
    "truncated": lambda trace, _: trace.finish_reason == "length",
    "empty": lambda trace, _: not trace.text.strip(),
    "bad_format": lambda trace, sample: not is_well_formed(trace.text, len(sample.options)),
    "wrong_letter": lambda trace, sample: (
        extract_answer(trace.text, sample.options) != sample.target
    ),
}
"""Gates of the dataset: True rejects. The first that objects names the reason."""


def reject_pair(view: str, vision: TeacherTrace, audio: TeacherTrace) -> str | None:
    """Why a sample is not merged under a view; None when it is."""
    for trace in (vision, audio):
        if trace.status != "ok":
            return f"failed/{trace.status}"
    reason = VIEWS[view](vision, audio)
    return None if reason is None else f"dropped/{reason}"


def reject_merged(trace: MergedTrace, sample: Sample) -> str | None:
    """Why a merged trace is not in the dataset; None when it is."""
    if trace.status != "ok":
        return f"failed/{trace.status}"
    reason = next((name for name, rejects in RULES.items() if rejects(trace, sample)), None)
    return None if reason is None else f"dropped/{reason}"
