"""Where the questions went: how many every stage kept, why it left out others, and the strata.

Reads RUN/manifests/*.json, RUN/dataset/rejected.parquet and the ledger. The numbers are the counts
that the stages checked themselves (read = kept + dropped + failed); merge and build look at every
question again, so the funnel compares the numbers that the stages kept, not those that they read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avrt.ask.database import ledger_paths
from avrt.ask.ledger import read_ledger
from avrt.evaluate.summary import percent
from avrt.report.tables import Cell, Table
from avrt.runs import iter_parquet, manifest_path, read_manifest

__all__ = ["Step", "attrition_table", "calls_table", "read_funnel", "stages_table", "strata_table"]

STAGES = ("prepare", "trace", "merge", "build")
_REJECTED_BY = {
    "prepare": "Prepare: the media",
    "trace": "Trace: the teachers' calls",
    "view": "View: the teachers' answers",
    "merge": "Merge: the merger's calls",
    "gate": "Gates: the merged trace",
    "judge": "Judges: the merged trace",
}
"""Stage in rejected.parquet and its name for readers."""
_ASKING = ("trace", "merge", "judge", "eval", "rubric")
"""The stages that call models."""
_STRATA = ("both", "vision_only", "audio_only", "none")


@dataclass(frozen=True)
class Step:
    """One stage of the funnel."""

    stage: str
    n_read: int
    n_kept: int
    losses: tuple[tuple[str, int], ...]
    """("dropped: REASON" or "failed: CLASS", count), largest first."""


def read_counts(run: Path, stage: str) -> Mapping[str, int] | None:
    """The counts of a finished stage; None when it has not been run."""
    path = manifest_path(run, stage)
    return read_manifest(path)["counts"] if path.is_file() else None


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
        (_reason_text(key), n)
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
        tuple((stage, *map(str, counts[stage])) for stage in _ASKING if stage in counts),
        ("By run.calls_from: equal calls are not made again, and their replies are copied.",),
    )


def attrition_table(run: Path) -> Table | None:
    """Every question that was read, once: kept, or left out where and why. None before `build`."""
    prepare, path = read_counts(run, "prepare"), run / "dataset" / "rejected.parquet"
    build = read_counts(run, "build")
    if build is None or not path.is_file():
        return None
    rows = iter_parquet(path, ["stage", "reason"])
    losses = Counter((row["stage"], row["reason"]) for row in rows)
    losses["prepare", "dropped/no_options"] += (prepare or {}).get("dropped/no_options", 0)
    n_kept = build.get("kept", 0)
    n_read = n_kept + losses.total()
    table: list[tuple[Cell | str, ...]] = [("Read", "", str(n_read), _share(n_read, n_read))]
    for stage, title in _REJECTED_BY.items():
        own = [(reason, n) for (name, reason), n in losses.items() if name == stage and n]
        for i, (reason, n) in enumerate(sorted(own, key=lambda loss: (-loss[1], loss[0]))):
            table.append(("" if i else title, _reason_text(reason), str(n), _share(n, n_read)))
    table.append(("Dataset", "kept", Cell(str(n_kept), strong=True), _share(n_kept, n_read)))
    return Table(
        "funnel",
        "Every question: kept, or left out and why",
        ("Left out at", "Reason", "Questions", "Of all read"),
        tuple(table),
        text_columns=2,
    )


def strata_table(run: Path) -> Table | None:
    """Which teacher was right, 2 x 2; None before the teachers were asked."""
    for stage in ("trace", "build"):
        counts = read_counts(run, stage) or {}
        strata = {name: counts.get(f"stratum/{name}", 0) for name in _STRATA}
        total = sum(strata.values())
        if total:
            break
    else:
        return None

    def cell(name: str) -> str:
        return f"{strata[name]} ({percent(strata[name] / total)})"

    return Table(
        "strata",
        f"Which teacher was right (n = {total})",
        ("", "Audio teacher right", "Audio teacher not right"),
        (
            ("Vision teacher right", cell("both"), cell("vision_only")),
            ("Vision teacher not right", cell("audio_only"), cell("none")),
        ),
        ("Over the questions that both teachers answered; not right is wrong, cut or unreadable.",),
    )


def _reason_text(key: str) -> str:
    kind, _, reason = key.partition("/")
    return f"{kind}: {reason.replace('_', ' ')}"


def _share(n: int, total: int) -> str:
    return percent(n / total if total else None)
