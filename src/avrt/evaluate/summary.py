"""The results of a run as text for the terminal: one table per benchmark, what it hides, groups.

Nothing is read here. Every accuracy stands with its interval, every table with the protocol under
which its numbers were made; the verdict by the authors' own rule stands below.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from avrt.ask.calls import Outcome
from avrt.config import EvalConfig
from avrt.evaluate.checkpoints import Curve
from avrt.evaluate.protocol import differing
from avrt.evaluate.results import MODALITIES, ModelResult, group_order
from avrt.evaluate.statistics import Accuracy
from avrt.texts import counted

__all__ = [
    "curves_text",
    "detail_text",
    "failures_text",
    "in_order",
    "interval_text",
    "p_text",
    "percent",
    "shown_groups",
    "summary_text",
]

_MOST_VALUES = 12
"""Groups with more values than this fill a page; they are in the report's files."""


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f} %"


def interval_text(low: float, high: float, sign: str = "") -> str:
    """A 95 % interval in percentage points."""
    return f"[{100 * low:{sign}z.1f}, {100 * high:{sign}z.1f}]"


def p_text(p: float) -> str:
    """A p value: three decimals, or a bound."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def in_order(present: AbstractSet[str], configured: Iterable[str]) -> list[str]:
    """The names that are present in the configured order; others behind them by name."""
    first = [name for name in configured if name in present]
    return first + sorted(present - set(first))


def failures_text(outcomes: Iterable[Outcome]) -> str:
    """How many of the calls failed, by class, and how to go on; empty when none did."""
    made = [outcome for outcome in outcomes if outcome.key is not None]
    failures = [outcome.status for outcome in made if outcome.failure is not None]
    if not failures:
        return ""
    return (
        f"{len(failures)} of {len(made)} calls failed ({counted(failures)}); repeat the command to "
        "try them again"
    )


def summary_text(
    results: Sequence[ModelResult], settings: EvalConfig, with_groups: bool = True
) -> str:
    """The stages x modality table of every benchmark, in the configured order."""
    if not results:
        return "no results yet; run `avrt eval`"
    tables = []
    for benchmark in in_order({r.benchmark for r in results}, settings.benchmarks):
        cells = {(r.model, r.modality): r for r in results if r.benchmark == benchmark}
        models = in_order({model for model, _ in cells}, [*settings.models, *settings.pools])
        tables.append(_benchmark_text(benchmark, cells, models))
        if with_groups:
            tables += _group_texts(benchmark, cells, models)
    return "\n\n".join(tables)


def curves_text(curves: Sequence[Curve]) -> str:
    """The accuracies of kept checkpoints by step, a table for each training on each benchmark."""
    tables: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        tables.setdefault((curve.benchmark, curve.stage), []).append(curve)
    return "\n\n".join(_curve_text(*key, parts) for key, parts in tables.items())


def _curve_text(benchmark: str, stage: str, curves: Sequence[Curve]) -> str:
    points = {
        (step, index): result.accuracy
        for index, curve in enumerate(curves)
        for step, result in curve.points
    }
    n = _range_text({accuracy.n for accuracy in points.values()})
    heads = "".join(f"  {curve.modality.upper():^21}" for curve in curves)
    rows = [
        f"{benchmark}, checkpoints of {stage} (n = {n}, strict accuracy with 95 % interval)",
        f"{'step':>6}{heads}".rstrip(),
    ]
    for step in sorted({step for step, _ in points}):
        texts = [_accuracy_text(points.get((step, index))) for index in range(len(curves))]
        rows.append(f"{step:>6}{''.join(f'  {text:^21}' for text in texts)}".rstrip())
    ids = dict.fromkeys(f"{curve.modality.upper()} {curve.protocol_id}" for curve in curves)
    one = {curve.protocol_id for curve in curves}
    shown = f"protocol {one.pop()}" if len(one) == 1 else f"protocols differ: {', '.join(ids)}"
    return "\n".join([*rows, f"  {shown}"])


def detail_text(result: ModelResult) -> str:
    """The text beside an accuracy: the authors' verdict, invalid replies, what of the media was
    cut, lengths, losses.
    """
    parts = []
    officials = {"official": result.official} if result.official is not None else {}
    for name, variant in result.official_variants.items():
        officials[f"official {name}"] = variant
    for name, official in officials.items():
        of = f" of {official.n}" if official.n != result.accuracy.n else ""
        parts.append(f"{name} {percent(official.value)}{of}")
    parts.append(f"invalid {percent(result.invalid_rate)}")
    parts += [text for n, text in result.cuts if n == 0]
    if result.think_words is not None:
        parts.append(f"thought {result.think_words:.0f} words")
    if result.notes:
        parts.append(result.notes)
    return ", ".join(parts)


def shown_groups(results: Sequence[ModelResult]) -> list[str]:
    """The groups that a page has room for, and that divide the items at all."""
    names = list(dict.fromkeys(name for result in results for name in result.groups))
    return [
        name
        for name in names
        if 1 < max(len(result.by_group(name)) for result in results) <= _MOST_VALUES
    ]


def _benchmark_text(
    benchmark: str, cells: Mapping[tuple[str, str], ModelResult], models: Sequence[str]
) -> str:
    modalities = [m for m in MODALITIES if any(modality == m for _, modality in cells)]
    n = _range_text({result.accuracy.n for result in cells.values()})
    width = max(len(model) for model in [*models, "model"])
    header = f"{'model':{width}}" + "".join(f"  {m.upper():^21}" for m in modalities)
    rows = [f"{benchmark} (n = {n}, strict accuracy with 95 % interval)", header.rstrip()]
    notes = []
    for model in models:
        texts = []
        for modality in modalities:
            result = cells.get((model, modality))
            accuracy = result.accuracy if result and result.has_media else None
            texts.append(f"  {_accuracy_text(accuracy):^21}")
            if result and result.lines:
                notes.append(f"  {model} {modality.upper()}: {detail_text(result)}")
        rows.append(f"{model:{width}}{''.join(texts)}".rstrip())
    about = dict.fromkeys(note for result in cells.values() for note in result.set_notes)
    notes += [f"  {note}" for note in about]
    return "\n".join([*rows, *notes, f"  {_protocol_text(cells, models)}"])


def _protocol_text(cells: Mapping[tuple[str, str], ModelResult], models: Sequence[str]) -> str:
    """Which numbers may be compared: those under one id."""
    by_id: dict[str, list[str]] = {}
    for (model, _), result in cells.items():
        names = by_id.setdefault(result.protocol_id, [])
        if model not in names:
            names.append(model)
    if len(by_id) == 1:
        return f"protocol {next(iter(by_id))}"
    listed = ", ".join(
        f"{key} ({', '.join(m for m in models if m in by_id[key])})" for key in by_id
    )
    names = differing(*(result.settings.protocol for result in cells.values()))
    if names == ["prompt"]:
        prompts = {model: result.prompt or "unknown" for (model, _), result in cells.items()}
        asked = ", ".join(f"{model} {prompts[model]}" for model in models)
        return f"protocols differ in the prompt alone ({asked}): {listed}"
    return f"protocols differ, so do not compare across them: {listed}; in {', '.join(names)}"


def _group_texts(
    benchmark: str, cells: Mapping[tuple[str, str], ModelResult], models: Sequence[str]
) -> list[str]:
    """Accuracies by group, on the richest input of each model."""
    richest = []
    for model in models:
        own = [cells[model, m] for m in MODALITIES if (model, m) in cells]
        richest += [result for result in own[-1:] if result.has_media]
    return [_group_text(benchmark, group, richest) for group in shown_groups(richest)]


def _group_text(benchmark: str, group: str, results: Sequence[ModelResult]) -> str:
    tables = [result.by_group(group) for result in results]
    values = group_order({value for table in tables for value in table})
    width = max(len(value) for value in [*values, group])
    titles = [f"{result.model} {result.modality.upper()}" for result in results]
    rows = [f"{benchmark} by {group}"]
    rows.append(f"{group:{width}}" + "".join(f"  {title:^21}" for title in titles).rstrip())
    for value in values:
        texts = [_accuracy_text(table.get(value)) for table in tables]
        n = _range_text({table[value].n for table in tables if value in table})
        cells = "".join(f"  {text:^21}" for text in texts)
        rows.append(f"{value:{width}}{cells}  n = {n}")
    return "\n".join(rows)


def _range_text(counts: Collection[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _accuracy_text(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "–"
    return f"{percent(accuracy.value)} {interval_text(*accuracy.interval)}"
