"""What the worker processes of tests/test_workers.py do; a module of its own, so they find it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avrt.errors import MediaError


def do(name: str) -> str:
    """Fail in the way that the name's first part says; else give the name back."""
    kind = name.partition("-")[0]
    if kind == "hang":
        time.sleep(600)
    if kind == "stuck":  # as in a decoder that keeps Python's lock: no line of Python runs again
        ctypes.PyDLL(None).sleep(600)
    if kind == "fifo":
        Path(name.partition("-")[2]).read_bytes()
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    if kind in ("permission", "unreadable", "missing"):
        raise MediaError(kind, f"own/{name}", "not now")
    if kind == "exit":
        os._exit(3)
    if kind == "memory":
        raise MemoryError
    if kind == "bad":
        raise MediaError("truncated", f"own/{name}", "the end is missing")
    if kind == "defect":
        raise ZeroDivisionError(name)
    return name


def always(folder: Path, name: str) -> str:
    """Do as the name says, and leave the process's id for every attempt."""
    _note(folder, name)
    return do(name)


def once(folder: Path, name: str) -> str:
    """As `always`, but a second attempt gives the name back."""
    is_first = not (folder / name).exists()
    _note(folder, name)
    return do(name) if is_first else name


def _note(folder: Path, name: str) -> None:
    with (folder / name).open("a") as attempts:
        attempts.write(f"{os.getpid()}\n")


def halves(folder: Path, name: str) -> dict[str, str | MediaError]:
    """As `once`, with the error in a mapping."""
    try:
        return {"v": once(folder, name)}
    except MediaError as error:
        return {"v": error}


def mark(folder: Path, name: str) -> str:
    """Leave the process's id in the folder, then do as the name says."""
    (folder / f"{os.getpid()}").touch()
    return do(name)


def modules(_: int) -> list[str]:
    """What the process has imported."""
    return sorted(sys.modules)


def large(number: int) -> NDArray[np.uint8]:
    """Three megabytes."""
    return np.full(3_000_000, number, np.uint8)


def unsendable(_: int) -> object:
    """What no process can hand over."""
    return lambda: None


class HolderError(Exception):
    """An error that holds something no process can hand over."""


def hold(_: int) -> None:
    """Raise it."""
    raise HolderError(lambda: None)


class Unreadable:
    """An item that a worker cannot unpickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _refuse, ("only here",)


def _refuse(text: str) -> None:
    raise LookupError(text)
