"""Which samples are in a view, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avrt.config import Config
from avrt.generate.records import COUNTS, Answers, columns_of, stratum_of, trace_outcome
from avrt.generate.views import VIEWS, condition_of, select
from avrt.types import Sample

__all__ = [
    "check_views",
    "describe_views",
    "in_view",
    "selected_by",
    "view_columns",
    "view_rows",
]

_OF_SAMPLE = ("id", "video_id", "question_type", "question_relation", "n_options", "stratum")
_ABOUT_COLUMNS = """\
NAME_k: answers that came; NAME_answered: with a letter; NAME_right: with the right one;
NAME_first: 1 when the first answer is right. NULL where the teacher was not asked. Texts go in
single quotes."""


def check_views(config: Config) -> None:
    """Refuse a view that is none, before any model is called.

    Raises:
        ConfigError: neither a view nor a condition over the columns of these teachers.
    """
    row: dict[str, Any] = dict.fromkeys(view_columns(config))
    for view in (config.build.view, *config.build.same_size_as):
        select(view, condition_of(view, config.build.views), [row])


def view_columns(config: Config) -> list[str]:
    """What a view's condition may name, given these teachers."""
    counted = (f"{name}_{count}" for name in config.teachers for count in COUNTS)
    return [*_OF_SAMPLE, *counted]


def describe_views(config: Config) -> str:
    """All views with their conditions, and the columns, in words."""
    views = {**VIEWS, **config.build.views}
    width = max(len(name) for name in views)
    lines = [f"  {name:<{width}}  {condition}" for name, condition in views.items()]
    built = f"built is: {config.build.view}"
    if config.build.same_size_as:
        built += f", at the size of the smallest of it and {', '.join(config.build.same_size_as)}"
    columns = [f"  {' '.join(_OF_SAMPLE)}"]
    columns += ["  " + " ".join(f"{name}_{count}" for count in COUNTS) for name in config.teachers]
    return "\n".join(["views:", *lines, built, "columns:", *columns, _ABOUT_COLUMNS])


def view_rows(samples: Sequence[Sample], answers: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """One row per sample with the columns that a view's condition may name."""
    return [
        {
            "id": sample.id,
            "video_id": sample.video_id,
            "question_type": sample.question_type,
            "question_relation": sample.question_relation,
            "n_options": len(sample.options),
            "stratum": stratum_of(answers[sample.id]),
            **columns_of(answers[sample.id]),
        }
        for sample in samples
    ]


def in_view(
    config: Config, view: str, samples: Sequence[Sample], answers: Mapping[str, Answers]
) -> dict[str, str | None]:
    """For every sample the reason why it is not in the view, as stages count; None: it is.

    Raises:
        ConfigError: neither a view nor a condition.
    """
    rows = view_rows(samples, answers)
    chosen = select(view, condition_of(view, config.build.views), rows)
    return {sample.id: _reason(answers[sample.id], sample.id in chosen) for sample in samples}


def selected_by(
    config: Config, samples: Sequence[Sample], answers: Mapping[str, Answers]
) -> dict[str, str | None]:
    """As `in_view`, for the built view together with those of its size."""
    reasons = in_view(config, config.build.view, samples, answers)
    for view in config.build.same_size_as:
        other = in_view(config, view, samples, answers)
        reasons = {one: reason and other[one] for one, reason in reasons.items()}
    return reasons


def _reason(answers: Answers, chosen: bool) -> str | None:
    outcome = trace_outcome(answers)
    if outcome is not None or chosen:
        return outcome
    first = [traces[0] for traces in answers.values() if traces[0].modality != "none"]
    if any(trace.answer is None for trace in first):
        return "dropped/no_answer"
    n_wrong = sum(not trace.correct for trace in first)
    if n_wrong == 0:
        return "dropped/outside_view"
    return "dropped/all_teachers_wrong" if n_wrong == len(first) else "dropped/one_teacher_wrong"
