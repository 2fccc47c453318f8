"""How the batch of a step is split over the processes of a launch, and how that may change.

A step of SFT takes processes x `gradient_accumulation_steps` passes, one of GRPO processes x
`prompts_per_step` prompts. A training that was started with one number of processes may go on with
another, as long as the product is the same: it keeps the order that it was started with, which is
cut into steps of the same samples. So its settings stay those of its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avrt.errors import ConfigError
from avrt.runs import manifest_path
from avrt.texts import read_json
from avrt.train.disk import complete_checkpoints

__all__ = ["as_started", "chunk_of"]

SHARES = {"sft": "gradient_accumulation_steps", "grpo": "prompts_per_step"}
"""By section, the setting that says a process's share of a step."""


def as_started(settings: dict[str, Any], section: str, run: Path, folder: Path) -> dict[str, Any]:
    """Give a stage's settings with the split of the training that was started in its `folder`.

    Raises:
        ConfigError: with this number of processes a step would take another batch.
    """
    started = _started(manifest_path(run, folder.name), folder / "checkpoints")
    if started is None or section not in started:
        return settings
    name = SHARES[section]
    was, now = started["processes"], settings["processes"]
    share, new_share = started[section][name], settings[section][name]
    if was == now:
        return settings  # another share is another training
    if was * share != now * new_share:
        fits = was * share % now == 0
        remedy = f"set {section}.{name}={was * share // now}" if fits else "start as many processes"
        raise ConfigError(
            f"{folder}: this training has {was} processes x {section}.{name} = {share}, and this "
            f"launch {now} x {new_share}, which makes another batch; {remedy} to go on, or choose "
            "another run.name"
        )
    return {**settings, "processes": was, section: {**settings[section], name: share}}


def _started(manifest: Path, checkpoints: Path) -> dict[str, Any] | None:
    """The settings of the training that ended or can be resumed here."""
    marker = checkpoints / "stage.json"
    path = manifest
    if not manifest.is_file():
        if not complete_checkpoints(checkpoints) or not marker.is_file():
            return None
        path = marker
    started: Any = read_json(path)
    return started.get("settings")


def chunk_of(settings: Mapping[str, Any]) -> int:
    """Samples that all processes of SFT take in a pass, at the start of the training."""
    return settings["processes"] * settings["sft"]["per_device_batch_size"]
