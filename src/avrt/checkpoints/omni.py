"""The published form of Qwen2.5-Omni: model types, names of tensors, and their shapes.

transformers calls the live parameters otherwise (`model.language_model.layers`, published
`model.layers`) and translates when it loads and saves. A thinker under live names, or with the
prefix of the whole model, as trainers may write it, is read too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avrt.checkpoints.tensors import StoredTensor, read_tensors
from avrt.errors import ConfigError, DataError
from avrt.texts import read_json

__all__ = [
    "CONFIG",
    "OMNI",
    "PREFIX",
    "THINKER",
    "published_name",
    "read_checkpoint",
    "thinker_shapes",
]

CONFIG = "config.json"
OMNI, THINKER = "qwen2_5_omni", "qwen2_5_omni_thinker"
"""Model types of a whole model and of a thinker, in config.json."""
PREFIX = "thinker."
"""Beginning of a thinker's names inside a whole model."""
_LIVE_NAMES = {
    "model.language_model.": "model.",
    "model.visual.": "visual.",
    "model.audio_tower.": "audio_tower.",
}


def read_checkpoint(
    folder: Path, wanted: str | None = None
) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Read configuration and tensors of a checkpoint; `wanted` is its model type, or None for both.

    Raises:
        ConfigError: there is no checkpoint, or its model type is another.
        DataError: damaged configuration or weights.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ConfigError(
            f"{folder}: no checkpoint here, {CONFIG} is missing; name the folder of a checkpoint"
        )
    try:
        config: dict[str, Any] = read_json(path)
        model_type: Any = config.get("model_type")
    except (DataError, AttributeError) as error:
        raise DataError(f"{path}: not the configuration of a model: {error}") from error
    if model_type not in (OMNI, THINKER) or wanted not in (None, model_type):
        raise ConfigError(f"{folder}: {_unsuited(model_type, wanted)}")
    return config, read_tensors(folder)


def _unsuited(model_type: Any, wanted: str | None) -> str:
    if model_type == OMNI:
        return (
            "this is a whole Qwen2.5-Omni, but a thinker is needed; extract it with "
            "`avrt checkpoint extract FOLDER OUT`"
        )
    if model_type == THINKER:
        return "this is a thinker, but the whole Qwen2.5-Omni that it came from is needed"
    kind = "a whole Qwen2.5-Omni" if wanted == OMNI else "a Qwen2.5-Omni thinker"
    return f"model_type in {CONFIG} is {model_type!r}, but {kind} is needed"


def published_name(name: str) -> str:
    """Give the name of a thinker's tensor in published files.

    A thinker that was loaded out of a whole model keeps the prefix when transformers saves it.
    """
    name = name.removeprefix(PREFIX)
    for live, published in _LIVE_NAMES.items():
        if name.startswith(live):
            return published + name.removeprefix(live)
    return name


def thinker_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Give the shape of every tensor in a thinker of this configuration, by published name."""
    import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

    import torch
    import transformers

    with torch.device("meta"):
        model = transformers.Qwen2_5OmniThinkerForConditionalGeneration(
            transformers.Qwen2_5OmniThinkerConfig.from_dict(config)
        )
    return {published_name(name): tuple(tensor.shape) for name, tensor in model.named_parameters()}
