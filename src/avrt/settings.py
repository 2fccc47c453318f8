"""The sections of the configuration: every setting, its default, its meaning and its limits.

The text below a field is its documentation, from which docs/config.md is made. `avrt.config` joins
the sections, these and those of media (`avrt.settings_media`), and reads and writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from avrt.types import Given

__all__ = [
    "TEACHERS",
    "BuildConfig",
    "DataConfig",
    "EngineConfig",
    "GenerateConfig",
    "GrpoConfig",
    "LoraConfig",
    "ModelRole",
    "ReportConfig",
    "RunConfig",
    "Section",
    "SftConfig",
    "StudentConfig",
    "TeacherName",
    "TeacherRole",
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
    """`value` with what `default` sets and it does not: sections, and sections by name."""
    if not isinstance(value, dict):
        return value
    if isinstance(default, Section):
        if isinstance(value.get("preset"), str):  # it takes the place of the default
            from avrt.presets import check_modality

            check_modality(value["preset"], getattr(default, "modality", None))
            return value
        given = {name: getattr(default, name) for name in default.model_fields_set}
        return given | {key: _completed(given.get(key), part) for key, part in value.items()}
    if isinstance(default, dict) and all(isinstance(part, Section) for part in default.values()):
        named = default | {key: _completed(default.get(key), part) for key, part in value.items()}
        return {key: part for key, part in named.items() if part is not None}
    return value


class RunConfig(Section):
    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run; its directory is `dir`/`name`."""
    dir: Path = Path("runs")
    """Folder that holds the run directories."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random: the split, shuffles, every sampled model call, the rollouts."""
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()
    """Trackers that SFT and GRPO send each step's numbers to, besides the terminal and log.jsonl.
    The library of each must be installed.
    """

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.dir / self.name


class DataConfig(Section):
    format: Literal[
        "avqa",
        "parquet",
        "omnibench",
        "daily_omni",
        "mmar",
        "mmau",
        "video_holmes",
        "worldsense",
        "omnivideobench",
    ] = "avqa"
    """Annotation format: AVQA's JSON list, AVRT's own Parquet, or a benchmark as its authors
    publish it (`avrt benchmarks` lists them).
    """
    root: Path = Path("data")
    """Folder with the annotations; media paths are relative to it."""
    hub: str | None = None
    """Dataset on the Hugging Face Hub whose annotation files are fetched into `root` when they are
    not there; never its media.
    """
    split: str = "train"
    """`train` reads train_qa.json (avqa) or train.parquet (parquet); the other formats have no
    splits.
    """
    limit: int | None = Field(default=None, ge=1)
    """Read only the first N questions."""


_REQUEST_KEYS = ("model", "messages", "temperature", "top_p", "max_tokens", "seed", "n", "stream")
"""What AVRT itself says in a request."""


class EngineConfig(Section):
    kind: Literal["openai", "vllm", "transformers", "scripted"] = "openai"
    """An OpenAI-compatible server, vLLM or transformers in this process, or scripted answers."""
    base_url: str | tuple[str, ...] = "http://127.0.0.1:8000/v1"
    """Address of a server, or a list: servers of one model that share the calls (openai)."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key, if it needs one (openai). The key itself is
    never written.
    """
    concurrency: int = Field(default=16, ge=1)
    """Most requests in flight, at all servers together; how many there are is found out: more while
    the servers take them, fewer when they refuse (openai).
    """
    timeout_s: float = Field(default=300.0, gt=0)
    """Longest wait for one reply (openai)."""
    max_attempts: int = Field(default=4, ge=1)
    """Tries of one request when the failure can pass: timeout, connection, 408, 425, 429, 5xx
    (openai).
    """
    n_per_request: bool = False
    """Ask for several answers to one prompt in one request, of which only the first has a seed of
    its own (openai).
    """
    frames_as: Literal["images", "video"] = "images"
    """Each frame as an image part, or all as one video part, a form that only vLLM takes (openai).
    """
    audio_as: Literal["input_audio", "audio_url"] = "input_audio"
    """Part that carries the sound (openai, vllm)."""
    extra_body: dict[str, Any] = {}
    """What else every request says, such as mm_processor_kwargs, chat_template_kwargs or
    structured_outputs; part of every call's key (openai, vllm).
    """
    batch_size: int = Field(default=32, ge=1)
    """Prompts generated together (transformers, vllm)."""
    vllm_args: dict[str, Any] = {}
    """Arguments of vLLM's `LLM`, such as tensor_parallel_size or max_model_len (vllm)."""
    device: str = "auto"
    """Device (transformers): auto, cpu, cuda, cuda:1, ..."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights (transformers)."""
    script: Path | None = None
    """JSON Lines file of {"match": text in the prompt, "reply": text} (scripted)."""

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of `base_url`, one or more, without a slash at the end."""
        urls = (self.base_url,) if isinstance(self.base_url, str) else self.base_url
        return tuple(url.rstrip("/") for url in urls)

    @property
    def takes_encoded(self) -> bool:
        """Whether media go to this engine as JPEG, WAV or FLAC, not as pixels and samples."""
        return self.kind in ("openai", "vllm")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not self.base_urls:
            raise ValueError("base_url is an empty list; name at least one address")
        for url in self.base_urls:
            _check_address(url)
        taken = {*_REQUEST_KEYS, *(("media_io_kwargs",) if self.frames_as == "video" else ())}
        if twice := sorted(taken & self.extra_body.keys()):
            raise ValueError(f"extra_body may not hold {', '.join(twice)}: other settings say that")
        if twice := sorted({"model", "revision"} & self.vllm_args.keys()):
            raise ValueError(f"vllm_args may not hold {', '.join(twice)}: the role's settings do")
        if self.kind == "vllm" and self.frames_as == "video":
            raise ValueError(
                "frames_as: video needs a vLLM server, which takes the times of the frames with "
                "each request; vLLM in process does not; set frames_as: images"
            )
        return self


def _check_address(url: str) -> None:
    try:
        place = urlsplit(url)
        is_one = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
    except ValueError:  # a port that is no number
        is_one = False
    if not is_one:
        raise ValueError(
            f"base_url: {url!r} is no address of a server; write http://HOST:PORT/v1 or https://…"
        )


class ModelRole(Section):
    """A model that is called during generation: a teacher or the merger."""

    preset: str | None = None
    """A packaged choice of model, prompt and sampling (`avrt teachers` lists them). It takes the
    place of the default; settings given beside it win.
    """
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

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("preset"), str):
            return values
        from avrt.presets import complete_role

        return complete_role(values, for_teacher="modality" in cls.model_fields)


class TeacherRole(ModelRole):
    """A model that answers the questions from what it is given of each clip."""

    modality: Given
    """What it is given: frames (v), sound (a), both (av), or only the question (none)."""
    k: int = Field(default=1, ge=1)
    """Answers per question. With several, set a temperature above 0."""

    @model_validator(mode="after")
    def _answers_differ(self) -> Self:
        if self.k > 1 and self.temperature == 0:
            raise ValueError(
                f"k = {self.k} answers at temperature 0 would all be the same; "
                "set a temperature, such as 0.7, or k = 1"
            )
        return self


TEACHER_NAME = r"^[a-z][a-z0-9_]*$"
TeacherName = Annotated[str, Field(pattern=TEACHER_NAME)]
TEACHERS: dict[TeacherName, TeacherRole] = {
    "vision": TeacherRole(model="moonshotai/Kimi-VL-A3B-Thinking", prompt="vision", modality="v"),
    "audio": TeacherRole(model="nvidia/audio-flamingo-3-hf", prompt="audio", modality="a"),
}


class GenerateConfig(Section):
    shuffle_options: bool = False
    """Show every answer of a teacher the options in another order. Letters are put back into the
    stored order before anything is compared or merged.
    """
    max_failure_rate: float = Field(default=0.2, ge=0, le=1)
    """A stage stops with exit code 1 when more than this share of its model calls fail."""


class BuildConfig(Section):
    view: str = "paper"
    """Which samples are merged and kept: a packaged view (`paper`: both teachers right; `agree`:
    each right at least three times; `either`; `av_hard`: both right, not answerable blind;
    `unfiltered`), one of `views`, or a condition over the columns that `avrt views` lists.
    """
    views: dict[str, str] = {}
    """Own views by name, each a condition."""
    same_size_as: tuple[str, ...] = ()
    """Other views; the dataset is cut, by a seeded draw, to the size of the smallest of all."""
    gates: tuple[str, ...] = ("truncated", "empty", "bad_format", "wrong_letter")
    """Gates that reject a trace. All gates write their column, whether they reject or not."""
    balance_letters: bool = False
    """Let the merger see the options in an order in which the gold letters are even."""
    validation_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the clips (not rows) whose questions go to validation."""
    decontaminate: dict[str, DataConfig] = {}
    """Benchmarks whose clips and questions may not be in the dataset: name and place of each."""


class LoraConfig(Section):
    rank: int = Field(default=16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(default=32, ge=1)
    """An adapter's output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are dropped in training (SFT; GRPO drops none)."""
    targets: tuple[str, ...] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    """Linear layers of the language model that get adapters, by the end of their names."""

    @model_validator(mode="after")
    def _has_targets(self) -> Self:
        if not self.targets:
            raise ValueError("targets is an empty list, so nothing would be trained")
        return self


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
    train_projections: bool = False
    """Train the towers' projections into the language model as well (`visual.merger`,
    `audio_tower.proj`); the towers themselves always keep their weights.
    """
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of the language model's weights; the model that is saved has
    them merged in. Needs the extra `lora`.
    """

    deepspeed: str | None = None
    """Train with DeepSpeed: `zero2` (ZeRO stage 2, optimizer on the CPU), or a file of DeepSpeed's
    settings. Needs the extra `deepspeed` and torchrun.
    """

    @field_validator("dtype", mode="before")
    @classmethod
    def _is_no_half(cls, value: Any) -> Any:
        if value in ("float16", "fp16", "half"):
            raise ValueError(
                "float16 holds too small a range to train without loss scaling, which AVRT does "
                "not do; use bfloat16 on a GPU, float32 on a CPU"
            )
        return value

    @model_validator(mode="after")
    def _trains_one_thing(self) -> Self:
        if self.lora is not None and self.train_projections:
            raise ValueError(
                "lora trains adapters of the language model only; "
                "set train_projections: false, or lora: null"
            )
        return self


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
    """Optimizer steps between checkpoints, and between losses on the validation set."""
    eval_samples: int = Field(default=0, ge=0)
    """Validation prompts that are answered greedily, and scored, with every validation loss; taken
    evenly from the set.
    """


class GrpoConfig(Section):
    init: str = "sft"
    """Where the policy starts: `sft`, `base`, or a checkpoint folder."""
    data: Literal["dataset", "samples"] = "dataset"
    """The prompts: the training split of the dataset, or every sample that `avrt prepare` found
    usable in both modalities. Neither needs traces.
    """
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
    share_prompts: bool = True
    """Compute a prompt once for all completions of its group, in rollouts and in training: the same
    result, several times faster. Needs whole groups in a pass.
    """
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
    length_weight: float = Field(default=0.0, ge=0)
    """Weight of the reward for a thought of the right length. It is min(1, exp(-(w - length_mean)^2
    / (2 length_std^2)) + length_bonus), the bonus only inside the window; w: words of the thought.
    """
    length_mean: float = Field(default=100.0, gt=0)
    """Best length of a thought, in words."""
    length_std: float = Field(default=20.0, gt=0)
    """Width of the reward around it, in words."""
    length_window: tuple[int, int] = (100, 200)
    """Shortest and longest thought that earns the bonus, in words."""
    length_bonus: float = Field(default=0.5, ge=0, le=1)
    """Bonus inside the window. The paper does not publish its value."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    save_steps: int = Field(default=50, ge=1)
    """Optimizer steps between checkpoints."""
    eval_steps: int = Field(default=50, ge=1)
    """Optimizer steps between answers to validation prompts; also before the first step."""
    eval_samples: int = Field(default=0, ge=0)
    """Validation prompts that are answered greedily, and scored, every `eval_steps`; taken evenly
    from the set.
    """

    @model_validator(mode="after")
    def _rewards_are_possible(self) -> Self:
        low, high = self.length_window
        if not 0 <= low <= high:
            raise ValueError(
                f"length_window = {list(self.length_window)}: the first number of words must be "
                "at least 0 and at most the second"
            )
        if not (self.format_weight or self.accuracy_weight or self.length_weight):
            raise ValueError(
                "format_weight, accuracy_weight and length_weight are all 0, so no completion "
                "would earn anything; give one a weight"
            )
        return self

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        rollouts = self.prompts_per_step * self.group_size
        if rollouts % self.per_device_batch_size:
            raise ValueError(
                f"prompts_per_step x group_size = {rollouts} is not a multiple of "
                f"per_device_batch_size = {self.per_device_batch_size}"
            )
        if self.share_prompts and self.per_device_batch_size % self.group_size:
            raise ValueError(
                f"per_device_batch_size = {self.per_device_batch_size} holds no whole groups of "
                f"group_size = {self.group_size}; make it a multiple, or set share_prompts to "
                "false, which computes every prompt once per completion"
            )
        return self


class ReportConfig(Section):
    gallery_items: int = Field(default=12, ge=0)
    """Items shown with frames, sound, traces and answers."""
