"""The frozen towers compute a prompt's picture and sound once per step, for all passes over it.

Rollout, reference and policy have the same towers, which do not train, so what they compute is the
same in all of them. A tower's outputs wait on the host, and a pass takes them in its place. Where
its projection trains, the states behind its layers wait instead, and a pass computes what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from avrt.engines.encode import media_inputs
from avrt.train.shared_prefix import Media, thinker_of

__all__ = ["States", "has_frozen_layers", "states_given", "tower_states"]

States = Mapping[str, Tensor]
"""For each input of a prompt's media that a tower takes, the tower's outputs (outputs, tokens,
width): one, and more in Qwen3-Omni. Of a tower with a projection that trains, the states (layers,
tokens, width) behind the layers that anything else reads: the last one, and the same ones.
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
            module = getattr(thinker.base_model, tower)
            with ExitStack() as stack:
                if _is_frozen(module):
                    hooks = [module.register_forward_hook(partial(_keep_outputs, kept))]
                else:
                    hooks = [
                        layer.register_forward_hook(partial(_keep, kept, i))
                        for i, layer in _read_layers(module, layers)
                    ]
                for hook in hooks:
                    stack.callback(hook.remove)
                getattr(thinker.base_model, method)(inputs[kind], inputs[second])
            states[kind] = torch.stack([kept[i] for i in sorted(kept)]).cpu()
    return states


@contextmanager
def states_given(model: Any, rows: Sequence[States]) -> Iterator[None]:
    """Let the states of a pass's prompts, in their order, take the place of towers or their layers.

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
    """Call a thinker's method whose tower gives the states, or has them in its layers' place."""
    if _is_frozen(tower):
        first, *others = states
        # By the names of both towers' outputs: the tokens' sound, the pictures', and further ones.
        output = SimpleNamespace(
            last_hidden_state=first, pooler_output=first, deepstack_features=others
        )
        tower.forward = lambda *_, **__: output  # hides the method of the class
        try:
            return method(*args, **options)
        finally:
            del tower.forward
    real = getattr(tower, layers)
    read = [i for i, _ in _read_layers(tower, layers)]
    given = dict(zip(read, states, strict=True))
    in_tuple = layers == "layers"  # so the towers for sound expect it
    setattr(tower, layers, nn.ModuleList(_Given(given.get(i), in_tuple) for i in range(len(real))))
    try:
        return method(*args, **options)
    finally:
        setattr(tower, layers, real)


def _is_frozen(tower: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in tower.parameters())


def _read_layers(tower: Any, layers: str) -> list[tuple[int, Any]]:
    """The layers whose states are read by anything but the next layer."""
    every = getattr(tower, layers)
    indexes = {*getattr(tower, "deepstack_visual_indexes", ()), len(every) - 1}
    return [(i, every[i]) for i in sorted(indexes)]


def _keep(kept: dict[int, Tensor], i: int, _layer: Any, _inputs: Any, output: Any) -> None:
    kept[i] = output[0] if isinstance(output, tuple) else output


def _keep_outputs(kept: dict[int, Tensor], _tower: Any, _inputs: Any, output: Any) -> None:
    """Keep what the thinker reads of a tower's output, in an order."""
    pictures = getattr(output, "pooler_output", None)
    first = output.last_hidden_state if pictures is None else pictures
    kept.update(enumerate([first, *(getattr(output, "deepstack_features", None) or ())]))
