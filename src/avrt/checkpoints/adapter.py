"""Merge an adapter into Audio Flamingo 3: base, tensors that were trained beside it, LoRA.

Reads the base and an adapter's folder, such as `think` of nvidia/audio-flamingo-3-hf: PEFT's
`adapter_config.json` and `adapter_model.safetensors`, and `non_lora_trainables.bin`. Writes a
folder that vLLM and transformers serve, tensor by tensor, so that memory holds one of them.

The decision to question: neither transformers nor peft loads the model. The authors' way,
`load_state_dict(..., strict=False)`, takes the names that the model had in transformers 5.0; with
later ones it finds none of them and says nothing. Here every name is put into its published form,
and one that the base lacks is refused. The sum W + scale x B A is worked out in float32 and rounded
once to the base's format.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from avrt.checkpoints.convert import companions, size_of, write_checkpoint
from avrt.checkpoints.omni import CONFIG
from avrt.checkpoints.tensors import NewTensor, StoredTensor, read_file, read_tensors, to_bytes
from avrt.errors import ConfigError, DataError
from avrt.texts import read_json

if TYPE_CHECKING:
    import torch

__all__ = ["merge_adapter", "published_audio_name"]

MODEL_TYPE = "audioflamingo3"
ADAPTER_CONFIG, ADAPTER, BESIDE = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "non_lora_trainables.bin",
)
_WRAPPERS = ("module.", "base_model.model.", "base_model.")
_PUBLISHED = {
    "model.language_model.": "language_model.model.",
    "model.audio_tower.": "audio_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "lm_head.": "language_model.lm_head.",
    "language_model.model.model.": "language_model.model.",
    "language_model.model.lm_head.": "language_model.lm_head.",
}
"""Beginning of a name in transformers from 5.19 on, and in files that it writes of a model built
from a configuration, which vLLM does not load; and the published beginning.
"""
_FACTOR = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
_UNKNOWN_ARITHMETIC = (
    *("use_dora", "use_qalora", "fan_in_fan_out", "alpha_pattern", "layer_replication"),
    *("alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config"),
)
"""Settings of PEFT under which a merged weight is not W + scale x B A."""

_Source: TypeAlias = "StoredTensor | torch.Tensor"


def merge_adapter(base: Path, adapter: Path, out: Path, ignore_unknown: bool = False) -> str:
    """Write the base with the adapter merged in; return a summary.

    With `ignore_unknown`, tensors of `non_lora_trainables.bin` that the base does not have are left
    out, as the authors' loader does.

    Raises:
        ConfigError: no Audio Flamingo 3, no adapter, a file of it is missing, or `out` exists.
        DataError: a file is damaged, or the adapter is of another model.
    """
    if out.exists():
        raise ConfigError(f"{out}: already exists; name a new folder")
    config, tensors = _read_base(base)
    scale_of, changes = _read_adapter(adapter)
    path = adapter / BESIDE
    if not path.is_file():
        raise ConfigError(
            f"{path}: not found; without these tensors the model does not think as published: "
            "download the whole folder of the adapter"
        )
    beside = {published_audio_name(name): tensor for name, tensor in _load(path).items()}
    if ignore_unknown:
        beside = {name: tensor for name, tensor in beside.items() if name in tensors}
    _check_names(path, base, beside, tensors)
    factors, whole = _pair(adapter, changes)
    _check_names(adapter, base, [*factors, *whole], tensors)
    replaced: dict[str, _Source] = {**beside, **whole}
    changed = {name: Adapted(tensors[name], source) for name, source in replaced.items()}
    for name, (a, b) in factors.items():
        source = replaced.get(name, tensors[name])
        changed[name] = Adapted(tensors[name], source, (a, b), scale_of(a))
    for name, tensor in changed.items():
        tensor.check(name, base)
    merged: dict[str, NewTensor] = {**tensors, **changed}
    write_checkpoint(out, config, merged, companions(base))
    return (
        f"{out}: {size_of(merged)}; {len(factors)} with a LoRA merged in, {len(replaced)} "
        f"replaced, the others unchanged from {base}"
    )


@dataclass(frozen=True)
class Adapted:
    """A tensor of the base that an adapter changes; worked out when it is written."""

    base: StoredTensor
    source: _Source
    """What stands in its place: itself, or a tensor that was trained beside the adapter."""
    factors: tuple[_Source, _Source] | None = None
    """A (rank x inputs) and B (outputs x rank)."""
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def new_dtype(self) -> str:
        return self.base.dtype

    @property
    def n_bytes(self) -> int:
        return self.base.n_stored

    def check(self, name: str, base: Path) -> None:
        """Refuse shapes that do not fit.

        Raises:
            DataError: the adapter is of another model.
        """
        found = tuple(self.source.shape)
        if self.factors is not None and found == self.shape:
            a, b = (tuple(factor.shape) for factor in self.factors)
            fits = len(a) == len(b) == 2 and a[0] == b[1]
            found = (b[0], a[1]) if fits else (*b, *a)
        if found != self.shape:
            raise DataError(
                f"{name}: the adapter's is {list(found)}, but {base} has {list(self.shape)}: the "
                "adapter is of another model; name the base that it was trained on"
            )

    def write_to(self, file: IO[bytes]) -> None:
        values = _values(self.source)
        if self.factors is not None:
            a, b = (_values(factor).float() for factor in self.factors)
            values = values.float().addmm(b, a, alpha=self.scale)
        file.write(to_bytes(values, self.base.dtype))


def published_audio_name(name: str) -> str:
    """Give the published name of a tensor of Audio Flamingo 3, whatever wraps its module."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    name = name.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
    for live, published in _PUBLISHED.items():
        if name.startswith(live):
            name = published + name.removeprefix(live)
    return name


def _values(source: _Source) -> torch.Tensor:
    return source.read() if isinstance(source, StoredTensor) else source


def _read_base(base: Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    path = base / CONFIG
    if not path.is_file():
        raise ConfigError(
            f"{base}: no checkpoint here, {CONFIG} is missing; download nvidia/audio-flamingo-3-hf "
            "and name its folder"
        )
    config = read_json(path)
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type != MODEL_TYPE:
        raise ConfigError(
            f"{base}: model_type in {CONFIG} is {model_type!r}, but a base of {MODEL_TYPE!r} is "
            "needed, such as nvidia/audio-flamingo-3-hf"
        )
    return config, {published_audio_name(name): each for name, each in read_tensors(base).items()}


def _read_adapter(adapter: Path) -> tuple[Any, Mapping[str, _Source]]:
    """The scale of a LoRA by its first factor, and the tensors of the adapter."""
    path = adapter / ADAPTER_CONFIG
    if not path.is_file():
        inside = adapter / "think"
        hint = f"; the adapter is in {inside}: name that folder" if inside.is_dir() else ""
        raise ConfigError(f"{path}: not found, so {adapter} is no adapter of PEFT{hint}")
    settings = read_json(path)
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        raise ConfigError(f"{path}: not the settings of a LoRA; only these can be merged")
    if strange := [name for name in _UNKNOWN_ARITHMETIC if settings.get(name)]:
        raise ConfigError(f"{path}: {strange[0]} is set; such an adapter cannot be merged here")
    alpha, is_rooted = settings.get("lora_alpha"), bool(settings.get("use_rslora"))
    if not isinstance(alpha, int | float):
        raise DataError(f"{path}: lora_alpha is {alpha!r}, not a number")

    def scale_of(a: _Source) -> float:
        return alpha / (math.sqrt(a.shape[0]) if is_rooted else a.shape[0])

    weights = adapter / ADAPTER
    if weights.is_file():
        return scale_of, read_file(weights)
    if (old := weights.with_suffix(".bin")).is_file():
        return scale_of, _load(old)
    raise ConfigError(f"{weights}: not found; download the whole folder of the adapter")


def _load(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file of torch, read when they are used."""
    import torch

    try:
        # A file of before 2020 is no archive and cannot be mapped.
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: not a complete file of tensors ({reason}); download it again"
        ) from error
    if not isinstance(loaded, dict) or not all(map(torch.is_tensor, loaded.values())):
        raise DataError(f"{path}: holds other things than tensors by their names")
    return loaded


def _pair(
    adapter: Path, changes: Mapping[str, _Source]
) -> tuple[dict[str, tuple[_Source, _Source]], dict[str, _Source]]:
    """The two factors of each tensor with a LoRA, and the tensors that were saved whole."""
    halves: dict[str, dict[str, _Source]] = {}
    whole: dict[str, _Source] = {}
    for name, tensor in changes.items():
        if (match := _FACTOR.fullmatch(name)) is not None:
            halves.setdefault(published_audio_name(f"{match[1]}.weight"), {})[match[2]] = tensor
        else:
            whole[published_audio_name(name)] = tensor
    if single := [name for name, pair in halves.items() if len(pair) < 2]:
        raise DataError(f"{adapter}: {single[0]} has one factor of its LoRA, not two")
    return {name: (pair["A"], pair["B"]) for name, pair in halves.items()}, whole


def _check_names(
    source: Path, base: Path, names: Iterable[str], tensors: Mapping[str, StoredTensor]
) -> None:
    unknown = [name for name in names if name not in tensors]
    if not unknown:
        return
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    also = "; --ignore-unknown leaves them out" if source.name == BESIDE else ""
    raise DataError(
        f"{source}: {unknown[0]}{more} not in {base}: the adapter is of another model; name the "
        f"base that it was trained on{also}"
    )
