"""The ledger: every model call of a run, committed as it finishes, never repeated.

Reads RUN/ledger.sqlite and the files of shards beside it (RUN/ledger.2of8.sqlite) as one ledger and
writes one of them (WAL, one commit per call), under a lock (`locks.py`). `calls` holds each
key's request and reply (or last failure), `attempts` every outcome, `payloads` the digest of each
media file's decoded content, so that a resumed run knows all keys without opening a file.

The decision to question: synchronous=NORMAL. A killed process loses nothing; a power cut may lose
the last moments. Texts are not compressed: that would save half the space, and hide them from every
other tool that reads SQLite.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avrt.ask.budget import Shard
from avrt.ask.database import (
    check_pages,
    ledger_path,
    ledger_paths,
    near_run,
    open_for_writing,
    open_read_only,
    remedy,
    unreadable,
)
from avrt.ask.locks import hold_scope, take_turns
from avrt.ask.named import check_replies
from avrt.ask.rows import (
    COMPLETION,
    Call,
    Carried,
    StoredCall,
    completion_of,
    insert_into_calls,
    latest_by_key,
    names_of,
    sizes_in,
    stored_call,
)
from avrt.errors import PASSING_CLASSES, AvrtError, ConfigError, DataError, MediaError
from avrt.runs import fingerprint
from avrt.types import Completion

__all__ = [
    "Ledger",
    "LedgerReader",
    "count_finished",
    "ledger_shards",
    "open_ledger",
    "open_source",
    "read_ledger",
]

_BATCH = 500
"""Keys in one query."""


class LedgerReader:
    """All ledger files of a run as one; its methods may be called from any thread.

    Of a key that stands in several files, a reply counts before a failure and a later outcome
    before an earlier one.
    """

    def __init__(self, files: Sequence[tuple[Path, sqlite3.Connection]]) -> None:
        self.files = files
        """Path and connection of each."""
        self._lock = threading.Lock()

    def find(self, key: str) -> Completion | None:
        """The latest outcome of a call, failed or not; None when it was never made."""
        return self.find_all([key]).get(key)

    def find_all(self, keys: Sequence[str]) -> dict[str, Completion]:
        """As `find`, for many calls; those that were never made are left out."""
        rows = self.latest(", ".join(COMPLETION), keys)
        return {key: completion_of(row) for key, row in rows.items()}

    def find_calls(self, keys: Sequence[str]) -> dict[str, StoredCall]:
        """As `find_all`, with the request of each call and the size of its media."""
        return {key: stored_call(row) for key, row in self.latest("*", keys).items()}

    def finished(self, keys: Sequence[str]) -> set[str]:
        """Those of the calls that have a reply."""
        rows = self._of_keys("key, finish_reason", keys)
        return {row["key"] for row in rows if row["finish_reason"] != "error"}

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of the calls that were made, whether they have a reply or failed."""
        return {row["key"] for row in self._of_keys("key", keys)}

    def failed(self, keys: Sequence[str]) -> set[str]:
        """Those of the calls that were made, and have no reply."""
        rows = list(self._of_keys("key, finish_reason", keys))
        finished = {row["key"] for row in rows if row["finish_reason"] != "error"}
        return {row["key"] for row in rows} - finished

    def has_reply(self, call: Call) -> bool:
        """Whether the model of a call replied to another call of its stage and role."""
        engine = json.dumps(dict(call.engine), ensure_ascii=False, sort_keys=True)
        query = (
            "SELECT 1 FROM calls WHERE stage = ? AND role = ? AND finish_reason != 'error'"
            " AND instr(request_json, ?) LIMIT 1"
        )
        return bool(self.query(query, (call.stage, call.role, f'"engine": {engine}')))

    def failed_calls(self, error_class: str) -> Counter[str]:
        """The calls that only failed, the last time with this class: how many of each stage."""
        rows = self.query(
            "SELECT key, stage FROM calls WHERE finish_reason = 'error'"
            " AND COALESCE(error_class, 'unknown') = ?",
            (error_class,),
        )
        stages = {row["key"]: row["stage"] for row in rows}
        finished = self.finished(list(stages))
        return Counter(stage for key, stage in stages.items() if key not in finished)

    def find_payload(self, file_sha256: str, recipe: Mapping[str, Any]) -> str | None:
        """The digest that the file decodes to under a recipe; None when it was never decoded.

        Raises:
            MediaError: it was tried before, and the file cannot be decoded; the path is left empty.
        """
        rows = self.query(
            "SELECT digest, error_class, error FROM payloads WHERE file_sha256 = ? AND recipe = ?",
            (file_sha256, fingerprint(recipe)),
        )
        for row in rows:
            if row["error_class"] is None:
                return row["digest"]
        if rows:
            raise MediaError(rows[0]["error_class"], "", rows[0]["error"])
        return None

    def query(self, query: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query in every file, file after file.

        Raises:
            DataError: a file is damaged.
        """
        rows: list[sqlite3.Row] = []
        with self._lock:
            for path, connection in self.files:
                try:
                    rows += connection.execute(query, parameters).fetchall()
                except sqlite3.Error as error:
                    raise unreadable(path, error) from error
        return rows

    def count_replies(self) -> dict[str, tuple[int, int]]:
        """By stage the replies, and those of them that another run's ledger gave."""
        query = (
            "SELECT stage, COUNT(*), TOTAL(NOT EXISTS (SELECT 1 FROM attempts WHERE"
            " attempts.key = calls.key AND attempts.finish_reason != 'error'))"
            " FROM calls WHERE finish_reason != 'error' GROUP BY stage"
        )
        counts: dict[str, tuple[int, int]] = {}
        for stage, n_replies, n_reused in self.query(query):
            n_before, n_reused_before = counts.get(stage, (0, 0))
            counts[stage] = n_before + n_replies, n_reused_before + int(n_reused)
        return counts

    def _of_keys(self, columns: str, keys: Sequence[str]) -> Iterator[sqlite3.Row]:
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            marks = ", ".join("?" * len(batch))
            yield from self.query(f"SELECT {columns} FROM calls WHERE key IN ({marks})", batch)

    def latest(self, columns: str, keys: Sequence[str]) -> dict[str, sqlite3.Row]:
        """Columns of the outcome that counts, by key."""
        return latest_by_key(
            self._of_keys(columns if columns == "*" else f"key, created, {columns}", keys)
        )


class Ledger(LedgerReader):
    """A ledger that is open for writing; get one from `open_ledger`."""

    def __init__(
        self, files: Sequence[tuple[Path, sqlite3.Connection]], source: LedgerReader | None = None
    ) -> None:
        super().__init__(files)
        self._path, self._own = files[0]
        self.source = source
        """The ledger of another run, whose replies are taken."""
        self.folder = self._path.parent
        """The run directory."""

    def adopt(self, calls: Iterable[Call]) -> set[str]:
        """Copy the replies that the other run has to some of these calls; give their keys.

        They have no attempt here, by which `count_replies` knows them.
        """
        wanted: dict[str, Call] = {}
        for call in calls if self.source is not None else ():
            wanted.setdefault(call.key, call)
        if self.source is None or not wanted:
            return set()
        found = self.source.latest("*", list(wanted))
        rows = [
            (
                *names_of(wanted[key], sizes_in(row)),
                *(row[name] for name in ("n_frames", "audio_s", *COMPLETION, "created")),
            )
            for key, row in found.items()
            if row["finish_reason"] != "error"
        ]
        if rows:
            with self._writing() as connection:
                connection.executemany(insert_into_calls(rows[0]), rows)
        return {str(row[0]) for row in rows}

    def find_payload(self, file_sha256: str, recipe: Mapping[str, Any]) -> str | None:
        """As of any ledger; what only the other run knows is copied. A file that it could not
        decode is tried here.
        """
        digest = super().find_payload(file_sha256, recipe)
        if digest is None and self.source is not None:
            with suppress(MediaError):
                digest = self.source.find_payload(file_sha256, recipe)
            if digest is not None:
                self.record_payload(file_sha256, recipe, digest)
        return digest

    def record(self, key: str, call: Call, carried: Carried, completion: Completion) -> None:
        """Store one outcome, in one commit; a later outcome replaces a failure, never a reply."""
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        counts = (completion.n_prompt_tokens, completion.n_completion_tokens, completion.latency_s)
        failure = (completion.error_class, completion.error)
        attempt = (completion.finish_reason, *counts, *failure, created)
        with self._writing() as connection:
            answered = connection.execute(
                "SELECT 1 FROM calls WHERE key = ? AND finish_reason != 'error'", (key,)
            ).fetchone()
            is_stored = answered is None and completion.finish_reason != "error"
            connection.execute(
                "INSERT INTO attempts SELECT ?, 1 + COUNT(*), ?, ?, ?, ?, ?, ?, ?, ?"
                " FROM attempts WHERE key = ?",
                (key, None if is_stored else completion.text, *attempt, key),
            )
            if answered is None:
                row = (
                    *names_of(call, carried.sizes),
                    carried.n_frames,
                    carried.audio_s,
                    *(getattr(completion, name) for name in COMPLETION),
                    created,
                )
                connection.execute(insert_into_calls(row), row)

    def record_payload(
        self, file_sha256: str, recipe: Mapping[str, Any], outcome: str | MediaError
    ) -> None:
        """Remember the digest that a file decodes to, or that its content cannot be decoded."""
        failure = outcome if isinstance(outcome, MediaError) else None
        if failure is not None and failure.error_class in ("missing", *PASSING_CLASSES):
            return
        stored = (
            (outcome, None, None)
            if failure is None
            else (None, failure.error_class, failure.detail)
        )
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO payloads VALUES (?, ?, ?, ?, ?)",
                (file_sha256, fingerprint(recipe), *stored),
            )

    def forget_payload_failures(self, error_class: str) -> int:
        """Forget which files failed with this class, so that they are read again; how many."""
        with self._writing() as connection:
            query = "DELETE FROM payloads WHERE error_class = ?"
            return connection.execute(query, (error_class,)).rowcount

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the own file, committed at the end."""
        try:
            with self._lock, self._own as connection:
                yield connection
        except sqlite3.Error as error:
            raise AvrtError(
                f"{self._path}: cannot write: {error}; {remedy(error)}, then repeat the command: "
                "the replies that came before are stored"
            ) from error


@contextmanager
def open_ledger(
    run: Path, shard: Shard | None = None, scope: str = "", source: Path | None = None
) -> Iterator[Ledger]:
    """Open RUN's ledger for writing, creating it when absent.

    `source` is the directory of another run, whose replies are taken. Only one process at a time
    writes in a scope: the generation of the run (the empty scope), or an evaluated model, whose
    calls no other scope makes. The shards of a scope may work at the same time, each with a file of
    its own; a process without a shard works alone in it.

    Raises:
        ConfigError: another process has it open; the message names that process. Or as
            `open_source`.
        DataError: a file is damaged, no ledger, or of another version; or replies are gone that
            files of the run name. Nothing is written then.
    """
    path = ledger_path(run, shard)
    with ExitStack() as stack:
        other = None if source is None else stack.enter_context(open_source(source, checked=True))
        run.mkdir(parents=True, exist_ok=True)
        stack.enter_context(hold_scope(run, shard, scope))
        with take_turns(run):  # SQLite does not wait where two processes make a new file
            with ExitStack() as reading:
                files = open_read_only(ledger_paths(run), reading)
                for known, connection in files:
                    check_pages(known, connection)
                check_replies(run, LedgerReader(files).known, scope)
            own = open_for_writing(path, stack)
        others = [each for each in ledger_paths(run) if each != path]
        yield Ledger([(path, own), *open_read_only(others, stack)], other)


@contextmanager
def open_source(run: Path, checked: bool = False) -> Iterator[LedgerReader]:
    """The ledger of the run that `run.calls_from` names, for reading; `checked`: every page of it
    was looked at.

    Raises:
        ConfigError: there is no such run, nothing was asked in it, or its ledger cannot be read.
    """
    remedy_text = "name another run in run.calls_from, or leave it out"
    if not run.is_dir():
        near = near_run(run)
        hint = f"did you mean {near}?" if near else remedy_text
        raise ConfigError(f"run.calls_from: {run}: no such run; {hint}")
    if not ledger_paths(run):
        raise ConfigError(f"run.calls_from: {run}: no model was asked in this run; {remedy_text}")
    try:
        with ExitStack() as stack:
            files = open_read_only(ledger_paths(run), stack)
            for path, connection in files if checked else ():
                check_pages(path, connection)
            opened = stack.pop_all()
    except DataError as error:
        raise ConfigError(f"run.calls_from: {error}; {remedy_text}") from error
    with opened:
        yield LedgerReader(files)


@contextmanager
def read_ledger(run: Path) -> Iterator[LedgerReader]:
    """RUN's ledger for reading, also while other processes write it; creates nothing.

    Raises:
        DataError: there is none, or a file is not a ledger.
    """
    paths = ledger_paths(run)
    if not paths:
        raise DataError(
            f"{run / 'ledger.sqlite'}: not found; run `avrt trace` or `avrt eval` first"
        )
    with ExitStack() as stack:
        files = open_read_only(paths, stack)
        if not files:  # only just created, or emptied
            check_replies(run, lambda _: set())
        yield LedgerReader(files)


def ledger_shards(run: Path) -> list[Shard | None]:
    """The shards that have a ledger file in RUN; None stands for the file of no shard."""
    names = [
        path.name.removeprefix("ledger.").removesuffix(".sqlite") for path in ledger_paths(run)
    ]
    return [None if name == "sqlite" else Shard.parse(name.replace("of", "/")) for name in names]


def count_finished(run: Path, stage: str) -> int:
    """How many calls of a stage are finished; does not lock and creates nothing."""
    if not ledger_paths(run):
        return 0
    with read_ledger(run) as ledger:
        query = "SELECT COUNT(*) FROM calls WHERE stage = ? AND finish_reason != 'error'"
        return sum(row[0] for row in ledger.query(query, (stage,)))
