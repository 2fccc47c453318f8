"""The expected cost of an evaluation in GPU hours, before anything is asked and after each model.

Reads the ledger for the answers that are there, and for their length.

The decision to question: rates that nobody measured on the user's machine. They are those of a
model of 3 billion parameters on one H100, reckoned from its arithmetic, and every line says so.
What a command measures itself takes their place. Items whose media cannot be read are counted too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from avrt.ask.calls import batches, known_calls
from avrt.ask.ledger import LedgerReader, ledger_shards, read_ledger
from avrt.evaluate.models import Model
from avrt.evaluate.tasks import Task

__all__ = ["Answers", "Cost", "cost_text", "expected_costs", "read_answers"]

_TOKENS = 300
"""Of an answer whose length is not known: about that of the paper's traces."""
_MIN_KNOWN = 20
"""Answers of a model from which the length of further ones is taken."""
_PROMPT_S = {"transformers": 0.3, "vllm": 0.03, "openai": 0.03}
_TOKEN_S = {"transformers": 0.04, "vllm": 0.0002, "openai": 0.0002}
"""Of one row where the engine decodes many together; of all rows of a batch for transformers."""


@dataclass(frozen=True)
class Answers:
    """What the ledger has of an evaluation."""

    left: Mapping[tuple[str, str], int]
    """Answers that it lacks, by model and set."""
    n: Counter[str] = field(default_factory=Counter)
    """All answers of a model, whatever it was asked."""
    tokens: Counter[str] = field(default_factory=Counter)
    """In them."""

    def n_left(self, task: Task) -> int:
        """About how many answers of a task are not there."""
        return self.left[_names(task)]

    def mean_tokens(self, model: str) -> float:
        """Of an answer of a model."""
        n = self.n[model]
        return self.tokens[model] / n if n >= _MIN_KNOWN else _TOKENS


@dataclass(frozen=True)
class Cost:
    """What is left to ask of a model."""

    model: str
    n_left: int
    """Answers."""
    n_tokens: float
    """Of an answer."""
    answer_s: float | None
    """GPU seconds of an answer; None: no GPU is known to be used, as on a CPU and by a script."""
    measured: bool = False

    @property
    def hours(self) -> float:
        return self.n_left * (self.answer_s or 0.0) / 3600


def expected_costs(
    answers: Answers, tasks: Sequence[Task], measured_s: Mapping[str, float] | None = None
) -> list[Cost]:
    """The cost of each model's tasks; `measured_s`: seconds of an answer, by kind of engine."""
    measured_s = measured_s or {}
    left: Counter[str] = Counter()
    models: dict[str, Model] = {}
    for task in tasks:
        models[task.model.name] = task.model
        left[task.model.name] += answers.n_left(task)
    costs = []
    for name, model in models.items():
        n_tokens = min(answers.mean_tokens(name), model.sampling.max_new_tokens)
        kind, answer_s = model.engine.kind, None
        if kind in _TOKEN_S and not (model.engine.device == "cpu" and kind == "transformers"):
            rows = model.engine.batch_size if kind == "transformers" else 1
            assumed_s = _PROMPT_S[kind] + n_tokens * _TOKEN_S[kind] / rows
            answer_s = measured_s.get(kind, assumed_s)
        costs.append(Cost(name, left[name], n_tokens, answer_s, kind in measured_s))
    return costs


def cost_text(costs: Sequence[Cost]) -> str:
    """The costs in words: a line for each model, and their sum; empty when nothing is left."""
    costs = [cost for cost in costs if cost.n_left]
    lines = []
    for cost in costs:
        text = f"eval: up to {cost.n_left:,} answers left of model {cost.model}"
        if cost.answer_s is not None:
            basis = "measured by this command" if cost.measured else "assumed for 3 B on an H100"
            text += (
                f", about {cost.n_tokens:.0f} tokens each: {_hours(cost.hours)} at "
                f"{cost.answer_s:.2g} s per answer ({basis})"
            )
        lines.append(text)
    if sum(cost.answer_s is not None for cost in costs) > 1:
        n_left, hours = sum(cost.n_left for cost in costs), sum(cost.hours for cost in costs)
        lines.append(f"eval: up to {n_left:,} answers left in all: {_hours(hours)}")
    return "\n".join(lines)


def _hours(hours: float) -> str:
    if hours < 0.05:
        return "under 0.1 GPU hours"
    return f"{hours:.0f} GPU hours" if hours >= 10 else f"{hours:.1f} GPU hours"


def read_answers(run: Path, tasks: Sequence[Task]) -> Answers:
    """Look for the answers to all questions of these tasks; creates nothing."""
    answers = Answers({_names(task): task.count_drafts(task.benchmark.asked) for task in tasks})
    if not ledger_shards(run):
        return answers
    query = (
        "SELECT role, dataset, COUNT(*), SUM(n_completion_tokens) FROM calls"
        " WHERE stage = ? AND finish_reason != 'error' GROUP BY 1, 2"
    )
    with read_ledger(run) as ledger:
        asked = set[tuple[str, str]]()
        for role, dataset, n, n_tokens in ledger.query(query, ("eval",)):
            asked.add((role, dataset))
            answers.n[role] += n
            answers.tokens[role] += n_tokens
        # Of the others, no question has to be made up to know that it was not asked.
        left = {_names(task): _n_left(ledger, task) for task in tasks if _names(task) in asked}
    return replace(answers, left={**answers.left, **left})


def _n_left(ledger: LedgerReader, task: Task) -> int:
    """The questions of a task that are not answered; those without media are never asked."""
    items = task.benchmark.asked
    n_left = task.count_drafts(items)
    for batch in batches(task.drafts(items, task.modalities)):
        failed, calls = known_calls(ledger, task.model.identity, batch)
        keys = [call.key for call in calls.values()]
        finished = ledger.finished(keys)
        n_left -= len(failed) + sum(key in finished for key in keys)
    return n_left


def _names(task: Task) -> tuple[str, str]:
    return task.model.name, task.benchmark.name
