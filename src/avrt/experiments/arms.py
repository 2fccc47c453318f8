"""From an experiment to run directories: each arm with each seed is an ordinary run.

Reads the configurations and the models inside the package; writes nothing. A run lies in
ARMS/ARM-DIGEST/seed-SEED, where the digest is of everything that decides what its trainings make,
so that experiments with equal arms share the work. Evaluation is not in it: it may be extended.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import random
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from avrt.config import Config, load_config
from avrt.config.packaged import packaged_config
from avrt.engines.weights import model_identity
from avrt.errors import ConfigError
from avrt.experiments.checks import check_runs, check_settings
from avrt.experiments.plan import EVALUATIONS, Experiment, StageName, chain_of
from avrt.prompts import load_prompt
from avrt.runs import fingerprint
from avrt.world.content import Scene, WorldSet, draw_scene
from avrt.world.render import render_frames, render_sound
from avrt.world.text import draw_question

__all__ = ["ROOT", "Run", "Runs", "resolve_runs", "settings_of"]

ROOT = Path("runs/experiments")
_PLACE = re.compile(r"\{ *(\w+) *\}")
_WORLD_SETS: tuple[WorldSet, ...] = ("train", "bench", "audio")
_SECTIONS: dict[StageName, tuple[str, ...]] = {
    "prepare": ("data", "prepare", "media"),
    "trace": ("teachers", "generate", "media"),
    "merge": ("merger", "generate", "build"),
    "judge": ("judges", "generate", "build"),
    "build": ("build",),
    "sft": ("student", "media", "sft"),
    "grpo": ("student", "media", "grpo", "build", "judges"),
}
"""The sections that decide what a stage makes."""
_MEDIA = ("jpeg_quality", "audio_format", "timeout_s", "workers", "read_ahead")
_ENGINE = (
    *("base_url", "serve", "api_key_env", "headers", "concurrency", "timeout_s", "max_attempts"),
    *("max_reply_mb", "n_per_request", "check_media", "batch_size", "batch_tokens", "device"),
)
_TRAINING = ("gradient_checkpointing",)
_FREE: dict[str, tuple[str, ...]] = {
    "media": _MEDIA,
    "generate": ("max_failure_rate",),
    "student": ("device", "tower_attention"),
    "sft": _TRAINING,
    "grpo": (*_TRAINING, "recipe", "cuda_graph"),
}
"""Settings that change nothing of what a stage leaves behind, by section. Those that choose which
checkpoints are kept, and what is measured on the way, are none of them: other experiments read it.
"""


@dataclass(frozen=True, eq=False)
class Run:
    """One arm with one seed: a run directory."""

    arm: str
    seed: int
    config: Config
    world: Path | None
    """Where its world lies; None: it reads other data."""
    stages: tuple[StageName, ...]
    model: str | None
    """What the tables show: `base`, `sft` or `grpo...`; None: only models by the arm's own
    `eval.models`, such as teachers.
    """
    parent: Run | None
    others: tuple[Run, ...] = ()
    """Runs whose folders its settings name."""

    @property
    def folder(self) -> Path:
        return self.config.run.path

    @property
    def needs(self) -> tuple[Run, ...]:
        """The runs that must be finished before this one begins."""
        return (*([self.parent] if self.parent else []), *self.others)


@dataclass(frozen=True)
class Runs:
    """All runs of an experiment."""

    name: str
    """The experiment's."""
    experiment: Experiment
    runs: Mapping[tuple[str, int], Run]

    def of(self, arm: str) -> list[Run]:
        """The runs of an arm, in the order of the seeds."""
        return [self.runs[arm, seed] for seed in self.experiment.seeds]

    @property
    def measured(self) -> list[str]:
        """The arms that stand in the tables."""
        return [
            name
            for name, arm in self.experiment.arms.items()
            if "eval" in arm.stages and self.of(name)[0].model is not None
        ]


def resolve_runs(name: str, experiment: Experiment, root: Path = ROOT) -> Runs:
    """Resolve and check the settings of every arm with every seed.

    Raises:
        ConfigError: an unknown setting, an impossible value, or an unknown arm in a text; the
            message names the arm.
    """
    check_settings(experiment)
    resolver = _Resolver(experiment, root)
    runs = Runs(
        name,
        experiment,
        {(arm, seed): resolver.run(arm, seed) for arm in experiment.arms
         for seed in experiment.seeds},
    )  # fmt: skip
    check_runs(runs)
    return runs


@dataclass
class _Resolver:
    experiment: Experiment
    root: Path
    _runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    _asked: list[str] = field(default_factory=list)
    """Arms whose run waits for that of another arm."""
    _digests: dict[str, str] = field(default_factory=dict)
    _folders: dict[str, Path] = field(default_factory=dict)
    _configs: dict[str, Config] = field(default_factory=dict)

    @cached_property
    def _files(self) -> list[Path]:
        return [
            Path(text) if text.endswith((".yaml", ".yml")) else packaged_config(text)
            for text in self.experiment.configs
        ]

    def run(self, name: str, seed: int) -> Run:
        """The run of an arm, and of all that it needs."""
        if name in self._asked:
            circle = " -> ".join([*self._asked[self._asked.index(name) :], name])
            raise ConfigError(f"arms.{name} waits for itself: {circle}; take one of them out")
        if (name, seed) not in self._runs:
            self._asked.append(name)
            self._runs[name, seed] = self._make(name, seed)
            self._asked.pop()
        return self._runs[name, seed]

    def _make(self, name: str, seed: int) -> Run:
        arm = self.experiment.arms[name]
        parent = None if arm.start is None else self.run(arm.start, seed)
        others = tuple(self.run(other, seed) for other in self._named(name))
        places = {run.arm: str(run.folder) for run in others}
        world = self._world(name)
        folder = self._folder(name)
        fixed = {
            "run.dir": str(folder),
            "run.name": f"seed-{seed}",
            "run.seed": seed,
            **self._world_settings(name, None if world is None else world / f"seed-{seed}"),
        }
        config = self._config(name, places, fixed)
        if "eval" in arm.stages:
            self._require_benchmarks(config.eval.benchmarks)
        own = {key.split(".")[2]: None for key in arm.settings if key.startswith("eval.models.")}
        model = arm.model or (None if own else self._trained(name))
        models = {key: config.eval.models[key] for key in own if key in config.eval.models}
        for key, asked in models.items():
            _require_model(f"arms.{name}.settings: eval.models.{key}", asked)
        if model is not None:
            models.setdefault(model, model)
        evaluation = config.eval.model_copy(update={"models": models})
        return Run(
            arm=name,
            seed=seed,
            config=config.model_copy(update={"eval": evaluation}),
            world=None if world is None else world / f"seed-{seed}",
            stages=arm.stages,
            model=model,
            parent=parent,
            others=others,
        )

    def _require_benchmarks(self, known: Collection[str]) -> None:
        for name in self.experiment.benchmarks:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                raise ConfigError(f"benchmarks.{name}: not among eval.benchmarks; {hint}")

    def _trained(self, name: str) -> str:
        """The last model that the arm, or one before it, trains."""
        stages = [stage for arm in chain_of(self.experiment, name) for stage in arm.stages]
        if "grpo" in stages and "sft" not in stages[stages.index("grpo") :]:
            return str(settings_of(self.experiment, name).get("grpo.output", "grpo"))
        return "sft" if "sft" in stages else "base"

    def _named(self, name: str) -> list[str]:
        """The arms whose folders the settings name."""
        found = dict.fromkeys(
            _PLACE.findall(json.dumps(settings_of(self.experiment, name), default=str))
        )
        for other in found:
            if other not in self.experiment.arms or other == name:
                known = ", ".join(key for key in self.experiment.arms if key != name)
                raise ConfigError(
                    f"arms.{name}.settings: {{{other}}} is no other arm; known: {known}"
                )
        return list(found)

    def _config(self, name: str, places: Mapping[str, str], fixed: Mapping[str, Any]) -> Config:
        settings = {**settings_of(self.experiment, name), **fixed}
        overrides = [
            f"{key}={json.dumps(_replaced(value, places), ensure_ascii=False, default=str)}"
            for key, value in settings.items()
        ]
        try:
            return load_config(self._files, overrides)
        except ConfigError as error:
            text = str(error).replace("command line: ", "")
            raise ConfigError(f"arms.{name}.settings: {text}") from error

    def _plain(self, name: str) -> Config:
        """An arm's settings but for the seed and all folders; digests stand for other arms."""
        if name not in self._configs:
            places = {other: self._digest(other) for other in self._named(name)}
            self._configs[name] = self._config(name, places, {})
        return self._configs[name]

    def _world(self, name: str) -> Path | None:
        if chain_of(self.experiment, name)[0].stages[:1] != ("world",):
            return None
        sizes = self.experiment.world.model_dump()
        digest = fingerprint([sizes, _world_digest()])[:8]
        return self.root / "worlds" / f"{sizes['n_train']}-{sizes['n_bench']}-{digest}"

    def _world_settings(self, name: str, world: Path | None) -> dict[str, Any]:
        """The data and the benchmarks that lie in the world."""
        if world is None:
            return {}
        before = self._plain(name)
        roots = {
            f"eval.benchmarks.{key}.root": str(world)
            for key, data in before.eval.benchmarks.items()
            if data.root == before.data.root
        }
        return {"data.root": str(world), **roots}

    def _folder(self, name: str) -> Path:
        """Of the first arm that makes the same, here or in another experiment."""
        digest = self._digest(name)[:8]
        if digest not in self._folders:
            arms = self.root / "arms"
            own = arms / f"{name}-{digest}"
            known = sorted(arms.glob(f"*-{digest}"))
            self._folders[digest] = own if own in known or not known else known[0]
        return self._folders[digest]

    def _digest(self, name: str) -> str:
        """Of everything that decides what the arm's stages make, but the seed."""
        if name not in self._digests:
            arm = self.experiment.arms[name]
            tree = self._plain(name).model_dump(mode="json", exclude_defaults=True)
            world = self._world(name)
            self._digests[name] = fingerprint(
                {
                    "from": None if arm.start is None else self._digest(arm.start),
                    "world": None if world is None else world.name,
                    "stages": {
                        stage: deciding(tree, stage, has_world=world is not None)
                        for stage in arm.stages
                        if stage not in (*EVALUATIONS, "world")
                    },
                }
            )
        return self._digests[name]


def settings_of(experiment: Experiment, name: str) -> dict[str, Any]:
    """The settings of an arm by dotted name: all arms', those of the arms that it goes on from, and
    its own, of which later ones win.
    """
    layers = [experiment.settings, *(arm.settings for arm in chain_of(experiment, name))]
    return {key: value for layer in layers for key, value in layer.items()}


def _replaced(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _PLACE.sub(lambda match: places.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: _replaced(part, places) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, places) for part in value]
    return value


def deciding(tree: Mapping[str, Any], stage: StageName, has_world: bool) -> dict[str, Any]:
    """What decides the outcome of a stage, but the seed, of the settings that differ from their
    defaults: so a setting that is new changes nothing.
    """
    sections = {name: dict(tree[name]) for name in _SECTIONS[stage] if name in tree}
    for name, section in sections.items():
        for free in _FREE.get(name, ()):
            section.pop(free, None)
    if has_world:
        sections.get("data", {}).pop("root", None)
    sections = {name: section for name, section in sections.items() if section}
    return {"settings": _without_engines(sections), "made_with": sorted(_identities(sections))}


def _without_engines(tree: Any) -> Any:
    """The tree with what is free in the settings of engines left out."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: {k: v for k, v in value.items() if k not in _ENGINE}
        if key == "engine" and isinstance(value, dict)
        else _without_engines(value)
        for key, value in tree.items()
    }


def _identities(tree: Any) -> Iterator[str]:
    """The digests of the world's models and of the prompts that settings name."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key == "model" and isinstance(value, str) and value.startswith("world:"):
            yield _model_digest(value)
        elif key == "prompt" and isinstance(value, str):
            yield load_prompt(value).digest
        else:
            yield from _identities(value)


def _require_model(where: str, model: Any) -> None:
    """Refuse a model that the package does not have, before any job starts."""
    name = model if isinstance(model, str) else model.model
    if name.startswith("world:"):
        try:
            _model_digest(name)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


@cache
def _model_digest(model: str) -> str:
    return str(model_identity(model, None)["revision"])


@cache
def _world_digest() -> str:
    """Of what AVRT's world draws from a seed: another one means another world.

    Of questions of all sets, and of the pictures and the sound of a clip; no file is encoded.
    """
    rng = random.Random("digest")
    scenes: dict[WorldSet, list[Scene]] = {
        name: [draw_scene(rng, name) for _ in range(16)] for name in _WORLD_SETS
    }
    questions = [
        draw_question(scene, rng, name) for name, drawn in scenes.items() for scene in drawn
    ]
    renderers = (render_frames, render_sound)
    clip = scenes["train"][0]
    media = [hashlib.sha256(render(clip).tobytes()).hexdigest() for render in renderers]
    return fingerprint([repr(scenes), repr(questions), media])
