"""Resume a training with DeepSpeed on another number of processes.

ZeRO stage 2 writes each process's part of the optimizer's state, and reads it back with as many
processes only. DeepSpeed's own converter joins the parts into a "universal" checkpoint, whole
tensors by name, which any number of processes takes its parts of. It needs room for 12 more bytes
per trained weight beside the checkpoint, twice while it converts.
"""

from __future__ import annotations

import argparse
import importlib
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from avrt.ranks import n_processes
from avrt.runs import remove_folder, say

__all__ = ["resharded"]

LATEST = "latest_universal"
"""DeepSpeed's file with the name of the universal checkpoint's folder."""
POLL_S = 0.5


@contextmanager
def resharded(trainer: Any, checkpoint: str | None) -> Iterator[None]:
    """Let a trainer resume from a checkpoint of DeepSpeed that another number of processes wrote.

    All processes take part. What is written goes into the checkpoint's folder, and is removed.
    """
    folder = None if checkpoint is None else _state_folder(Path(checkpoint))
    if folder is None or not trainer.is_deepspeed_enabled or _n_parts(folder) == n_processes():
        yield
        return
    accelerator, universal = trainer.accelerator, folder.with_name(f"{folder.name}_universal")
    latest = folder.parent / LATEST
    if accelerator.is_main_process:
        latest.unlink(missing_ok=True)
        remove_folder(universal)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        say(f"train: {folder}: {_n_parts(folder)} parts become those of {n_processes()} processes")
        _convert(folder, universal)  # writes `latest` when all else is written
    while not latest.is_file():  # no barrier, whose patience may be shorter
        time.sleep(POLL_S)
    plugin = accelerator.state.deepspeed_plugin
    plugin.hf_ds_config.config["checkpoint"] = {"load_universal": True}
    try:
        yield
    finally:
        if accelerator.is_main_process:
            latest.unlink(missing_ok=True)
            remove_folder(universal)


def _state_folder(checkpoint: Path) -> Path | None:
    """The folder of DeepSpeed's state in a checkpoint."""
    latest = checkpoint / "latest"
    return checkpoint / latest.read_text().strip() if latest.is_file() else None


def _n_parts(folder: Path) -> int:
    return len(list(folder.glob("*_optim_states.pt")))


def _convert(folder: Path, universal: Path) -> None:
    converter = importlib.import_module("deepspeed.checkpoint.ds_to_universal")  # an extra
    options = argparse.Namespace(
        input_folder=str(folder),
        output_folder=str(universal),
        num_extract_workers=1,  # in this process
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        converter.main(options)
