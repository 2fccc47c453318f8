"""The processes that work on a run, from the locks that they hold.

A lock's file has the name of its holder (`runs/locks.py`). It is read, not tried: a command that
begins would take that for another process at work. What a killed process left is known by the
process that is no more, on this machine alone.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Worker", "find_workers"]

_HOLDER = re.compile(r"process (\d+) on (\S+) since (\S+ \S+) \((.*)\)")
_LEDGER = re.compile(r"ledger(?:\.(eval-.+?|rubric))?(?:\.\d+of\d+)?\.lock")
GENERATION = "generation"


@dataclass(frozen=True)
class Worker:
    """A process that holds a lock."""

    part: str
    """What it works on: `generation`, `eval-MODEL`, or the file or folder that it writes."""
    name: str
    """The process, its machine, since when, and its command."""


def find_workers(run: Path) -> list[Worker]:
    """Everyone at work in a run directory."""
    workers = []
    for path in sorted([*run.glob("ledger*.lock"), *run.glob(".*.lock")]):
        try:
            name = path.read_text(errors="replace").strip()
        except OSError:  # only just let go
            continue
        if (match := _HOLDER.fullmatch(name)) and _may_live(int(match[1]), match[2]):
            workers.append(Worker(_part(path.name), name))
    return workers


def _part(lock: str) -> str:
    ledger = _LEDGER.fullmatch(lock)
    if ledger is None:
        return lock.removeprefix(".").removesuffix(".lock")
    return ledger[1] or GENERATION


def _may_live(pid: int, machine: str) -> bool:
    if machine != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
