"""Locks: no two processes write the same files at a time.

A lock is the kernel's, on a small file, so it ends with its process, however that ends. The file
holds the name of the process for the message to a second one.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from avrt.errors import ConfigError
from avrt.ranks import is_main

__all__ = ["alone", "held_locks", "hold_lock", "hold_output", "lock_file"]

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_TRIES, _WAIT_S = 5, 0.05
"""A lock whose holder has no name yet was only just taken, or is looked at."""
_descriptors: set[int] = set()
"""Of the locks that this process holds."""


def held_locks() -> tuple[int, ...]:
    """The descriptors of the locks of this process, for a command of its own that shall hold them
    for as long as it works.
    """
    return tuple(_descriptors)


def _let_go() -> None:
    """In a copy of this process: the locks are not its own, and must end with the original."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def lock_file(path: Path, kind: int, removes: bool = False) -> Iterator[None]:
    """Lock a file, which is created, and at the end may be removed.

    Where the file system has no locks, it says so and goes on.

    Raises:
        BlockingIOError: another process holds it, and `kind` is not to wait.
    """
    descriptor = _lock(path, kind)
    try:
        yield
    finally:
        _unlock(descriptor, path if removes else None)


def _lock(path: Path, kind: int) -> int:
    """The descriptor of the locked file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        _descriptors.add(descriptor)
        try:
            fcntl.flock(descriptor, kind)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # its holder has removed it: no other process would see this lock
        except OSError as error:
            if error.errno in _NO_LOCKS:
                _note_no_locks(path.parent)
                return descriptor
            _unlock(descriptor)
            raise
        _unlock(descriptor)


def _unlock(descriptor: int, path: Path | None = None) -> None:
    if path is not None:
        path.unlink(missing_ok=True)
    _descriptors.discard(descriptor)
    os.close(descriptor)


@functools.cache
def _note_no_locks(folder: Path) -> None:
    print(
        f"avrt: note: the file system of {folder} has no locks, so nothing keeps two commands "
        "apart; run one at a time in this folder",
        file=sys.stderr,
    )


@contextmanager
def hold_lock(
    path: Path,
    kind: int,
    what: Path,
    remedy: str,
    find_holders: Callable[[], list[str]] = list,
    removes: bool = False,
) -> Iterator[None]:
    """Hold the lock of `what`; a process that holds it alone has its name in the file `path`.

    Raises:
        ConfigError: another process holds it; the message names that process.
    """
    n_tries_left = _TRIES
    while True:
        try:
            descriptor = _lock(path, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            name = _holder_in(path)
            holders = [name] if name else find_holders()
            n_tries_left -= 1
            if holders or not n_tries_left:
                raise ConfigError(
                    f"{what}: in use by {', '.join(holders) or 'an unknown process'}; "
                    f"wait for it, stop it, {remedy}"
                ) from error
        time.sleep(_WAIT_S)
    try:
        if kind == fcntl.LOCK_EX:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{_own_name()}\n".encode())
        yield
        if kind == fcntl.LOCK_EX and not removes:
            os.ftruncate(descriptor, 0)
    finally:
        _unlock(descriptor, path if removes else None)


def _holder_in(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _own_name() -> str:
    """This process for a reader elsewhere; its command without settings, which may hold paths."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    words = [name, *takewhile(str.isalpha, sys.argv[1:])]
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {since} ({' '.join(words)})"


@contextmanager
def hold_output(path: Path) -> Iterator[None]:
    """Keep other processes from writing this file or folder; of a launch the main process does.

    Raises:
        ConfigError: another process is writing it; the message names that process.
    """
    if not is_main():
        yield
        return
    new = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with hold_lock(lock, fcntl.LOCK_EX, path, "or write elsewhere", removes=True):
            yield
    finally:
        with suppress(OSError):  # something was written
            for folder in new:
                folder.rmdir()


Parameters = ParamSpec("Parameters")
Outcome = TypeVar("Outcome")


def alone(
    output: Callable[[Any], Path],
) -> Callable[[Callable[Parameters, Outcome]], Callable[Parameters, Outcome]]:
    """Let no two processes run a function at a time that would write the same `output`, which is
    made of the function's first argument.
    """

    def decorate(run: Callable[Parameters, Outcome]) -> Callable[Parameters, Outcome]:
        @functools.wraps(run)
        def run_alone(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Outcome:
            with hold_output(output(args[0])):
                return run(*args, **kwargs)

        return run_alone

    return decorate
