"""The file of an experiment: its question, its arms, its seeds, and the claims that are tested.

Reads YAML. A typo anywhere in it is refused with the known names; the settings of the arms are
checked in `arms.py`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from avrt.config.files import read_yaml
from avrt.config.presets import merge_trees
from avrt.config.section import Section, check_name
from avrt.errors import ConfigError
from avrt.texts import shown
from avrt.types import Given
from avrt.world.errors import ERROR_CLASSES

__all__ = [
    "EVALUATIONS",
    "STAGES",
    "Arm",
    "Claim",
    "Experiment",
    "StageName",
    "World",
    "chain_of",
    "is_lower_better",
    "packaged_experiments",
    "read_experiment",
]

StageName = Literal[
    "world",
    "prepare",
    "trace",
    "merge",
    "judge",
    "build",
    "sft",
    "grpo",
    "eval",
    "checkpoints",
    "difficulty",
]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""The stages of an arm, in the order in which they run."""
EVALUATIONS: tuple[StageName, ...] = ("eval", "checkpoints", "difficulty")
"""Stages that measure and make nothing that a training reads."""
_METRICS = ("accuracy", "kl", "format", "tokens", "minutes")
_NAME = r"[a-z][a-z0-9_]*"
_LINE = r"(?:(?!<!--)[^\n])*"
Line = Annotated[str, check_name(_LINE, "a text of one line, without `<!--`")]
ArmName = Annotated[
    str,
    check_name(_NAME, "a name may have small letters, digits and `_`, and begins with a letter"),
]


class World(Section):
    """How large each seed's own world is."""

    n_train: int = Field(default=2_000, ge=1)
    """Questions of world-train."""
    n_bench: int = Field(default=1_000, ge=1)
    """Items of world-bench."""
    n_audio: int = Field(default=400, ge=1)
    """Items of world-audio."""


class Arm(Section):
    """One way to make a model, or data for the models of other arms."""

    about: Line = ""
    """What it is, in the table; empty: its name."""
    start: str | None = Field(default=None, alias="from")
    """The arm from whose finished run this one goes on, with its settings; null: from nothing."""
    stages: tuple[StageName, ...] = Field(min_length=1)
    """What is run, in this order."""
    settings: dict[str, Any] = Field(default={})
    """Settings of this arm, by dotted name. `{ARM}` in a text stands for the run directory of
    another arm, of the same seed, which is then run first.
    """
    model: str | None = None
    """What is evaluated: `base`, `sft` or `grpo...`; null: the last that was trained."""

    @model_validator(mode="after")
    def _stages_are_in_order(self) -> Self:
        places = [STAGES.index(stage) for stage in self.stages]
        if places != sorted(set(places)):
            order = ", ".join(stage for stage in STAGES if stage in self.stages)
            raise ValueError(f"stages run once, in the order {order}")
        return self


class Claim(Section):
    """A sentence that the experiment tests: one arm is better than another."""

    claim: Line
    """The sentence, as it stands in the table."""
    better: str
    """Arm and modality, as `sft_rl av`; behind them a benchmark that is not the first one."""
    than: str | None = None
    """The same of what it is compared with; null: with zero."""
    at_least: float | None = Field(default=None, ge=0)
    """Smallest difference that the claim asks for, in points of the metric."""
    factor: float | None = Field(default=None, gt=0, le=1)
    """Largest ratio of the first to the second that the claim asks for, as 0.5: at most half."""
    p: float = Field(default=0.05, gt=0, lt=1)
    """Largest p, after the correction for all claims of the experiment."""
    metric: str = "accuracy"
    """`accuracy` and `format` (a letter could be read), per cent of items; `kl` to the start, mean
    of the last tenth of GRPO's steps; `tokens` of a reply; `minutes` of one core for training;
    `errors.CLASS`, per cent of the replies to world-bench. Of errors, tokens and minutes, less is
    better.
    """

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Self:
        if self.factor is not None and (self.at_least is not None or self.than is None):
            raise ValueError("factor compares two arms: name `than`, and leave out at_least")
        if self.factor is not None and not is_lower_better(self.metric):
            raise ValueError(f"factor is for metrics of which less is better, unlike {self.metric}")
        if self.than is None and is_lower_better(self.metric):
            raise ValueError(f"less of {self.metric} is better, so name in `than` less than what")
        is_share = self.metric in ("accuracy", "format") or self.metric.startswith("errors.")
        if is_share and (self.at_least or 0) > 100:
            raise ValueError("at_least is in points of per cent, so at most 100")
        known = (*_METRICS, *(f"errors.{name}" for name in ERROR_CLASSES))
        _require("metric", self.metric, known)
        return self


def is_lower_better(metric: str) -> bool:
    """Whether less of a metric is better."""
    return metric.partition(".")[0] in ("errors", "tokens", "minutes")


class Experiment(Section):
    """An experiment's file."""

    title: Line
    """Its heading."""
    question: Line
    """What it asks."""
    configs: tuple[str, ...] = ("demo",)
    """Configurations of all arms: packaged names, or files; later ones win."""
    settings: dict[str, Any] = Field(default={})
    """Settings of all arms, by dotted name."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32, strict=True)], ...] = (0, 1, 2, 3, 4)
    """A repetition each: the run's seed, and that of a world of its own."""
    world: World = World()
    benchmarks: dict[str, tuple[Given, ...]] = Field(
        default={"world-bench": ("a", "v", "av")}, min_length=1
    )
    """The benchmarks, of `eval.benchmarks`, and the modalities that models get of each."""
    arms: dict[ArmName, Arm] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    groups: tuple[str, ...] = ()
    """Columns that accuracies are broken down by, such as `question_type`; `difficulty` is measured
    by the arm that has this stage.
    """
    errors: bool = False
    """Tell apart the errors on world-bench, both modalities."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds) or not self.seeds:
            raise ValueError("seeds: name one or more, each once")
        for name, arm in self.arms.items():
            if arm.start is not None:
                _require(f"arms.{name}.from", arm.start, self.arms)
        self._refuse_circles()
        for name, given in self.benchmarks.items():
            if len(set(given)) < len(given) or not given:
                raise ValueError(f"benchmarks.{name}: name one or more modalities, each once")
        self._refuse_equal_labels()
        measured = [name for name, arm in self.arms.items() if "eval" in arm.stages]
        for place, claim in enumerate(self.claims):
            for key, text in (("better", claim.better), ("than", claim.than)):
                if text is not None:
                    self._check_side(f"claims.{place}.{key}", text, measured, claim.metric)
            if claim.than is not None and self.side(claim.than) == self.side(claim.better):
                raise ValueError(f"claims.{place}: better and than are the same")
        levels = [name for name, arm in self.arms.items() if "difficulty" in arm.stages]
        if "difficulty" in self.groups and len(levels) != 1:
            raise ValueError(
                "groups: difficulty needs an arm that measures it: one with the stages eval and "
                "difficulty, and two teachers below eval.models in its settings"
            )
        return self

    def _refuse_circles(self) -> None:
        for name in self.arms:
            chain = [name]
            while (start := self.arms[chain[-1]].start) is not None:
                if start in chain:
                    raise ValueError(f"arms.{name}.from leads back to itself: {' -> '.join(chain)}")
                chain.append(start)

    def _refuse_equal_labels(self) -> None:
        known: dict[str, str] = {}
        for name, arm in self.arms.items():
            other = known.setdefault(arm.about or name, name)
            if other != name:
                raise ValueError(
                    f"arms.{name} is called {arm.about or name!r} in tables, and so is {other}; "
                    "give one another `about`"
                )

    def _check_side(self, where: str, text: str, measured: Iterable[str], metric: str) -> None:
        if not 1 <= len(text.split()) <= 3:
            raise ValueError(f"{where} = {shown(text)}: expected ARM MODALITY BENCHMARK")
        arm, modality, benchmark = self.side(text)
        _require(where, arm, measured)
        _require(where, benchmark, self.benchmarks)
        _require(where, modality, self.benchmarks[benchmark])
        if metric.startswith("errors.") and (benchmark, modality) != ("world-bench", "av"):
            raise ValueError(f"{where}: errors are told apart on world-bench av alone")

    @property
    def columns(self) -> list[tuple[str, Given]]:
        """Benchmark and modality of every evaluation."""
        return [(name, given) for name, each in self.benchmarks.items() for given in each]

    def side(self, text: str) -> tuple[str, str, str]:
        """Arm, modality and benchmark of a side of a claim; the first benchmark by default."""
        arm, *others = text.split()
        modality, *others = others or ["av"]
        return arm, modality, (others or list(self.benchmarks))[0]


def chain_of(experiment: Experiment, name: str) -> list[Arm]:
    """An arm and those that it goes on from, the first one first."""
    chain = [experiment.arms[name]]
    while (start := chain[0].start) is not None:
        chain.insert(0, experiment.arms[start])
    return chain


def _require(where: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
        raise ValueError(f"{where} = {shown(name)}: no such name; {hint}")


def packaged_experiments() -> dict[str, Path]:
    """The packaged experiments by name, such as `stages`."""
    package = Path(__file__).parents[1]
    folders = [package / "configs", package.parents[1] / "configs"]
    return {
        path.stem: path
        for folder in folders
        for path in sorted((folder / "experiments").glob("*.yaml"))
    }


def read_experiment(name_or_path: str) -> tuple[str, Experiment]:
    """The name and the content of an experiment: of a packaged one, or of a file.

    Raises:
        ConfigError: no such experiment, an unreadable file, an unknown key or an impossible value.
    """
    known = packaged_experiments()
    path = known.get(name_or_path, Path(name_or_path))
    if path.suffix not in (".yaml", ".yml"):
        close = difflib.get_close_matches(name_or_path, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
        raise ConfigError(f"{name_or_path}: no such experiment in the package; {hint}")
    if not re.fullmatch(r"\w[\w.-]*", path.stem) or path.stem in ("arms", "worlds"):
        raise ConfigError(
            f"{path}: the file's name names the results' folder, so it has letters, digits, `_`, "
            "`.` and `-`, and is neither `arms` nor `worlds`, the folders of all experiments"
        )
    if path.stem in known and path.resolve() != known[path.stem].resolve():
        raise ConfigError(
            f"{path}: {path.stem} is an experiment of the package, whose results this one would "
            "replace; give the file another name"
        )
    tree = _read_tree(path)
    try:
        return path.stem, Experiment.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, error))) from error


def _read_tree(path: Path, readers: Sequence[Path] = ()) -> dict[str, Any]:
    """The file's content. One with `after: NAME` takes from that experiment what it does not say
    itself; its arms are joined with those, and one that is null is taken out.
    """
    tree = read_yaml(path)
    name = tree.pop("after", None)
    if name is None:
        return tree
    known = packaged_experiments()
    other = known.get(str(name), path.parent / str(name))
    if other.suffix not in (".yaml", ".yml"):
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
        raise ConfigError(f"{path}: after = {name}: no such experiment; {hint}")
    if other.resolve() in {each.resolve() for each in (path, *readers)}:
        raise ConfigError(f"{path}: after = {name}: leads back to itself; leave it out")
    shared = ("configs", "settings", "seeds", "world", "benchmarks", "arms")
    before = _read_tree(other, (*readers, path))
    before = {key: value for key, value in before.items() if key in shared}
    own = tree.get("arms")
    if isinstance(own, dict):
        for arm, value in own.items():
            if value is None and arm not in before.get("arms", {}):
                raise ConfigError(f"{path}: arms.{arm}: null takes nothing out of {name}")
    merged = merge_trees(before, tree)
    if isinstance(own, dict):
        merged["arms"] = {arm: value for arm, value in merged["arms"].items() if value is not None}
    if "benchmarks" in tree:  # as a whole: they are what is measured
        merged["benchmarks"] = tree["benchmarks"]
    return merged


def _explain(path: Path, error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        if problem["type"] == "extra_forbidden":
            known = _keys_at(problem["loc"][:-1])
            close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            yield f"{path}: unknown key {where!r}; {hint}"
        elif problem["type"] == "missing":
            yield f"{path}: {where} is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message.replace("Input should be", "must be")
            message = message.replace("valid tuple", "list").replace("valid dictionary", "mapping")
            if problem["type"] == "too_short":
                message = "is empty; name one or more"
            is_whole = isinstance(problem["input"], Mapping)
            given = "" if is_whole else f" = {json.dumps(problem['input'], default=str)}"
            yield f"{path}: {where or 'experiment'}{given}: {message}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    section: type[Section] = Experiment
    if location:
        section = {"arms": Arm, "claims": Claim, "world": World}[str(location[0])]
    return [field.alias or name for name, field in section.model_fields.items()]
