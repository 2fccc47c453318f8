"""The run directory: stages that know whether their work is already done, alone and in whole files.

A stage holds the lock of what it writes, writes its files, then `manifest.json` with the
fingerprint of its settings and inputs and the count of every row. Same fingerprint: nothing to do.
Another: refused, because mixing two settings in one folder hides what made what.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.config import Config, dump_config
from avrt.errors import ConfigError
from avrt.ranks import is_main
from avrt.runs.disk import DiskMap, IdSet, temporary_folder
from avrt.runs.files import (
    atomic_file,
    file_digest,
    fingerprint,
    read_manifest,
    remove_folder,
    remove_leftovers,
    replace_folder,
    write_atomic,
)
from avrt.runs.history import commit_of_code, note_command, read_history
from avrt.runs.locks import alone, held_locks, hold_lock, hold_output, lock_file
from avrt.runs.parquet import (
    ParquetRows,
    iter_batches,
    iter_parquet,
    not_written,
    open_parquet,
    read_parquet,
    read_table,
    unreadable_parquet,
    write_parquet,
)
from avrt.runs.progress import Ticker, format_duration, quiet_s, say, track

__all__ = [
    "DiskMap",
    "IdSet",
    "ParquetRows",
    "Result",
    "Stage",
    "Ticker",
    "alone",
    "atomic_file",
    "check_sums",
    "commit_of_code",
    "file_digest",
    "fingerprint",
    "format_duration",
    "held_locks",
    "hold_lock",
    "hold_output",
    "iter_batches",
    "iter_parquet",
    "kept_checkpoints",
    "lock_file",
    "manifest_path",
    "open_parquet",
    "open_stage",
    "quiet_s",
    "read_history",
    "read_manifest",
    "read_parquet",
    "read_table",
    "remove_folder",
    "remove_leftovers",
    "replace_folder",
    "save_config",
    "say",
    "student_path",
    "temporary_folder",
    "track",
    "unreadable_parquet",
    "write_atomic",
    "write_json",
    "write_parquet",
]


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    write_atomic(path, lambda file: file.write(text.encode() + b"\n"))


def save_config(config: Config, works: bool = True) -> None:
    """Write the resolved configuration into the run directory, and this command into its history if
    it `works` there itself; of a launch, one process does.
    """
    if not is_main():
        return
    text = dump_config(config)
    write_atomic(config.run.path / "config.yaml", lambda file: file.write(text.encode()))
    if works:
        note_command(config.run.path)


def student_path(config: Config, name: str) -> str:
    """Where the student called `name` lies: `base`, `sft` or `grpo...` of this run, or a folder or
    hub id as it is.

    Raises:
        ConfigError: `sft` or `grpo...` was never trained in this run.
    """
    if name == "base":
        return config.student.model
    if name != "sft" and not re.fullmatch(r"grpo[A-Za-z0-9_-]*", name):
        return name
    path = config.run.path / name / "model"
    if not (path / "config.json").is_file():
        known = name in ("sft", "grpo")
        command = f"`avrt {name}` for this run" if known else f"`avrt grpo` with grpo.output={name}"
        raise ConfigError(f"{path}: no trained model here; run {command} first")
    return str(path)


def kept_checkpoints(stage: Path) -> dict[int, Path]:
    """The folder of each checkpoint that a training kept to be evaluated, by its step, in order.

    `stage` is the training's folder in the run directory.
    """
    folders = (stage / "checkpoints" / "kept").glob("[0-9]*")
    return {int(path.name): path for path in sorted(folders, key=lambda path: int(path.name))}


@dataclass(frozen=True)
class Result:
    """The outcome of a stage: a text for the terminal and the counts behind it."""

    summary: str
    counts: Mapping[str, int]
    fault: str = ""
    """Why the command ends with exit code 1, although the rest is done."""


@dataclass(frozen=True)
class Stage:
    """One stage's place in the run directory."""

    name: str
    manifest_path: Path
    fingerprint: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    """Digest of each input file, by name."""
    done: bool
    """True when a finished run of the same stage with the same settings and inputs is already
    there.
    """

    def counts(self) -> Counter[str]:
        """The counts stored by a finished stage."""
        return Counter(read_manifest(self.manifest_path)["counts"])

    def begin(self) -> None:
        """Mark the stage as to do; call before the first of its files is written."""
        self.manifest_path.unlink(missing_ok=True)

    def finish(self, counts: Mapping[str, int]) -> None:
        """Mark the stage as done; call after all of its files are written."""
        content = {
            "stage": self.name,
            "fingerprint": self.fingerprint,
            "settings": self.settings,
            "inputs": dict(self.inputs),
            "counts": dict(counts),
        }
        write_json(self.manifest_path, content)


def manifest_path(run: Path, stage: str) -> Path:
    """Where a finished stage says what it was made with."""
    return run / "manifests" / f"{stage}.json"


def open_stage(
    run: Path,
    name: str,
    settings: Mapping[str, Any],
    inputs: Iterable[Path],
    free: Mapping[str, Any] | None = None,
    extends: Callable[[Any, Any], bool] | None = None,
) -> Stage:
    """Find out whether stage `name` is done in `run`, still to do, or done with other settings.

    `settings` and `free` must hold what changes the result and nothing else (no address, no
    concurrency). Changing a `free` one costs no model call, so the stage is simply done again; the
    same holds for a stage that has only such settings when its inputs change, and for a change
    from one value to another (None: absent) that `extends` says makes no finished call in vain.

    Raises:
        DataError: an input file is absent, or the manifest damaged.
        ConfigError: the stage was finished with other settings or inputs.
    """
    path = manifest_path(run, name)
    digests: dict[str, str] = {}
    for source in inputs:
        if not source.is_file():
            raise not_written(source)
        digests[source.name] = file_digest(source)
    both = {**settings, **(free or {})}
    wanted = fingerprint({"stage": name, "settings": both, "inputs": digests})
    if not path.is_file():
        return Stage(name, path, wanted, both, digests, done=False)
    stored = read_manifest(path)
    if stored.get("fingerprint") == wanted:
        return Stage(name, path, wanted, both, digests, done=True)
    changed = sorted(
        key
        for key in {*stored["settings"], *both}
        if fingerprint(stored["settings"].get(key)) != fingerprint(both.get(key))
    )
    costly = [
        key
        for key in changed
        if key not in (free or {})
        and not (extends and extends(stored["settings"].get(key), both.get(key)))
    ]
    is_derived = free is not None and not settings
    if costly or not (changed or is_derived):
        reason = f"other settings ({', '.join(costly)})" if costly else "other inputs"
        raise ConfigError(
            f"{run}: stage {name!r} was already done here with {reason}; "
            f"choose another run.name, or delete {path} to do this stage again"
        )
    return Stage(name, path, wanted, both, digests, done=False)


def check_sums(stage: str, n_read: int, counts: Mapping[str, int]) -> None:
    """Every row is kept, dropped by a named reason or failed by a named class.

    `counts` has keys `kept`, `dropped/REASON` and `failed/CLASS`.

    Raises:
        AssertionError: a row was lost, which is a defect in AVRT.
    """
    n_out = sum(
        n for key, n in counts.items() if key == "kept" or key.startswith(("dropped/", "failed/"))
    )
    if n_out != n_read:
        raise AssertionError(
            f"stage {stage}: read {n_read} but accounted for {n_out}: {dict(counts)}"
        )
