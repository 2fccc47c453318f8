"""The section `eval` of the configuration: which models are asked what, and how.

As in `avrt.settings`, the text below a field is its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from avrt.settings import DataConfig, EngineConfig, Section
from avrt.types import Given

__all__ = ["EvalConfig", "EvalModel"]


class EvalModel(Section):
    """An evaluated model that is more than a place: a server, a teacher, another sampling."""

    preset: str | None = None
    """A packaged model: a baseline (`avrt baselines`) or a teacher (`avrt teachers`); settings
    given beside it win.
    """
    model: str
    """Its place: `base`, `sft`, `grpo...` of this run, a local folder, a hub id, or `world:NAME`;
    for a server, the name it serves.
    """
    revision: str | None = None
    """Hub revision; part of what identifies the model."""
    prompt: str | None = None
    """Name of a packaged prompt, or path of a prompt file; null: as `eval.prompt` says."""
    engine: EngineConfig | None = None
    """How the model is reached; null: transformers in this process, with the student's device and
    number format.
    """
    modality: Given | None = None
    """All that this model can be given; null: whatever is evaluated."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: sample only from the likeliest tokens that sum to this probability."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Longest completion, in tokens; null: `eval.max_new_tokens`."""
    k: int = Field(default=1, ge=1)
    """Answers per item, each with its own seed. With several, set a temperature above 0."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("preset"), str):
            return values
        from avrt.presets import complete_eval_model

        return complete_eval_model(values)

    @model_validator(mode="after")
    def _answers_differ(self) -> Self:
        if self.k > 1 and self.temperature == 0:
            raise ValueError(
                f"k = {self.k} answers at temperature 0 would all be the same; "
                "set a temperature, such as 0.7, or k = 1"
            )
        return self


class EvalConfig(Section):
    benchmarks: dict[str, DataConfig] = Field(default={})
    """Name of each evaluation set and where it lies."""
    models: dict[str, str | EvalModel] = Field(
        default={"base": "base", "sft": "sft", "sft_rl": "grpo"}
    )
    """Name of each evaluated model and its place (`base`, `sft`, `grpo...` of this run, a folder or
    a hub id), or its settings, as below `eval.models.NAME`.
    """
    pools: dict[str, tuple[str, ...]] = Field(default={})
    """Models that are one model with several seeds, by the name of the whole: reported together,
    with the interval over items and the spread between them.
    """
    modalities: tuple[Given, ...] = ("a", "v", "av")
    """What the models are given: audio (a), vision (v), both (av), or only the question (none)."""
    prompt: Literal["student", "official"] = "student"
    """What the models are asked with: `student.prompt`, as in training, or the words of each
    benchmark's authors.
    """
    limit: int | None = Field(default=None, ge=1)
    """Evaluate only the first N items of each set."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest completion, in tokens; longer ones are cut and marked "length"."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts generated together."""
    difficulty: dict[str, Path] = Field(default={})
    """Difficulty files made elsewhere by `avrt difficulty`, by benchmark; else this run's own."""
    published: dict[str, str] = Field(
        default={"base": "qwen2.5-omni-3b", "rl": "avrt-3b-rl", "sft_rl": "avrt-3b"}
    )
    """Published model (`avrt baselines`) whose figures stand beside those of a model in `avrt
    tables`, by the model's name; a model made from a baseline's preset needs no entry.
    """
