"""The evaluated models: the checkpoint, engine, questions, sampling and identity of each.

Nothing is loaded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from avrt.config import (
    Config,
    EngineConfig,
    EvalConfig,
    EvalModel,
    GivenMedia,
    MediaConfig,
    StudentConfig,
)
from avrt.engines import engine_identity
from avrt.errors import ConfigError
from avrt.evaluate.benchmarks import BENCHMARKS, media_of, official_prompt
from avrt.evaluate.checkpoints import split_name
from avrt.evaluate.logs import Settings
from avrt.evaluate.questions import Question, check_template, fill_question
from avrt.evaluate.sets import EvalSet
from avrt.prompts import PromptTemplate, load_prompt
from avrt.runs import fingerprint, student_path
from avrt.types import BenchmarkItem, Given, Sampling

__all__ = [
    "Model",
    "check_names",
    "check_new_name",
    "choose_models",
    "settings_of",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FORM = {"frames": "frames_as", "audio": "audio_as", "extra_body": "extra_body"}
"""The parts of an engine's identity that are about the requests, with their names in a protocol."""


@dataclass(frozen=True)
class Model:
    """A model to evaluate."""

    name: str
    checkpoint: str
    """The engine loads it, or asks its server for it."""
    revision: str | None
    engine: EngineConfig
    prompt: str
    """Name of the prompt for readers."""
    template: PromptTemplate | None
    """None: the words of each benchmark's authors."""
    sampling: Sampling
    k: int
    """Answers per item."""
    given: Given | None
    """The only modality that it takes; None: it takes all."""
    media: GivenMedia
    """What it gets of the clips in place of the sets' settings."""
    identity: Mapping[str, Any]
    """The engine's, which holds no path."""

    def modalities(self, benchmark: EvalSet, wanted: Sequence[Given]) -> list[Given]:
        """The wanted modalities that this model takes and an item of the set has."""
        return benchmark.modalities([m for m in wanted if self.given in (None, m)])

    def media_of(self, benchmark: EvalSet, media: MediaConfig) -> MediaConfig:
        """What it gets of the clips of a set.

        Raises:
            ConfigError: a rate of frames with too few of them, or with a prompt that says how many
                there are, which differs from clip to clip.
        """
        given = self.media.over(media_of(benchmark.data, media))
        names_frames = self.template is not None and self.template.uses("n_frames")
        if given.lacks_room:
            raise ConfigError(
                f"eval.models.{self.name}: {benchmark.name} gives {given.fps:g} frames per second, "
                f"four of every clip at least, and n_frames = {given.n_frames} is less; set fps: "
                "null beside n_frames, for as many frames of every clip"
            )
        if given.fps is not None and names_frames and any(s.video for s in benchmark.samples):
            raise ConfigError(
                f"eval.models.{self.name}: its prompt {self.prompt} says how many frames there "
                f"are, but {benchmark.name} gives {given.fps:g} frames per second; give it an even "
                f"number of frames with eval.models.{self.name}.media='{{fps: null, n_frames: 8}}'"
            )
        return given

    def ask(self, item: BenchmarkItem, given: Given, benchmark: EvalSet, n_frames: int) -> Question:
        """The texts of a question; without media, a model reads the same as with both."""
        if self.template is not None:
            return fill_question(item.sample, self.template, n_frames)
        modality = "av" if given == "none" else given
        return official_prompt(BENCHMARKS[benchmark.data.format], item, modality)

    def prompt_digest(self, benchmark: EvalSet) -> str:
        """Identifies the prompt of a set before it is filled."""
        if self.template is not None:
            return self.template.digest
        name = BENCHMARKS[benchmark.data.format].prompt
        return fingerprint(["official", load_prompt(name).digest])


def choose_models(config: Config, chosen: Mapping[str, str | EvalModel]) -> list[Model]:
    """The chosen entries of `eval.models`, complete.

    Raises:
        ConfigError: a model that was never trained, a prompt or a script that is absent.
    """
    settings, student = config.eval, config.student
    own_engine = _own_engine(settings, student)
    models = []
    for name, value in chosen.items():
        role = EvalModel(model=value) if isinstance(value, str) else value
        engine, checkpoint = role.engine or own_engine, student_path(config, role.model)
        is_student = role.model == "base" or checkpoint != role.model or split_name(name)
        if is_student and student.use_audio_in_video and not engine.use_audio_in_video:
            raise ConfigError(
                f"eval.models.{name}.engine gives the student pictures and sound apart, but it is "
                "trained with student.use_audio_in_video = true; set its kind to transformers and "
                "its use_audio_in_video to true, or leave the engine out"
            )
        revision = role.revision or student.revision_of(checkpoint)
        prompt = role.prompt or settings.prompt
        models.append(
            Model(
                name=name,
                checkpoint=checkpoint,
                revision=revision,
                engine=engine,
                prompt=Path(prompt).name,
                template=_template(name, prompt, student.prompt),
                sampling=Sampling(
                    temperature=role.temperature,
                    top_p=role.top_p,
                    max_new_tokens=role.max_new_tokens or settings.max_new_tokens,
                ),
                k=role.k,
                given=role.modality,
                media=role.media,
                identity=dict(engine_identity(engine, checkpoint, revision, config.media)),
            )
        )
    return models


def _template(model: str, prompt: str, of_student: str) -> PromptTemplate | None:
    if prompt == "official":
        return None
    try:
        template = load_prompt(of_student if prompt == "student" else prompt)
        check_template(template)
        return template
    except ConfigError as error:
        raise ConfigError(
            f"eval.models.{model}: {error}; `official` asks in the words of a benchmark's authors"
        ) from error


def _own_engine(settings: EvalConfig, student: StudentConfig) -> EngineConfig:
    """The engine of models that name none.

    Raises:
        ConfigError: vLLM cannot give the student its inputs.
    """
    kind = settings.engine
    if kind == "auto":
        takes_all = student.device != "cpu" and not student.use_audio_in_video
        kind = "vllm" if takes_all and find_spec("vllm") is not None else "transformers"
    if kind == "vllm" and student.use_audio_in_video:
        raise ConfigError(
            "eval.engine = vllm takes no video with its sound between the frames, and "
            "student.use_audio_in_video is true; set eval.engine=transformers"
        )
    return EngineConfig(
        kind=kind,
        batch_size=settings.batch_size,
        device=student.device,
        dtype=student.dtype,
        frames_as="video" if kind == "vllm" else "images",
        use_audio_in_video=student.use_audio_in_video,
    )


def settings_of(
    model: Model, benchmark: EvalSet, digests: Mapping[str, str], media: MediaConfig, seed: int
) -> Settings:
    """All that decides the answers of a model to a set with these digests."""
    form = {name: model.identity.get(key) for key, name in _FORM.items()}
    sampling = {
        "temperature": model.sampling.temperature,
        "top_p": model.sampling.top_p,
        "max_new_tokens": model.sampling.max_new_tokens,
        **({"seed": seed} if model.sampling.temperature else {}),
    }
    protocol = {
        **digests,
        "prompt": model.prompt_digest(benchmark),
        **media.decoding(),
        "frames_as": form["frames_as"] or "pixels",
        "audio_as": form["audio_as"] or "samples",
        **({"extra_body": form["extra_body"]} if form["extra_body"] else {}),
        **sampling,
    }
    identity = {key: value for key, value in model.identity.items() if key not in _FORM}
    return Settings(identity, protocol)


def check_names(settings: EvalConfig) -> None:
    """Refuse names that cannot be folders, pools of unknown models, and an empty list of sets.

    Raises:
        ConfigError: any of these.
    """
    if not settings.benchmarks:
        raise ConfigError(
            "eval.benchmarks is empty; name an evaluation set, such as "
            "eval.benchmarks='{bench: {format: avqa, root: DIR, split: val}}'"
        )
    for name in [*settings.models, *settings.benchmarks]:
        _check_name(name)
    for pool, members in settings.pools.items():
        if pool in settings.models:
            raise ConfigError(f"eval.pools.{pool}: eval.models has this name too; choose another")
        unknown = [name for name in members if name not in settings.models]
        if unknown or not members:
            known = ", ".join(settings.models)
            problem = f"{', '.join(unknown)} is not in eval.models" if unknown else "names no model"
            raise ConfigError(f"eval.pools.{pool}: {problem}; known: {known}")


def check_new_name(settings: EvalConfig, name: str) -> None:
    """Refuse a name for predictions that a model has, or that cannot be a folder.

    Raises:
        ConfigError: either of these.
    """
    _check_name(name)
    if name in settings.models or name in settings.pools:
        raise ConfigError(
            f"model {name!r} is in eval.models, so `avrt eval` asks it; give the predictions "
            f"another --model name"
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"eval: the name {name!r} becomes a folder; use letters, digits, '.', '_' and '-'"
        )
