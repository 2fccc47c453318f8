"""The run directory: atomic writes, and stages that know whether their work is already done.

A stage writes its files, then `manifest.json` with the fingerprint of its settings and inputs and
the count of every row. Same fingerprint: nothing to do. Another: refused, because mixing two
settings in one folder hides what made what.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from avrt.config import Config, dump_config
from avrt.errors import ConfigError, DataError
from avrt.ranks import is_main

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Result",
    "Stage",
    "check_sums",
    "file_digest",
    "fingerprint",
    "open_stage",
    "read_parquet",
    "replace_folder",
    "save_config",
    "student_path",
    "write_atomic",
    "write_json",
    "write_parquet",
]


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary file beside `path`, flush to disk, rename: a reader never sees half a
    file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when all is written.

    A reader never finds half of it. After an error nothing has changed; what a kill leaves lies
    under a hidden name, and the next attempt removes it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.new")
    previous = folder.with_name(f".{folder.name}.old")
    for leftover in (temporary, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(previous)
    temporary.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    write_atomic(path, lambda file: file.write(text.encode() + b"\n"))


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows under a fixed schema, atomically; equal rows give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    write_atomic(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Rows of a file that an earlier stage wrote.

    Raises:
        DataError: if the file is absent or not Parquet; the message names the stage that writes it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not `read_table`, which imports a whole framework for data in many files.
        with pq.ParquetFile(path) as file:
            return file.read().to_pylist()
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: not found; run the stage that writes it first (see `avrt --help`)"
        ) from error
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def save_config(config: Config) -> None:
    """Write the resolved configuration into the run directory; of a launch, one process does."""
    if not is_main():
        return
    text = dump_config(config)
    write_atomic(config.run.path / "config.yaml", lambda file: file.write(text.encode()))


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
        return Counter(json.loads(self.manifest_path.read_text())["counts"])

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
        DataError: an input file is absent.
        ConfigError: the stage was finished with other settings or inputs.
    """
    manifest_path = run / "manifests" / f"{name}.json"
    digests: dict[str, str] = {}
    for path in inputs:
        if not path.is_file():
            raise DataError(f"{path}: not found; run the earlier stages first (see `avrt --help`)")
        digests[path.name] = file_digest(path)
    both = {**settings, **(free or {})}
    wanted = fingerprint({"stage": name, "settings": both, "inputs": digests})
    if not manifest_path.is_file():
        return Stage(name, manifest_path, wanted, both, digests, done=False)
    stored = json.loads(manifest_path.read_text())
    if stored["fingerprint"] == wanted:
        return Stage(name, manifest_path, wanted, both, digests, done=True)
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
            f"choose another run.name, or delete {manifest_path} to do this stage again"
        )
    return Stage(name, manifest_path, wanted, both, digests, done=False)


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
