"""The ledger: every model call of a run, committed as it finishes, never repeated.

Reads and writes RUN/ledger.sqlite (WAL, one commit per call) and RUN/ledger.lock. `calls` holds
each key's request and reply (or last failure), `attempts` every outcome, `payloads` what each media
file turns into, so that a resumed run knows all keys without opening a file. A ledger of an older
version is brought up to date when it is opened for writing.

The decision to question: synchronous=NORMAL. A killed process loses nothing; a power cut may lose
the last moments. Texts are not compressed: that would save half the space, and hide them from every
other tool that reads SQLite.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from avrt.ask.ledger_versions import CALL_SCHEMA, create_tables
from avrt.errors import ConfigError, DataError, MediaError
from avrt.runs import fingerprint
from avrt.types import Completion, Sampling

__all__ = [
    "CALL_SCHEMA",
    "Call",
    "Ledger",
    "check_free",
    "count_finished",
    "open_ledger",
    "read_ledger",
]

_PASSING = ("missing", "permission", "timeout", "killed")
"""Media failures that say nothing about the file's content, so they are not remembered."""
_BATCH = 500
"""Keys in one query."""
_COMPLETION = (
    *("text", "finish_reason", "n_prompt_tokens", "n_completion_tokens", "latency_s"),
    *("error_class", "error"),
)
"""What of a completion is kept, as columns and as fields."""


@dataclass(frozen=True)
class Call:
    """One call to a model, by its content: equal calls have equal keys."""

    stage: str
    sample_id: str
    role: str
    engine: Mapping[str, Any]
    """The engine's identity: model, revision, how media are handed over."""
    system: str | None
    text: str
    sampling: Sampling
    frames: str | None = None
    """Digest of the decoded frames."""
    audio: str | None = None
    """Digest of the decoded sound."""
    recipe: Mapping[str, Any] | None = None
    """How each of the media was decoded, by kind."""
    k: int = 0
    """Which of several answers to the same prompt."""

    @property
    def request(self) -> dict[str, Any]:
        """What the key is made of; no address, concurrency, path, row order or sample id."""
        return {
            "schema": CALL_SCHEMA,
            "stage": self.stage,
            "engine": dict(self.engine),
            "system": self.system,
            "text": self.text,
            "sampling": dict(vars(self.sampling)),
            "k": self.k,
            "frames": self.frames,
            "audio": self.audio,
            "recipe": dict(self.recipe) if self.recipe is not None else None,
        }

    @property
    def key(self) -> str:
        """sha256 over `request`."""
        return fingerprint(self.request)


class Ledger:
    """An open ledger; get one from `open_ledger`. Its methods may be called from any thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def find(self, key: str) -> Completion | None:
        """The latest outcome of a call, failed or not; None when it was never made."""
        return self.find_all([key]).get(key)

    def find_all(self, keys: Sequence[str]) -> dict[str, Completion]:
        """As `find`, for many calls; those that were never made are left out."""
        rows = self._select(", ".join(("key", *_COMPLETION)), keys)
        return {
            key: Completion(**dict(zip(_COMPLETION, outcome, strict=True)))
            for key, *outcome in rows
        }

    def finished(self, keys: Sequence[str]) -> set[str]:
        """Those of the calls that have a reply."""
        return {
            key for key, reason in self._select("key, finish_reason", keys) if reason != "error"
        }

    def record(self, key: str, call: Call, completion: Completion) -> None:
        """Store one outcome, in one commit; a later outcome replaces a failure, never a reply."""
        outcome = (
            completion.finish_reason,
            completion.n_prompt_tokens,
            completion.n_completion_tokens,
            completion.latency_s,
            completion.error_class,
            completion.error,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        request = json.dumps(call.request, ensure_ascii=False, sort_keys=True)
        about = (key, call.stage, call.sample_id, call.role, call.k, request)
        with self._lock, self._connection as connection:
            answered = connection.execute(
                "SELECT 1 FROM calls WHERE key = ? AND finish_reason != 'error'", (key,)
            ).fetchone()
            is_stored = answered is None and completion.finish_reason != "error"
            connection.execute(
                "INSERT INTO attempts SELECT ?, 1 + COUNT(*), ?, ?, ?, ?, ?, ?, ?, ?"
                " FROM attempts WHERE key = ?",
                (key, None if is_stored else completion.text, *outcome, key),
            )
            if answered is None:
                row = (*about, completion.text, *outcome)
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT OR REPLACE INTO calls VALUES ({marks})", row)

    def find_payload(self, file_sha256: str, recipe: Mapping[str, Any]) -> str | None:
        """The digest that the file decodes to under a recipe; None when it was never decoded.

        Raises:
            MediaError: it was tried before, and the file cannot be decoded; the path is left empty.
        """
        query = (
            "SELECT digest, error_class, error FROM payloads WHERE file_sha256 = ? AND recipe = ?"
        )
        with self._lock:
            row = self._connection.execute(query, (file_sha256, fingerprint(recipe))).fetchone()
        if row is None:
            return None
        digest, error_class, error = row
        if error_class is not None:
            raise MediaError(error_class, "", error)
        return digest

    def record_payload(
        self, file_sha256: str, recipe: Mapping[str, Any], outcome: str | MediaError
    ) -> None:
        """Remember what a file decodes to, or that its content cannot be decoded."""
        failure = outcome if isinstance(outcome, MediaError) else None
        if failure is not None and failure.error_class in _PASSING:
            return
        stored = (
            (outcome, None, None)
            if failure is None
            else (None, failure.error_class, failure.detail)
        )
        with self._lock, self._connection as connection:
            connection.execute(
                "INSERT OR REPLACE INTO payloads VALUES (?, ?, ?, ?, ?)",
                (file_sha256, fingerprint(recipe), *stored),
            )

    def forget_payload_failures(self, error_class: str) -> int:
        """Forget that files failed with this class, so that they are read again; how many."""
        with self._lock, self._connection as connection:
            query = "DELETE FROM payloads WHERE error_class = ?"
            return connection.execute(query, (error_class,)).rowcount

    def failed_calls(self, error_class: str) -> dict[str, int]:
        """The calls whose last outcome is a failure of this class: how many of each stage."""
        query = (
            "SELECT stage, COUNT(*) FROM calls WHERE finish_reason = 'error'"
            " AND COALESCE(error_class, 'unknown') = ? GROUP BY stage"
        )
        with self._lock:
            return dict(self._connection.execute(query, (error_class,)).fetchall())

    def _select(self, columns: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            query = f"SELECT {columns} FROM calls WHERE key IN ({', '.join('?' * len(some))})"
            with self._lock:
                rows += self._connection.execute(query, some).fetchall()
        return rows


@contextmanager
def open_ledger(run: Path) -> Iterator[Ledger]:
    """Open RUN's ledger for this process alone, creating it when absent.

    Raises:
        ConfigError: another process has it open; the message names that process.
        DataError: the file is not a ledger, or of a version that is not known here.
    """
    run.mkdir(parents=True, exist_ok=True)
    with _lock(run / "ledger.lock"):
        path = run / "ledger.sqlite"
        # Engines may call back, and pull requests, from a thread of their own, one at a time.
        connection = sqlite3.connect(path, check_same_thread=False)
        try:
            create_tables(connection, path)
            yield Ledger(connection)
        finally:
            connection.close()


@contextmanager
def read_ledger(run: Path) -> Iterator[sqlite3.Connection]:
    """RUN's ledger for reading, also while another process writes it; creates nothing.

    Raises:
        DataError: there is none, or the file is not a ledger.
    """
    path = run / "ledger.sqlite"
    if not path.is_file():
        raise DataError(f"{path}: not found; run `avrt trace` first")
    # In a folder that cannot be written SQLite cannot share the file; nobody writes it either.
    alone = "" if os.access(run, os.W_OK) or Path(f"{path}-wal").exists() else "&immutable=1"
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{alone}", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        yield connection
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path}: not a readable ledger: {error}") from error
    finally:
        connection.close()


def count_finished(run: Path, stage: str) -> int:
    """How many calls of a stage are finished; does not lock and creates nothing."""
    if not (run / "ledger.sqlite").is_file():
        return 0
    with read_ledger(run) as connection:
        query = "SELECT COUNT(*) FROM calls WHERE stage = ? AND finish_reason != 'error'"
        return connection.execute(query, (stage,)).fetchone()[0]


def check_free(run: Path) -> None:
    """Refuse at once a run that another process works on; `open_ledger` makes sure of it.

    Raises:
        ConfigError: another process has the ledger open; the message names that process.
    """
    path = run / "ledger.lock"
    if path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            _take(descriptor, path, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file for as long as the process lives; a killed process lets go by itself."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, path, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{_own_name()}\n".encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 500).decode(errors="replace").strip()
        raise ConfigError(
            f"{path.parent}: in use by {holder or 'an unknown process'}; wait for it, stop it, "
            f"or choose another run.name"
        ) from error


def _own_name() -> str:
    """This process for a reader elsewhere; its command without settings, which may hold paths."""
    words = [Path(sys.argv[0]).name, *takewhile(str.isalpha, sys.argv[1:])]
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {since} ({' '.join(words)})"
