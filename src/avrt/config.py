"""The typed configuration: every setting of every stage, its default, its meaning and its limits.

Reads a YAML file and `section.key=value` overrides; refuses unknown keys and impossible values with
one message. Each value lives in exactly one section. Nothing heavy is imported here: `avrt --help`
and `--dry-run` stay instant.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avrt.errors import ConfigError
from avrt.types import Modality

__all__ = [
    "BuildConfig",
    "Config",
    "DataConfig",
    "EngineConfig",
    "EvalConfig",
    "GrpoConfig",
    "MediaConfig",
    "ModelRole",
    "PrepareConfig",
    "ReportConfig",
    "RunConfig",
    "SftConfig",
    "StudentConfig",
    "TeachersConfig",
    "dump_config",
    "load_config",
]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, field docstrings are documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _complete_sections(cls, values: Any) -> Any:
        """A section inside that is given in part keeps the rest of its default here."""
        if not isinstance(values, dict):
            return values
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        return {key: _completed(defaults.get(key), value) for key, value in values.items()}


def _completed(default: Any, value: Any) -> Any:
    """`value` with what `default` sets and it does not; only sections are completed."""
    if not isinstance(default, Section) or not isinstance(value, dict):
        return value
    given = {name: getattr(default, name) for name in default.model_fields_set}
    return given | {key: _completed(given.get(key), part) for key, part in value.items()}


class RunConfig(Section):
    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run; its directory is `dir`/`name`."""
    dir: Path = Path("runs")
    """Folder that holds the run directories."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random: the split, shuffles, every sampled model call, the rollouts."""

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.dir / self.name


class DataConfig(Section):
    format: Literal["avqa", "parquet"] = "avqa"
    """Annotation format: AVQA's JSON list, or AVRT's own Parquet."""
    root: Path = Path("data")
    """Folder with the annotations; media paths are relative to it."""
    split: str = "train"
    """`train` reads train_qa.json (avqa) or train.parquet (parquet)."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first N questions."""


class MediaConfig(Section):
    n_frames: int = Field(default=8, ge=1, le=768)
    """Frames taken uniformly over the clip."""
    max_pixels: int = Field(default=602_112, ge=784)
    """Largest height x width of a frame; larger ones are scaled down, keeping their shape."""
    size_factor: int = Field(default=28, ge=1)
    """Height and width of a frame are rounded to multiples of this (patch size x merge size of the
    models).
    """
    max_audio_s: float | None = Field(default=10.0, gt=0)
    """Seconds of sound taken from the start; null takes all."""
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    """Quality of the JPEGs sent to servers."""
    audio_format: Literal["wav", "flac"] = "wav"
    """Form of the sound sent to servers: 16-bit WAV, which all take, or FLAC, which is
    smaller.
    """
    damaged: Literal["refuse", "use"] = "refuse"
    """A clip that is cut off, or damaged where it is needed: refuse it, or use what decodes and
    mark it.
    """
    max_file_mb: int = Field(default=1024, ge=1)
    """Largest file that is opened, in MiB."""
    max_source_pixels: int = Field(default=8192 * 8192, ge=1)
    """Largest picture that is decoded, height x width."""
    max_clip_s: float = Field(default=7200.0, gt=0)
    """Longest clip that is read, in seconds."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest time that one file may take to read before its process is replaced."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that read media; null: one for each processor."""

    def decoding(self) -> dict[str, Any]:
        """The settings that decide what a file decodes to, or that it is refused."""
        return self.model_dump(exclude={"jpeg_quality", "audio_format", "timeout_s", "workers"})


class PrepareConfig(Section):
    """What becomes of the questions about a file with a fault.

    `keep`: as if it were none. `drop`: the questions are left out, by name. `vision_only` and
    `audio_only`: only that teacher is asked. `fail`: left out, and `avrt prepare` ends with exit
    code 1.
    """

    broken: Literal["drop", "fail"] = "drop"
    """A file that is missing or cannot be read, whatever the reason."""
    no_video: Literal["drop", "audio_only", "fail"] = "drop"
    """No picture."""
    no_audio: Literal["drop", "vision_only", "fail"] = "drop"
    """No sound track."""
    still: Literal["keep", "drop", "audio_only", "fail"] = "keep"
    """A video that shows one picture from beginning to end."""
    silent: Literal["keep", "drop", "vision_only", "fail"] = "keep"
    """Sound without anything to hear."""
    short_audio: Literal["keep", "drop", "vision_only", "fail"] = "keep"
    """Sound that ends long before the picture."""
    late_audio: Literal["keep", "drop", "vision_only", "fail"] = "keep"
    """Sound that begins long after the picture."""


class EngineConfig(Section):
    kind: Literal["openai", "transformers", "scripted"] = "openai"
    """An OpenAI-compatible server, transformers in this process, or scripted answers."""
    base_url: str = "http://127.0.0.1:8000/v1"
    """Server address (openai)."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key, if it needs one (openai). The key itself is
    never written.
    """
    concurrency: int = Field(default=16, ge=1)
    """Requests in flight (openai)."""
    timeout_s: float = Field(default=300.0, gt=0)
    """Longest wait for one reply (openai)."""
    max_attempts: int = Field(default=4, ge=1)
    """Tries of one request when the failure can pass: timeout, connection, 429, 5xx (openai)."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts generated together (transformers)."""
    device: str = "auto"
    """Device (transformers): auto, cpu, cuda, cuda:1, ..."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights (transformers)."""
    script: Path | None = None
    """JSON Lines file of {"match": text in the prompt, "reply": text} (scripted)."""


class ModelRole(Section):
    """A model that is called during generation: a teacher or the merger."""

    model: str
    """Hub id, local folder, or `world:NAME` for a model inside the package."""
    revision: str | None = None
    """Hub revision; part of every call's key."""
    prompt: str
    """Name of a packaged prompt, or path of a prompt file."""
    engine: EngineConfig = EngineConfig()
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: sample only from the likeliest tokens that sum to this probability."""
    max_new_tokens: int = Field(default=2048, ge=1)
    """Longest completion, in tokens; longer ones are cut and marked "length"."""


class TeachersConfig(Section):
    vision: ModelRole = ModelRole(model="moonshotai/Kimi-VL-A3B-Thinking", prompt="vision")
    audio: ModelRole = ModelRole(model="nvidia/audio-flamingo-3-hf", prompt="audio")


class BuildConfig(Section):
    view: Literal["paper", "either", "unfiltered"] = "paper"
    """Which samples are merged and kept: both teachers right, at least one right, or all that both
    answered.
    """
    validation_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the clips (not rows) whose questions go to validation."""
    max_failure_rate: float = Field(default=0.2, ge=0, le=1)
    """A stage stops with exit code 1 when more than this share of its model calls fail."""


class StudentConfig(Section):
    model: str = "Qwen/Qwen2.5-Omni-3B"
    """The base student: hub id, local folder of a thinker checkpoint, or `world:student`."""
    prompt: str = "student"
    """Prompt used alike in SFT, GRPO and evaluation."""
    device: str = "auto"
    """Device: auto, cpu or cuda; outside training also cuda:1, ..."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the weights in evaluation. In training the weights are float32, and bfloat16
    means autocast on a GPU.
    """


class SftConfig(Section):
    learning_rate: float = Field(default=2e-6, gt=0)
    """Peak of the cosine schedule."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the training set."""
    per_device_batch_size: int = Field(default=1, ge=1)
    """Samples per forward and backward pass."""
    gradient_accumulation_steps: int = Field(default=8, ge=1)
    """Passes per optimizer step, on each process."""
    warmup_steps: int = Field(default=100, ge=0)
    """Optimizer steps over which the learning rate rises from zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    max_length: int = Field(default=8192, ge=1)
    """Longest sample in tokens, media included; longer ones are dropped by name, never cut."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    save_steps: int = Field(default=200, ge=1)
    """Optimizer steps between checkpoints."""


class GrpoConfig(Section):
    init: str = "sft"
    """Where the policy starts: `sft`, `base`, or a checkpoint folder."""
    output: str = Field(default="grpo", pattern=r"^grpo[A-Za-z0-9_-]*$")
    """Folder in the run directory; a run may hold several, such as grpo and grpo-base."""
    max_steps: int = Field(default=500, ge=1)
    """Optimizer steps."""
    group_size: int = Field(default=4, ge=2)
    """Completions sampled per prompt; advantages are centred inside the group."""
    prompts_per_step: int = Field(default=8, ge=1)
    """Prompts per optimizer step on each process."""
    per_device_batch_size: int = Field(default=4, ge=1)
    """Completions per forward and backward pass."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """Peak of the cosine schedule."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimizer steps over which the learning rate rises from zero."""
    epsilon: float = Field(default=0.2, gt=0)
    """Clipping range of the probability ratio."""
    beta: float = Field(default=0.01, ge=0)
    """Weight of the KL to the reference model."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature of the rollouts."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest completion, in tokens; longer ones are cut and marked "length"."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    format_weight: float = Field(default=1.0, ge=0)
    """Weight of the reward for a well-formed trace."""
    accuracy_weight: float = Field(default=1.0, ge=0)
    """Weight of the reward for the right letter."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    save_steps: int = Field(default=50, ge=1)
    """Optimizer steps between checkpoints."""

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        rollouts = self.prompts_per_step * self.group_size
        if rollouts % self.per_device_batch_size:
            raise ValueError(
                f"prompts_per_step x group_size = {rollouts} is not a multiple of "
                f"per_device_batch_size = {self.per_device_batch_size}"
            )
        return self


class EvalConfig(Section):
    benchmarks: dict[str, DataConfig] = {}
    """Name of each evaluation set and where it lies."""
    models: dict[str, str] = {"base": "base", "sft": "sft", "sft_rl": "grpo"}
    """Name of each evaluated model and its place: `base`, `sft`, `grpo...` of this run, or a
    folder.
    """
    modalities: tuple[Modality, ...] = ("a", "v", "av")
    """What the models are given: audio (a), vision (v), or both (av)."""
    limit: int | None = Field(default=None, ge=1)
    """Evaluate only the first N items of each set."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest completion, in tokens; longer ones are cut and marked "length"."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts generated together."""


class ReportConfig(Section):
    gallery_items: int = Field(default=12, ge=0)
    """Items shown with frames, sound, traces and answers."""


class Config(Section):
    """The whole configuration of a run."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    media: MediaConfig = MediaConfig()
    prepare: PrepareConfig = PrepareConfig()
    teachers: TeachersConfig = TeachersConfig()
    merger: ModelRole = ModelRole(model="Qwen/Qwen2.5-14B-Instruct", prompt="merge")
    build: BuildConfig = BuildConfig()
    student: StudentConfig = StudentConfig()
    sft: SftConfig = SftConfig()
    grpo: GrpoConfig = GrpoConfig()
    eval: EvalConfig = EvalConfig()
    report: ReportConfig = ReportConfig()


def load_config(path: Path | None, overrides: tuple[str, ...] = ()) -> Config:
    """Merge file and `section.key=value` overrides (values are YAML), validate once.

    Raises:
        ConfigError: unreadable file, an override without "=", an unknown key or an impossible
            value.
    """
    tree = _read_yaml(path) if path else {}
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        origin = str(path) if path else "command line"
        problems = [_explain(origin, dict(problem)) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, every default written out, paths relative to the working
    directory.
    """
    tree = _relative_paths(config.model_dump(mode="json"))
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        found = type(tree).__name__
        raise ConfigError(f"{path}: expected sections such as `run:` and `data:`, found {found}")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    *sections, name = key.split(".")
    node = tree
    for section in sections:
        child = node.setdefault(section, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {section!r} is a value, not a section")
        node = child
    try:
        node[name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {text!r} is not valid YAML") from error


def _explain(origin: str, problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{origin}: unknown key {where!r}{_suggestion(problem['loc'])}"
    return f"{origin}: {where or 'configuration'} = {problem['input']!r}: {problem['msg']}"


def _suggestion(location: tuple[str | int, ...]) -> str:
    import difflib

    node: Any = Config().model_dump()
    for part in location[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return ""
    close = difflib.get_close_matches(str(location[-1]), list(node), n=1)
    if not close:
        return f"; known keys: {', '.join(node)}"
    return f"; did you mean {'.'.join(str(part) for part in (*location[:-1], close[0]))!r}?"


def _relative_paths(tree: Any) -> Any:
    """Models and prompts are texts that may be paths, so every absolute path counts."""
    if isinstance(tree, dict):
        return {key: _relative_paths(value) for key, value in tree.items()}
    if isinstance(tree, str) and Path(tree).is_absolute():
        return os.path.relpath(tree)
    return tree
