"""The SQLite files of a ledger: their tables, how they are opened, and what is wrong with them.

A file is looked at before anything is written into it: every page once, its version and its
columns. What SQLite says is passed on with what a person can do about it.
"""

from __future__ import annotations

import difflib
import os
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path

from avrt.ask.budget import Shard
from avrt.errors import DataError

__all__ = [
    "SCHEMA",
    "check_pages",
    "ledger_path",
    "ledger_paths",
    "near_run",
    "open_for_writing",
    "open_read_only",
    "remedy",
    "unreadable",
]

SCHEMA = 1
"""Version of the key and of the tables."""

_BUSY_S = 60.0
"""Longest wait for the commit of a process that writes the same file in another scope."""
_NO_LOCKS = "set run.dir to a file system with locks, such as a local disk"
_RESTORE = "the file is damaged, or no ledger: restore it from a copy; nothing is written into it"
_REMEDIES = {
    "SQLITE_FULL": "free space on its disk",
    "SQLITE_IOERR_LOCK": _NO_LOCKS,
    "SQLITE_IOERR_SHM": _NO_LOCKS,
    "SQLITE_PROTOCOL": _NO_LOCKS,
    "SQLITE_BUSY": f"end the other program that uses it, or {_NO_LOCKS}",
    "SQLITE_IOERR": "free space on its disk, raise the limit on the size of files, or look after "
    "the disk",
    "SQLITE_CANTOPEN": "permit writing into its folder, or raise the limit on open files "
    "(ulimit -n)",
    "SQLITE_READONLY": "permit writing the file and its folder",
    "SQLITE_NOMEM": "give the process more memory",
    "SQLITE_CORRUPT": _RESTORE,
    "SQLITE_NOTADB": _RESTORE,
}
"""By the beginning of SQLite's name of an error."""
_ELSE = "restore it from a copy"
_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT NOT NULL PRIMARY KEY, stage TEXT NOT NULL, sample_id TEXT NOT NULL,
    role TEXT NOT NULL, k INTEGER NOT NULL, dataset TEXT NOT NULL, files_json TEXT NOT NULL,
    request_json TEXT NOT NULL, n_frames INTEGER NOT NULL, audio_s REAL NOT NULL,
    text TEXT NOT NULL, finish_reason TEXT NOT NULL, n_prompt_tokens INTEGER NOT NULL,
    n_completion_tokens INTEGER NOT NULL, latency_s REAL NOT NULL,
    error_class TEXT, error TEXT, n_frame_tokens INTEGER, n_audio_tokens INTEGER,
    created TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, text TEXT,
    finish_reason TEXT NOT NULL, n_prompt_tokens INTEGER NOT NULL,
    n_completion_tokens INTEGER NOT NULL, latency_s REAL NOT NULL,
    error_class TEXT, error TEXT, created TEXT NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payloads (
    file_sha256 TEXT NOT NULL, recipe TEXT NOT NULL, digest TEXT, error_class TEXT, error TEXT,
    PRIMARY KEY (file_sha256, recipe)
) WITHOUT ROWID;
"""
# `calls` has a rowid: new rows, of some kilobytes each, go to the end, whatever their keys.
# A text in `attempts` is NULL where `calls` has it.


def ledger_path(run: Path, shard: Shard | None) -> Path:
    """The file that a process of a shard writes."""
    return run / ("ledger.sqlite" if shard is None else f"ledger.{shard.name}.sqlite")


def ledger_paths(run: Path) -> list[Path]:
    """All files of a run's ledger."""
    return sorted(run.glob("ledger.sqlite")) + sorted(run.glob("ledger.*of*.sqlite"))


def near_run(run: Path) -> str | None:
    """The name of a run with a ledger that is nearly that of a run that is not there."""
    known = sorted(each.parent.name for each in run.parent.glob("*/ledger.sqlite"))
    return next(iter(difflib.get_close_matches(run.name, known, n=1, cutoff=0.75)), None)


def open_for_writing(path: Path, stack: ExitStack) -> sqlite3.Connection:
    _check_is_file(path)
    try:
        # Engines may call back, and pull requests, from a thread of their own; the writer of
        # another scope may hold the file for some milliseconds.
        connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
        stack.callback(connection.close)
        connection.row_factory = sqlite3.Row
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode == "wal":
            connection.execute("PRAGMA synchronous=NORMAL")
        else:  # there NORMAL could damage the file
            connection.execute("PRAGMA synchronous=FULL")
            print(
                f"avrt: note: {path}: its file system has no memory that processes share, so "
                "every reply is stored in a slower way; a local disk in run.dir is faster",
                file=sys.stderr,
            )
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA}")
    except sqlite3.Error as error:
        raise DataError(f"{path}: cannot write: {error}; {remedy(error)}") from error
    return connection


def open_read_only(
    paths: Iterable[Path], stack: ExitStack
) -> list[tuple[Path, sqlite3.Connection]]:
    """The files that hold tables; a file without any was only just created by another process."""
    files: list[tuple[Path, sqlite3.Connection]] = []
    for path in paths:
        _check_is_file(path)
        # In a folder that cannot be written SQLite cannot share the file; nobody writes it either.
        is_shared = os.access(path.parent, os.W_OK) or Path(f"{path}-wal").exists()
        uri = f"{path.resolve().as_uri()}?mode=ro{'' if is_shared else '&immutable=1'}"
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=False)
            stack.callback(connection.close)
            connection.row_factory = sqlite3.Row
            if _has_tables(path, connection):
                files.append((path, connection))
        except sqlite3.Error as error:
            raise unreadable(path, error) from error
    return files


def _check_is_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: no file, but the ledger is written here; move it away")


def _has_tables(path: Path, connection: sqlite3.Connection) -> bool:
    """False: a new file. The version is written last, with the tables.

    Raises:
        DataError: the file is another program's, or of another version of AVRT.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    columns = _columns(connection)
    if not version and not columns:
        return False
    if not version:
        raise DataError(
            f"{path}: a database without the version of a ledger: another program's, or damaged; "
            "restore it from a copy, or choose another run.name"
        )
    with closing(sqlite3.connect(":memory:")) as expected:
        expected.executescript(_TABLES)
        is_same = columns == _columns(expected)
    if version != SCHEMA or not is_same:
        also = " with other columns" if version == SCHEMA else ""
        raise DataError(
            f"{path}: a ledger of version {version}{also}, this AVRT writes version {SCHEMA};"
            " choose another run.name, or use the AVRT that wrote it"
        )
    return True


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of every table."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        name: [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
        for (name,) in tables
    }


def check_pages(path: Path, connection: sqlite3.Connection) -> None:
    """Look at every page: what is written into a damaged file may be lost with it."""
    try:
        (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    if finding != "ok":
        text = " ".join(finding.split())
        raise DataError(f"{path}: not a readable ledger: {text}; {_REMEDIES['SQLITE_CORRUPT']}")


def unreadable(path: Path, error: sqlite3.Error) -> DataError:
    return DataError(f"{path}: not a readable ledger: {error}; {remedy(error)}")


def remedy(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "") or ""
    return next((text for start, text in _REMEDIES.items() if name.startswith(start)), _ELSE)
