"""Convert between an official Omni model, the thinker that is trained, and the form for vLLM.

    extract      whole model -> thinker      keys lose the prefix `thinker.`
    merge        thinker + whole model -> whole model with that thinker
    export_vllm  thinker -> a whole model without talker and vocoder, the form that vLLM knows

Every command writes a new folder under a hidden name and renames it at the end, so that a full disk
or a kill leaves nothing that looks like a checkpoint. Tensors are copied byte by byte (see
`tensors.py`) under their published names (see `omni.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avrt.checkpoints.omni import (
    CONFIG,
    family_of,
    read_checkpoint,
    thinker_shapes,
)
from avrt.checkpoints.tensors import INDEX, NewTensor, StoredTensor, write_tensors
from avrt.engines.names import PREFIX, published_name
from avrt.errors import ConfigError, DataError
from avrt.runs import replace_folder, write_json

__all__ = [
    "check_complete",
    "companions",
    "export_vllm",
    "extract",
    "merge",
    "size_of",
    "write_checkpoint",
]

HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth"}


def extract(omni: Path, out: Path) -> str:
    """Write the thinker of a whole model: configuration, weights, processor; return a summary.

    Raises:
        ConfigError: `omni` is no whole Omni model, or `out` exists.
        DataError: weights are missing or damaged.
    """
    config, tensors = read_checkpoint(omni, "whole")
    family = family_of(config)
    thinker = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(PREFIX)
    }
    shared = {key: config[key] for key in ("dtype", "torch_dtype") if key in config}
    own = {
        **shared,
        **config["thinker_config"],
        "architectures": [family.classes["thinker"]],
        "model_type": family.types["thinker"],
    }
    check_complete(omni, own, thinker)
    write_checkpoint(out, own, thinker, companions(omni))
    return f"{out}: {size_of(thinker)} of the {size_of(tensors)} in {omni}"


def merge(thinker: Path, omni: Path, out: Path, cast: bool = False) -> str:
    """Write the whole model with its thinker replaced; every other tensor stays equal to the bit.

    With `cast` the thinker's tensors get the number formats of those they replace.

    Raises:
        ConfigError: a folder holds another kind of checkpoint, or `out` exists.
        DataError: a tensor is missing, has another shape, or is not in the whole model.
    """
    thinker_config, trained = read_checkpoint(thinker, "thinker")
    config, tensors = read_checkpoint(omni, "whole")
    trained = {published_name(name): tensor for name, tensor in trained.items()}
    wanted = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(PREFIX)
    }
    if HEAD in wanted and HEAD not in trained and _is_tied(thinker_config):
        trained[HEAD] = trained[EMBEDDINGS]
    if HEAD in trained and HEAD not in wanted and _is_tied(config["thinker_config"]):
        raise DataError(
            f"{thinker}: has its own head ({HEAD}), but the model in {omni} uses its embeddings as "
            "head; name the whole model that this thinker came from"
        )
    _check_same(thinker, trained, omni, wanted)
    replaced = {
        PREFIX + name: trained[name].in_format(tensor.dtype) if cast else trained[name]
        for name, tensor in wanted.items()
    }
    write_checkpoint(out, config, {**tensors, **replaced}, companions(omni, everything=True))
    formats = {trained[name].dtype for name in wanted} - {wanted[name].dtype for name in wanted}
    summary = (
        f"{out}: {len(replaced)} tensors from {thinker}, "
        f"the other {len(tensors) - len(replaced)} unchanged from {omni}"
    )
    if not formats or cast:
        return summary
    return f"{summary}; its thinker is stored in {'+'.join(sorted(formats))}, --cast rounds it"


def export_vllm(thinker: Path, out: Path) -> str:
    """Write the thinker as a whole model without talker, the form that vLLM serves.

    Raises:
        ConfigError: `thinker` holds another kind of checkpoint, or `out` exists.
        DataError: weights are missing or damaged.
    """
    config, tensors = read_checkpoint(thinker, "thinker")
    family = family_of(config)
    tensors = {published_name(name): tensor for name, tensor in tensors.items()}
    check_complete(thinker, config, tensors)
    whole = {
        "architectures": [family.classes["whole"]],
        "model_type": family.types["whole"],
        "enable_audio_output": False,
        **{key: config[key] for key in ("dtype", "torch_dtype") if key in config},
        "thinker_config": config,
    }
    named = {PREFIX + name: tensor for name, tensor in tensors.items()}
    write_checkpoint(out, whole, named, companions(thinker))
    return f"{out}: {size_of(named)}; serve it with: vllm serve {out}"


def _is_tied(config: Mapping[str, Any]) -> bool:
    text = config.get("text_config") or {}
    return bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))


def check_complete(
    folder: Path, config: dict[str, Any], tensors: Mapping[str, StoredTensor]
) -> None:
    """Refuse weights without a parameter that the configuration implies, or with another shape.

    `tensors` are those of a thinker under their published names.

    Raises:
        DataError: a tensor is missing or has another shape.
    """
    shapes = thinker_shapes(config)
    if HEAD in shapes and HEAD not in tensors and _is_tied(config):
        del shapes[HEAD]
    _report(
        f"{folder}: the weights do not fit config.json",
        (name for name in shapes if name not in tensors),
        (
            f"{name} is {list(tensors[name].shape)}, expected {list(shape)}"
            for name, shape in shapes.items()
            if name in tensors and tensors[name].shape != shape
        ),
    )


def _check_same(
    thinker: Path,
    trained: Mapping[str, StoredTensor],
    omni: Path,
    wanted: Mapping[str, StoredTensor],
) -> None:
    _report(
        f"{thinker} does not fit {omni}",
        (name for name in wanted if name not in trained),
        (
            f"{name} is {list(trained[name].shape)}, expected {list(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in trained and trained[name].shape != tensor.shape
        ),
        (name for name in trained if name not in wanted),
    )


def _report(
    problem: str, missing: Iterable[str], reshaped: Iterable[str], unknown: Iterable[str] = ()
) -> None:
    kinds = {"missing": missing, "of another shape": reshaped, "not in the whole model": unknown}
    for kind, tensors in kinds.items():
        names = list(tensors)
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise DataError(f"{problem}: {kind}: {names[0]}{more}")


def companions(folder: Path, everything: bool = False) -> list[Path]:
    """List the files beside configuration and weights: processor, generation settings, terms.

    `everything` adds the weights that are not safetensors, such as the voices.
    """
    own = {CONFIG, INDEX}
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in own)
    left_out = {".safetensors"} if everything else _WEIGHTS
    return [path for path in files if path.suffix not in left_out and not path.name.startswith(".")]


def write_checkpoint(
    out: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, NewTensor],
    files: Iterable[Path],
) -> None:
    """Write a checkpoint's configuration, weights, and copies of the `files` beside them.

    Raises:
        ConfigError: `out` exists.
    """
    with replace_folder(out) as temporary:
        if out.exists():
            raise ConfigError(f"{out}: already exists; name a new folder")
        write_tensors(temporary, tensors)
        for path in files:
            shutil.copyfile(path, temporary / path.name)
        write_json(temporary / CONFIG, config)


def size_of(tensors: Mapping[str, NewTensor]) -> str:
    """The number of tensors and their size, in words."""
    n_bytes = sum(tensor.n_bytes for tensor in tensors.values())
    return f"{len(tensors)} tensors, {n_bytes / 2**30:.2f} GiB"
