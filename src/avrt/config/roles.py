"""Settings of the models that a run asks or trains: teachers, merger, judges, student.

As in `avrt.config.data`, the text below a field is its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from avrt.config.engine import EngineConfig
from avrt.config.section import Section, check_name
from avrt.types import Given

__all__ = [
    "DEFAULT_ROLES",
    "EngineConfig",
    "JudgeRole",
    "LoraConfig",
    "ModelRole",
    "RoleName",
    "StudentConfig",
    "TeacherRole",
    "refuse_equal_answers",
]


class ModelRole(Section):
    """A model that is asked: a teacher, the merger, a judge."""

    preset: str | None = None
    """A packaged choice of model, prompt and sampling (`avrt list teachers`). It takes the place of
    the default; settings given beside it win. A judge and `rubric` take the model, revision and
    engine of a merger's preset, and keep their own prompt and sampling.
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


class TeacherRole(ModelRole):
    """A model that answers the questions from a part of each clip."""

    modality: Given
    """The input beside the question: frames (v), sound (a), both (av), or nothing (none)."""
    k: int = Field(default=1, ge=1)
    """Answers per question. With several, set a temperature above 0."""
    merge_thought: bool = True
    """Give the merger this teacher's private thought (`<think>…</think>`, `◁think▷…`) as well;
    false: only what follows it, such as description, reasoning and answer.
    """

    @model_validator(mode="after")
    def _answers_differ(self) -> Self:
        refuse_equal_answers("k", self.k, self.temperature, self.engine)
        return self


class JudgeRole(ModelRole):
    """A text model that looks for faults in merged traces."""

    prompt: str = "judge"
    """Name of a packaged prompt, or path of a prompt file."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest completion, in tokens; longer ones are cut and marked "length"."""
    votes: int = Field(default=1, ge=1)
    """Replies per trace, each with its own seed; a finding counts when more than half of them
    confirm it. With several, set a temperature above 0.
    """
    exam: Path | None = None
    """File with the results of `benchmarks/gates.py --judge`, for a judge that is not among the
    packaged results.
    """
    reject_unmeasured: bool = False
    """Let the judge reject traces although its precision and recall were never measured."""

    @model_validator(mode="after")
    def _votes_differ(self) -> Self:
        refuse_equal_answers("votes", self.votes, self.temperature, self.engine)
        return self


def refuse_equal_answers(
    setting: str, n_answers: int, temperature: float, engine: EngineConfig | None
) -> None:
    """Check that the answers to one prompt can differ.

    A server that is sent no temperature chooses its own.

    Raises:
        ValueError: several answers at temperature 0.
    """
    is_sent = engine is None or "temperature" not in engine.omit
    if n_answers > 1 and temperature == 0 and is_sent:
        raise ValueError(
            f"{setting} = {n_answers} answers at temperature 0 would all be the same; "
            f"set a temperature, such as 0.7, or {setting} = 1"
        )


RoleName = Annotated[
    str,
    check_name(
        r"[a-z][a-z0-9_]*",
        "a name may have small letters, digits and `_`, and begins with a letter",
    ),
]
"""Name of a teacher or a judge; columns of the dataset begin with it."""
DEFAULT_ROLES: dict[str, dict[str, Any]] = {
    "teachers": {
        "vision": {"model": "moonshotai/Kimi-VL-A3B-Thinking", "prompt": "vision", "modality": "v"},
        "audio": {"model": "nvidia/audio-flamingo-3-hf", "prompt": "audio", "modality": "a"},
    },
    "merger": {"model": "Qwen/Qwen2.5-14B-Instruct", "prompt": "merge"},
    "rubric": {"model": "Qwen/Qwen2.5-14B-Instruct", "prompt": "rubric"},
}
"""The roles that there are without a configuration; a role given in part keeps the rest."""


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
    revision: str | None = None
    """Hub revision of `model`: a commit, tag or branch; null takes the newest. Name a commit, and
    the same weights come every time.
    """
    prompt: str = "student"
    """Prompt used alike in SFT, GRPO and evaluation."""
    device: str = "auto"
    """Device: auto, cpu or cuda; outside training also cuda:1, ..."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the weights in evaluation. In training bfloat16 means autocast on a GPU:
    weights that train are float32, frozen ones are held as autocast rounds them.
    """
    train_projections: bool = False
    """Train the towers' projections into the language model as well (`visual.merger`,
    `audio_tower.proj`); the towers themselves always keep their weights.
    """
    tower_attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """Attention of the frozen towers in training; auto takes `flash_attention_2` on a GPU where the
    package flash-attn is installed, else `sdpa`. They differ by rounding only. The language model
    always has `sdpa`.
    """
    use_audio_in_video: bool = False
    """Put the sound of a video between its frames, in chunks of two seconds, as Qwen2.5-Omni can
    take it, in SFT, GRPO and evaluation alike; else the sound follows the frames. A sound beside a
    still picture always follows it.
    """
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of the language model's weights; the model that is saved has
    them merged in. Needs the extra `lora`.
    """
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """AdamW with states in float32 (8 bytes per trained parameter), in 8 bits (2 bytes), or in 8
    bits in memory that moves to the host when the GPU is full. Those of 8 bits need the extra
    `8bit`.
    """
    deepspeed: str | None = None
    """Train with DeepSpeed: `zero2` (ZeRO stage 2, optimizer on the CPU), or a file of DeepSpeed's
    settings. Needs the extra `deepspeed` and torchrun.
    """
    process_timeout_s: float = Field(default=600.0, ge=1)
    """Of a training of several processes: how long each waits for the others, in seconds, before
    it ends the training; longer than the longest rollout and the writing of a checkpoint. One that
    was killed is noticed at once.
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

    def revision_of(self, checkpoint: str) -> str | None:
        """The hub revision of a checkpoint; only the base student has one."""
        return self.revision if checkpoint == self.model else None

    @model_validator(mode="after")
    def _trains_one_thing(self) -> Self:
        if self.lora is not None and self.train_projections:
            raise ValueError(
                "lora trains adapters of the language model only; "
                "set train_projections: false, or lora: null"
            )
        return self
