"""The locks of a run directory: who may write the ledger, in which scope and for which shard.

RUN/ledger.lock is the generation's, RUN/ledger.SCOPE.lock that of another scope, such as an
evaluated model. A process without a shard holds it alone. Shards share it, and each holds its own
(RUN/ledger.2of8.lock) alone; RUN/ledger.parts8.lock keeps shards of another count out. A process
that holds a lock alone has its name in it. A killed process lets go of its locks by itself.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from avrt.ask.budget import Shard
from avrt.errors import ConfigError

__all__ = ["check_free", "hold_scope", "take_turns"]

_TRIES, _WAIT_S = 5, 0.05
"""A process that only looks (`check_free`) holds a lock for less than that."""


@contextmanager
def hold_scope(run: Path, shard: Shard | None = None, scope: str = "") -> Iterator[None]:
    """Hold the locks of a scope, or of a shard of it.

    Raises:
        ConfigError: another process holds one; the message names that process.
    """
    base = _path(run, scope)
    if shard is None:
        with _hold(base, fcntl.LOCK_EX):
            yield
        return
    with (
        _hold(base, fcntl.LOCK_SH),
        _hold(_path(run, scope, f"parts{shard.count}"), fcntl.LOCK_SH),
    ):
        _refuse_other_counts(run, shard, scope)
        with _hold(_path(run, scope, shard.name), fcntl.LOCK_EX):
            yield


@contextmanager
def take_turns(folder: Path) -> Iterator[None]:
    """Make the folder, and wait until no other process is in this block with the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_free(run: Path, shard: Shard | None = None, scope: str = "") -> None:
    """Refuse at once a run that another process works on; `hold_scope` makes sure of it.

    Raises:
        ConfigError: as `hold_scope`.
    """
    path = _path(run, scope, shard.name if shard else "")
    if path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            _lock(descriptor, path, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


def _path(run: Path, *parts: str) -> Path:
    return run / ".".join(filter(None, ("ledger", *parts, "lock")))


@contextmanager
def _hold(path: Path, kind: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, path, kind)
        if kind == fcntl.LOCK_EX:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{_own_name()}\n".encode())
        yield
        if kind == fcntl.LOCK_EX:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _refuse_other_counts(run: Path, shard: Shard, scope: str) -> None:
    """Shards of another count cut the samples elsewhere, and would make calls twice."""
    prefix = _path(run, scope, "parts").stem
    for path in run.glob(f"{prefix}*.lock"):
        count = path.stem.removeprefix(prefix)
        if count != str(shard.count) and _is_held(path):
            raise ConfigError(
                f"{run}: shards of {count} are at work, and shard {shard} cuts the samples "
                f"elsewhere; use --shard PART/{count}, or wait until they end"
            )


def _lock(descriptor: int, path: Path, kind: int) -> None:
    for n_tries_left in reversed(range(_TRIES)):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            holders = _holders(descriptor, path)
            if holders or not n_tries_left:
                raise ConfigError(
                    f"{path.parent}: in use by {', '.join(holders) or 'an unknown process'}; wait "
                    "for it, stop it, choose another run.name, or divide the work with --shard"
                ) from error
        time.sleep(_WAIT_S)


def _holders(descriptor: int, path: Path) -> list[str]:
    """The names of the processes that hold a lock, alone or as shards."""
    holder = os.pread(descriptor, 500, 0).decode(errors="replace").strip()
    if holder:
        return [holder]
    locks = sorted(path.parent.glob(f"{path.stem}.*of*.lock"))
    return [lock.read_text(errors="replace").strip() for lock in locks if _is_held(lock)]


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _own_name() -> str:
    """This process for a reader elsewhere; its command without settings, which may hold paths."""
    words = [Path(sys.argv[0]).name, *takewhile(str.isalpha, sys.argv[1:])]
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {since} ({' '.join(words)})"
