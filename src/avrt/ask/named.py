"""The replies that files of a run name, and that its ledger must therefore hold.

A ledger that was emptied, put back from an old copy, or lost its -wal file looks like one whose
calls were never made. Without this look, everything would be asked, and paid for, again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence, Set
from itertools import islice
from pathlib import Path

from avrt.errors import DataError, machine_fault

__all__ = ["check_replies"]

_BATCH = 1_000
_PATTERNS = ("traces/*.parquet", "eval/*/*/*.jsonl", "eval/*/*/rubric/*.jsonl")


def check_replies(
    run: Path, known: Callable[[Sequence[str]], Set[str]], scope: str | None = None
) -> None:
    """Refuse a ledger without the calls that the derived files of a scope (None: of all) name.

    `known` gives those of some keys that the ledger has, with a reply or failed: a judgement also
    names the calls that failed on the way to it.

    Raises:
        DataError: replies are gone; the message says how many, and what to do.
    """
    for path in _derived(run, scope):
        n_named = n_lost = 0
        for keys in _keys(path):
            n_named += len(keys)
            n_lost += len(keys) - len(known(keys))
        if n_lost:
            raise DataError(
                f"{run / 'ledger.sqlite'}: {n_lost} of the {n_named} replies that {path} names are "
                "not in the ledger: it was emptied, comes from an older copy, or lost its -wal "
                f"file; put it back, or delete {path} to ask and pay for them again"
            )


def _derived(run: Path, scope: str | None) -> list[Path]:
    if scope is None:
        patterns = _PATTERNS
    elif scope.startswith("eval-"):
        patterns = (f"eval/*/{scope.removeprefix('eval-')}/*.jsonl",)
    else:
        patterns = (_PATTERNS[2] if scope == "rubric" else _PATTERNS[0],)
    return [path for pattern in patterns for path in sorted(run.glob(pattern))]


def _keys(path: Path) -> Iterator[list[str]]:
    """The keys of calls with a reply, some at a time, none twice in a batch."""
    named = _keys_of_rows(path) if path.suffix == ".parquet" else _keys_of_lines(path)
    while batch := list(islice(named, _BATCH)):
        yield list(dict.fromkeys(batch))


def _keys_of_rows(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = {"key", "status", "calls"}.intersection(file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH, columns=sorted(names)):
                for row in batch.to_pylist():
                    if row["status"] == "ok":
                        yield from (key for key in (row["key"], *row.get("calls", ())) if key)
    except (OSError, pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        if machine_fault(error) is not None:
            raise
        return  # no file of AVRT: its stage says so, or writes it anew


def _keys_of_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as lines:
        for line in lines:
            try:
                row = json.loads(line)
                if row["key"] and row["error_class"] is None:
                    yield row["key"]
            except (ValueError, KeyError, TypeError):
                return  # as above
