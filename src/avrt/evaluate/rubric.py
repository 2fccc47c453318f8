"""MMAR's rubrics: a text model says which points of its rubric each reply earns.

Reads the benchmarks of MMAR's format and RUN/eval/BENCH/MODEL/*.jsonl, of the configured models and
of imported predictions; writes every call into the ledger and derives
RUN/eval/BENCH/MODEL/rubric/*.jsonl from it, one line per reply, and *.meta.json, the judge. Equal
replies to an item are scored by one call.

The decision to question: a point that the text model did not give, or gave outside a criterion's
scale, is not earned and its reply counts as not fully scored; points are never guessed. An item
without a reply earns none, and costs no call. A reply whose call failed is not scored yet, and in
no mean: the fault is not the evaluated model's.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from avrt.ask.budget import Budget
from avrt.ask.calls import (
    Draft,
    Drafts,
    Outcome,
    call_all,
    check_failure_rate,
    describe_role,
    find_outcomes,
    sampling_of,
)
from avrt.ask.distant import role_on
from avrt.ask.ledger import ledger_shards, open_ledger, read_ledger
from avrt.ask.locks import check_free, take_turns
from avrt.ask.reuse import check_source
from avrt.config import Config, EvalConfig, ModelRole
from avrt.datasets import read_items
from avrt.engines import engine_of_role
from avrt.errors import AvrtError, ConfigError, DataError
from avrt.evaluate.logs import Line, find_logs, read_log, read_meta
from avrt.evaluate.questions import Question
from avrt.evaluate.scoring import score
from avrt.evaluate.statistics import mean_interval
from avrt.evaluate.summary import failures_text, interval_text, percent
from avrt.prompts import PromptTemplate, format_options, load_prompt
from avrt.runs import Result, save_config, write_atomic, write_json
from avrt.texts import printable
from avrt.types import BenchmarkItem, Completion

__all__ = ["Criterion", "RubricScore", "ask", "criteria_of", "plan", "read_points", "run"]

_POINTS = re.compile(r"\s*(?:criterion\s+)?(\d+)\s*[:.)]\s*(\d+)(?:\s+points?)?\s*", re.IGNORECASE)
_MARKDOWN = str.maketrans("", "", "*`_")


@dataclass(frozen=True)
class Criterion:
    """A single thing that a reply can earn points for."""

    name: str
    scoring_point: str
    note: str
    choices: tuple[int, ...]
    """The points that may be given."""


@dataclass(frozen=True)
class RubricScore:
    """The points of one reply."""

    sample_id: str
    k: int
    """Which of the answers to this item."""
    key: str | None
    """Of the call in the ledger; None when there was no reply to score."""
    correct: bool
    """Whether the answer was right by the strict score."""
    points: tuple[int | None, ...]
    """By criterion; None where the text model gave no valid points."""
    max_points: int
    text: str
    """Written by the text model."""
    n_prompt_tokens: int = 0
    """Of the call; equal replies share one."""
    n_completion_tokens: int = 0

    @property
    def share(self) -> float:
        """Points earned of all that there are."""
        return sum(point or 0 for point in self.points) / self.max_points


@dataclass(frozen=True)
class _Reply:
    """A reply of an evaluated model, to be scored."""

    log: Path
    item: BenchmarkItem
    line: Line

    @property
    def is_empty(self) -> bool:
        return not self.line.text.strip()


def run(config: Config, budget: Budget | None = None) -> Result:
    """Score the replies in all logs of MMAR and summarise.

    Raises:
        ConfigError: no benchmark of this format, none of its replies is there, or another process
            works on the run.
        DataError: an item without a rubric, or with one that is not MMAR's.
        EngineError: the text model cannot be used.
        AvrtError: too many calls failed; everything is stored, and the summary printed.
    """
    path, role, budget = config.run.path, config.rubric, budget or Budget()
    replies, template = _read_replies(path, config.eval), load_prompt(role.prompt)
    source = config.run.calls_path
    check_source(source)
    check_free(path, budget.shard, "rubric")
    save_config(config)
    with (
        open_ledger(path, budget.shard, "rubric", source) as ledger,
        closing(role_on(config.cluster, role, config.media)) as engine,
    ):
        chosen = budget.take([reply for reply in replies if not reply.is_empty])
        each = _drafts(chosen, role, config.run.seed, template)
        made = call_all(ledger, engine, Drafts("rubric", len(chosen), each, config.media), budget)
    with take_turns(path / "eval"), read_ledger(path) as ledger:  # with the replies of all shards
        drafts = _drafts(replies, role, config.run.seed, template)
        outcomes = find_outcomes(ledger, engine.identity, drafts)
        completions = ledger.find_all([o.key for o in outcomes.values() if o.key is not None])
        scores = _score_all(replies, outcomes, completions)
        judge = describe_role(role, config.media)
        for log, of_log in scores.items():
            _write_scores(log.parent / "rubric" / log.name, of_log, judge)
    lines = [f"judge: {role.model}, prompt {role.prompt} ({template.digest[:12]})"]
    lines += _summarize(scores, Counter(reply.log for reply in replies))
    by_key = {outcome.key: outcome for outcome in made.values()}  # equal replies have one call
    if failures := failures_text(by_key.values()):
        lines.append(failures)
    if budget.stopped_by is not None:
        lines.append(budget.summarize("rubric"))
    try:
        check_failure_rate("rubric", by_key.values(), config.generate.max_failure_rate)
    except AvrtError:
        print(printable("\n".join(lines)))
        raise
    rows = [row for of_log in scores.values() for row in of_log]
    n_incomplete = sum(None in row.points for row in rows)
    return Result("\n".join(lines), {"scored": len(rows), "incomplete": n_incomplete})


def plan(config: Config) -> str:
    """The work of `run`, in words."""
    path, role = config.run.path, config.rubric
    replies, template = _read_replies(path, config.eval), load_prompt(role.prompt)
    identity = engine_of_role(role, config.media).identity
    outcomes: Mapping[Hashable, Outcome] = {}
    if ledger_shards(path):
        with read_ledger(path) as ledger:
            drafts = _drafts(replies, role, config.run.seed, template)
            outcomes = find_outcomes(ledger, identity, drafts)
    n_scored = sum(outcome.failure is None for outcome in outcomes.values())
    n_left = sum(not reply.is_empty for reply in replies) - n_scored
    n_logs = len({reply.log for reply in replies})
    return f"rubric: {len(replies)} replies in {n_logs} logs, {n_left} of them to be scored"


def criteria_of(item: BenchmarkItem) -> tuple[Criterion, ...]:
    """The rubric of an item.

    Raises:
        DataError: it has none, as before February 2026, or a rubric of another form.
    """
    try:
        criteria = tuple(
            Criterion(
                str(entry["name"]),
                str(entry["scoring_point"]),
                str(entry.get("note") or ""),
                tuple(int(points) for points in entry["choices"]),
            )
            for entry in item.row["rubric"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{item.sample.source}: no rubric ({type(error).__name__}: {error}); take MMAR-meta of "
            "February 2026 or later"
        ) from error
    if not criteria or any(max(criterion.choices, default=0) < 1 for criterion in criteria):
        raise DataError(f"{item.sample.source}: its rubric gives no points")
    return criteria


def ask(item: BenchmarkItem, reply: str, template: PromptTemplate) -> Question:
    """The question to the text model: how many points of the rubric a reply earns."""
    criteria = [
        f"{number}: {criterion.name}. {criterion.scoring_point} {criterion.note} "
        f"Possible points: {', '.join(map(str, criterion.choices))}."
        for number, criterion in enumerate(criteria_of(item), start=1)
    ]
    return template.fill(
        question=item.sample.question,
        options=format_options(item.sample.options),
        answer=f"({item.sample.target}) {item.sample.target_text}",
        reply=reply.strip(),
        criteria="\n".join(criteria),
    )


def read_points(text: str, criteria: Sequence[Criterion]) -> tuple[int | None, ...]:
    """The points by criterion; None where the text gives none, impossible or different points."""
    given: dict[int, set[int]] = {}
    for line in text.rpartition("</think>")[2].translate(_MARKDOWN).splitlines():
        if match := _POINTS.fullmatch(line):
            given.setdefault(int(match[1]), set()).add(int(match[2]))
    points: list[int | None] = []
    for number, criterion in enumerate(criteria, start=1):
        written = given.get(number, set())
        (point,) = written if len(written) == 1 else (None,)
        points.append(point if point in criterion.choices else None)
    return tuple(points)


def _read_replies(run: Path, settings: EvalConfig) -> list[_Reply]:
    """All replies to MMAR's questions, log by log."""
    sets = {name: data for name, data in settings.benchmarks.items() if data.format == "mmar"}
    if not sets:
        raise ConfigError(
            "rubric: no benchmark under eval.benchmarks has format mmar, which has the rubrics"
        )
    replies: list[_Reply] = []
    for name, data in sets.items():
        items = {item.sample.id: item for item in read_items(data)}
        logs = [log for log in find_logs(run) if log.parent.parent.name == name]
        order = list(settings.models)
        own = [log for log in logs if log.parent.name in order]
        imported = [log for log in logs if "predictions" in read_meta(log).settings.model]
        for log in [*sorted(own, key=lambda log: order.index(log.parent.name)), *imported]:
            for line in read_log(log):
                if line.sample_id not in items:
                    raise DataError(f"{log}: item {line.sample_id!r} is not in {data.root}")
                replies.append(_Reply(log, items[line.sample_id], line))
    if not replies:
        raise ConfigError(
            f"{run}/eval: no replies to {', '.join(sets)} yet; run `avrt eval` first, or import "
            f"texts with `avrt eval --predictions`"
        )
    return replies


def _drafts(
    replies: Sequence[_Reply], role: ModelRole, seed: int, template: PromptTemplate
) -> Iterator[Draft]:
    """One question for each reply that has a text; equal ones become one call."""
    for reply in replies:
        if not reply.is_empty:
            system, text = ask(reply.item, reply.line.text, template)
            sample_id, k = reply.line.id
            yield Draft(
                id=(str(reply.log), sample_id, k),
                stage="rubric",
                sample_id=sample_id,
                role="rubric",
                system=system,
                text=text,
                sampling=sampling_of(role, seed, sample_id, k),
                k=k,
                dataset=reply.log.parent.parent.name,
            )


def _score_all(
    replies: Sequence[_Reply],
    outcomes: Mapping[Hashable, Outcome],
    completions: Mapping[str, Completion],
) -> dict[Path, list[RubricScore]]:
    """The scores by log, in the order of its lines; replies that were not scored are left out."""
    scores: dict[Path, list[RubricScore]] = {reply.log: [] for reply in replies}
    for reply in replies:
        outcome = outcomes.get((str(reply.log), *reply.line.id))
        key = None if outcome is None or outcome.failure is not None else outcome.key
        if reply.is_empty or key is not None:
            completion = None if key is None else completions[key]
            scores[reply.log].append(_score(reply, key, completion))
    return scores


def _score(reply: _Reply, key: str | None, completion: Completion | None) -> RubricScore:
    criteria = criteria_of(reply.item)
    if completion is None:  # a reply without text
        completion, points = Completion("", "stop"), (0,) * len(criteria)
    else:
        points = read_points(completion.text, criteria)
    reason = "length" if reply.line.finish_reason == "length" else "stop"
    strict = score(Completion(reply.line.text, reason), reply.item.sample)
    return RubricScore(
        sample_id=reply.line.sample_id,
        k=reply.line.k,
        key=key,
        correct=strict.value == 1.0,
        points=points,
        max_points=sum(max(criterion.choices) for criterion in criteria),
        text=completion.text,
        n_prompt_tokens=completion.n_prompt_tokens,
        n_completion_tokens=completion.n_completion_tokens,
    )


def _write_scores(path: Path, scores: Sequence[RubricScore], judge: Mapping[str, Any]) -> None:
    write_json(path.with_suffix(".meta.json"), {"judge": judge})
    rows = [json.dumps(vars(row), ensure_ascii=False, sort_keys=True) for row in scores]
    content = "".join(f"{row}\n" for row in rows).encode("utf-8", errors="backslashreplace")
    write_atomic(path, lambda file: file.write(content))


def _summarize(
    scores: Mapping[Path, Sequence[RubricScore]], n_replies: Mapping[Path, int]
) -> list[str]:
    """A line for each log."""
    lines: list[str] = []
    for log, rows in scores.items():
        parts = [f"{_mean([row.share for row in rows])} of the points, n = {len(rows)}"]
        right = [row.share for row in rows if row.correct]
        parts.append(f"{_mean(right)} of the {len(right)} with the right answer")
        if n_incomplete := sum(None in row.points for row in rows):
            parts.append(f"{n_incomplete} not fully scored")
        if n_left := n_replies[log] - len(rows):
            parts.append(f"{n_left} not scored yet")
        title = f"{log.parent.parent.name}/{log.parent.name}/{log.stem.upper()}"
        lines.append(f"{title}: {'; '.join(parts)}")
    return lines


def _mean(shares: Sequence[float]) -> str:
    """The mean with its 95 % interval."""
    if not shares:
        return "–"
    return f"{percent(fmean(shares))} {interval_text(*mean_interval(shares))}"
