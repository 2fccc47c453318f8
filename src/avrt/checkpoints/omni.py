"""The published forms of Qwen2.5-Omni and Qwen3-Omni: model types, names of tensors, their shapes.

transformers calls the live parameters otherwise (`model.language_model.layers`, published
`model.layers`; Qwen3-Omni's experts are one tensor when live, published one by one) and translates
when it loads and saves. A thinker under live names, or with the prefix of the whole model, as
trainers may write it, is read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avrt.checkpoints.tensors import StoredTensor, read_tensors
from avrt.engines.names import published_name
from avrt.errors import ConfigError, DataError
from avrt.texts import read_json

__all__ = [
    "CONFIG",
    "Family",
    "Form",
    "family_of",
    "read_checkpoint",
    "thinker_shapes",
]

CONFIG = "config.json"
Form = Literal["whole", "thinker"]


@dataclass(frozen=True)
class Family:
    """One Omni model: its name, and model types and classes of its two forms in config.json."""

    name: str
    types: dict[Form, str]
    classes: dict[Form, str]

    def form_of(self, model_type: Any) -> Form | None:
        """Which form a model type is of; None: of another family."""
        return next((form for form, known in self.types.items() if known == model_type), None)


FAMILIES = (
    Family(
        "Qwen2.5-Omni",
        {"whole": "qwen2_5_omni", "thinker": "qwen2_5_omni_thinker"},
        {
            "whole": "Qwen2_5OmniForConditionalGeneration",
            "thinker": "Qwen2_5OmniThinkerForConditionalGeneration",
        },
    ),
    Family(
        "Qwen3-Omni",
        {"whole": "qwen3_omni_moe", "thinker": "qwen3_omni_moe_thinker"},
        {
            "whole": "Qwen3OmniMoeForConditionalGeneration",
            "thinker": "Qwen3OmniMoeThinkerForConditionalGeneration",
        },
    ),
)


def read_checkpoint(
    folder: Path, wanted: Form | None = None
) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Read configuration and tensors of a checkpoint; `wanted` is its form, or None for both.

    Raises:
        ConfigError: there is no checkpoint, or it is of another form or kind.
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
    family = next((each for each in FAMILIES if each.form_of(model_type)), None)
    form = None if family is None else family.form_of(model_type)
    if family is None or wanted not in (None, form):
        raise ConfigError(f"{folder}: {_unsuited(model_type, family, wanted)}")
    return config, read_tensors(folder)


def family_of(config: dict[str, Any]) -> Family:
    """The family of a configuration that `read_checkpoint` gave."""
    return next(family for family in FAMILIES if family.form_of(config["model_type"]))


def _unsuited(model_type: Any, family: Family | None, wanted: Form | None) -> str:
    if family is None:
        names = " or ".join(known.name for known in FAMILIES)
        kind = f"a whole {names}" if wanted == "whole" else f"a {names} thinker"
        return f"model_type in {CONFIG} is {model_type!r}, but {kind} is needed"
    if family.form_of(model_type) == "whole":
        return (
            f"this is a whole {family.name}, but a thinker is needed; extract it with "
            "`avrt checkpoint extract FOLDER OUT`"
        )
    return f"this is a thinker, but the whole {family.name} that it came from is needed"


def thinker_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Give the shape of every tensor in a thinker of this configuration, by published name."""
    import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

    import torch
    import transformers

    architecture = getattr(transformers, family_of(config).classes["thinker"])
    with torch.device("meta"):
        model = architecture(architecture.config_class.from_dict(config))
    return {
        name: shape
        for live, tensor in model.named_parameters()
        for name, shape in _published(published_name(live), tuple(tensor.shape))
    }


def _published(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors in a file that become one live tensor: the experts of a layer, each by itself.

    Live, (experts, 2 x inner, hidden) holds `gate_proj` above `up_proj`.
    """
    layer, _, part = name.rpartition(".mlp.experts.")
    if not layer:
        yield name, shape
        return
    n_experts, n_rows, n_columns = shape
    parts = {"gate_proj": n_rows // 2, "up_proj": n_rows // 2}
    for expert in range(n_experts):
        for one, n in (parts if part == "gate_up_proj" else {part: n_rows}).items():
            yield f"{layer}.mlp.experts.{expert}.{one}.weight", (n, n_columns)
