"""The locks of a run directory: who may write the ledger, in which scope and for which shard.

RUN/ledger.lock is the generation's, RUN/ledger.SCOPE.lock that of another scope, such as an
evaluated model. A process without a shard holds it alone. Shards share it, and each holds its own
(RUN/ledger.2of8.lock) alone; RUN/ledger.parts8.lock keeps shards of another count out. A process
that holds a lock alone has its name in it. A killed process lets go of its locks by itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from avrt.ask.budget import Shard
from avrt.errors import ConfigError
from avrt.runs import hold_lock, lock_file

__all__ = ["check_free", "hold_scope", "take_turns"]


@contextmanager
def hold_scope(run: Path, shard: Shard | None = None, scope: str = "") -> Iterator[None]:
    """Hold the locks of a scope, or of a shard of it.

    Raises:
        ConfigError: another process holds one; the message names that process.
    """
    run.mkdir(parents=True, exist_ok=True)
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
    with lock_file(folder / ".turn.lock", fcntl.LOCK_EX, removes=True):
        yield


def check_free(run: Path, shard: Shard | None = None, scope: str = "") -> None:
    """Refuse at once a run that another process works on; `hold_scope` makes sure of it.

    Raises:
        ConfigError: as `hold_scope`.
    """
    path = _path(run, scope, shard.name if shard else "")
    if path.is_file():
        with _hold(path, fcntl.LOCK_SH):
            pass


def _path(run: Path, *parts: str) -> Path:
    return run / ".".join(filter(None, ("ledger", *parts, "lock")))


@contextmanager
def _hold(path: Path, kind: int) -> Iterator[None]:
    remedy = "choose another run.name, or divide the work with --shard"
    with hold_lock(path, kind, path.parent, remedy, partial(_shards_at_work, path)):
        yield


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


def _shards_at_work(path: Path) -> list[str]:
    """The names of the processes that hold shards of the scope of a lock."""
    locks = sorted(path.parent.glob(f"{path.stem}.*of*.lock"))
    return [lock.read_text(errors="replace").strip() for lock in locks if _is_held(lock)]


def _is_held(path: Path) -> bool:
    try:
        with lock_file(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True
