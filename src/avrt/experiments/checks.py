"""What is refused of an experiment before anything is made: jobs that could not run, or numbers
that would not be what the file asks for. Nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from avrt.errors import ConfigError
from avrt.experiments.plan import Experiment, StageName, chain_of

if TYPE_CHECKING:
    from avrt.experiments.arms import Run, Runs

__all__ = ["check_runs", "check_settings"]

_NEEDS: dict[StageName, StageName] = {
    "trace": "prepare",
    "merge": "trace",
    "judge": "merge",
    "build": "merge",
    "sft": "build",
}
"""The stage without whose files another one cannot work."""
_BY_AVRT = {
    "run.seed": "name seeds in `seeds`",
    "run.name": "runs are named by arm and seed",
    "run.dir": "runs lie below --dir",
    "eval.modalities": "name modalities in `benchmarks`",
}
"""Settings that an experiment gives itself, with the place for what is meant."""


def check_settings(experiment: Experiment) -> None:
    """Refuse settings that would be overridden, or would override what they do not name.

    Raises:
        ConfigError: names the setting and what to use in its place.
    """
    places = {"settings": experiment.settings}
    places |= {f"arms.{name}.settings": arm.settings for name, arm in experiment.arms.items()}
    for where, settings in places.items():
        for key in _dotted(settings):
            if key in _BY_AVRT:
                raise ConfigError(f"{where}.{key}: set by the experiment; {_BY_AVRT[key]}")
        _check_dotted(where, settings)
    for name in experiment.arms:
        chain = chain_of(experiment, name)
        layers = [experiment.settings, *(arm.settings for arm in chain)]
        if "world" in chain[0].stages and any("data.root" in _dotted(each) for each in layers):
            raise ConfigError(
                f"arms.{name}: data.root is set, but its stage world makes a world of its own for "
                "each seed; leave out one of the two"
            )


def _check_dotted(where: str, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if "." not in key and isinstance(value, Mapping):
            example = next(iter(value), "KEY")
            raise ConfigError(
                f"{where}.{key}: a section as a whole would set back what it does not name; write "
                f"dotted names, such as {key}.{example}"
            )
        if key == "eval.models" or (where == "settings" and key.startswith("eval.models.")):
            raise ConfigError(
                f"{where}: {key}: models of an arm's own stand in that arm's settings, each as "
                "eval.models.NAME"
            )


def _dotted(tree: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{key}.")


def check_runs(runs: Runs) -> None:
    """Refuse arms whose jobs could not run, and evaluations that are one, but should differ.

    Raises:
        ConfigError: names the arm, and what it lacks.
    """
    experiment = runs.experiment
    for name in experiment.arms:
        run = runs.of(name)[0]
        _check_stages(experiment, run)
        _check_model(run)
        if "eval" in run.stages:
            _check_media(experiment, run)
    _refuse_two_evaluations_in_one(runs)
    _refuse_other_items(runs)
    if experiment.errors and "av" not in experiment.benchmarks.get("world-bench", ()):
        raise ConfigError("errors: they are told apart on world-bench av, not among benchmarks")
    for place, claim in enumerate(experiment.claims):
        for text in filter(None, (claim.better, claim.than)):
            run = runs.of(experiment.side(text)[0])[0]
            _check_metric(f"claims.{place}", claim.metric, run)
    if experiment.errors:
        for name in runs.measured:
            _check_metric("errors", "errors", runs.of(name)[0])


def _check_stages(experiment: Experiment, run: Run) -> None:
    chain = chain_of(experiment, run.arm)
    before = [stage for arm in chain[:-1] for stage in arm.stages]
    for stage in run.stages:
        where = f"arms.{run.arm}.stages: {stage}"
        needed = _NEEDS.get(stage)
        grpo = run.config.grpo
        if stage == "grpo":
            needed = "sft" if grpo.init == "sft" else "build" if grpo.data == "dataset" else None
            needed = needed or "prepare"
        if needed is not None and needed not in before:
            raise ConfigError(
                f"{where} needs {needed}, which neither this arm nor one before it runs; "
                "add the stage, or name an arm that has it in `from`"
            )
        if stage == "world" and before:
            raise ConfigError(f"{where} begins an arm; one with `from` has the world of that one")
        if stage == "judge" and not run.config.judges:
            raise ConfigError(f"{where}: the section `judges` names no model; add one, or leave "
                              "out the stage")  # fmt: skip
        if stage == "checkpoints" and run.model not in ("sft", grpo.output):
            raise ConfigError(f"{where} needs a training, of sft or grpo; there is none")
        before.append(stage)


def _check_model(run: Run) -> None:
    """Refuse a model that is not trained, and none that `eval.models` describes."""
    if run.model is None or run.config.eval.models.get(run.model) != run.model:
        return
    made: set[str] = {"base"}
    each: Run | None = run
    while each is not None:
        made |= {"sft"} & set(each.stages)
        made |= {each.config.grpo.output} if "grpo" in each.stages else set()
        each = each.parent
    if run.model not in made:
        raise ConfigError(
            f"arms.{run.arm}.model = {run.model!r}: not trained in this arm or before it; known: "
            f"{', '.join(sorted(made))}"
        )


def _check_media(experiment: Experiment, run: Run) -> None:
    """Refuse modalities that the world's set of sounds does not have."""
    for name, given in experiment.benchmarks.items():
        data = run.config.eval.benchmarks[name]
        if data.root != run.world or data.split != "audio":
            continue
        if lacking := [each for each in given if "v" in each]:
            raise ConfigError(
                f"benchmarks.{name}: its items have sound alone, so {', '.join(lacking)} would "
                f"count as wrong; leave out {', '.join(lacking)}"
            )


def _refuse_two_evaluations_in_one(runs: Runs) -> None:
    """Arms that train the same have one run, where an evaluation is of one model in one way."""
    known: dict[Any, Run] = {}
    for run in (runs.of(name)[0] for name in runs.experiment.arms):
        if "eval" not in run.stages:
            continue
        names = runs.experiment.benchmarks
        other = known.setdefault((run.folder, run.model), run)
        evaluation, before = run.config.eval, other.config.eval
        changes = {"benchmarks": {name: evaluation.benchmarks[name] for name in names}}
        if evaluation.model_copy(update=changes) != before.model_copy(
            update={"benchmarks": {name: before.benchmarks[name] for name in names}}
        ):
            raise ConfigError(
                f"arms.{run.arm}: trains what {other.arm} trains, but its settings of `eval` "
                "differ: one run holds one evaluation of a model; put the two into experiments "
                "with another --dir each, or give one a model of its own in eval.models"
            )


def _refuse_other_items(runs: Runs) -> None:
    """Arms are compared on the same items: all of them in the worlds, or none."""
    measured = [runs.of(name)[0] for name in runs.measured]
    for benchmark in runs.experiment.benchmarks:
        roots = {run.config.eval.benchmarks[benchmark].root: run for run in measured}
        if len(roots) > 1:
            one, other = list(roots.values())[:2]
            places = " and ".join(str(root) for root in list(roots)[:2])
            raise ConfigError(
                f"benchmarks.{benchmark}: arms {one.arm} and {other.arm} would get other items, of "
                f"{places}; begin both with the stage world, or with arms that do"
            )


def _check_metric(where: str, metric: str, run: Run) -> None:
    """Refuse a metric that the runs of an arm will not have."""
    if metric == "kl" and not str(run.model).startswith("grpo"):
        raise ConfigError(f"{where}: metric kl: arm {run.arm!r} evaluates no model of GRPO")
    if metric == "kl" and not run.config.grpo.has_reference:
        raise ConfigError(f"{where}: metric kl: arm {run.arm!r} measures none; set grpo.kl_steps")
    if metric.startswith("errors") and run.world is None:
        raise ConfigError(f"{where}: metric {metric}: arm {run.arm!r} has no world of its own")
