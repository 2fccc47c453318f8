"""What made a published folder: stages with their settings, commands, and the files it holds.

Reads RUN/manifests and RUN/config.yaml; writes `avrt.json` and `avrt.yaml` into the folder. By its
record AVRT knows a folder that it wrote itself, and replaces no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt import __version__
from avrt.engines.weights import model_identity
from avrt.errors import ConfigError, DataError
from avrt.report.settings import settings_text
from avrt.runs import file_digest, fingerprint, manifest_path, read_manifest, write_json
from avrt.texts import read_json

__all__ = [
    "RECORD",
    "SETTINGS",
    "commands_of",
    "dataset_stages",
    "list_files",
    "refuse_foreign",
    "run_fingerprint",
    "trained_stages",
    "write_record",
    "write_settings",
]

RECORD, SETTINGS = "avrt.json", "avrt.yaml"
CACHE = ".cache"
"""The folder that an upload leaves."""
LARGE = 16 << 20
"""Bytes; larger files are known by their size, so that weights are not read to be replaced."""
_TRAINED = re.compile(r"sft|grpo[A-Za-z0-9_-]*")
Manifests = dict[str, dict[str, Any]]
"""What stages were made with, by their name, in the order in which they ran."""


def dataset_stages(run: Path) -> Manifests:
    """The stages that made the dataset of a run.

    Raises:
        DataError: there is no dataset, or it is not finished.
    """
    last = next((name for name in ("build", "import") if manifest_path(run, name).is_file()), None)
    if last is None:
        raise DataError(f"{run}: no finished dataset; run `avrt build` or `avrt import` first")
    names = ("import",) if last == "import" else ("prepare", "trace", "merge", "judge", "build")
    stages = _manifests(run, names)
    if not stages[last]["settings"].get("judges"):
        stages.pop("judge", None)  # of an earlier state
    return stages


def trained_stages(run: Path, student: str) -> tuple[Manifests, str]:
    """The trainings that made a student, one after another, and the model that they began with.

    That model is a hub id, `world:NAME`, or `local`.

    Raises:
        ConfigError: no training of that name.
        DataError: it is not finished.
    """
    if not _TRAINED.fullmatch(student):
        raise ConfigError(f"--student {student}: not a training; name sft, grpo or a grpo.output")
    path = manifest_path(run, student)
    if not path.is_file() or not (run / student / "model" / "config.json").is_file():
        command = "sft" if student == "sft" else "grpo"
        raise DataError(f"{run}: training {student} is not finished; run `avrt {command}` first")
    stages = {student: read_manifest(path)}
    while True:
        began = stages[next(iter(stages))]["settings"]["student"]
        parent = _trained_here(run, began, stages) if began["model"] == "local" else None
        if parent is None:
            return stages, began["model"]
        stages = {parent: read_manifest(manifest_path(run, parent))} | stages


def _trained_here(run: Path, began: Mapping[str, Any], known: Iterable[str]) -> str | None:
    """The training of this run whose model another one began with."""
    for path in sorted((run / "manifests").glob("*.json")):
        folder = run / path.stem / "model"
        if path.stem in known or not _TRAINED.fullmatch(path.stem) or not folder.is_dir():
            continue
        if model_identity(str(folder), None)["revision"] == began["revision"]:
            return path.stem
    return None


def _manifests(run: Path, names: Iterable[str]) -> Manifests:
    paths = {name: manifest_path(run, name) for name in names}
    return {name: read_manifest(path) for name, path in paths.items() if path.is_file()}


def run_fingerprint(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Twelve digits that stand for all settings and inputs of some stages."""
    return fingerprint({name: stage["fingerprint"] for name, stage in stages.items()})[:12]


def commands_of(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The commands that do these stages again, each of which goes on where the one before ended,
    with the settings in the folder.
    """
    commands, before = [], "base"
    for name, stage in stages.items():
        if name == "import":
            commands.append(f"avrt import {stage['settings']['set']} FOLDER {SETTINGS}")
        elif name.startswith("grpo"):
            commands.append(f"avrt grpo {SETTINGS} grpo.init={before} grpo.output={name}")
        else:
            commands.append(f"avrt {name} {SETTINGS}")
        before = name if _TRAINED.fullmatch(name) else before
    return commands


def write_settings(run: Path, folder: Path) -> None:
    """Write the run's settings; paths that tell about a machine are cut to their last part."""
    note = "# Where a path begins with …, name your own folder, as data.root=FOLDER.\n"
    (folder / SETTINGS).write_text(note + settings_text(run), encoding="utf-8")


def write_record(
    folder: Path,
    kind: str,
    name: str,
    stages: Mapping[str, Mapping[str, Any]],
    commands: Sequence[str],
) -> None:
    """Write what made the folder and what it holds, after all other files."""
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_digest(path),
        }
        for path in list_files(folder)
    }
    content = {
        "avrt": __version__,
        "kind": kind,
        "run": name,
        "fingerprint": run_fingerprint(stages),
        "commands": list(commands),
        "stages": stages,
        "files": files,
    }
    write_json(folder / RECORD, content)


def list_files(folder: Path) -> list[Path]:
    """All files of a published folder but those of an upload, sorted."""
    files = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(path for path in files if path.relative_to(folder).parts[0] != CACHE)


def refuse_foreign(folder: Path, kind: str) -> None:
    """Refuse to replace what AVRT did not write as this kind, or what was changed since.

    Raises:
        ConfigError: the folder, or a file in it, is not of AVRT.
    """
    if not folder.exists():
        return
    remedy = "name another --output, or move it away"
    files = list_files(folder) if folder.is_dir() else [folder]
    record = _read_record(folder) if folder.is_dir() else {}
    if files and record.get("kind") != kind:
        found = (
            f"holds a published {record['kind']}" if record else f"{files[0].name} is not AVRT's"
        )
        raise ConfigError(f"{folder}: {found}; {remedy}")
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name == RECORD:
            continue
        known = record["files"].get(name)
        if known is None:
            raise ConfigError(f"{path}: not written by AVRT; {remedy}")
        size = path.stat().st_size
        if size != known["bytes"] or (size < LARGE and file_digest(path) != known["sha256"]):
            raise ConfigError(f"{path}: changed since AVRT wrote it; {remedy}")


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    content = read_json(path) if path.is_file() else {}
    is_record = isinstance(content, dict) and content.keys() >= {"kind", "files"}
    return content if is_record else {}
