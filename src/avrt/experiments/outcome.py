"""What an experiment found: every measured number by arm and seed, and the verdict on each claim.

Reads the logs of evaluations and trainings, and the jobs' records; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from avrt.evaluate.logs import log_path
from avrt.evaluate.results import ModelResult, read_results
from avrt.evaluate.statistics import (
    SeedDifference,
    compare_paired,
    compare_seeds,
    holm,
    mcnemar,
    t_interval,
)
from avrt.experiments.arms import Run, Runs
from avrt.experiments.jobs import Job, read_record
from avrt.experiments.plan import Claim, Experiment

__all__ = ["Cell", "Cost", "Finding", "Outcome", "Value", "find_outcome"]

_LOWER = ("errors", "tokens", "minutes")
"""Metrics of which less is better."""


@dataclass(frozen=True)
class Value:
    """The measured numbers of one arm with one seed, on one benchmark in one modality."""

    run: Run
    result: ModelResult

    @property
    def accuracy(self) -> float:
        """Per cent of all items."""
        return 100 * (self.result.accuracy.value or 0.0)

    @property
    def log(self) -> Path:
        result = self.result
        return log_path(self.run.folder, result.benchmark, result.model, result.modality)


@dataclass(frozen=True)
class Cell:
    """An arm on one benchmark in one modality, over its seeds."""

    arm: str
    benchmark: str
    modality: str
    values: Mapping[int, Value]
    """By seed; those that are not evaluated yet are absent."""

    @property
    def accuracies(self) -> list[float]:
        return [value.accuracy for value in self.values.values()]

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def interval(self) -> tuple[float, float] | None:
        return t_interval(self.accuracies)


@dataclass(frozen=True)
class Finding:
    """A claim and what was found."""

    claim: Claim
    firsts: Sequence[float]
    seconds: Sequence[float]
    """The metric by seed; equal seeds in both."""
    difference: SeedDifference | None
    """In favour of the claim; None: nothing was measured."""
    p: float | None
    """Corrected for the number of claims (Holm)."""
    b: int = 0
    """Items of all seeds that only the second has right."""
    c: int = 0
    """Items of all seeds that only the first has right."""
    n_items: int = 0

    @property
    def p_items(self) -> float | None:
        """Exact McNemar over the items of all seeds: what further items would show, given these
        trainings.
        """
        return mcnemar(self.b, self.c) if self.n_items else None

    @property
    def ratio(self) -> float | None:
        return fmean(self.firsts) / fmean(self.seconds) if any(self.seconds) else None


@dataclass(frozen=True)
class Cost:
    """Processor time, in minutes of one core."""

    arms: Mapping[str, float]
    """Of each arm's own jobs, of all seeds."""
    total: float
    """Of all jobs, each counted once."""


@dataclass(frozen=True)
class Outcome:
    """All of it."""

    runs: Runs
    cells: Mapping[tuple[str, str, str], Cell]
    """By arm, benchmark and modality."""
    findings: Sequence[Finding]
    cost: Cost
    commits: Sequence[str]
    """Of the code that ran the jobs."""
    ended: str | None
    """When the last job ended."""
    n_missing: int
    """Evaluations that are not there."""


def find_outcome(runs: Runs, jobs: Sequence[Job]) -> Outcome:
    """Read what the runs of an experiment have measured so far."""
    experiment = runs.experiment
    cells: dict[tuple[str, str, str], Cell] = {}
    n_missing = 0
    known: dict[Path, list[ModelResult]] = {}
    for arm in runs.measured:
        for benchmark, modalities in experiment.benchmarks.items():
            for modality in modalities:
                values = {}
                for run in runs.of(arm):
                    if run.folder not in known:
                        known[run.folder] = _read(run)
                    value = _find(run, known[run.folder], benchmark, modality)
                    if value is None:
                        n_missing += 1
                    else:
                        values[run.seed] = value
                if values:
                    cells[arm, benchmark, modality] = Cell(arm, benchmark, modality, values)
    records = [record for job in jobs if (record := read_record(job))]
    return Outcome(
        runs=runs,
        cells=cells,
        findings=_test_claims(experiment, cells),
        cost=_cost(runs, jobs),
        commits=sorted({record["commit"] for record in records if record["commit"]}),
        ended=max((record["ended"] for record in records), default=None),
        n_missing=n_missing,
    )


def _read(run: Run) -> list[ModelResult]:
    return read_results(run.config, with_texts=False) if run.folder.is_dir() else []


def _find(run: Run, results: Sequence[ModelResult], benchmark: str, modality: str) -> Value | None:
    wanted = (benchmark, run.model, modality)
    for result in results:
        if (result.benchmark, result.model, result.modality) == wanted and not result.n_left:
            return Value(run, result)
    return None


def _cost(runs: Runs, jobs: Sequence[Job]) -> Cost:
    minutes: dict[str, float] = dict.fromkeys(runs.experiment.arms, 0.0)
    for job in jobs:
        minutes[job.run.arm] += read_record(job).get("cpu_s", 0.0) / 60
    return Cost(minutes, sum(minutes.values()))


def _test_claims(
    experiment: Experiment, cells: Mapping[tuple[str, str, str], Cell]
) -> list[Finding]:
    findings = [_test(experiment, cells, claim) for claim in experiment.claims]
    ps = [f.difference.p for f in findings if f.difference and f.difference.p is not None]
    corrected = iter(holm(ps))
    return [
        Finding(**{**vars(finding), "p": next(corrected)})
        if finding.difference and finding.difference.p is not None
        else finding
        for finding in findings
    ]


def _test(
    experiment: Experiment, cells: Mapping[tuple[str, str, str], Cell], claim: Claim
) -> Finding:
    first = _side(experiment, cells, claim.better)
    second = _side(experiment, cells, claim.than) if claim.than is not None else {}
    seeds = [seed for seed in first if claim.than is None or seed in second]
    firsts = [_metric(first[seed], claim.metric) for seed in seeds]
    seconds = [_metric(second[seed], claim.metric) if second else 0.0 for seed in seeds]
    if not seeds:
        return Finding(claim, (), (), None, None)
    is_lower = claim.metric.partition(".")[0] in _LOWER
    pair = (seconds, firsts) if is_lower else (firsts, seconds)
    b = c = n_items = 0
    for seed in seeds if second and claim.metric == "accuracy" else ():
        items = compare_paired(second[seed].result.correct, first[seed].result.correct)
        if items is not None:
            b, c, n_items = b + items.b, c + items.c, n_items + items.n
    return Finding(claim, firsts, seconds, compare_seeds(*pair), None, b, c, n_items)


def _side(
    experiment: Experiment, cells: Mapping[tuple[str, str, str], Cell], text: str
) -> Mapping[int, Value]:
    arm, modality, benchmark = experiment.side(text)
    cell = cells.get((arm, benchmark, modality))
    return cell.values if cell is not None else {}


def _metric(value: Value, name: str) -> float:
    result = value.result
    if name == "accuracy":
        return value.accuracy
    if name == "format":
        return 100 * result.counts["scored"] / max(len(result.lines), 1)
    if name == "tokens":
        return result.mean("n_completion_tokens") or 0.0
    if name == "kl":
        return _last_kl(value.run.folder / value.run.model / "log.jsonl")
    raise AssertionError(name)


def _last_kl(log: Path) -> float:
    rows = [line for line in log.read_text(encoding="utf-8").splitlines() if '"kl"' in line]
    return float(read_kl(rows[-1])) if rows else 0.0


def read_kl(line: str) -> Any:
    import json

    return json.loads(line)["kl"]
