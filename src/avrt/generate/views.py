"""Views: named choices of samples, each a condition over what the teachers answered.

A condition is an SQL expression over one row per sample, evaluated by SQLite in memory. Its columns
are those of the sample (`id`, `video_id`, `question_type`, `question_relation`, `n_options`,
`stratum`) and, for every teacher NAME, `NAME_k` answers that came, `NAME_answered` with a letter,
`NAME_right` with the right one, and `NAME_first`, 1 when the first answer is right. A teacher that
was not asked about a sample has NULL there, and a condition that comes out NULL does not hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self

from avrt.config import BuildConfig
from avrt.errors import ConfigError
from avrt.generate.records import (
    COUNTS,
    Answers,
    columns_of,
    is_asked,
    stratum_of,
    trace_outcome,
)
from avrt.runs import DiskMap
from avrt.types import Sample

__all__ = [
    "VIEWS",
    "Selection",
    "ViewTable",
    "check_views",
    "condition_of",
    "describe_views",
    "view_columns",
    "view_row",
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


class ViewTable:
    """What the teachers answered about each sample, for views to choose from.

    It has numbers and names of samples, no texts, and lies on the disk.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """`rows` with the same columns, of which `id` is one."""
        waiting = iter(rows)
        first = next(waiting, None)
        self._columns = [] if first is None else list(first)
        self._connection = sqlite3.connect("")  # a temporary file without a name
        self._connection.execute("PRAGMA journal_mode = OFF")
        if first is not None:
            names = ", ".join(f'"{name}"' for name in self._columns)
            self._connection.execute(f"CREATE TABLE samples ({names})")
            self._connection.executemany(
                f"INSERT INTO samples VALUES ({', '.join('?' * len(self._columns))})",
                (tuple(row.values()) for row in chain([first], waiting)),
            )
        self._connection.set_authorizer(_only_reading)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def matching(self, view: str, condition: str) -> set[str]:
        """The ids of the rows for which `condition` holds; see `each_matching`."""
        return set(self.each_matching(view, condition))

    def each_matching(self, view: str, condition: str) -> Iterator[str]:
        """The id of one row after another for which `condition` holds.

        Raises:
            ConfigError: not a condition over these columns; `view` names it in the message.
        """
        if not self._columns:
            return
        try:
            if '"' in condition:  # SQLite would take a misspelt column in them for a text
                raise sqlite3.Error("write texts in single quotes, columns in none")
            query = f"SELECT id FROM samples WHERE ({condition}\n)"
            yield from (id_ for (id_,) in self._connection.execute(query))
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise ConfigError(
                f"view {view!r}: {condition}: {error}; the packaged views are {', '.join(VIEWS)}, "
                f"and the columns of this run are {', '.join(self._columns)} (ask further teachers "
                "by naming them in `teachers`)"
            ) from error


class Selection:
    """The samples that views choose, and why they leave out the others."""

    def __init__(self, own: Mapping[str, str], pairs: Iterable[tuple[Sample, Answers]]) -> None:
        """`own`: the user's views; `pairs`: every sample with its answers, read once."""
        self._own = own
        self._outcomes = DiskMap[str, str]()
        """Samples without answers to merge."""
        self._outside = DiskMap[str, str]()
        """For the others the reason if they are not in a view."""
        self._table = ViewTable(self._noted(pairs))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def _noted(self, pairs: Iterable[tuple[Sample, Answers]]) -> Iterator[dict[str, Any]]:
        for sample, answers in pairs:
            outcome = trace_outcome(answers)
            if outcome is not None:
                self._outcomes[sample.id] = outcome
            else:
                self._outside[sample.id] = _reason_outside(answers)
            yield view_row(sample, answers)

    def reasons(self, *views: str) -> Mapping[str, str | None]:
        """For every sample the reason why it is in none of the views, as stages count; None: it is
        in one.

        Raises:
            ConfigError: neither a view, packaged or of the user's own, nor a condition.
        """
        reasons = DiskMap[str, str | None]()
        for chosen in (self._outcomes, self._outside):
            reasons.update(chosen.items())
        for view in views:
            ids = self._table.each_matching(view, condition_of(view, self._own))
            reasons.update((id_, None) for id_ in ids if id_ in self._outside)
        return reasons


def _only_reading(action: int, *_names: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def check_views(build: BuildConfig, teachers: Collection[str]) -> None:
    """Refuse a view that is none, before any model is called.

    Raises:
        ConfigError: neither a view nor a condition over the columns of these teachers.
    """
    with ViewTable([dict.fromkeys(view_columns(teachers))]) as table:
        for view in (build.view, *build.same_size_as):
            table.matching(view, condition_of(view, build.views))


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


def view_row(sample: Sample, answers: Answers) -> dict[str, Any]:
    """The columns that a view's condition may name."""
    return {
        "id": sample.id,
        "video_id": sample.video_id,
        "question_type": sample.question_type,
        "question_relation": sample.question_relation,
        "n_options": len(sample.options),
        "stratum": stratum_of(answers) if is_asked(answers) else None,
        **columns_of(answers),
    }


def _reason_outside(answers: Answers) -> str:
    first = [traces[0] for traces in answers.values() if traces[0].modality != "none"]
    if any(trace.answer is None for trace in first):
        return "dropped/no_answer"
    n_wrong = sum(not trace.correct for trace in first)
    if n_wrong == 0:
        return "dropped/outside_view"
    return "dropped/all_teachers_wrong" if n_wrong == len(first) else "dropped/one_teacher_wrong"
