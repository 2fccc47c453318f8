"""Views: named choices of samples, each a condition over what the teachers answered.

A condition is an SQL expression over one row per sample, evaluated by SQLite in memory. Its columns
are those of the sample (`id`, `video_id`, `question_type`, `question_relation`, `n_options`,
`stratum`) and, for every teacher NAME, `NAME_k` answers that came, `NAME_answered` with a letter,
`NAME_right` with the right one, and `NAME_first`, 1 when the first answer is right. A teacher that
was not asked about a sample has NULL there, and a condition that comes out NULL does not hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from avrt.errors import ConfigError

__all__ = ["VIEWS", "condition_of", "select"]

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

_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)


def condition_of(view: str, own: Mapping[str, str]) -> str:
    """The condition of a view: one of the user's `own` views, a packaged one, or `view` itself."""
    return own.get(view) or VIEWS.get(view) or view


def select(view: str, condition: str, rows: Sequence[Mapping[str, Any]]) -> set[str]:
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
        return _ids(connection.execute(f"SELECT id FROM samples WHERE ({condition}\n)"))
    except (sqlite3.Error, sqlite3.Warning) as error:
        known = ", ".join(columns)
        raise ConfigError(
            f"view {view!r}: {condition}: {error}; the packaged views are {', '.join(VIEWS)}, "
            f"and the columns of this run are {known} (ask further teachers by naming them in "
            "`teachers`)"
        ) from error
    finally:
        connection.close()


def _ids(rows: Iterable[tuple[str]]) -> set[str]:
    return {row[0] for row in rows}


def _only_reading(action: int, *_names: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
