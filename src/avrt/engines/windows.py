"""Attention of the towers for picture and sound, whose tokens attend within windows.

transformers calls SDPA for one window after the other, in every layer: 5,040 calls for a clip of
720p in Qwen2.5-Omni. Its path for flash attention hands on all windows with their bounds. The
attention here takes that path, and computes all windows of one length in one call of SDPA.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from avrt.errors import ConfigError

__all__ = ["TOWERS", "choose_attention", "has_towers", "set_tower_attention"]

TOWERS = ("visual", "audio_tower")
"""Towers of a thinker."""
BATCHED = "avrt_flash_windows"
"""Name of the attention below; transformers hands on all windows to names with `flash`."""


def has_towers(model: Any) -> bool:
    """Whether this is the thinker of an Omni model, with towers for picture and for sound."""
    return all(hasattr(model.base_model, tower) for tower in TOWERS)


def choose_attention(attention: str, device: str, dtype: str) -> str:
    """Give `sdpa` or `flash_attention_2` for the towers of a model of this format on `device`.

    `auto` is `flash_attention_2` for bfloat16 on a GPU whose environment has the package, else
    `sdpa`.

    Raises:
        ConfigError: flash attention cannot run here.
    """
    faults = {
        "it needs a GPU": not device.startswith("cuda"),
        f"it does not compute in {dtype}": dtype == "float32",
        "the package flash-attn is not installed": find_spec("flash_attn") is None,
    }
    faults = [fault for fault, is_so in faults.items() if is_so]
    if attention == "flash_attention_2" and faults:
        raise ConfigError(
            f"student.tower_attention = flash_attention_2: {faults[0]}; set "
            "student.tower_attention=auto, whose results differ by rounding only"
        )
    return "sdpa" if attention == "sdpa" or faults else "flash_attention_2"


def set_tower_attention(model: Any, attention: str = "sdpa") -> None:
    """Let the towers of an Omni model use this attention, in which `sdpa` is the one below."""
    for name in TOWERS:
        tower = getattr(model.base_model, name)
        if attention == "sdpa":
            tower.config._attn_implementation = BATCHED
        else:
            tower.set_attn_implementation(attention)


def _attention(
    _module: Any, query: Tensor, key: Tensor, value: Tensor, **options: Any
) -> tuple[Tensor, None]:
    """Scaled dot-product attention within windows.

    query, key, value (1, heads, T, D), and the bounds of W windows `cu_seq_lens_q` (W + 1,);
    returns (1, T, heads, D).
    """
    windows, order = _windows(options["cu_seq_lens_q"])
    parts = []
    for positions in windows:
        rows = (
            states[0].unflatten(1, positions.shape) if order is None else states[0][:, positions]
            for states in (query, key, value)
        )
        outputs = scaled_dot_product_attention(
            *(states.transpose(0, 1) for states in rows),
            dropout_p=options.get("dropout", 0.0),
            scale=options["scaling"],
        )
        parts.append(outputs.transpose(1, 2).flatten(0, 1))
    return (parts[0] if order is None else torch.cat(parts)[order])[None], None


def _windows(bounds: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """The tokens (n, L) of the windows of each length L, and where each token then is (T,).

    Windows of one length lie as they are: there is no order. All layers of a pass get the same
    tensor of bounds, so that it carries the result.
    """
    known = getattr(bounds, "_windows", None)
    if known is not None:
        return known
    starts, lengths = bounds[:-1], bounds.diff()
    windows = [
        starts[lengths == length, None] + torch.arange(length, device=bounds.device)
        for length in lengths.unique().tolist()
    ]
    order = None
    if len(windows) > 1:
        order = torch.cat([positions.flatten() for positions in windows]).argsort()
    bounds._windows = windows, order  # pyright: ignore[reportAttributeAccessIssue]
    return windows, order


AttentionInterface.register(BATCHED, _attention)
