"""The frozen towers compute a prompt's picture and sound once per step, for all passes over it.

Rollout, reference and policy have the same towers, which do not train, so the states behind the
towers' layers are the same in all of them. They wait on the host, and a pass takes them in place of
the layers. What follows the layers, and may train, is computed in every pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from avrt.engines.encode import media_inputs
from avrt.train.shared_prefix import Media, thinker_of

__all__ = ["States", "has_frozen_layers", "states_given", "tower_states"]

States = Mapping[str, Tensor]
"""For each input of a prompt's media that a tower takes, the states (layers, tokens, width) behind
the layers that anything else reads: the last one, and in Qwen3-Omni some before it.
"""
KINDS = {
    "pixel_values": ("visual", "blocks", "get_image_features", "image_grid_thw"),
    "pixel_values_videos": ("visual", "blocks", "get_video_features", "video_grid_thw"),
    "input_features": ("audio_tower", "layers", "get_audio_features", "feature_attention_mask"),
}
"""Of each input: the tower, the name of its layers, the thinker's method that calls it, and the
method's second argument.
"""


def has_frozen_layers(model: Any) -> bool:
    """Whether no layer of a tower trains."""
    base = thinker_of(model).base_model
    layers = {getattr(getattr(base, tower), name) for tower, name, *_ in KINDS.values()}
    return not any(p.requires_grad for of_tower in layers for p in of_tower.parameters())


@torch.no_grad()
def tower_states(model: Any, media: Media) -> States:
    """Compute the states of one prompt, on the host."""
    thinker = thinker_of(model)
    inputs = media_inputs([media], thinker.device)
    states = {}
    for kind, (tower, layers, method, second) in KINDS.items():
        if kind in inputs:
            kept: dict[int, Tensor] = {}
            with ExitStack() as stack:
                for i, layer in _read_layers(getattr(thinker.base_model, tower), layers):
                    hook = layer.register_forward_hook(partial(_keep, kept, i))
                    stack.callback(hook.remove)
                getattr(thinker.base_model, method)(inputs[kind], inputs[second])
            states[kind] = torch.stack([kept[i] for i in sorted(kept)]).cpu()
    return states


@contextmanager
def states_given(model: Any, rows: Sequence[States]) -> Iterator[None]:
    """Let the towers take the states of a pass's prompts, in their order, in the place of layers.

    Without rows the towers compute.
    """
    base = thinker_of(model).base_model
    kinds = {kind: [row[kind] for row in rows if kind in row] for kind in KINDS}
    methods = []
    for kind, of_rows in kinds.items():
        if of_rows:
            tower, layers, method, _ = KINDS[kind]
            states = torch.cat(of_rows, 1).to(base.device)
            call = partial(_call_with, states, getattr(base, tower), layers, getattr(base, method))
            setattr(base, method, call)  # hides the method of the class
            methods.append(method)
    try:
        yield
    finally:
        for method in methods:
            delattr(base, method)


class _Given(nn.Module):
    """Takes the place of a layer: gives its state, or what came in where nothing reads it."""

    def __init__(self, state: Tensor | None, in_tuple: bool) -> None:
        super().__init__()
        self._state, self._in_tuple = state, in_tuple

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        state = hidden_states if self._state is None else self._state
        return (state,) if self._in_tuple else state


def _call_with(
    states: Tensor, tower: Any, layers: str, method: Any, *args: Any, **options: Any
) -> Any:
    """Call a thinker's method whose tower has the states in the place of its layers."""
    real = getattr(tower, layers)
    read = [i for i, _ in _read_layers(tower, layers)]
    given = dict(zip(read, states, strict=True))
    in_tuple = layers == "layers"  # so the towers for sound expect it
    setattr(tower, layers, nn.ModuleList(_Given(given.get(i), in_tuple) for i in range(len(real))))
    try:
        return method(*args, **options)
    finally:
        setattr(tower, layers, real)


def _read_layers(tower: Any, layers: str) -> list[tuple[int, Any]]:
    """The layers whose states are read by anything but the next layer."""
    every = getattr(tower, layers)
    indexes = {*getattr(tower, "deepstack_visual_indexes", ()), len(every) - 1}
    return [(i, every[i]) for i in sorted(indexes)]


def _keep(kept: dict[int, Tensor], i: int, _layer: Any, _inputs: Any, output: Any) -> None:
    kept[i] = output[0] if isinstance(output, tuple) else output
