"""The tables of the ledger, and how those of an older version become the ones of now.

Version 1 had one recipe per call; version 2 has one per kind of media, keeps the texts of failed
attempts, and knows old keys.

The decision to question: calls of version 1 get the keys that they have now, since what they say is
the same; no reply is lost to a change of form. Their old keys stay in `former_keys`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avrt.errors import DataError
from avrt.runs import fingerprint
from avrt.types import Sampling

__all__ = ["CALL_SCHEMA", "create_tables"]

CALL_SCHEMA = 2
"""Version of the key and of the tables; a change of it needs a function beside
`_from_version_1`.
"""

_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT NOT NULL PRIMARY KEY, stage TEXT NOT NULL, sample_id TEXT NOT NULL,
    role TEXT NOT NULL, k INTEGER NOT NULL, request_json TEXT NOT NULL, text TEXT NOT NULL,
    finish_reason TEXT NOT NULL, n_prompt_tokens INTEGER NOT NULL,
    n_completion_tokens INTEGER NOT NULL, latency_s REAL NOT NULL,
    error_class TEXT, error TEXT, created TEXT NOT NULL
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
CREATE TABLE IF NOT EXISTS former_keys (
    former TEXT NOT NULL PRIMARY KEY, key TEXT NOT NULL
) WITHOUT ROWID;
"""
# `calls` has a rowid: new rows, of some kilobytes each, go to the end, whatever their keys.
# A text in `attempts` is NULL where `calls` has it.


def create_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring older ones up to date, in one transaction.

    Raises:
        DataError: the file is not a ledger, or of a version that is not known here.
    """
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, 1, CALL_SCHEMA):
            raise DataError(
                f"{path}: a ledger of version {version}, this AVRT writes version {CALL_SCHEMA};"
                " choose another run.name, or use the AVRT that wrote it"
            )
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if version == 1:
                _from_version_1(connection)
            else:
                _create(connection)
            connection.execute(f"PRAGMA user_version={CALL_SCHEMA}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: calls of version 1 are not as that version wrote them: {error!r}; "
            "restore it from a copy"
        ) from error
    except sqlite3.DatabaseError as error:
        raise DataError(
            f"{path}: not a readable ledger: {error}; restore it from a copy"
        ) from error


def _create(connection: sqlite3.Connection) -> None:
    for statement in filter(str.strip, _TABLES.split(";")):
        connection.execute(statement)


def _from_version_1(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE calls RENAME TO calls_1")
    connection.execute("ALTER TABLE attempts RENAME TO attempts_1")
    _create(connection)
    outcome = "n_prompt_tokens, n_completion_tokens, latency_s, error_class, error, created"
    rows = connection.execute(
        "SELECT key, stage, sample_id, role, k, request_json, text, finish_reason, "
        f"{outcome} FROM calls_1 ORDER BY created, key"
    )
    connection.executemany(
        "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (_with_key_of_now(row) for row in rows),
    )
    former = connection.execute("SELECT key, request_json FROM calls_1")
    connection.executemany("INSERT INTO former_keys VALUES (?, ?)", _new_keys(former))
    # The tokens of an attempt were not stored; those of a single one are those of its call.
    connection.execute(
        "INSERT INTO attempts SELECT former_keys.key, attempt, NULL, old.finish_reason,"
        " IIF(old.created = calls.created, calls.n_prompt_tokens, 0),"
        " IIF(old.created = calls.created, calls.n_completion_tokens, 0),"
        " old.latency_s, old.error_class, old.error, old.created FROM attempts_1 AS old"
        " JOIN former_keys ON former = old.key JOIN calls ON calls.key = former_keys.key"
    )
    connection.execute("DROP TABLE calls_1")
    connection.execute("DROP TABLE attempts_1")


def _with_key_of_now(row: tuple[Any, ...]) -> tuple[Any, ...]:
    _, stage, sample_id, role, k, old, *rest = row
    request = _request_of_now(old)
    text = json.dumps(request, ensure_ascii=False, sort_keys=True)
    return fingerprint(request), stage, sample_id, role, k, text, *rest


def _new_keys(rows: sqlite3.Cursor) -> Iterator[tuple[str, str]]:
    for key, request in rows:
        yield key, fingerprint(_request_of_now(request))


def _request_of_now(old: str) -> dict[str, Any]:
    """The request of version 1 as a call of now would put it."""
    request = json.loads(old)
    recipe = request["recipe"]
    return {
        **request,
        "schema": CALL_SCHEMA,
        "sampling": asdict(Sampling(**request["sampling"])),
        "recipe": None if recipe is None else {recipe["kind"]: recipe},
    }
