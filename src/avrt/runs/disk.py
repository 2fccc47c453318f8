"""What is known of each of millions of samples or files, without holding it in memory.

A `DiskMap` stands in a temporary file without a name, which ends with the process: in
SQLITE_TMPDIR, else TMPDIR, else /var/tmp. A few megabytes of it are in memory, whatever its size.

The decision to question: SQLite and `marshal`, some microseconds per access. A call to a model
takes a thousand times as long.
"""

from __future__ import annotations

import marshal
import os
import sqlite3
import threading
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    MutableMapping,
    Sequence,
    ValuesView,
)
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, TypeVar

from avrt.errors import AvrtError

__all__ = ["DiskMap", "IdSet", "temporary_folder"]

K = TypeVar("K")
V = TypeVar("V")

_FOLDER_SETTINGS = ("SQLITE_TMPDIR", "TMPDIR")
_CACHE_KB = 2048
_BATCH = 500
"""Entries that are read or written together."""
_SET = (
    "INSERT INTO entries (key, value) VALUES (?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


def temporary_folder() -> str | None:
    """Where files without a name are made, by SQLite and by others: /tmp is memory on some
    machines. None: wherever Python makes them.
    """
    folders = [*filter(None, map(os.environ.get, _FOLDER_SETTINGS)), "/var/tmp"]
    return next((each for each in folders if os.access(each, os.W_OK | os.X_OK)), None)


def _same(value: Any) -> Any:
    return value


class DiskMap(MutableMapping[K, V], Generic[K, V]):
    """A dict on the disk, in the order in which keys first came; of any thread.

    Keys are texts, whole numbers, or tuples of them. Values are what `marshal` takes (None,
    numbers, texts, bytes, tuples, lists, dicts), or what `pack` turns into that and `unpack` reads
    back. A value that is read is a copy. Entries may be set while it is read through; new ones come
    at the end.

    Raises:
        AvrtError: there is no room for the temporary file.
    """

    def __init__(
        self, pack: Callable[[V], Any] = _same, unpack: Callable[[Any], V] = _same
    ) -> None:
        self._pack, self._unpack = pack, unpack
        self._lock = threading.Lock()
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            f"PRAGMA cache_size = -{_CACHE_KB}",
            "CREATE TABLE entries (place INTEGER PRIMARY KEY, key UNIQUE, value)",
            "BEGIN",  # never committed: no one else reads it
        ):
            self._run(statement)

    def __getitem__(self, key: K) -> V:
        row = self._run("SELECT value FROM entries WHERE key = ?", (_packed(key),)).fetchone()
        if row is None:
            raise KeyError(key)
        return self._unpack(marshal.loads(row[0]))

    def __setitem__(self, key: K, value: V) -> None:
        self._run(_SET, (_packed(key), marshal.dumps(self._pack(value))))

    def update(self, pairs: Any = (), /, **_: Any) -> None:
        """Set many entries, pairs or those of a mapping."""
        if hasattr(pairs, "items"):
            pairs = pairs.items()
        rows = ((_packed(key), marshal.dumps(self._pack(value))) for key, value in pairs)
        while batch := list(islice(rows, _BATCH)):  # made without the lock
            self._run(_SET, batch, many=True)

    def __delitem__(self, key: K) -> None:
        deleted = self._run("DELETE FROM entries WHERE key = ?", (_packed(key),)).rowcount
        if not deleted:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        query = "SELECT 1 FROM entries WHERE key = ?"
        return self._run(query, (_packed(key),)).fetchone() is not None

    def __len__(self) -> int:
        return self._run("SELECT COUNT(*) FROM entries").fetchone()[0]

    def __bool__(self) -> bool:
        return self._run("SELECT 1 FROM entries LIMIT 1").fetchone() is not None

    def __iter__(self) -> Iterator[K]:
        return (_unpacked(key) for key, _ in self._rows("key, NULL"))

    def items(self) -> ItemsView[K, V]:
        return _Items(self)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def pairs(self) -> Iterator[tuple[K, V]]:
        """Keys with their values, some read at a time."""
        for key, value in self._rows("key, value"):
            yield _unpacked(key), self._unpack(marshal.loads(value))

    def close(self) -> None:
        """Give the disk back; otherwise done when nothing refers to the map."""
        self._connection.close()

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the process, anything may be gone
            self.close()

    def _rows(self, columns: str) -> Iterator[tuple[Any, Any]]:
        query = (
            f"SELECT place, {columns} FROM entries WHERE place > ? ORDER BY place LIMIT {_BATCH}"
        )
        last = -1
        while rows := self._run(query, (last,)).fetchall():
            yield from (row[1:] for row in rows)
            last = rows[-1][0]

    def _run(self, query: str, values: Sequence[Any] = (), many: bool = False) -> sqlite3.Cursor:
        try:
            with self._lock:
                if many:
                    return self._connection.executemany(query, values)
                return self._connection.execute(query, values)
        except sqlite3.Error as error:
            raise AvrtError(
                f"a temporary file cannot be used: {error}; free space in the folder for temporary "
                "files, or name another in SQLITE_TMPDIR"
            ) from error


class _Items(ItemsView[K, V]):
    _mapping: DiskMap[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._mapping.pairs()


class _Values(ValuesView[V]):
    _mapping: DiskMap[Any, V]

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping.pairs())


def _packed(key: Any) -> Any:
    # Version 2 of the format: equal keys are equal bytes.
    return key if isinstance(key, int) else marshal.dumps(key, 2)


def _unpacked(key: Any) -> Any:
    return key if isinstance(key, int) else marshal.loads(key)


class IdSet:
    """A set of texts that never changes, of which 8 bytes each are held.

    Among ten million, a look-up is wrong with a chance of 1 in 10^12.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        import numpy as np

        self._hashes = np.unique(np.fromiter(map(hash, ids), np.int64))

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, id_: object) -> bool:
        wanted = hash(id_)
        place = self._hashes.searchsorted(wanted)
        return bool(place < len(self._hashes) and self._hashes[place] == wanted)
