"""Tables of the evaluation logs: stages x modality, paired comparisons, accuracy by group.

Reads RUN/eval/. Every accuracy stands with its n, its 95 % interval and the items it could not
score; every difference is measured on the same items, because differences of a point or two are
inside the noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from avrt.config import EvalConfig
from avrt.evaluate.checkpoints import split_name
from avrt.evaluate.logs import Line
from avrt.evaluate.protocol import differ_in_prompt
from avrt.evaluate.results import MODALITIES, ModelResult, group_order
from avrt.evaluate.statistics import Accuracy, Comparison, compare_paired
from avrt.evaluate.summary import in_order, interval_text, p_text, percent, shown_groups
from avrt.report.links import items_link
from avrt.report.tables import Cell, Table
from avrt.types import Sample

__all__ = [
    "BEST",
    "LABELS",
    "BenchmarkResults",
    "Compared",
    "accuracy_cell",
    "best_mark",
    "by_benchmark",
    "comparison_table",
    "comparisons_of",
    "detail_table",
    "group_link",
    "group_results",
    "group_tables",
    "headline_table",
    "items_of",
    "only_right",
]

BEST = "best"
_GIVEN = ("Cut sounds", "Scaled pictures")
_TOKENS = ("Picture tokens", "Sound tokens", "Prompt tokens")
LABELS = {"none": "Text only", "a": "Audio", "v": "Vision", "av": "Audio + vision"}


Compared: TypeAlias = tuple[tuple[str, str], tuple[str, str], Comparison]
"""First and second (model, modality) with their comparison."""


@dataclass(frozen=True)
class BenchmarkResults:
    """All results on one benchmark."""

    name: str
    models: tuple[str, ...]
    """In the order of training: the first is the base, the last is the final model."""
    cells: Mapping[tuple[str, str], ModelResult]
    """By (model, modality)."""
    samples: Mapping[str, Sample]
    """The questions by id."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that at least one item has, in the order of the columns: the richest last."""
        present = {m for (_, m), result in self.cells.items() if result.has_media}
        return tuple(m for m in MODALITIES if m in present)

    @property
    def chance(self) -> float | None:
        """Expected accuracy of guessing."""
        shares = [1 / len(sample.options) for sample in self.samples.values()]
        return sum(shares) / len(shares) if shares else None

    def line(self, model: str, modality: str, sample_id: str) -> Line | None:
        """One item of one log."""
        result = self.cells.get((model, modality))
        return result.by_id.get(sample_id) if result else None

    def compare(self, first: tuple[str, str], second: tuple[str, str]) -> Comparison | None:
        """Paired comparison of two (model, modality) that were asked alike but for the prompt."""
        before, after = self.cells.get(first), self.cells.get(second)
        if before is None or after is None:
            return None
        if before.protocol_id != after.protocol_id and not _differ_in_prompt(before, after):
            return None
        return compare_paired(before.correct, after.correct)


def _differ_in_prompt(before: ModelResult, after: ModelResult) -> bool:
    return differ_in_prompt(before.settings.protocol, after.settings.protocol)


def by_benchmark(results: Sequence[ModelResult], settings: EvalConfig) -> list[BenchmarkResults]:
    """The results of a run by benchmark; benchmarks and models in the configured order.

    Those of checkpoints are left to the curves.
    """
    results = [result for result in results if split_name(result.model) is None]
    benchmarks = []
    for name in in_order({result.benchmark for result in results}, settings.benchmarks):
        cells = {(r.model, r.modality): r for r in results if r.benchmark == name}
        models = in_order({model for model, _ in cells}, [*settings.models, *settings.pools])
        items = next(iter(cells.values())).items
        samples = {key: item.sample for key, item in items.items()}
        benchmarks.append(BenchmarkResults(name, tuple(models), cells, samples))
    return benchmarks


def headline_table(benchmark: BenchmarkResults) -> Table:
    """Stages x modality."""
    rows = tuple(
        (model, *(_accuracy_cell(benchmark, model, m) for m in benchmark.modalities))
        for model in benchmark.models
    )
    chance = benchmark.chance
    notes = [
        "Strict accuracy over all items with 95 % interval; items without an answer are wrong.",
        "Bold: the highest of a column under one protocol and over as many items; may be noise.",
        _protocol_note(benchmark),
    ]
    notes += dict.fromkeys(n for cell in benchmark.cells.values() for n in cell.set_notes)
    base, *others = benchmark.models
    pairs = [((base, m), (model, m)) for model in others for m in benchmark.modalities]
    comparisons = [benchmark.compare(first, second) for first, second in pairs]
    if tests := dict.fromkeys(pair.test for pair in comparisons if pair is not None):
        notes.append(f"Differences to {base} on the same items; test: {' or '.join(tests)}.")
    if chance is not None:
        notes.append(f"Guessing would be right on {percent(chance)}.")
    header = ("Model", *(LABELS[m] for m in benchmark.modalities))
    return Table(
        f"{benchmark.name}-results", f"{benchmark.name}: accuracy", header, rows, tuple(notes)
    )


def comparison_table(
    benchmark: BenchmarkResults, compared: Sequence[Compared] | None = None
) -> Table | None:
    """The comparisons, a row for each; by default those of `comparisons_of`."""
    chosen = comparisons_of(benchmark) if compared is None else compared
    rows = [_comparison_row(benchmark.name, *pair) for pair in chosen]
    if not rows:
        return None
    header = ("Second minus first", "Input", "Difference", "95 % interval", "n")
    return Table(
        f"{benchmark.name}-comparisons",
        f"{benchmark.name}: paired comparisons on the same items",
        (*header, "Only first right", "Only second right", "p"),
        tuple(rows),
        (
            "Interval: Newcombe's for paired proportions; with several answers, by bootstrap.",
            "p: exact two-sided McNemar; with several answers, of exchanged signs. Not corrected.",
            "Within noise: the interval holds 0. Only numbers under one protocol are compared.",
        ),
        text_columns=2,
    )


def detail_table(benchmark: BenchmarkResults) -> Table:
    """Behind each accuracy: the authors' verdict, lost items, lengths, tokens of media."""
    rows = tuple(
        (model, m.upper(), *_details(result))
        for model in benchmark.models
        for m in MODALITIES
        if (result := benchmark.cells.get((model, m))) is not None
    )
    header = ("Model", "Input", "Protocol", "Strict", "Official", "Invalid", "Failed", "No media")
    return Table(
        f"{benchmark.name}-details",
        f"{benchmark.name}: behind the numbers",
        (*header, "Cut", *_GIVEN, "Thought, words", *_TOKENS),
        rows,
        (
            "Official: by the rule of the benchmark's authors, over the items that they count.",
            "Invalid: replies in which no answer could be read. Cut: at the longest completion.",
            "Cut sounds, scaled pictures: items of which a model got less than the file has.",
            "Tokens: means over the replies, as the engine counted them; an absent modality has 0.",
        ),
        text_columns=3,
    )


def group_tables(benchmark: BenchmarkResults) -> list[Table]:
    """Accuracy of every model by every group of items, on its richest input."""
    results = group_results(benchmark)
    return [_group_table(benchmark, group, results) for group in shown_groups(results)]


def group_results(benchmark: BenchmarkResults) -> list[ModelResult]:
    """The result of every model on its richest input."""
    results = []
    for model in benchmark.models:
        own = [benchmark.cells[model, m] for m in MODALITIES if (model, m) in benchmark.cells]
        results += [result for result in own[-1:] if result.has_media]
    return results


def _group_table(benchmark: BenchmarkResults, group: str, results: Sequence[ModelResult]) -> Table:
    tables = [result.by_group(group) for result in results]
    values = group_order({value for table in tables for value in table})
    title = group.replace("_", " ")
    rows = tuple(
        (
            value,
            *(
                _group_cell(table.get(value), result, group, value)
                for table, result in zip(tables, results, strict=True)
            ),
        )
        for value in values
    )
    return Table(
        f"{benchmark.name}-{group.replace('_', '-')}",
        f"{benchmark.name}: accuracy by {title}",
        (title.capitalize(), *(f"{r.model}, {LABELS[r.modality].lower()}" for r in results)),
        rows,
        ("Small groups have wide intervals: read them before comparing.",),
    )


def _protocol_note(benchmark: BenchmarkResults) -> str:
    """Which numbers may be compared."""
    by_id: dict[str, list[str]] = {}
    for (model, _), result in benchmark.cells.items():
        names = by_id.setdefault(result.protocol_id, [])
        if model not in names:
            names.append(model)
    if len(by_id) == 1:
        return f"Protocol {next(iter(by_id))}: prompt, media, sampling and parser of every number."
    listed = ", ".join(
        f"{key} ({', '.join(in_order({*names}, benchmark.models))})" for key, names in by_id.items()
    )
    first, *others = benchmark.cells.values()
    if all(_differ_in_prompt(first, r) for r in others if r.protocol_id != first.protocol_id):
        return f"Protocols differ in the prompt alone: {listed}."
    return f"Protocols differ and numbers under different ones are not compared: {listed}."


def _details(result: ModelResult) -> tuple[Cell | str, ...]:
    counts, official = result.counts, result.official
    n_cut = sum(line.finish_reason == "length" for line in result.lines)
    official_text = "–" if official is None else percent(official.value)
    if official is not None and official.n != result.accuracy.n:
        official_text += f" of {official.n}"
    for name, accuracy in result.official_variants.items():
        official_text += f", {name} {percent(accuracy.value)}"
    return (
        result.protocol_id,
        Cell(percent(result.accuracy.value), href=items_of(result, "right")),
        official_text,
        Cell(percent(result.invalid_rate), href=items_of(result, "no_answer")),
        Cell(str(counts["failed"]), href=items_of(result, "failed")),
        Cell(str(counts["missing_media"]), href=items_of(result, "no_media")),
        str(n_cut),
        *("–" if n is None else str(n) for n in (result.cut_sounds, result.scaled_pictures)),
        _mean_text(result.think_words),
        *(_mean_text(result.mean(f"n_{kind}_tokens")) for kind in ("frame", "audio")),
        _mean_text(result.mean("n_prompt_tokens") or None),  # 0: nobody counted them
    )


def _mean_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _accuracy_cell(benchmark: BenchmarkResults, model: str, modality: str) -> Cell:
    result = benchmark.cells.get((model, modality))
    if result is None or not result.has_media:
        return Cell("–")
    details = [f"{interval_text(*result.accuracy.interval)}, n = {result.accuracy.n:,}"]
    base = benchmark.models[0]
    comparison = benchmark.compare((base, modality), (model, modality)) if model != base else None
    if comparison:
        noise = ", within noise" if comparison.is_noise else ""
        difference = f"{100 * comparison.difference:+.1f} to {base}"
        if result.protocol_id != benchmark.cells[base, modality].protocol_id:
            difference += " (another prompt)"
        if comparison.n < result.accuracy.n:
            difference += f" on {comparison.n:,} shared items"
        details.append(f"{difference}, {p_text(comparison.p)}{noise}")
    if result.official is not None:
        details.append(f"official {percent(result.official.value)}")
    if result.notes:
        details.append(result.notes)
    mark = best_mark(benchmark, result)
    return replace(
        accuracy_cell(result.accuracy, items_of(result, "right")),
        details=tuple(details),
        strong=mark == BEST,
        mark=mark,
    )


def accuracy_cell(accuracy: Accuracy, href: str = "") -> Cell:
    """An accuracy with its interval and n, which leads to the items behind it."""
    low, high = accuracy.interval
    return Cell(
        percent(accuracy.value),
        (f"{interval_text(low, high)}, n = {accuracy.n:,}",),
        href=href,
        value=100 * (accuracy.value or 0.0),
        interval=(100 * low, 100 * high),
        n=accuracy.n,
    )


def items_of(result: ModelResult, *verdicts: str, **filters: str) -> str:
    """The items to which the model gave an answer of one of these kinds: `right`, `wrong`,
    `no_answer`, `failed` or `no_media`.
    """
    kinds = dict.fromkeys(verdicts, f"{result.model}:{result.modality}")
    return items_link(origin=result.benchmark, **kinds, **filters)


def best_mark(benchmark: BenchmarkResults, result: ModelResult) -> str:
    """Whether the result is the best of those on this input under one protocol, or within noise of
    it by the paired test; nothing is best of itself, among equals, or over fewer items than others.
    """
    rivals = [
        other
        for other in benchmark.cells.values()
        if (other.modality, other.protocol_id) == (result.modality, result.protocol_id)
        and other.has_media
    ]
    n_items = max((other.accuracy.n for other in rivals), default=0)
    rivals = [other for other in rivals if other.accuracy.n == n_items]
    if len(rivals) < 2 or result.accuracy.n != n_items:
        return ""
    best = max(rivals, key=_shown)
    if all(_shown(other) == _shown(best) for other in rivals):
        return ""
    if _shown(result) == _shown(best):
        return BEST
    comparison = compare_paired(result.correct, best.correct)
    if comparison is None or not comparison.is_noise:
        return ""
    return f"within noise of the best, {p_text(comparison.p)}"


def _shown(result: ModelResult) -> float:
    return round(result.accuracy.value or 0.0, 3)


def comparisons_of(benchmark: BenchmarkResults) -> list[Compared]:
    """The base with every other model, every model with the next, then the last by modality."""
    models = benchmark.models
    pairs = [(models[0], model) for model in models[1:]]
    pairs += [pair for pair in pairwise(models) if pair not in pairs]
    compared = [((first, m), (second, m)) for first, second in pairs for m in benchmark.modalities]
    if "av" in benchmark.modalities:
        compared += [((models[-1], m), (models[-1], "av")) for m in ("a", "v")]
    tests = [(*pair, benchmark.compare(*pair)) for pair in compared]
    return [(first, second, test) for first, second, test in tests if test is not None]


def only_right(benchmark: str, first: tuple[str, str], second: tuple[str, str]) -> str:
    """The items that the first (model, modality) has right and the second has not, for any reason;
    one model is not both.
    """
    not_right = dict.fromkeys(("wrong", "no_answer", "failed", "no_media"), ":".join(second))
    return items_link(origin=benchmark, right=":".join(first), **not_right)


def _comparison_row(
    benchmark: str,
    first: tuple[str, str],
    second: tuple[str, str],
    comparison: Comparison,
) -> tuple[Cell | str, ...]:
    same_input = first[1] == second[1]
    models = f"{second[0]} − {first[0]}" if same_input else second[0]
    inputs = first[1].upper() if same_input else f"{second[1].upper()} − {first[1].upper()}"
    return (
        models,
        inputs,
        Cell(
            f"{100 * comparison.difference:+.1f}",
            value=100 * comparison.difference,
            interval=(100 * comparison.low, 100 * comparison.high),
            n=comparison.n,
        ),
        interval_text(comparison.low, comparison.high, "+"),
        str(comparison.n),
        Cell(str(comparison.b), href=only_right(benchmark, first, second)),
        Cell(str(comparison.c), href=only_right(benchmark, second, first)),
        p_text(comparison.p).removeprefix("p ").removeprefix("= ")
        + (" (within noise)" if comparison.is_noise else ""),
    )


def _group_cell(accuracy: Accuracy | None, result: ModelResult, group: str, value: str) -> Cell:
    if accuracy is None:
        return Cell("–")
    return accuracy_cell(accuracy, group_link(result, group, value))


def group_link(result: ModelResult, group: str, value: str) -> str:
    """The items of a group that the model has right, where the page can filter by the group."""
    name = {"question_type": "type", "relation": "relation"}.get(group)
    return items_of(result, "right", **{name: value}) if name else ""
