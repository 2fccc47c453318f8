"""What is new in files that grow: the calls of a ledger, the lines of a training log.

Each look reads what came since the one before. The ledger is opened for reading alone, for the time
of a look, and no query holds it for longer than a batch of rows takes: no writer waits.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avrt.ask.database import unreadable
from avrt.ask.ledger import LedgerReader, read_ledger
from avrt.types import Completion

__all__ = ["Call", "CallTail", "LogTail", "Place", "read_replies"]

BATCH = 5_000
_COLUMNS = (
    "rowid, key, stage, role, dataset, sample_id, k, n_frames, audio_s, finish_reason,"
    " error_class, error, n_prompt_tokens, n_completion_tokens, created"
)


class Place(NamedTuple):
    """Where a call stands in the ledger."""

    file: Path
    row: int


@dataclass(frozen=True)
class Call:
    """An outcome that is new in the ledger, without its texts."""

    place: Place
    key: str
    stage: str
    role: str
    dataset: str
    sample_id: str
    k: int
    given: str
    """The media in the prompt: `av`, `v`, `a` or `none`."""
    error_class: str | None
    """None: there is a reply."""
    error: str
    n_tokens: int
    created: str


class CallTail:
    """The calls of a run's ledger in the order in which they were stored.

    A failed call that is made again comes again.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._seen: dict[Path, int] = {}

    def look(self) -> tuple[bool, list[Call]]:
        """The calls since the last look; True: the ledger is another one, these are all of it.

        Raises:
            DataError: a file of the ledger cannot be read.
        """
        if not any(self._run.glob("ledger*.sqlite")):
            is_other, self._seen = bool(self._seen), {}
            return is_other, []
        with read_ledger(self._run) as ledger:
            is_other = not self._continues(ledger)
            if is_other:
                self._seen.clear()
            calls = [call for file in ledger.files for call in self._new_in(*file)]
        return is_other, calls

    def _continues(self, ledger: LedgerReader) -> bool:
        """Whether each file still has the row that was seen last."""
        files = dict(ledger.files)
        for path, row in self._seen.items():
            query = "SELECT 1 FROM calls WHERE rowid >= ? LIMIT 1"
            if path not in files or (row and not files[path].execute(query, (row,)).fetchone()):
                return False
        return True

    def _new_in(self, path: Path, connection: sqlite3.Connection) -> Iterator[Call]:
        query = f"SELECT {_COLUMNS} FROM calls WHERE rowid > ? ORDER BY rowid LIMIT {BATCH}"
        while True:
            try:
                rows = connection.execute(query, (self._seen.get(path, 0),)).fetchall()
            except sqlite3.Error as error:
                raise unreadable(path, error) from error
            self._seen[path] = rows[-1]["rowid"] if rows else self._seen.get(path, 0)
            for row in rows:
                yield _to_call(path, row)
            if len(rows) < BATCH:
                return


def _to_call(path: Path, row: sqlite3.Row) -> Call:
    given = ("a" if row["audio_s"] else "") + ("v" if row["n_frames"] else "")
    failed = row["finish_reason"] == "error"
    return Call(
        place=Place(path, row["rowid"]),
        key=row["key"],
        stage=row["stage"],
        role=row["role"],
        dataset=row["dataset"],
        sample_id=row["sample_id"],
        k=row["k"],
        given=given or "none",
        error_class=(row["error_class"] or "unknown") if failed else None,
        error=row["error"] or "",
        n_tokens=row["n_prompt_tokens"] + row["n_completion_tokens"],
        created=row["created"],
    )


def read_replies(run: Path, places: Iterable[Place]) -> Mapping[Place, Completion]:
    """The replies at some places; one that was made again since then is left out.

    Raises:
        DataError: a file of the ledger cannot be read.
    """
    wanted: dict[Path, list[int]] = {}
    for place in places:
        wanted.setdefault(place.file, []).append(place.row)
    found: dict[Place, Completion] = {}
    with read_ledger(run) as ledger:
        for path, connection in ledger.files:
            rows = wanted.get(path, [])
            marks = ", ".join("?" * len(rows))
            query = f"SELECT rowid, text, finish_reason FROM calls WHERE rowid IN ({marks})"
            for row in connection.execute(query, rows):
                completion = Completion(row["text"], row["finish_reason"])
                found[Place(path, row["rowid"])] = completion
    return found


class LogTail:
    """The rows of a training's log.jsonl; one that is written at this moment comes later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0
        self._file = 0

    def look(self) -> tuple[bool, list[dict[str, Any]]]:
        """The rows since the last look; True: the log is another one, these are all of it."""
        try:
            file = self._path.open("rb")
        except OSError:
            is_other, self._end, self._file = bool(self._end), 0, 0
            return is_other, []
        with file:
            status = os.fstat(file.fileno())
            size, number = status.st_size, status.st_ino
            is_other = number != self._file or size < self._end  # a resumed training writes anew
            if is_other:
                self._end, self._file = 0, number
            file.seek(self._end)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._end += len(whole)
        return is_other, list(_parse(whole))


def _parse(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row
