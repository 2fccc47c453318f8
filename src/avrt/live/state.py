"""The state of a run from its files: who is at work, how far, how fast, what came out last.

Reads manifests, locks, the ledger, training logs and evaluation logs; writes nothing. A look costs
what is new since the look before: rows of the ledger are counted once, without their texts, and of
each model under way the last replies alone are read and compared with the gold answer.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from avrt.ask.ledger import read_ledger
from avrt.datasets.prepared import PreparedSamples, load_samples
from avrt.errors import DataError
from avrt.evaluate.logs import find_logs, iter_log, read_meta
from avrt.evaluate.scoring import score
from avrt.generate.trace import Teacher
from avrt.live.expected import Group, Known, count_steps
from avrt.live.tail import Call, CallTail, LogTail, Place, read_replies
from avrt.live.workers import GENERATION, Worker, find_workers
from avrt.texts import read_json
from avrt.types import Completion, Sample

__all__ = ["Asked", "Evaluated", "Failure", "Reply", "State", "Training", "Watcher"]

N_SCORED = 100
"""Replies of a model whose answers are compared: to parse a long text takes milliseconds."""
N_SHOWN = 5
"""Latest replies that are shown."""
N_STEPS = 10
"""Last steps over which a training's numbers are averaged."""
RECENT = timedelta(minutes=10)
"""Rates are of this time before the last call."""
GENERATING = ("trace", "merge", "judge")
STAGES = ("prepare", "import", *GENERATING, "build", "sft", "grpo")


@dataclass(frozen=True)
class Asked:
    """The calls of one model in one stage."""

    group: Group
    n_done: int
    n_failed: int
    n_expected: int | None
    is_at_work: bool
    rate: float | None
    """Calls per second."""
    left_s: float | None
    n_right: int
    n_scored: int
    """Of the last replies, those that were compared with the gold answer."""


@dataclass(frozen=True)
class Failure:
    """The calls that have no reply, by class."""

    error_class: str
    n: int
    example: str


@dataclass(frozen=True)
class Training:
    """One training; numbers are means of the last steps."""

    name: str
    step: int
    n_steps: int | None
    is_at_work: bool
    is_done: bool
    left_s: float | None
    numbers: Mapping[str, float]
    held_out: Mapping[str, float]
    """The last evaluation during the training, and its step."""
    warning: str = ""
    written: Mapping[str, Any] = field(default_factory=dict)
    """The last row of completions.jsonl."""


@dataclass(frozen=True)
class Evaluated:
    """The written results of a model on a benchmark."""

    group: Group
    n_right: int
    n: int
    n_left: int


@dataclass(frozen=True)
class Reply:
    """One of the latest replies."""

    group: Group
    sample_id: str
    created: datetime
    is_right: bool | None
    text: str


@dataclass(frozen=True)
class State:
    """A run at one moment."""

    run: str
    time: datetime
    workers: list[Worker]
    stages: Mapping[str, Mapping[str, int]]
    """The counts of finished stages."""
    asked: list[Asked]
    failures: list[Failure]
    training: list[Training]
    evaluated: list[Evaluated]
    replies: list[Reply]
    changed: datetime | None
    """When the last reply came or a log last grew."""
    problem: str = ""
    """Why a part of it is missing."""


@dataclass
class _Tally:
    """What is known of a group of calls."""

    n_done: int = 0
    failed: set[str] = field(default_factory=set)
    recent: deque[Call] = field(default_factory=lambda: deque(maxlen=N_SCORED))
    """Replies alone."""
    times: deque[datetime] = field(default_factory=lambda: deque(maxlen=500))


class Watcher:
    """Looks at a run again and again."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._known = Known(run)
        self._calls = CallTail(run)
        self._tallies: dict[Group, _Tally] = {}
        self._failed: dict[str, tuple[Group, Call]] = {}
        """By key the calls that have no reply."""
        self._scored: dict[Place, bool | None] = {}
        self._logs: dict[Path, tuple[LogTail, list[dict[str, Any]]]] = {}
        self._written: dict[Path, tuple[LogTail, dict[str, Any]]] = {}

    def look(self) -> State:
        """The state now."""
        run, now = self._run, datetime.now(UTC)
        workers, problem = find_workers(run), ""
        try:
            self._count()
        except DataError as error:
            problem = str(error)
        parts = {worker.part for worker in workers}
        stages = self._finished()
        newest = self._newest(parts)
        open_stages = {group.stage for group in self._tallies}
        open_stages = {name for name in open_stages if name not in stages or name in newest}
        expected = self._known.calls(open_stages)
        evaluated = list(self._evaluated())
        written = {each.group for each in evaluated if not each.n_left}
        texts = self._read_last(stages, written)
        training = [self._train(path, parts, stages) for path in self._training_logs()]
        return State(
            run=run.resolve().name,
            time=now,
            workers=workers,
            stages=stages,
            asked=list(self._asked(expected, newest, now)),
            failures=self._failures(),
            training=training,
            evaluated=evaluated,
            replies=list(self._replies(texts)),
            changed=self._changed(),
            problem=problem,
        )

    def _count(self) -> None:
        is_other, calls = self._calls.look()
        if is_other:
            self._tallies.clear()
            self._failed.clear()
        for call in calls:
            group = _group_of(call)
            tally = self._tallies.setdefault(group, _Tally())
            before = self._failed.pop(call.key, None)
            if before is not None:
                self._tallies[before[0]].failed.discard(call.key)
            tally.times.append(datetime.fromisoformat(call.created))
            if call.error_class is not None:
                tally.failed.add(call.key)
                self._failed[call.key] = group, call
            else:
                tally.n_done += 1
                tally.recent.append(call)
        new = [call.key for call in calls if call.key in self._failed]
        if new:  # the file of another shard may have a reply
            with read_ledger(self._run) as ledger:
                finished = ledger.finished(new)
            for key in finished:
                self._tallies[self._failed.pop(key)[0]].failed.discard(key)

    def _newest(self, parts: set[str]) -> Mapping[str, Group]:
        """By the name of each stage that asks now, the models at work in it."""
        at_work: dict[str, Group] = {}
        asked = [(tally.times[-1], group) for group, tally in self._tallies.items()]
        for _, group in sorted(asked):
            part = f"eval-{group.role}" if group.stage == "eval" else group.stage
            if part in parts or (group.stage in GENERATING and GENERATION in parts):
                if group.stage in GENERATING:
                    at_work = {k: v for k, v in at_work.items() if k not in GENERATING}
                at_work[group.stage] = group
        return at_work

    def _asked(
        self, expected: Mapping[Group, int], newest: Mapping[str, Group], now: datetime
    ) -> Iterator[Asked]:
        groups = dict.fromkeys([*self._tallies, *expected])
        for group in groups:
            tally = self._tallies.get(group, _Tally())
            is_at_work = newest.get(group.stage) == group
            n_left = max(expected.get(group, 0) - tally.n_done - len(tally.failed), 0)
            rate = _rate(tally.times, now if is_at_work else None)
            verdicts = [self._scored.get(call.place) for call in tally.recent]
            yield Asked(
                group=group,
                n_done=tally.n_done,
                n_failed=len(tally.failed),
                n_expected=expected.get(group),
                is_at_work=is_at_work,
                rate=rate,
                left_s=n_left / rate if is_at_work and n_left and rate else None,
                n_right=sum(1 for verdict in verdicts if verdict),
                n_scored=sum(1 for verdict in verdicts if verdict is not None),
            )

    def _failures(self) -> list[Failure]:
        by_class: dict[str, list[Call]] = {}
        for _, call in self._failed.values():
            by_class.setdefault(call.error_class or "", []).append(call)
        failures = [Failure(name, len(of), of[-1].error) for name, of in by_class.items()]
        return sorted(failures, key=lambda failure: (-failure.n, failure.error_class))

    def _finished(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        paths = {path.stem: path for path in sorted((self._run / "manifests").glob("*.json"))}
        for name in sorted(paths, key=lambda name: (*STAGES, name).index(name)):
            path = paths[name]
            content = self._known.read(path.name, [path], lambda path=path: read_json(path))
            counts[path.stem] = content["counts"] if isinstance(content, dict) else {}
        return counts

    def _evaluated(self) -> Iterator[Evaluated]:
        for path in find_logs(self._run):
            meta = path.with_suffix(".meta.json")
            counted = self._known.read(str(path), [path, meta], partial(_count_log, path))
            if counted is not None:
                benchmark, model = path.parts[-3:-1]
                yield Evaluated(Group("eval", model, benchmark, path.stem), *counted)

    def _read_last(
        self, stages: Mapping[str, object], written: set[Group]
    ) -> dict[Place, Completion]:
        """The texts of the latest replies; those whose answers tell something are scored."""
        shown = [call.place for call in self._latest()]
        waiting: dict[Place, tuple[Group, Call]] = {}
        for group, tally in self._tallies.items():
            if group in written or group.stage not in ("trace", "eval"):
                continue
            if group.stage == "trace" and "trace" in stages:
                continue
            waiting |= {
                call.place: (group, call) for call in tally.recent if call.place not in self._scored
            }
        if not (shown or waiting):
            return {}
        try:
            texts = dict(read_replies(self._run, {*shown, *waiting}))
        except DataError:
            return {}
        for place, (group, call) in waiting.items():
            if place in texts:
                self._scored[place] = self._is_right(group, call, texts[place])
        kept = {call.place for tally in self._tallies.values() for call in tally.recent}
        self._scored = {place: known for place, known in self._scored.items() if place in kept}
        return texts

    def _is_right(self, group: Group, call: Call, reply: Completion) -> bool | None:
        """Whether the answer is the gold one; None: that cannot be told here."""
        if group.stage == "eval":
            stored = self._known.stored_set(group.dataset)
            item = stored and stored.items.get(call.sample_id)
            return score(reply, item.sample).value == 1.0 if item else None
        config, sample = self._known.config, self._sample(call.sample_id)
        role = config.teachers.get(group.role) if config else None
        if config is None or role is None or sample is None:
            return None
        shuffles = config.generate.shuffle_options
        teacher = Teacher(group.role, role, config.media, config.run.seed, shuffles)
        return teacher.answer(sample, teacher.order(sample, call.k), reply) == sample.target

    def _sample(self, sample_id: str) -> Sample | None:
        def load() -> tuple[PreparedSamples, dict[str, int]]:
            samples = load_samples(self._run)
            return samples, {id_: place for place, id_ in enumerate(samples.ids)}

        path = self._run / "samples.parquet"
        found = self._known.read("samples", [path], load)
        if found is None or sample_id not in found[1]:
            return None
        return found[0].at(found[1][sample_id])

    def _latest(self) -> list[Call]:
        calls = [call for tally in self._tallies.values() for call in list(tally.recent)[-N_SHOWN:]]
        return sorted(calls, key=lambda call: (call.created, call.place))[: -N_SHOWN - 1 : -1]

    def _replies(self, texts: Mapping[Place, Completion]) -> Iterator[Reply]:
        for call in self._latest():
            if call.place in texts:
                created = datetime.fromisoformat(call.created)
                verdict, text = self._scored.get(call.place), texts[call.place].text
                yield Reply(_group_of(call), call.sample_id, created, verdict, text)

    def _training_logs(self) -> list[Path]:
        return [*self._run.glob("sft/log.jsonl"), *sorted(self._run.glob("grpo*/log.jsonl"))]

    def _train(self, path: Path, parts: set[str], stages: Mapping[str, object]) -> Training:
        tail, rows = self._logs.setdefault(path, (LogTail(path), []))
        is_other, new = tail.look()
        if is_other:
            rows.clear()
        rows += new
        name = path.parent.name
        step = max((row["step"] for row in rows), default=0)
        steps = [row for row in rows if "loss" in row][-N_STEPS:]
        keys = dict.fromkeys(key for row in steps for key in row)
        numbers = {key: _mean(row.get(key) for row in steps) for key in keys}
        numbers = {key: value for key, value in numbers.items() if value is not None}
        held_out = next((row for row in reversed(rows) if _is_held_out(row)), {})
        n_steps = self._known.read(
            f"{name} steps",
            [path.parent / "checkpoints" / "stage.json", self._run / "dataset" / "train.parquet"],
            lambda: count_steps(self._run, name),
        )
        is_done = name in stages and name not in parts
        step_s, n_left = numbers.get("step_time_s"), (n_steps or step) - step
        warnings = [text for row in rows for text in row.get("warnings", {}).values()]
        return Training(
            name=name,
            step=step,
            n_steps=step if is_done else n_steps,
            is_at_work=name in parts,
            is_done=is_done,
            left_s=n_left * step_s if name in parts and step_s and n_left > 0 else None,
            numbers=numbers,
            held_out={
                key: value
                for key, value in held_out.items()
                if key == "step" or key.startswith("eval_")
            },
            warning=warnings[-1] if warnings else "",
            written=self._last_written(path.with_name("completions.jsonl")),
        )

    def _last_written(self, path: Path) -> dict[str, Any]:
        tail, last = self._written.get(path, (LogTail(path), {}))
        is_other, new = tail.look()
        last = new[-1] if new else {} if is_other else last
        self._written[path] = tail, last
        return last

    def _changed(self) -> datetime | None:
        times = [tally.times[-1] for tally in self._tallies.values()]
        for path in self._training_logs():
            times.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        return max(times, default=None)


def _group_of(call: Call) -> Group:
    if call.stage == "eval":
        return Group("eval", call.role, call.dataset, call.given)
    return Group(call.stage, call.role)


def _rate(times: Iterable[datetime], now: datetime | None) -> float | None:
    """Calls per second in the time before the last one, or before now."""
    known = sorted(times)
    recent = [time for time in known if known[-1] - time <= RECENT]
    if len(recent) < 2:
        return None
    end = max(recent[-1], now) if now else recent[-1]
    return (len(recent) - 1) / max((end - recent[0]).total_seconds(), 1e-3)


def _mean(values: Iterable[Any]) -> float | None:
    known = [value for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None


def _is_held_out(row: Mapping[str, Any]) -> bool:
    return any(key.startswith("eval_") for key in row)


def _count_log(path: Path) -> tuple[int, int, int]:
    """Right answers, answers, and answers that are still missing."""
    meta = read_meta(path)
    verdicts = Counter(line.correct for line in iter_log(path))
    return verdicts[True], verdicts.total(), meta.n_items * meta.n_answers - verdicts.total()
