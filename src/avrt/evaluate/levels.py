"""How hard each item of a benchmark is: the levels, and the file that holds them.

Reads RUN/eval/BENCH/difficulty.parquet, or a file made elsewhere; `difficulty.py` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from avrt.datasets.parquet import read_parquet_rows
from avrt.errors import DataError

__all__ = ["LEVELS", "difficulty_path", "level_of", "read_levels"]

LEVELS = ("easy", "medium", "hard")


def level_of(verdicts: Sequence[bool]) -> str:
    """`easy` when all are right, `hard` when none is, else `medium`."""
    return "easy" if all(verdicts) else "medium" if any(verdicts) else "hard"


def difficulty_path(run: Path, benchmark: str) -> Path:
    """The file of a run's own levels of a benchmark."""
    return run / "eval" / benchmark / "difficulty.parquet"


def read_levels(path: Path) -> Mapping[str, str]:
    """Level by item.

    Raises:
        DataError: the file is absent, or `avrt difficulty` did not write it.
    """
    rows = read_parquet_rows(path, ["id", "difficulty"], "`avrt difficulty` writes this file")
    levels = {row["id"]: row["difficulty"] for _, row in rows}
    unknown = sorted(set(levels.values()) - {*LEVELS})
    if unknown:
        raise DataError(f"{path}: difficulty {unknown[0]!r} is none of {', '.join(LEVELS)}")
    return levels
