"""Files of a run that cannot be read: the page is written without what they hold, and says so.

The decision to question: a page with a hole that is named is worth more than none, so that one
damaged file of one stage hides nothing of the others; the command ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from avrt.errors import DataError
from avrt.runs import manifest_path, read_manifest

__all__ = ["absent_files", "attempt", "manifest_faults", "manifest_of"]

_DATASET = tuple(f"dataset/{part}.parquet" for part in ("train", "validation", "rejected"))
_FILES: Mapping[str, Sequence[str]] = {
    "prepare": ("samples.parquet", "media.parquet"),
    "trace": ("traces/teachers.parquet",),
    "merge": ("traces/merged.parquet",),
    "build": _DATASET,
}
"""Files of finished stages that the page reads."""

T = TypeVar("T")


def attempt(read: Callable[[], T], otherwise: T, faults: list[str] | None) -> T:
    """What `read` gives; where a file cannot be read, `otherwise`, and the fault is noted.

    Raises:
        DataError: a file cannot be read, and there are no `faults` to note it in.
    """
    try:
        return read()
    except DataError as error:
        if faults is None:
            raise
        faults.append(str(error))
        return otherwise


def manifest_of(run: Path, stage: str) -> dict[str, Any] | None:
    """What a finished stage recorded; None: it is not finished, or `manifest_faults` names it."""
    path = manifest_path(run, stage)
    try:
        return read_manifest(path) if path.is_file() else None
    except DataError:
        return None


def absent_files(run: Path) -> list[str]:
    """Files that a finished stage wrote and that are not there, and what to do."""
    stages = [path.stem for path in sorted((run / "manifests").glob("*.json"))]
    faults: list[str] = []
    for stage in stages:
        is_training = stage.startswith(("sft", "grpo"))
        names = (f"{stage}/log.jsonl",) if is_training else _FILES.get(stage, ())
        faults += [
            f"{run / name}: not there, although the stage {stage} is done; copy it from where the "
            f"run was made, or delete manifests/{stage}.json and do the stage again"
            for name in names
            if not (run / name).is_file()
        ]
    return faults


def manifest_faults(run: Path) -> list[str]:
    """What is wrong with the manifests that cannot be read, and what to do."""
    faults: list[str] = []
    for path in sorted((run / "manifests").glob("*.json")):
        attempt(lambda path=path: read_manifest(path), {}, faults)
    return faults
