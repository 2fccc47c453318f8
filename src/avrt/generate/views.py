"""Views: named choices of samples, each a condition over what the teachers answered.

A condition is an SQL expression over one row per sample, evaluated by SQLite in memory. Its columns
are those of the sample (`id`, `video_id`, `question_type`, `question_relation`, `n_options`,
`stratum`) and, for every teacher NAME, `NAME_k` answers that came, `NAME_answered` with a letter,
`NAME_right` with the right one, and `NAME_first`, 1 when the first answer is right. A teacher that
was not asked about a sample has NULL there, and a condition that comes out NULL does not hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from avrt.config import BuildConfig
from avrt.errors import ConfigError
from avrt.generate.records import COUNTS, Answers, columns_of, stratum_of, trace_outcome
from avrt.types import Sample

__all__ = [
    "VIEWS",
    "check_views",
    "condition_of",
    "describe_views",
    "in_view",
    "matching",
    "selected_by",
    "view_columns",
    "view_rows",
]

VIEWS: dict[str, str] = {
    "paper": "vision_first AND audio_first",
    "agree": "vision_right >= 3 AND audio_right >= 3",
    "either": "vision_right > 0 OR audio_right > 0",
    "av_hard": "vision_first AND audio_first AND blind_k > 0 AND blind_right = 0",
    "unfiltered": "vision_answered > 0 AND audio_answered > 0",
}
"""Both teachers right; each right at least three times (of four); one of them right at least once;
both right where the question alone does not give the answer away; both gave an answer.
"""

_OF_SAMPLE = ("id", "video_id", "question_type", "question_relation", "n_options", "stratum")
_ABOUT_COLUMNS = """\
NAME_k: answers that came; NAME_answered: with a letter; NAME_right: with the right letter;
NAME_first: 1 when the first answer is right. NULL where the teacher was not asked. Texts go in
single quotes."""
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)


def condition_of(view: str, own: Mapping[str, str]) -> str:
    """The condition of a view: one of the user's `own` views, a packaged one, or `view` itself."""
    return own.get(view) or VIEWS.get(view) or view


def matching(view: str, condition: str, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the rows for which `condition` holds; all rows have the same columns.

    Raises:
        ConfigError: not a condition over these columns; `view` names it in the message.
    """
    if not rows:
        return set()
    columns = list(rows[0])
    connection = sqlite3.connect(":memory:")
    try:
        names = ", ".join(f'"{name}"' for name in columns)
        connection.execute(f"CREATE TABLE samples ({names})")
        marks = ", ".join("?" * len(columns))
        connection.executemany(
            f"INSERT INTO samples VALUES ({marks})", (tuple(row.values()) for row in rows)
        )
        connection.set_authorizer(_only_reading)
        if '"' in condition:  # SQLite would take a misspelt column in them for a text
            raise sqlite3.Error("write texts in single quotes, columns in none")
        query = f"SELECT id FROM samples WHERE ({condition}\n)"
        return {id_ for (id_,) in connection.execute(query)}
    except (sqlite3.Error, sqlite3.Warning) as error:
        known = ", ".join(columns)
        raise ConfigError(
            f"view {view!r}: {condition}: {error}; the packaged views are {', '.join(VIEWS)}, "
            f"and the columns of this run are {known} (ask further teachers by naming them in "
            "`teachers`)"
        ) from error
    finally:
        connection.close()


def _only_reading(action: int, *_names: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def check_views(build: BuildConfig, teachers: Collection[str]) -> None:
    """Refuse a view that is none, before any model is called.

    Raises:
        ConfigError: neither a view nor a condition over the columns of these teachers.
    """
    row: dict[str, Any] = dict.fromkeys(view_columns(teachers))
    for view in (build.view, *build.same_size_as):
        matching(view, condition_of(view, build.views), [row])


def view_columns(teachers: Iterable[str]) -> list[str]:
    """The columns that a view's condition may name, given these teachers."""
    return [*_OF_SAMPLE, *(f"{name}_{count}" for name in teachers for count in COUNTS)]


def describe_views(build: BuildConfig, teachers: Collection[str]) -> str:
    """All views with their conditions, and the columns, in words."""
    views = {**VIEWS, **build.views}
    width = max(len(name) for name in views)
    lines = [f"  {name:<{width}}  {condition}" for name, condition in views.items()]
    built = f"built is: {build.view}"
    if build.same_size_as:
        built += f", at the size of the smallest of it and {', '.join(build.same_size_as)}"
    columns = [f"  {' '.join(_OF_SAMPLE)}"]
    columns += ["  " + " ".join(f"{name}_{count}" for count in COUNTS) for name in teachers]
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
    view: str, own: Mapping[str, str], samples: Sequence[Sample], answers: Mapping[str, Answers]
) -> dict[str, str | None]:
    """For every sample the reason why it is not in the view, as stages count; None: it is.

    Raises:
        ConfigError: neither a view, packaged or of the user's `own`, nor a condition.
    """
    ids = matching(view, condition_of(view, own), view_rows(samples, answers))
    return {sample.id: _reason(answers[sample.id], sample.id in ids) for sample in samples}


def selected_by(
    build: BuildConfig, samples: Sequence[Sample], answers: Mapping[str, Answers]
) -> dict[str, str | None]:
    """As `in_view`, for the built view together with those of its size."""
    reasons = in_view(build.view, build.views, samples, answers)
    for view in build.same_size_as:
        other = in_view(view, build.views, samples, answers)
        reasons = {id_: reason and other[id_] for id_, reason in reasons.items()}
    return reasons


def _reason(answers: Answers, is_in_view: bool) -> str | None:
    outcome = trace_outcome(answers)
    if outcome is not None or is_in_view:
        return outcome
    first = [traces[0] for traces in answers.values() if traces[0].modality != "none"]
    if any(trace.answer is None for trace in first):
        return "dropped/no_answer"
    n_wrong = sum(not trace.correct for trace in first)
    if n_wrong == 0:
        return "dropped/outside_view"
    return "dropped/all_teachers_wrong" if n_wrong == len(first) else "dropped/one_teacher_wrong"
