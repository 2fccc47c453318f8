"""The evaluated models: where each lies, how it is reached and asked, and what identifies it.

Nothing is loaded here: `make_model_engine` does that when there is something to ask.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from avrt.config import Config, EngineConfig, EvalModel, MediaConfig
from avrt.engines import Engine, engine_identity, make_engine
from avrt.errors import ConfigError
from avrt.evaluate.benchmarks import BENCHMARKS, official_prompt
from avrt.evaluate.items import Question, ask
from avrt.evaluate.logs import Settings
from avrt.evaluate.sets import EvalSet
from avrt.prompts import PromptTemplate, load_prompt
from avrt.runs import fingerprint, student_path
from avrt.types import BenchmarkItem, Given, Sampling

__all__ = [
    "Model",
    "check_names",
    "check_new_name",
    "choose_models",
    "make_model_engine",
    "settings_of",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FORM = {"frames": "frames_as", "audio": "audio_as", "extra_body": "extra_body"}
"""What an engine's identity says about the requests, and not about the model."""


@dataclass(frozen=True)
class Model:
    """One model to evaluate."""

    name: str
    place: str
    """What the engine loads, or asks its server for."""
    revision: str | None
    engine: EngineConfig
    template: PromptTemplate | None
    """None: the words of each benchmark's authors."""
    sampling: Sampling
    k: int
    """Answers per item."""
    given: Given | None
    """All that it can be given; None: anything."""
    identity: Mapping[str, Any]
    """The engine's, which holds no path."""

    def modalities(self, benchmark: EvalSet, wanted: Sequence[Given]) -> list[Given]:
        """What this model is asked of a set."""
        return benchmark.modalities([m for m in wanted if self.given in (None, m)])

    def ask(
        self, item: BenchmarkItem, given: Given, benchmark: EvalSet, config: Config
    ) -> Question:
        """System and user text of a question; blind, a model reads what it does with media."""
        if self.template is not None:
            return ask(item.sample, self.template, config.media.n_frames)
        modality = "av" if given == "none" else given
        return official_prompt(BENCHMARKS[benchmark.data.format], item, modality)

    def prompt_digest(self, benchmark: EvalSet) -> str:
        """What identifies the prompt of a set before it is filled."""
        if self.template is not None:
            return self.template.digest
        name = BENCHMARKS[benchmark.data.format].prompt
        return fingerprint(["official", load_prompt(name).digest])

    def sampling_of(self, sample_id: str, k: int, run_seed: int) -> Sampling:
        """The sampling of one answer, with a seed of its own whatever the order of the items."""
        if self.sampling.temperature == 0:
            return self.sampling
        digest = hashlib.sha256(f"{run_seed}:{sample_id}:{k}".encode()).digest()
        return replace(self.sampling, seed=int.from_bytes(digest[:4], "big") >> 1)


def choose_models(config: Config, chosen: Mapping[str, str | EvalModel]) -> list[Model]:
    """The models to evaluate.

    Raises:
        ConfigError: a model that was never trained, a prompt or a script that is not there.
    """
    return [_model(config, name, value) for name, value in chosen.items()]


def make_model_engine(config: Config, model: Model) -> Engine:
    """The engine of a model; loads it."""
    return make_engine(model.engine, model.place, model.revision, config.media)


def settings_of(
    config: Config, model: Model, benchmark: EvalSet, digests: Mapping[str, str]
) -> Settings:
    """What decides the answers of a model to a set with these digests."""
    form = {name: model.identity.get(key) for key, name in _FORM.items()}
    sampling = {
        "temperature": model.sampling.temperature,
        "top_p": model.sampling.top_p,
        "max_new_tokens": model.sampling.max_new_tokens,
        **({"seed": config.run.seed} if model.sampling.temperature else {}),
    }
    protocol = {
        **digests,
        "prompt": model.prompt_digest(benchmark),
        **config.media.decoding(),
        "frames_as": form["frames_as"] or "pixels",
        "audio_as": form["audio_as"] or "samples",
        **({"extra_body": form["extra_body"]} if form["extra_body"] else {}),
        **sampling,
    }
    identity = {key: value for key, value in model.identity.items() if key not in _FORM}
    return Settings(identity, protocol)


def check_names(config: Config) -> None:
    """Refuse names that cannot be folders, pools of nothing, and an empty list of sets.

    Raises:
        ConfigError: one of these.
    """
    if not config.eval.benchmarks:
        raise ConfigError(
            "eval.benchmarks is empty; name at least one evaluation set, such as "
            "eval.benchmarks='{bench: {format: avqa, root: DIR, split: val}}'"
        )
    for name in [*config.eval.models, *config.eval.benchmarks]:
        _check_name(name)
    for pool, members in config.eval.pools.items():
        if pool in config.eval.models:
            raise ConfigError(f"eval.pools.{pool}: also a name of eval.models; choose another")
        unknown = [name for name in members if name not in config.eval.models]
        if unknown or not members:
            known = ", ".join(config.eval.models)
            raise ConfigError(
                f"eval.pools.{pool}: {', '.join(unknown) or 'nothing'} is not in eval.models; "
                f"known: {known}"
            )


def check_new_name(config: Config, name: str) -> None:
    """Refuse a name for predictions that is that of a model, or no folder's.

    Raises:
        ConfigError: one of these.
    """
    _check_name(name)
    if name in config.eval.models or name in config.eval.pools:
        raise ConfigError(
            f"model {name!r} is in eval.models and answers itself; give the predictions another "
            f"--model name"
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"eval: the name {name!r} becomes a folder; use letters, digits, '.', '_' and '-'"
        )


def _model(config: Config, name: str, value: str | EvalModel) -> Model:
    role = EvalModel(model=value) if isinstance(value, str) else value
    engine = role.engine or _student_engine(config)
    place = student_path(config, role.model)
    prompt = role.prompt or (config.student.prompt if config.eval.prompt == "student" else None)
    return Model(
        name=name,
        place=place,
        revision=role.revision,
        engine=engine,
        template=None if prompt is None else load_prompt(prompt),
        sampling=Sampling(
            temperature=role.temperature,
            top_p=role.top_p,
            max_new_tokens=role.max_new_tokens or config.eval.max_new_tokens,
        ),
        k=role.k,
        given=role.modality,
        identity=_identity(engine, place, role.revision, config.media),
    )


def _identity(
    engine: EngineConfig, place: str, revision: str | None, media: MediaConfig
) -> Mapping[str, Any]:
    return dict(engine_identity(engine, place, revision, media))


def _student_engine(config: Config) -> EngineConfig:
    return EngineConfig(
        kind="transformers",
        batch_size=config.eval.batch_size,
        device=config.student.device,
        dtype=config.student.dtype,
    )
