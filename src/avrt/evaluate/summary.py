"""From logs to numbers: one result per benchmark, model and modality, and the tables of them.

Reads RUN/eval/. The denominator is every item of the log. A log that is not finished yet says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from avrt.config import Config, EvalConfig
from avrt.errors import ConfigError
from avrt.evaluate.logs import Line, find_logs, read_log, read_meta
from avrt.evaluate.statistics import Accuracy, Comparison, compare_paired

__all__ = [
    "MODALITIES",
    "ModelResult",
    "compare",
    "comparison_text",
    "in_order",
    "interval_text",
    "p_text",
    "percent",
    "read_results",
    "summary_text",
]

MODALITIES = ("a", "v", "av")
"""Order of the columns."""


@dataclass(frozen=True)
class ModelResult:
    """One model on one benchmark in one modality."""

    benchmark: str
    model: str
    modality: str
    lines: Sequence[Line]
    n_items: int
    """How many items the log will have when it is finished."""

    @property
    def accuracy(self) -> Accuracy:
        return Accuracy(sum(line.correct for line in self.lines), len(self.lines))

    @property
    def counts(self) -> Counter[str]:
        """Items by status."""
        return Counter(line.status for line in self.lines)

    @cached_property
    def by_id(self) -> Mapping[str, Line]:
        """The items by their id."""
        return {line.sample_id: line for line in self.lines}

    @property
    def correct(self) -> Mapping[str, bool]:
        """Right or wrong by item, for paired comparisons."""
        return {line.sample_id: line.correct for line in self.lines}

    @property
    def n_left(self) -> int:
        """Items that are not evaluated yet."""
        return max(self.n_items - len(self.lines), 0)

    @property
    def has_media(self) -> bool:
        """False when no item has this modality, so that an accuracy would say nothing."""
        return self.counts["missing_media"] < len(self.lines)

    @property
    def notes(self) -> str:
        """What the accuracy hides: items without an answer, and items still to do."""
        counts = self.counts
        notes = [
            f"{counts[status]} {name}"
            for status, name in (
                ("unparsable", "unparsable"),
                ("failed", "failed"),
                ("missing_media", "without media"),
            )
            if counts[status]
        ]
        if self.n_left:
            notes.append(f"{self.n_left} of {self.n_items} not evaluated yet")
        return ", ".join(notes)


def read_results(run: Path) -> list[ModelResult]:
    """All results of a run, sorted by benchmark, model and modality."""
    return [
        ModelResult(benchmark, model, modality, read_log(path), read_meta(path).n_items)
        for benchmark, model, modality, path in find_logs(run)
    ]


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f} %"


def interval_text(low: float, high: float, sign: str = "") -> str:
    """A 95 % interval in percentage points."""
    return f"[{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def p_text(p: float) -> str:
    """A p value: three decimals, or a bound."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def summary_text(results: Sequence[ModelResult], settings: EvalConfig) -> str:
    """The stages x modality table of every benchmark, for the terminal, in the configured order."""
    if not results:
        return "no results yet; run `avrt eval`"
    tables = []
    for benchmark in in_order({r.benchmark for r in results}, settings.benchmarks):
        cells = {(r.model, r.modality): r for r in results if r.benchmark == benchmark}
        models = in_order({model for model, _ in cells}, settings.models)
        tables.append(_benchmark_text(benchmark, cells, models))
    return "\n\n".join(tables)


def in_order(present: AbstractSet[str], configured: Iterable[str]) -> list[str]:
    """The names that are present in the configured order; others behind them by name."""
    first = [name for name in configured if name in present]
    return first + sorted(present - set(first))


def compare(config: Config, first: str, second: str) -> str:
    """Compare two evaluated models of the run on the same items, per benchmark and modality.

    Raises:
        ConfigError: a model has no logs, or the two have none in common.
    """
    results = {(r.benchmark, r.modality, r.model): r for r in read_results(config.run.path)}
    models = {model for _, _, model in results}
    for name in (first, second):
        if name not in models:
            raise ConfigError(
                f"{config.run.path}/eval: no log of model {name!r}; there are: "
                f"{', '.join(sorted(models)) or 'none'}. Run `avrt eval` with it in eval.models"
            )
    lines = [f"{second} minus {first}, on the same items"]
    present = {benchmark for benchmark, _, _ in results}
    for benchmark in in_order(present, config.eval.benchmarks):
        for modality in MODALITIES:
            one = results.get((benchmark, modality, first))
            two = results.get((benchmark, modality, second))
            comparison = one and two and compare_paired(one.correct, two.correct)
            if comparison:
                lines.append(f"{benchmark} {modality.upper():2}  {comparison_text(comparison)}")
    if len(lines) == 1:
        raise ConfigError(
            f"{config.run.path}/eval: {first!r} and {second!r} have no evaluated item in common"
        )
    return "\n".join(lines)


def comparison_text(comparison: Comparison) -> str:
    """A paired comparison in one line."""
    interval = interval_text(comparison.low, comparison.high, "+")
    return (
        f"{100 * comparison.difference:+.1f} points {interval}, n = {comparison.n}, "
        f"only first right {comparison.b}, only second right {comparison.c}, "
        f"{p_text(comparison.p)} (exact McNemar)"
    )


def _benchmark_text(
    benchmark: str, cells: Mapping[tuple[str, str], ModelResult], models: Sequence[str]
) -> str:
    modalities = [m for m in MODALITIES if any(modality == m for _, modality in cells)]
    sizes = sorted({len(result.lines) for result in cells.values()})
    n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    width = max(len(model) for model in [*models, "model"])
    header = f"{'model':{width}}" + "".join(f"  {m.upper():^21}" for m in modalities)
    rows, notes = [f"{benchmark} (n = {n}, accuracy with 95 % interval)", header.rstrip()], []
    for model in models:
        texts = []
        for modality in modalities:
            result = cells.get((model, modality))
            texts.append(f"  {_cell_text(result):^21}")
            if result and result.notes:
                notes.append(f"  {model} {modality.upper()}: {result.notes}")
        rows.append(f"{model:{width}}{''.join(texts)}".rstrip())
    return "\n".join(rows + notes)


def _cell_text(result: ModelResult | None) -> str:
    if result is None or not result.has_media:
        return "–"
    accuracy = result.accuracy
    return f"{percent(accuracy.value)} {interval_text(*accuracy.interval)}"
