"""Resolve, identify and load models with transformers.

A model is a hub id, a local folder, or `world:NAME` for a model inside the package. Keys never hold
a path: the digest of its files identifies a folder, so that a moved folder keeps its calls and a
retrained model does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from avrt.errors import ConfigError, EngineError, install_command
from avrt.runs import file_digest, fingerprint, say, track
from avrt.texts import read_json

__all__ = [
    "MODEL_SUFFIXES",
    "Loaded",
    "architecture_of",
    "can_describe",
    "in_process_identity",
    "load",
    "model_identity",
    "old_names_allowed",
    "pick_device",
    "resolve",
]

_WORLD = "world:"
MODEL_SUFFIXES = {".json", ".jinja", ".safetensors", ".txt"}
"""Of the files of a checkpoint that a model is loaded from."""
ADAPTER = "adapter_config.json"
"""The file in a folder of adapters that names the model they were trained on."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model, in evaluation mode, and its processor (a plain tokenizer for text models)."""

    model: Any
    processor: Any

    @property
    def tokenizer(self) -> Any:
        """The tokenizer inside the processor, or the processor itself."""
        return getattr(self.processor, "tokenizer", self.processor)


@contextmanager
def old_names_allowed() -> Iterator[None]:
    """Silence warnings of names that transformers 5.23 changed; TRL 1.16 and peft 0.21 use them."""
    with warnings.catch_warnings():
        old_names = r"`\w*gradient_checkpointing\w*` is deprecated"
        warnings.filterwarnings("ignore", message=old_names, category=FutureWarning)
        yield


def resolve(model: str) -> str:
    """Give the folder of `world:NAME` inside the package; hub ids and folders stay unchanged.

    Raises:
        ConfigError: the package has no world model of that name.
    """
    if not model.startswith(_WORLD):
        return model
    weights = Path(str(resources.files("avrt"))) / "world" / "weights"
    folder = weights / model.removeprefix(_WORLD)
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in weights.glob("*/config.json"))
        raise ConfigError(
            f"{model}: no such model in the package; known: {', '.join(known) or '(none)'}"
        )
    return str(folder)


def model_identity(model: str, revision: str | None) -> dict[str, Any]:
    """Identify a model in keys: hub id and revision, or the digest of a folder's files.

    That of a folder of adapters covers the model that they adapt, wherever it lies.
    """
    folder = Path(resolve(model))
    if not folder.is_dir():
        return {"model": folder.name if folder.is_absolute() else model, "revision": revision}
    files = sorted(path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES)
    digests = {path.name: file_digest(path) for path in track(files, f"{model}: digest", "files")}
    if (folder / ADAPTER).is_file():
        settings = read_json(folder / ADAPTER)
        base = model_identity(settings.pop("base_model_name_or_path"), None)
        digests |= {ADAPTER: fingerprint(settings), "base": fingerprint(base)}
    digest = fingerprint(digests)
    return {"model": model if model.startswith(_WORLD) else "local", "revision": digest}


def in_process_identity(
    model: str, revision: str | None, dtype: str, interleaved: bool = False
) -> dict[str, Any]:
    """Give a model's identity with its settings in process; the model need not be loaded."""
    recipe = {"frames": "pixels", "audio": "samples", "dtype": dtype}
    if interleaved:
        recipe["audio"] = "samples inside the video"
    return {**model_identity(model, revision), **recipe}


def load(
    model: str,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    prepare: Callable[[Any], None] | None = None,
) -> Loaded:
    """Load a model by the class in its configuration, in evaluation mode, and its processor.

    Adapters are merged into their model. `prepare` gets the model before it has memory for weights,
    and may give parameters another format than `dtype`. They are read in that format; no other copy
    is in memory on the way.

    Raises:
        EngineError: the model cannot be found or read, or transformers does not know its class.
    """
    import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

    import torch
    import transformers

    source = resolve(model)
    if Path(source, ADAPTER).is_file():
        loaded = _load_adapted(Path(source))
        for parameter in loaded.parameters():  # not the buffers, as in a load in this format
            parameter.data = parameter.data.to(getattr(torch, dtype))
        processor = transformers.AutoProcessor.from_pretrained(source)
        return _placed(loaded, device, processor)
    try:
        config = transformers.AutoConfig.from_pretrained(source, revision=revision)
        architecture, config = architecture_of(config, model)
        processor = transformers.AutoProcessor.from_pretrained(source, revision=revision)
        built = architecture if prepare is None else _prepared(architecture, prepare)
        loaded = built.from_pretrained(
            source, config=config, revision=revision, dtype=getattr(torch, dtype)
        )
        loaded.__class__ = architecture
    except (OSError, ValueError) as error:
        raise EngineError(f"{model}: cannot load this model with transformers: {error}") from error
    return _placed(loaded, device, processor)


def _placed(model: Any, device: str, processor: Any) -> Loaded:
    """Put a model on its device; the windows of an Omni model's towers are computed together."""
    from avrt.engines import windows

    if windows.has_towers(model):
        windows.set_tower_attention(model)
    return Loaded(model.to(pick_device(device)).eval(), processor)


def _load_adapted(folder: Path) -> Any:
    """Load the model that the adapters in a folder were trained on, with them merged in, in float32
    on the CPU.

    Raises:
        EngineError: that model is not where it was, or peft is not installed.
    """
    base = read_json(folder / ADAPTER)["base_model_name_or_path"]
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise EngineError(
            f"{folder}: adapters for the model in {base}, which is not there; put it back, or name "
            f"its new folder in {ADAPTER} (base_model_name_or_path)"
        )
    try:
        import peft
    except ImportError as error:
        raise EngineError(
            f"{folder}: adapters, which peft loads; run `{install_command('lora')}`"
        ) from error
    with old_names_allowed():
        adapted: Any = peft.PeftModel.from_pretrained(load(base, device="cpu").model, folder)
        return adapted.merge_and_unload()


def can_describe(model: str, revision: str | None = None) -> bool:
    """Whether a model's configuration is on this machine, or the hub can be asked for it."""
    folder = resolve(model)
    if Path(folder, "config.json").is_file():
        return True
    if Path(folder).exists() or len(Path(model).parts) > 2:
        return False  # a folder without one, or no hub id
    import huggingface_hub
    from huggingface_hub import errors

    if huggingface_hub.try_to_load_from_cache(model, "config.json", revision=revision):
        return True
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    say(f"{model}: fetching its configuration and processor from the hub; no weights")
    address = huggingface_hub.hf_hub_url(model, "config.json", revision=revision)
    faults: Any = (OSError, vars(errors)["HTTPError"])
    try:  # by one request, where transformers would try for half a minute
        huggingface_hub.get_hf_file_metadata(address, timeout=5)
    except faults:
        return False
    return True


def _prepared(architecture: Any, prepare: Callable[[Any], None]) -> Any:
    """Give a class whose new models `prepare` has changed.

    transformers reads a tensor of a file in the format of the parameter that it finds in the model.
    """

    def build(self: Any, *args: Any, **options: Any) -> None:
        architecture.__init__(self, *args, **options)
        prepare(self)

    # transformers finds the names in files, and much else, by the name of the class.
    members = {"__init__": build, "__module__": architecture.__module__}
    return type(architecture.__name__, (architecture,), members)


def architecture_of(config: Any, model: str) -> tuple[Any, Any]:
    """Give the transformers class that loads a checkpoint, and the configuration it takes.

    Of a whole Omni model (thinker, talker and vocoder) only the thinker is loaded.

    Raises:
        EngineError: this version of transformers does not know the class.
    """
    import transformers

    if config.model_type == "qwen2_5_omni":
        return transformers.Qwen2_5OmniThinkerForConditionalGeneration, config.thinker_config
    if config.model_type == "qwen3_omni_moe":
        name, config = "Qwen3OmniMoeThinkerForConditionalGeneration", config.thinker_config
    else:
        name = (config.architectures or ["(none)"])[0]
    architecture = getattr(transformers, name, None)
    if architecture is None:
        raise EngineError(
            f"{model}: transformers {transformers.__version__} has no class {name} (config.json, "
            f"architectures); serve the model with engine.kind=openai instead"
        )
    return architecture, config


def pick_device(device: str) -> str:
    """Resolve `auto` to the first GPU, or to the CPU where there is no GPU."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
