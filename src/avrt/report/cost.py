"""What the run cost: calls, tokens and hours of models, failures by class, hours of training; and
what is recorded about who made it.

Reads the ledger, RUN/manifests, RUN/jobs and the training logs.

The decision to question: hours of calls are the sum of how long each took. Where many run side by
side, the clock showed less; the first and the last reply say how much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avrt.ask.database import ledger_paths
from avrt.ask.ledger import read_ledger
from avrt.errors import DataError
from avrt.evaluate.checkpoints import split_name
from avrt.report.curves import TrainingRun
from avrt.report.funnel import ASKING
from avrt.report.tables import Cell, Table
from avrt.texts import counted, read_json

__all__ = [
    "Calls",
    "Made",
    "cost_table",
    "failures_text",
    "read_calls",
    "read_made",
    "training_cost_table",
]


@dataclass
class Calls:
    """The calls of one role in one stage."""

    stage: str
    role: str
    n_replies: int = 0
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    seconds: float = 0.0
    first: str = ""
    last: str = ""
    failures: Counter[str] = field(default_factory=Counter)
    """Calls without a reply, by class."""


def read_calls(run: Path) -> list[Calls]:
    """The calls of every role, in the order of the stages; nothing where no model was asked."""
    if not ledger_paths(run):
        return []
    query = (
        "SELECT stage, role, COALESCE(error_class, ''), finish_reason = 'error', COUNT(*),"
        " SUM(n_prompt_tokens), SUM(n_completion_tokens), SUM(latency_s), MIN(created),"
        " MAX(created) FROM calls GROUP BY 1, 2, 3, 4"
    )
    found: dict[tuple[str, str], Calls] = {}
    try:
        with read_ledger(run) as ledger:
            rows = ledger.query(query)
    except DataError:
        return []  # only just created
    for stage, role, error_class, is_error, n, *sums, first, last in rows:
        checkpoint = split_name(role)
        role = f"checkpoints of {checkpoint[0]}" if checkpoint else role
        calls = found.setdefault((stage, role), Calls(stage, role))
        if is_error:
            calls.failures[error_class or "unknown"] += n
        else:
            calls.n_replies += n
        calls.n_prompt_tokens += sums[0] or 0
        calls.n_completion_tokens += sums[1] or 0
        calls.seconds += sums[2] or 0.0
        calls.first = min(filter(None, (calls.first, first)))
        calls.last = max(calls.last, last)
    order = {stage: place for place, stage in enumerate(ASKING)}
    return sorted(found.values(), key=lambda c: (order.get(c.stage, len(order)), c.role))


def cost_table(calls: Sequence[Calls]) -> Table | None:
    """A row for each role of each stage; None where no model was asked."""
    if not calls:
        return None
    rows = tuple(
        (
            each.stage,
            each.role,
            f"{each.n_replies:,}",
            Cell(str(each.failures.total()), _failure_details(each.failures)),
            f"{each.n_prompt_tokens:,}",
            f"{each.n_completion_tokens:,}",
            Cell(f"{each.seconds / 3600:.2f}", value=each.seconds / 3600),
            _minute(each.first),
            _minute(each.last),
        )
        for each in calls
    )
    return Table(
        "cost",
        "Calls of models",
        (
            *("Stage", "Role", "Replies", "Failed calls", "Prompt tokens", "Completion tokens"),
            *("Hours of calls", "First reply", "Last reply"),
        ),
        rows,
        (
            "Failed calls: without a reply to this day, by the class of their last failure.",
            "Hours of calls: how long each took, added up; calls run side by side. Times are UTC.",
        ),
        text_columns=2,
    )


def _failure_details(failures: Counter[str]) -> tuple[str, ...]:
    return (failures_text(failures),) if failures else ()


def failures_text(failures: Counter[str]) -> str:
    """Failures by class, the most frequent first."""
    return counted(failures.elements())


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def training_cost_table(trainings: Sequence[TrainingRun]) -> Table | None:
    """Steps, hours and the most memory of every training; None without one."""
    rows = []
    for training in trainings:
        seconds = [value for _, value in training.series.get("step_time_s", ())]
        memory = [value for _, value in training.series.get("memory_gib", ())]
        rows.append(
            (
                training.name,
                f"{training.n_steps:,}",
                f"{sum(seconds) / 3600:.2f}" if seconds else "–",
                f"{max(memory):.1f}" if memory else "–",
            )
        )
    if not rows:
        return None
    return Table(
        "training-cost",
        "Training",
        ("Training", "Steps", "Hours of steps", "Most memory, GiB"),
        tuple(rows),
        ("Hours without evaluations and checkpoints between the steps.",),
    )


@dataclass(frozen=True)
class Made:
    """What is recorded about the making of the run; an empty text where nothing is."""

    date: str
    """Of the last job or reply."""
    stages: str
    """The finished stages, as the commands that do them."""
    command: str
    commit: str
    hardware: str


def read_made(run: Path, calls: Sequence[Calls]) -> Made:
    """Date, commands and commit, as far as jobs and the ledger recorded them."""
    records = list(map(_record, sorted((run / "jobs").glob("*.json"))))
    ended = sorted(str(record["ended"]) for record in records if record.get("ended"))
    commits = dict.fromkeys(str(r["commit"]) for r in records if r.get("commit"))
    commands = [" ".join(words) for r in records for words in r.get("commands", ())]
    last = max((each.last for each in calls), default="")
    date = ended[-1][:10] if ended else last[:10]
    stages = "; ".join(map(_command, _stages(run)))
    return Made(date, stages, "; ".join(commands), ", ".join(commits), "")


def _record(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except DataError as error:
        raise DataError(f"{error}; delete the file: it holds dates and commands alone") from error


def _stages(run: Path) -> list[str]:
    """The stages that are done, in their order."""
    order = ("prepare", "trace", "merge", "judge", "build", "import", "sft")
    names = [path.stem for path in sorted((run / "manifests").glob("*.json"))]
    known = [name for name in order if name in names]
    return known + [name for name in names if name not in order]


def _command(stage: str) -> str:
    name = f"grpo grpo.output={stage}" if stage.startswith("grpo-") else stage
    return f"avrt {name}"
