"""The encoded media of a prompt as vLLM holds them, in its process or in a request of rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avrt.engines.encode import INTERLEAVED, as_floats
from avrt.errors import EngineError

__all__ = ["items_of", "packed", "runs_of", "same_times"]


def items_of(
    media: Mapping[str, Tensor], dtype: torch.dtype
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The media of a prompt as vLLM's items, by kind; floats as autocast rounds them."""
    if INTERLEAVED in media:
        raise EngineError("vLLM takes no video with its sound between the frames")
    floats = as_floats(media)
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if pixels not in floats:
            continue
        grids = floats[f"{kind}_grid_thw"]
        parts = floats[pixels].to(dtype).split(grids.prod(-1).tolist())
        items = [
            {pixels: _flat(part), f"{kind}_grid_thw": _single(grid)}
            for part, grid in zip(parts, grids, strict=True)
        ]
        if kind == "video":
            for item, seconds, grid in zip(
                items, floats["video_second_per_grid"], grids, strict=True
            ):
                item["second_per_grid_ts"] = _single(same_times(seconds, int(grid[0])))
        yield kind, items
    if "input_features" in floats:
        sounds = zip(floats["input_features"], floats["feature_attention_mask"], strict=True)
        yield (
            "audio",
            [
                {
                    "input_audio_features": _flat(features[:, mask.bool()].to(dtype), 1),
                    "feature_attention_mask": _single(mask),
                    "audio_feature_lengths": _single(mask.sum()),
                }
                for features, mask in sounds
            ],
        )


def same_times(seconds: Tensor, n_grids: int, per_second: int = 25) -> Tensor:
    """Seconds per grid for which vLLM's arithmetic puts frames where the trainer's does.

    A position is the whole part of number x seconds x 25, in single precision here and in double
    precision there, which differ where the product is a whole number but for rounding.
    """
    numbers = torch.arange(n_grids)
    wanted = (numbers * seconds.float() * per_second).long()[1:]
    scale = numbers[1:].double() * per_second
    if not len(scale):
        return seconds.double()
    low, high = (wanted / scale).max(), ((wanted + 1) / scale).min()
    # In few cases no number does; then one frame is off by a 25th of a second.
    return (low + high) / 2 if low < high else seconds.double()


def _flat(tensor: Tensor, dim: int = 0) -> dict[str, Any]:
    field = {"keep_on_cpu": False, "slices": [[0, tensor.shape[dim], None]], "dim": dim}
    return {"data": tensor, "field": ["flat", field]}


def _single(tensor: Tensor) -> dict[str, Any]:
    return {"data": tensor, "field": ["batched", {"keep_on_cpu": True}]}


def runs_of(prompt: Sequence[int], placeholder: int) -> Iterator[dict[str, int]]:
    """Where the placeholder's runs begin in a prompt, and how long they are."""
    start = None
    for place, token in enumerate([*prompt, -1]):
        if token == placeholder and start is None:
            start = place
        elif token != placeholder and start is not None:
            yield {"offset": start, "length": place - start}
            start = None


def packed(value: Any) -> bytes:
    """MessagePack, with tensors as vLLM's `MsgpackEncoder` writes them: type, shape and bytes."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xd3" + value.to_bytes(8, "big", signed=True)
    if isinstance(value, str):
        return b"\xdb" + _size(value.encode())
    if isinstance(value, Tensor):
        raw = value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        extension = b"\xc9" + len(raw).to_bytes(4, "big") + b"\x03" + raw
        kind = str(value.dtype).removeprefix("torch.")
        return b"\x93" + packed(kind) + packed(list(value.shape)) + extension
    if isinstance(value, Mapping):
        pairs = [packed(key) + packed(each) for key, each in value.items()]
        return b"\xdf" + len(pairs).to_bytes(4, "big") + b"".join(pairs)
    return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(packed, value))


def _size(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw
