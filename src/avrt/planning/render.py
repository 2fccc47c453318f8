"""A plan for people, and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from avrt.planning import Plan
from avrt.planning.rows import Stage, counted

__all__ = ["plan_to_json", "render_plan"]

HEAD = (
    "stage",
    "calls",
    "prompt tokens",
    "reply tokens",
    "GPU hours",
    "core hours",
    "hours",
    "USD",
    "rates",
)
COUNTS = ("calls", "prompt_tokens", "reply_tokens")


def render_plan(plan: Plan, name: str) -> str:
    """Three tables: stages, storage, and the rates with where they come from."""
    stages = [_stage_row(plan, stage) for stage in (*plan.stages, _total(plan))]
    stores = [(store.name, _size(store.gb), _origins(plan, store.rates)) for store in plan.stores]
    stores.append(("all", _size(plan.gb), f"{plan.storage_price:,.0f} USD a month"))
    rates = [
        (rate_name, _number(rate.value), rate.unit, f"{rate.origin}: {rate.source}")
        for rate_name, rate in plan.rates.items()
    ]
    samples = counted(round(plan.samples), "sample")
    sized = f"{counted(plan.clips, 'clip')} ({samples}) on {counted(plan.gpus, 'GPU')}"
    notes = [f"{stage.name}: {stage.note}" for stage in plan.stages if stage.note]
    notes += [f"{s.name}: {s.no_gpu}, so it takes no GPU here" for s in plan.stages if s.no_gpu]
    return "\n".join(
        [
            f"plan of {name}: {sized}",
            *plan.notes,
            *("", *_table(HEAD, stages, words=(0, 8)), *notes),
            *("", *_table(("storage", "size", "rates"), stores, words=(0, 2))),
            *(
                "",
                *_table(("rate", "value", "unit", "where it comes from"), rates, words=(0, 2, 3)),
            ),
        ]
    )


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """All numbers, each row with the names of its rates, and the rates with their sources."""
    return {
        "clips": plan.clips,
        "samples": round(plan.samples),
        "gpus": plan.gpus,
        "notes": plan.notes,
        "stages": [_counts_whole(stage) for stage in plan.stages],
        "total": _counts_whole(_total(plan)),
        "storage": [asdict(store) for store in plan.stores],
        "storage_gb": plan.gb,
        "storage_usd_per_month": plan.storage_price,
        "rates": {rate_name: asdict(rate) for rate_name, rate in plan.rates.items()},
    }


def _counts_whole(stage: Stage) -> dict[str, Any]:
    row = asdict(stage)
    return row | {field: round(row[field]) for field in COUNTS}


def _total(plan: Plan) -> Stage:
    fields = (*COUNTS, "gpu_hours", "core_hours", "hours", "money")
    sums = {field: sum(getattr(stage, field) for stage in plan.stages) for field in fields}
    names = dict.fromkeys(name for stage in plan.stages for name in stage.rates)
    return replace(Stage("all", rates=tuple(names)), **sums)


def _stage_row(plan: Plan, stage: Stage) -> tuple[str, ...]:
    whole = (stage.calls, stage.prompt_tokens, stage.reply_tokens)
    hours = (stage.gpu_hours, stage.core_hours, stage.hours)
    return (
        stage.name,
        *(_count(value) for value in whole),
        *(_hours(value) for value in hours),
        f"{stage.money:,.0f}",
        stage.no_gpu if stage.no_gpu == "scripted" else _origins(plan, stage.rates),
    )


def _origins(plan: Plan, names: Sequence[str]) -> str:
    """How many of the rates are of which origin."""
    counts = Counter(plan.rates[name].origin for name in names)
    order = ("given", "measured", "stated", "reckoned")
    return ", ".join(f"{counts[origin]} {origin}" for origin in order if counts[origin])


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int]
) -> Iterator[str]:
    """Columns of one width each; those of `words` begin at the left."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _count(value: float) -> str:
    """Calls and tokens: whole, or in millions, billions (1e9) and trillions (1e12)."""
    if value < 1e7:
        return f"{value:,.0f}" if value else "-"
    for unit, size in (("T", 1e12), ("B", 1e9)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value / 1e6:,.1f} M"


def _hours(value: float) -> str:
    if not value:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _size(gb: float) -> str:
    for unit, size in (("EB", 1e9), ("PB", 1e6), ("TB", 1e3)):
        if gb >= size:
            return f"{gb / size:,.1f} {unit}"
    return f"{gb:,.1f} GB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"
