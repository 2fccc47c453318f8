"""What the runs of an experiment have measured, by arm and seed.

Reads the logs of evaluations and trainings, and the records of jobs; writes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from avrt.evaluate.checkpoints import curves_of
from avrt.evaluate.levels import difficulty_path
from avrt.evaluate.logs import log_path
from avrt.evaluate.results import ModelResult, group_order, read_results
from avrt.evaluate.statistics import t_interval
from avrt.experiments.arms import Run, Runs
from avrt.experiments.jobs import Job, read_record
from avrt.texts import read_json
from avrt.world.errors import ErrorClass, count_errors

__all__ = ["Cell", "Cost", "Measured", "Value", "metric", "read_measured", "training_minutes"]


@dataclass(frozen=True)
class Value:
    """One arm with one seed, on one benchmark in one modality."""

    run: Run
    result: ModelResult

    @property
    def accuracy(self) -> float:
        """Per cent of all items."""
        return 100 * (self.result.accuracy.value or 0.0)

    @property
    def log(self) -> Path:
        """The file that every number here comes from."""
        result = self.result
        return log_path(self.run.folder, result.benchmark, result.model, result.modality)

    @cached_property
    def errors(self) -> Counter[ErrorClass]:
        """The replies to world-bench by their first broken step."""
        assert self.run.world is not None, "checked with the claims"
        return count_errors(self.log, self.run.world)


@dataclass(frozen=True)
class Cell:
    """Numbers of independent repetitions, by seed."""

    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        return fmean(self.values.values())

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean; None with one seed."""
        return t_interval(list(self.values.values()))


@dataclass(frozen=True)
class Cost:
    """Processor time, in minutes of one core."""

    arms: Mapping[str, float]
    """Of each arm's own jobs, of all seeds; a job that equal arms share counts for the first."""

    @property
    def total(self) -> float:
        return sum(self.arms.values())


Key = tuple[str, str, str]
"""Arm, benchmark and modality."""


@dataclass(frozen=True)
class Measured:
    """All that is there of an experiment."""

    runs: Runs
    values: Mapping[Key, Mapping[int, Value]]
    """By seed; those that are not evaluated yet are absent."""
    courses: Mapping[Key, Mapping[int, Mapping[int, ModelResult]]]
    """The results of checkpoints, by seed and step."""
    cost: Cost
    commits: Sequence[str]
    """Of the code that ran the jobs."""
    ended: str | None
    """When the last job ended."""
    missing: Sequence[tuple[str, int]]
    """Arms and seeds of which an evaluation is not there."""

    def accuracy(self, key: Key) -> Cell | None:
        """Per cent, over seeds; None where nothing is measured."""
        return self._cell(key, "accuracy")

    def _cell(self, key: Key, name: str) -> Cell | None:
        values = self.values.get(key)
        if not values:
            return None
        return Cell({seed: metric(value, name) for seed, value in values.items()})

    def by_group(self, key: Key, group: str) -> dict[str, Cell]:
        """Accuracies by the value of a column, of the seeds that have items of it."""
        found: dict[str, dict[int, float]] = {}
        for seed, value in self.values.get(key, {}).items():
            for name, accuracy in value.result.by_group(group).items():
                found.setdefault(name, {})[seed] = 100 * (accuracy.value or 0.0)
        return {name: Cell(found[name]) for name in group_order(found)}

    def course(self, key: Key) -> dict[int, Cell]:
        """Accuracies by step, of the checkpoints that were evaluated."""
        found: dict[int, dict[int, float]] = {}
        for seed, points in self.courses.get(key, {}).items():
            for step, result in points.items():
                found.setdefault(step, {})[seed] = 100 * (result.accuracy.value or 0.0)
        return {step: Cell(found[step]) for step in sorted(found)}


def read_measured(runs: Runs, jobs: Sequence[Job]) -> Measured:
    """Read what is there so far. A log counts when its evaluation was done as it is asked now: one
    that failed leaves the log of earlier settings.
    """
    experiment = runs.experiment
    results = {(arm, run.seed): _read(run, runs) for arm in experiment.arms for run in runs.of(arm)}
    values: dict[Key, dict[int, Value]] = {}
    courses: dict[Key, dict[int, dict[int, ModelResult]]] = {}
    missing: list[tuple[str, int]] = []
    done = {job.key for job in jobs if job.stage == "eval" and job.is_done}
    for arm, settings in experiment.arms.items():
        follows = "checkpoints" in settings.stages  # else another experiment evaluated them
        for run in runs.of(arm):
            known = results[arm, run.seed]
            for benchmark, modality in experiment.columns:
                key = arm, benchmark, modality
                points = _points(run, known, benchmark, modality) if follows else {}
                if points:
                    courses.setdefault(key, {})[run.seed] = points
                if arm in runs.measured:
                    is_done = (run.folder, f"eval-{run.model}") in done
                    value = _find(run, known, benchmark, modality) if is_done else None
                    if value is not None:
                        values.setdefault(key, {})[run.seed] = value
                    elif (arm, run.seed) not in missing:
                        missing.append((arm, run.seed))
    records = [record for job in jobs if (record := read_record(job))]
    return Measured(
        runs=runs,
        values=values,
        courses=courses,
        cost=_cost(runs, jobs),
        commits=sorted({record["commit"] for record in records if record["commit"]}),
        ended=max((record["ended"] for record in records), default=None),
        missing=missing,
    )


def _read(run: Run, runs: Runs) -> list[ModelResult]:
    """The results of a run; the difficulty of its items is that of the arm that measured it."""
    if not (run.folder / "eval").is_dir():
        return []
    levels = {
        benchmark: path
        for arm, settings in runs.experiment.arms.items()
        if "difficulty" in settings.stages
        for benchmark in runs.experiment.benchmarks
        if (path := difficulty_path(runs.runs[arm, run.seed].folder, benchmark)).is_file()
    }
    evaluation = run.config.eval.model_copy(update={"difficulty": levels})
    config = run.config.model_copy(update={"eval": evaluation})
    return read_results(config, with_texts=False)


def _find(run: Run, results: Sequence[ModelResult], benchmark: str, modality: str) -> Value | None:
    wanted = (benchmark, run.model, modality)
    for result in results:
        if (result.benchmark, result.model, result.modality) == wanted and not result.n_left:
            return Value(run, result)
    return None


def _points(
    run: Run, results: Sequence[ModelResult], benchmark: str, modality: str
) -> dict[int, ModelResult]:
    """The finished results of the checkpoints of the run's own training."""
    return {
        step: result
        for curve in curves_of(results)
        if (curve.benchmark, curve.modality, curve.stage) == (benchmark, modality, run.model)
        for step, result in curve.points
        if not result.n_left
    }


def _cost(runs: Runs, jobs: Sequence[Job]) -> Cost:
    minutes = dict.fromkeys(runs.experiment.arms, 0.0)
    for job in jobs:
        minutes[job.run.arm] += read_record(job).get("cpu_s", 0.0) / 60
    return Cost(minutes)


def training_minutes(run: Run) -> float:
    """Minutes of one core that the run's own trainings took."""
    records = [run.folder / "jobs" / f"{stage}.json" for stage in ("sft", "grpo")]
    return sum(read_json(path)["cpu_s"] / 60 for path in records if path.is_file())


def metric(value: Value, name: str) -> float:
    """A number by the name of a claim's metric: per cent, KL, tokens or minutes."""
    result = value.result
    if name.startswith("errors."):
        counts = {str(kind): n for kind, n in value.errors.items()}
        return 100 * counts.get(name.removeprefix("errors."), 0) / max(sum(counts.values()), 1)
    if name == "format":
        return 100 * result.counts["scored"] / max(len(result.lines), 1)
    if name == "tokens":
        return result.mean("n_completion_tokens") or 0.0
    if name == "minutes":
        return training_minutes(value.run)
    if name == "kl":
        return _last_kl(value.run.folder / str(value.run.model) / "log.jsonl")
    assert name == "accuracy", name
    return value.accuracy


def _last_kl(log: Path) -> float:
    """The KL to the start, mean of the last tenth of the steps; 0 where none was measured.

    That of a single step is a mean over some dozens of replies, which varies by half.
    """
    rows = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    known = [float(row["kl"]) for row in rows if "kl" in row]
    return fmean(known[-max(len(known) // 10, 1) :]) if known else 0.0
