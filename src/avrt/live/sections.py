"""The state of a run in words and tables, alike for the terminal and for the browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from avrt.evaluate.statistics import wilson
from avrt.evaluate.summary import interval_text, percent
from avrt.live.state import Asked, Evaluated, Reply, State, Training
from avrt.runs import format_duration

__all__ = ["Section", "headline", "sections"]

N_TEXT = 300
"""Characters of a reply, and of an error's message."""
N_COMPLETIONS = 4
"""Completions of a group that are shown."""
MODALITIES = {"a": "sound", "v": "frames", "av": "sound and frames", "none": "question alone"}

NUMBERS = {
    "loss": "loss",
    "reward": "reward",
    "reward_accuracy": "accuracy",
    "zero_spread": "zero spread",
    "kl": "KL",
    "entropy": "entropy",
    "completion_length": "tokens",
}
"""The numbers of a training that are shown, by their names in its log."""


@dataclass(frozen=True)
class Section:
    """A table; the first `n_words` columns hold words, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_words: int = 1
    is_text: bool = False
    """The last column holds long texts."""

    def _is_long(self, column: int) -> bool:
        return self.is_text and column == len(self.header) - 1

    def without_empty(self) -> Section:
        """The table without the columns in which nothing stands."""
        used = [
            i
            for i in range(len(self.header))
            if any(row[i] for row in self.rows) or self._is_long(i)
        ]
        words = sum(1 for i in used if i < self.n_words)
        rows = [[row[i] for i in used] for row in self.rows]
        return replace(self, header=[self.header[i] for i in used], rows=rows, n_words=words)


def headline(state: State) -> list[str]:
    """What goes on, one sentence a line."""
    lines = [f"{state.run}, {state.time.astimezone():%Y-%m-%d %H:%M:%S}"]
    for worker in state.workers:
        lines.append(f"{worker.part}: {worker.name}")
    if not state.workers:
        lines.append("no process is at work here")
    if state.changed is not None:
        ago_s = max((state.time - state.changed).total_seconds(), 0)
        lines.append(f"last reply or training step {format_duration(ago_s)} ago")
    lines += [f"warning: {each.name}: {each.warning}" for each in state.training if each.warning]
    return lines + ([f"cannot be read: {state.problem}"] if state.problem else [])


def sections(state: State) -> list[Section]:
    """The tables that have something to show."""
    return [section.without_empty() for section in _sections(state)]


def _sections(state: State) -> Iterator[Section]:
    if asked := [each for each in state.asked if not _is_settled(each, state)]:
        yield _asked(asked)
    if state.failures:
        rows = [[each.error_class, f"{each.n:,}", _cut(each.example)] for each in state.failures]
        yield Section("Calls without a reply", ["failure", "calls", "for example"], rows, 1, True)
    if state.training:
        yield from _training(state.training)
    if state.evaluated:
        yield _evaluated(state.evaluated)
    if state.replies:
        rows = [_reply(each, state.time) for each in state.replies]
        header = ["since", "stage", "model", "item", "answer", "text"]
        yield Section("Latest replies", header, rows, 5, True)
    if state.stages:
        rows = [[name, *_kept(counts)] for name, counts in state.stages.items()]
        yield Section("Finished stages", ["stage", "read", "kept"], rows)


def _asked(asked: Sequence[Asked]) -> Section:
    header = ["", "stage", "model", "given", "replies", "of", "failed", "per second", "left"]
    rows = []
    for each in asked:
        group = each.group
        given = MODALITIES.get(group.given, "") + (f", {group.dataset}" if group.dataset else "")
        rows.append(
            [
                "at work" if each.is_at_work else "",
                group.stage,
                group.role,
                given,
                f"{each.n_done:,}",
                "" if each.n_expected is None else f"{each.n_expected:,}",
                f"{each.n_failed:,}" if each.n_failed else "",
                f"{each.rate:.3g}" if each.rate and each.is_at_work else "",
                _left(each, asked),
                _share(each.n_right, each.n_scored) if each.n_scored else "",
            ]
        )
    return Section("Calls", [*header, "right of the last replies [95 %]"], rows, 4)


def _left(each: Asked, asked: Sequence[Asked]) -> str:
    """The time for the rest of this model's calls, and for all that the stage has to ask."""
    if each.left_s is None or each.rate is None:
        return ""
    n_left = sum(
        max((other.n_expected or 0) - other.n_done - other.n_failed, 0)
        for other in asked
        if other.group.stage == each.group.stage
    )
    own, whole = format_duration(each.left_s), format_duration(n_left / each.rate)
    return own if own == whole else f"{own}, stage {whole}"


def _training(training: Sequence[Training]) -> Iterator[Section]:
    rows = []
    for each in training:
        status = "at work" if each.is_at_work else "" if each.is_done else "not finished"
        step_s = each.numbers.get("step_time_s")
        rows.append(
            [
                status,
                each.name,
                f"{each.step:,}",
                "" if each.n_steps is None else f"{each.n_steps:,}",
                "" if step_s is None else f"{step_s:.3g}",
                "" if each.left_s is None else format_duration(each.left_s),
                *(_number(each.numbers.get(name)) for name in NUMBERS),
            ]
        )
    header = ["", "training", "step", "of", "s/step", "left", *NUMBERS.values()]
    yield Section("Training, means of the last 10 steps", header, rows, 2)
    held_out = [each for each in training if each.held_out]
    keys = list(dict.fromkeys(key for each in held_out for key in each.held_out if key != "step"))
    if held_out:
        rows = [
            [each.name, *(_number(each.held_out.get(key)) for key in ("step", *keys))]
            for each in held_out
        ]
        names = [key.removeprefix("eval_").replace("_", " ") for key in keys]
        yield Section("Held-out samples, last time", ["training", "step", *names], rows)
    rows = [row for each in training if not each.is_done for row in _completions(each)]
    if rows:
        header = ["training", "step", "item", "rewards", "completion"]
        yield Section("Latest completions", header, rows, 4, True)


def _completions(training: Training) -> Iterator[list[str]]:
    """The last group that was written, completion by completion."""
    group = training.written
    rewards = group.get("rewards", {})
    for number, text in enumerate(group.get("texts", ())[:N_COMPLETIONS]):
        paid = [f"{name} {_number(of[number]) or '–'}" for name, of in rewards.items()]
        yield [training.name, f"{group['step']:,}", group["id"], ", ".join(paid), _cut(text)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _evaluated(evaluated: Sequence[Evaluated]) -> Section:
    by_model: dict[tuple[str, str], dict[str, str]] = {}
    for each in evaluated:
        text = _share(each.n_right, each.n) + (f", {each.n_left:,} left" if each.n_left else "")
        by_model.setdefault((each.group.dataset, each.group.role), {})[each.group.given] = text
    header = ["benchmark", "model", *MODALITIES.values()]
    rows = [[*names, *map(cells.get, MODALITIES)] for names, cells in by_model.items()]
    shown = [[cell or "" for cell in row] for row in rows]
    return Section("Evaluated: accuracy [95 %]", header, shown, 2)


def _is_settled(each: Asked, state: State) -> bool:
    """Whether these calls are all made, and what came of them is shown elsewhere."""
    if each.is_at_work or each.n_failed:
        return False
    written = {known.group for known in state.evaluated if not known.n_left}
    return each.group in written or each.group.stage in state.stages


def _share(n_right: int, n: int) -> str:
    if not n:
        return "–"
    return f"{percent(n_right / n)} {interval_text(*wilson(n_right, n))} of {n:,}"


def _reply(each: Reply, now: datetime) -> list[str]:
    verdict = {True: "right", False: "wrong", None: ""}[each.is_right]
    since = f"{format_duration(max((now - each.created).total_seconds(), 0))} ago"
    group = each.group
    stage = " ".join(filter(None, [group.stage, group.dataset]))
    return [since, stage, group.role, each.sample_id, verdict, _cut(each.text)]


def _kept(counts: object) -> tuple[str, str]:
    known = counts if isinstance(counts, dict) else {}
    read, kept = known.get("read"), known.get("kept")
    return _number(read), _number(kept)


def _cut(text: str) -> str:
    """The beginning and the end of a text, whose end has the answer; on one line."""
    words = " ".join(text.split())
    half = N_TEXT // 2
    return words if len(words) <= N_TEXT else f"{words[:half]} … {words[-half:]}"
