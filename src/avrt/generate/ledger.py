"""The ledger: every model call of a run, committed as it finishes, never repeated.

Reads and writes RUN/ledger.sqlite (WAL, one commit per call) and RUN/ledger.lock. `calls` holds the
latest outcome of each key, `attempts` every outcome, `payloads` what each media file turns into, so
that a resumed run knows all keys without opening a file.

The decision to question: synchronous=NORMAL. A killed process loses nothing; a power cut may lose
the last moments.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avrt.errors import ConfigError, DataError, MediaError
from avrt.runs import fingerprint
from avrt.types import Completion, Sampling

__all__ = ["CALL_SCHEMA", "Call", "Ledger", "count_finished", "open_ledger"]

CALL_SCHEMA = 1
"""Version of the key and of the tables; a change makes every stored call a miss."""

_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, stage TEXT NOT NULL, sample_id TEXT NOT NULL, role TEXT NOT NULL,
    k INTEGER NOT NULL,
    request_json TEXT NOT NULL, text TEXT NOT NULL, n_prompt_tokens INTEGER NOT NULL,
    n_completion_tokens INTEGER NOT NULL, engine_json TEXT NOT NULL, finish_reason TEXT NOT NULL,
    latency_s REAL NOT NULL, error_class TEXT, error TEXT, created TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, finish_reason TEXT NOT NULL,
    latency_s REAL NOT NULL, error_class TEXT, error TEXT, created TEXT NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payloads (
    file_sha256 TEXT NOT NULL, recipe TEXT NOT NULL, digest TEXT, error_class TEXT, error TEXT,
    PRIMARY KEY (file_sha256, recipe)
) WITHOUT ROWID;
"""
_PASSING = ("missing", "permission", "timeout", "killed")
"""Media failures that say nothing about the file's content, so they are not remembered."""


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
    """How the media were decoded."""
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
            "sampling": asdict(self.sampling),
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
    """An open ledger; get one from `open_ledger`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def find(self, key: str) -> Completion | None:
        """The latest outcome of a call, failed or not; None when it was never made."""
        query = (
            "SELECT text, finish_reason, n_prompt_tokens, n_completion_tokens, latency_s,"
            " error_class, error FROM calls WHERE key = ?"
        )
        with self._lock:
            row = self._connection.execute(query, (key,)).fetchone()
        return None if row is None else Completion(*row)

    def record(self, key: str, call: Call, completion: Completion) -> None:
        """Store one outcome, in one commit; a later outcome replaces a failure, never a reply."""
        request = json.dumps(call.request, ensure_ascii=False, sort_keys=True)
        outcome = (
            completion.finish_reason,
            completion.latency_s,
            completion.error_class,
            completion.error,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        with self._lock, self._connection as connection:
            (n_before,) = connection.execute(
                "SELECT COUNT(*) FROM attempts WHERE key = ?", (key,)
            ).fetchone()
            connection.execute(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)", (key, n_before + 1, *outcome)
            )
            connection.execute(
                "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET text = excluded.text,"
                " finish_reason = excluded.finish_reason, latency_s = excluded.latency_s,"
                " error_class = excluded.error_class, error = excluded.error,"
                " created = excluded.created, n_prompt_tokens = excluded.n_prompt_tokens,"
                " n_completion_tokens = excluded.n_completion_tokens"
                " WHERE calls.finish_reason = 'error'",
                (
                    *(key, call.stage, call.sample_id, call.role, call.k, request),
                    *(completion.text, completion.n_prompt_tokens, completion.n_completion_tokens),
                    *(json.dumps(dict(call.engine), sort_keys=True), *outcome),
                ),
            )

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


@contextmanager
def open_ledger(run: Path) -> Iterator[Ledger]:
    """Open RUN's ledger for this process alone, creating it when absent.

    Raises:
        ConfigError: another process has it open; the message names that process.
        DataError: the file is not a ledger, or of another version.
    """
    run.mkdir(parents=True, exist_ok=True)
    with _lock(run / "ledger.lock"):
        path = run / "ledger.sqlite"
        # Engines may call back, and pull requests, from a thread of their own, one at a time.
        connection = sqlite3.connect(path, check_same_thread=False)
        try:
            _create_tables(connection, path)
            yield Ledger(connection)
        finally:
            connection.close()


def count_finished(run: Path, stage: str) -> int:
    """How many calls of a stage are finished; does not lock and creates nothing."""
    path = run / "ledger.sqlite"
    if not path.is_file():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        query = "SELECT COUNT(*) FROM calls WHERE stage = ? AND finish_reason != 'error'"
        return connection.execute(query, (stage,)).fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path}: not a readable ledger: {error}") from error
    finally:
        connection.close()


def _create_tables(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, CALL_SCHEMA):
            raise DataError(
                f"{path}: a ledger of version {version}, this AVRT writes version {CALL_SCHEMA};"
                " choose another run.name"
            )
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA user_version={CALL_SCHEMA}")
        connection.commit()
    except sqlite3.DatabaseError as error:
        raise DataError(
            f"{path}: not a readable ledger: {error}; restore it from a copy"
        ) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file for as long as the process lives; a killed process lets go by itself."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"{path.parent}: in use by process {holder}; wait for it, stop it, "
                f"or choose another run.name"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
