"""Training of the student: SFT on the merged traces, then GRPO on format and accuracy rewards.

TRL's trainers run the loop. TRL reports every trainer it builds to its makers; AVRT sends nothing
anywhere, so that is switched off here.
"""

from __future__ import annotations

import os

import huggingface_hub.constants
import torch

import avrt.engines.torchcompat  # noqa: F401  # pyright: ignore[reportUnusedImport]  # before transformers

__all__: list[str] = []

huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
if not torch.cuda.is_available():
    # Read when TRL imports DeepSpeed, if that is there.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
