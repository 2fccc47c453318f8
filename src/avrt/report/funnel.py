"""Where the questions went: how many every stage kept, and why it left out others.

Reads RUN/manifests/*.json, RUN/dataset/rejected.parquet and the ledger. The numbers are the counts
that the stages checked themselves (read = kept + dropped + failed); merge and build look at every
question again, so the funnel compares the numbers that the stages kept, not those that they read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.ask.database import ledger_paths
from avrt.ask.ledger import read_ledger
from avrt.evaluate.summary import percent
from avrt.report.charts import Chart
from avrt.report.faults import manifest_of
from avrt.report.links import items_link
from avrt.report.tables import Cell, Table
from avrt.runs import iter_parquet

__all__ = [
    "ASKING",
    "Attrition",
    "Step",
    "attrition_chart",
    "attrition_table",
    "calls_table",
    "read_attrition",
    "read_funnel",
    "stages_table",
]

STAGES = ("prepare", "trace", "merge", "build")
REJECTED_BY = {
    "prepare": "Prepare: the media",
    "trace": "Trace: the teachers' calls",
    "view": "View: the teachers' answers",
    "merge": "Merge: the merger's calls",
    "gate": "Gates: the merged trace",
    "judge": "Judges: the merged trace",
}
"""Stage in rejected.parquet and its name for readers."""
ASKING = ("trace", "merge", "judge", "eval", "rubric")
"""The stages that call models."""


@dataclass(frozen=True)
class Step:
    """One stage of the funnel."""

    stage: str
    n_read: int
    n_kept: int
    losses: tuple[tuple[str, int], ...]
    """("dropped: REASON" or "failed: CLASS", count), largest first."""


def read_counts(run: Path, stage: str) -> Mapping[str, int] | None:
    """The counts of a finished stage; None: it has not been run, or cannot be read."""
    manifest = manifest_of(run, stage)
    return manifest and manifest["counts"]


def read_funnel(run: Path) -> list[Step]:
    """The finished stages in their order."""
    steps = []
    for stage in STAGES:
        counts = read_counts(run, stage)
        if counts is not None:
            steps.append(_step(stage, counts))
    return steps


def _step(stage: str, counts: Mapping[str, int]) -> Step:
    losses = [
        (reason_text(key), n)
        for key, n in counts.items()
        if key.startswith(("dropped/", "failed/")) and n
    ]
    losses.sort(key=lambda loss: (-loss[1], loss[0]))
    n_kept = counts.get("kept", 0)
    n_read = counts.get("read", n_kept + sum(n for _, n in losses))
    return Step(stage, n_read, n_kept, tuple(losses))


def stages_table(steps: Sequence[Step]) -> Table:
    """Rows of the questions that each stage read and kept, and a row for every reason of a loss."""
    rows: list[tuple[str, ...]] = []
    for step in steps:
        rows.append((step.stage, "read", str(step.n_read), percent(1.0 if step.n_read else None)))
        rows += [("", reason, str(n), _share(n, step.n_read)) for reason, n in step.losses]
        rows.append(("", "kept", str(step.n_kept), _share(step.n_kept, step.n_read)))
    return Table(
        "stages",
        "The account of every stage",
        ("Stage", "Outcome", "Questions", "Of those read"),
        tuple(rows),
        (
            "In every stage: read = kept + dropped by a named reason + failed by a named class.",
            "Merge and build look at every question again; their reasons include earlier ones.",
        ),
        text_columns=2,
    )


def calls_table(run: Path) -> Table | None:
    """The replies of every stage, and those that another run gave; None where none did."""
    if not ledger_paths(run):
        return None
    with read_ledger(run) as ledger:
        counts = ledger.count_replies()
    if not any(n_reused for _, n_reused in counts.values()):
        return None
    return Table(
        "calls",
        "Replies of models, and those of them that another run gave",
        ("Stage", "Replies", "Taken from another run"),
        tuple((stage, *map(str, counts[stage])) for stage in ASKING if stage in counts),
        ("By run.calls_from: equal calls are not made again, and their replies are copied.",),
    )


@dataclass(frozen=True)
class Attrition:
    """Every question that was read, once."""

    losses: Mapping[str, Sequence[tuple[str, int]]]
    """By the stage where they left, reasons with their numbers, largest first."""
    kept: Mapping[str, int]
    """By split."""

    @property
    def n_kept(self) -> int:
        return sum(self.kept.values())

    @property
    def n_read(self) -> int:
        return self.n_kept + sum(n for losses in self.losses.values() for _, n in losses)


def read_attrition(run: Path) -> Attrition | None:
    """Where each question of the run is; None before `build`."""
    prepare, path = read_counts(run, "prepare"), run / "dataset" / "rejected.parquet"
    build = read_counts(run, "build")
    if build is None or not path.is_file():
        return None
    rows = iter_parquet(path, ["stage", "reason"])
    counts = Counter((row["stage"], row["reason"]) for row in rows)
    counts["prepare", NO_OPTIONS] += (prepare or {}).get(NO_OPTIONS, 0)
    losses = {
        stage: sorted(
            ((reason, n) for (name, reason), n in counts.items() if name == stage and n),
            key=lambda loss: (-loss[1], loss[0]),
        )
        for stage in REJECTED_BY
    }
    splits = {name: build.get(name, 0) for name in ("train", "validation")}
    known = sum(splits.values()) == build.get("kept", 0)
    return Attrition(losses, splits if known else {"train": build.get("kept", 0)})


NO_OPTIONS = "dropped/no_options"
"""These questions are in no file of the dataset."""


def loss_link(stage: str, reason: str) -> str:
    """The items that left at a stage for a reason."""
    if reason == NO_OPTIONS:
        return ""
    return items_link(origin="dataset", outcome=stage, reason=reason)


def attrition_table(attrition: Attrition) -> Table:
    """Every question that was read, once: kept, or left out where and why."""
    n_read, n_kept = attrition.n_read, attrition.n_kept

    def count(n: int, href: str, strong: bool = False) -> tuple[Cell, str]:
        return Cell(str(n), strong=strong, href=href, value=n), _share(n, n_read)

    table: list[tuple[Cell | str, ...]] = [
        ("Read", "", *count(n_read, items_link(origin="dataset")))
    ]
    for stage, losses in attrition.losses.items():
        for i, (reason, n) in enumerate(losses):
            title = "" if i else REJECTED_BY[stage]
            table.append((title, reason_text(reason), *count(n, loss_link(stage, reason))))
    href = items_link(origin="dataset", outcome=list(attrition.kept))
    table.append(("Dataset", "kept", *count(n_kept, href, strong=True)))
    return Table(
        "funnel",
        "Every question: kept, or left out and why",
        ("Left out at", "Reason", "Questions", "Of all read"),
        tuple(table),
        text_columns=2,
    )


def attrition_chart(attrition: Attrition) -> Chart:
    """The stream of questions: what each stage lost, and what is left."""
    nodes: list[dict[str, Any]] = [
        {"id": "read", "name": "Read", "kind": "kept", "href": items_link(origin="dataset")}
    ]
    counts = {"read": attrition.n_read}
    links: list[dict[str, Any]] = []
    source, n_left = "read", attrition.n_read
    stages = [stage for stage, losses in attrition.losses.items() if losses]
    for stage in stages:
        for reason, n in attrition.losses[stage]:
            id_, href = f"{stage}/{reason}", loss_link(stage, reason)
            about = {
                "id": id_,
                "name": reason_text(reason).partition(": ")[2].capitalize(),
                "stage": REJECTED_BY[stage],
            }
            nodes.append({**about, "kind": "lost", **({"href": href} if href else {})})
            links.append({"source": source, "target": id_, "n": n})
            n_left -= n
        if stage != stages[-1] and n_left:
            name = f"After {REJECTED_BY[stage].partition(':')[0].lower()}"
            nodes.append({"id": f"after/{stage}", "name": name, "kind": "kept"})
            links.append({"source": source, "target": f"after/{stage}", "n": n_left})
            source = f"after/{stage}"
    for split, n in attrition.kept.items():
        href = items_link(origin="dataset", outcome=split)
        nodes.append({"id": split, "name": split.capitalize(), "kind": "kept", "href": href})
        if n:
            links.append({"source": source, "target": split, "n": n})
    counts |= {link["target"]: link["n"] for link in links}
    nodes = [
        {**node, "n": counts[node["id"]], "text": _share(counts[node["id"]], attrition.n_read)}
        for node in nodes
        if node["id"] in counts
    ]
    title = f"Where the {attrition.n_read:,} questions went"
    note = "Every stream leads to its items."
    return Chart("funnel", "flow", title, {"nodes": nodes, "links": links}, "funnel", note)


def reason_text(key: str) -> str:
    kind, _, reason = key.partition("/")
    return f"{kind}: {reason.replace('_', ' ')}"


def _share(n: int, total: int) -> str:
    return percent(n / total if total else None)
