"""Who made a run: RUN/history.jsonl has a line for each command that worked on it.

A line is written when the work begins, so that an interrupted command is there too. It holds no
secret: settings on the command line stand there masked as in config.yaml.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from avrt import __version__
from avrt.config.secrets import mask
from avrt.ranks import n_processes

__all__ = ["FILE", "commit_of_code", "describe_machine", "note_command", "read_history"]

FILE = "history.jsonl"
_DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver describes each GPU, on Linux."""


def note_command(run: Path) -> None:
    """Append this process's command, the code and the machine to the history of a run."""
    row = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": _command(sys.argv),
        "avrt": __version__,
        "commit": commit_of_code(),
        "machine": describe_machine(),
    }
    run.mkdir(parents=True, exist_ok=True)
    with (run / FILE).open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        is_cut = file.read() not in (b"", b"\n")  # by a crash
        file.write(b"\n" * is_cut + json.dumps(row).encode() + b"\n")


def read_history(run: Path) -> list[dict[str, Any]]:
    """The rows, without a line that a crash cut off."""
    with suppress(OSError):
        rows = []
        for line in (run / FILE).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                rows.append(json.loads(line))
        return [row for row in rows if isinstance(row, dict)]
    return []


def _command(words: Sequence[str]) -> str:
    program = Path(words[0]).name if words else ""
    program = "avrt" if program in ("avrt", "__main__.py") else program
    return shlex.join([program, *map(_shown, words[1:])])


def _shown(word: str) -> str:
    """A setting without its secrets; other words as they are."""
    name, equals, text = word.partition("=")
    if not equals:
        return word
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    shown = mask(value, name.rpartition(".")[2])
    return word if shown == value else f"{name}={json.dumps(shown, default=str)}"


@cache
def commit_of_code() -> str | None:
    """The commit of AVRT's code, with `+` where it was changed since; None outside a checkout."""
    folder = Path(__file__).parents[3]
    if not (folder / ".git").exists():
        return None
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "src"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")


@cache
def describe_machine() -> str:
    """Processor, cores, memory and GPUs."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [f"{n_cores} cores of {_processor()}", f"{memory:.0f} GiB", *_gpus()]
    processes = f"; {n_processes()} processes" if n_processes() > 1 else ""
    return ", ".join(parts) + processes


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """From the driver: to ask torch would start CUDA here, before engines and trainers do."""
    names: Counter[str] = Counter()
    for path in sorted(_DRIVER.glob("*/information")):
        with suppress(OSError):
            model = path.read_text(encoding="utf-8", errors="replace").partition("Model:")[2]
            names[model.partition("\n")[0].strip() or "GPU"] += 1
    return [f"{n} x {name}" for name, n in names.items()]
