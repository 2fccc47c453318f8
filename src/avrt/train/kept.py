"""Checkpoints that outlive the resumable ones, so that the course of a training can be evaluated.

RUN/STAGE/checkpoints/kept/STEP/ holds the weights and the processor of a checkpoint, without its
optimizer: of a training of adapters, the adapters alone; of DeepSpeed in bfloat16, the bfloat16
weights. The files are hard links to those that the trainer wrote, so that nothing is written twice
and the weights stay when the trainer removes the checkpoint (a file system without links gets
copies).

A checkpoint is kept as soon as it is complete and before the next one is begun. A training that was
killed in between keeps it when it is resumed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from avrt.engines.weights import MODEL_SUFFIXES
from avrt.runs import kept_checkpoints, remove_folder, replace_folder
from avrt.train.disk import complete_checkpoints

__all__ = ["RESUMABLE", "KeepCheckpoints"]

RESUMABLE = 2
"""Checkpoints with optimizer and random state that the trainer leaves."""
_STATE = "trainer_state.json"


class KeepCheckpoints(TrainerCallback):
    """Keeps the weights of every saved checkpoint, or of the newest `n`; `RESUMABLE` keeps none.

    Kept checkpoints beyond the step that a training continues from are removed: it makes them
    again.
    """

    def __init__(self, folder: Path, n: int | Literal["all"]) -> None:
        """`folder`: the stage's own, with `checkpoints/` in it."""
        self._folder = folder
        self._n: int | Literal["all"] = n

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        for step, path in kept_checkpoints(self._folder).items():
            if step > state.global_step:
                _remove(path)
        self._keep()

    @override
    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._keep()

    def _keep(self) -> None:
        if self._n == RESUMABLE:
            return
        checkpoints = self._folder / "checkpoints"
        kept = kept_checkpoints(self._folder)
        for checkpoint in complete_checkpoints(checkpoints):
            step = int(checkpoint.name.partition("-")[2])
            if step not in kept and _has_weights(checkpoint):
                _link_weights(checkpoint, checkpoints / "kept" / str(step))
        for leftover in checkpoints.glob("kept/.*.gone"):
            remove_folder(leftover)
        if isinstance(self._n, int):
            for path in list(kept_checkpoints(self._folder).values())[: -self._n]:
                _remove(path)


def _has_weights(checkpoint: Path) -> bool:
    """Whether all weights are there; the removal of an old checkpoint may have been cut short."""
    index = checkpoint / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((checkpoint / shard).is_file() for shard in shards)
    names = ("model.safetensors", "adapter_model.safetensors")
    return any((checkpoint / name).is_file() for name in names)


def _link_weights(checkpoint: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with replace_folder(target) as temporary:
        for path in checkpoint.iterdir():
            if path.suffix in MODEL_SUFFIXES and path.name != _STATE:
                try:
                    os.link(path, temporary / path.name)
                except OSError:  # this file system has no links; a copy that fails says why
                    shutil.copyfile(path, temporary / path.name)


def _remove(path: Path) -> None:
    """Remove a kept checkpoint; a kill never leaves a part of it under its name."""
    gone = path.with_name(f".{path.name}.gone")
    remove_folder(gone)
    path.rename(gone)
    remove_folder(gone)
