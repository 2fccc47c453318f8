"""The jobs of an experiment: a stage of a run each, as an ordinary command in a process of its own.

A run goes on from another by hard links to its finished files, which commands replace whole and
never change in place; its ledger and its evaluations are its own. Each job writes what it says to
RUN/jobs/STAGE.log and what it took to RUN/jobs/STAGE.json, so that a finished job is not run again.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from avrt import __version__
from avrt.errors import ConfigError, DataError
from avrt.experiments.arms import Run, Runs
from avrt.experiments.plan import EVALUATIONS, STAGES, StageName
from avrt.runs import (
    commit_of_code,
    fingerprint,
    format_duration,
    held_locks,
    hold_output,
    manifest_path,
    quiet_s,
    save_config,
    say,
    write_json,
)
from avrt.texts import read_json

__all__ = ["Job", "plan_jobs", "run_jobs"]

_WAIT_S = 0.1
_GRACE_S = 20.0
"""How long a job may take to end after it was asked to."""
_QUIET_S = 30.0
"""Without a line for so long, the jobs under way are named."""
_TAIL = 15
"""Lines of a failed job's log that are shown."""
_OUTPUTS: dict[StageName, tuple[str, ...]] = {
    "prepare": ("samples.parquet", "media.parquet", "media.probes.jsonl"),
    "trace": ("traces/teachers.parquet",),
    "merge": ("traces/merged.parquet",),
    "judge": ("traces/judged.parquet",),
    "build": ("dataset",),
    "sft": ("sft",),
}
"""What a stage makes in the run directory; GRPO: the folder of its setting `output`."""
_ASKING: tuple[StageName, ...] = ("trace", "merge", "judge")
_WEIGHTS: dict[StageName, float] = {"trace": 3, "sft": 4, "grpo": 8, "eval": 4, "checkpoints": 20}
"""About how long stages take, so that the longest chain begins first."""


@dataclass(eq=False)
class Job:
    """A stage of a run."""

    run: Run
    stage: StageName
    commands: tuple[tuple[str, ...], ...]
    """Of `avrt`, one after the other."""
    asks: dict[str, Any]
    """What decides whether a finished job must run again."""
    needs: list[Job] = field(default_factory=list)
    is_failed: bool = False
    """Whether its command ended with an error."""
    wait: float = 0.0
    """The weight of the longest chain that begins here."""

    @property
    def name(self) -> str:
        """Of its record and its log."""
        if self.stage not in EVALUATIONS or self.run.model is None:
            return self.stage
        return f"{self.stage}-{self.run.model}"

    @property
    def folder(self) -> Path:
        world = self.run.world
        return world if self.stage == "world" and world is not None else self.run.folder

    @property
    def key(self) -> tuple[Path, str]:
        return self.folder, self.name

    @property
    def record(self) -> Path:
        if self.stage == "world":  # the folder holds nothing but the world
            return self.folder.with_name(f"{self.folder.name}.json")
        return self.folder / "jobs" / f"{self.name}.json"

    @property
    def title(self) -> str:
        return f"{self.run.arm}, seed {self.run.seed}: {self.stage}"

    @property
    def is_done(self) -> bool:
        """Whether it was finished, and what it made is still there."""
        output = self.run.config.grpo.output if self.stage == "grpo" else self.stage
        made = [manifest_path(self.folder, output)]
        if self.stage == "world":
            made = [self.folder / "world.json"]
        elif self.stage in ("sft", "grpo"):
            made.append(self.folder / output / "model" / "config.json")
        has_made = self.stage in EVALUATIONS or all(path.is_file() for path in made)
        known = read_record(self)
        return has_made and known.get("done", False) and _holds(known["asks"], self.asks)


def _holds(done: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether an evaluation that was done has all that is asked for, in the same way."""
    if done.get("settings") != asked.get("settings"):
        return False
    sets = done.get("sets", {})
    if any(sets.get(name, each) != each for name, each in asked.get("sets", {}).items()):
        return False
    known = done.get("benchmarks", {})
    return all(
        set(given) <= set(known.get(name, ()))
        for name, given in asked.get("benchmarks", {}).items()
    )


def _joined(done: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is there after an evaluation: what it was asked, and what was done before in its way."""
    if not asked or done.get("settings") != asked["settings"]:
        return dict(asked)
    sets = done.get("sets", {})
    known = {
        name: given
        for name, given in done["benchmarks"].items()
        if name not in sets or asked["sets"].get(name, sets[name]) == sets[name]
    }
    for name, given in asked["benchmarks"].items():
        known[name] = list(dict.fromkeys([*known.get(name, ()), *given]))
    return {**asked, "benchmarks": known, "sets": {**sets, **asked["sets"]}}


def read_record(job: Job) -> dict[str, Any]:
    """What a job took; empty before its first attempt, and of a damaged record: the job is then run
    again, and its command finds what is done.
    """
    try:
        return read_json(job.record) if job.record.is_file() else {}
    except DataError:
        return {}


def plan_jobs(runs: Runs) -> list[Job]:
    """All jobs, each behind those that it needs; arms that are equal have one together."""
    jobs: dict[tuple[Path, str], Job] = {}
    made: dict[tuple[str, int], list[Job]] = {}

    def add(run: Run) -> list[Job]:
        """The jobs that runs wait for that go on from this one: its last, evaluations left out."""
        key = run.arm, run.seed
        if key not in made:
            before = [job for other in run.needs for job in add(other)]
            made[key] = before
            for stage in run.stages:
                job = Job(run, stage, _commands(run, stage, runs), _asks(run, stage, runs), before)
                before = [jobs.setdefault(job.key, job)]
                if stage not in EVALUATIONS:
                    made[key] = before
        return made[key]

    for run in runs.runs.values():
        add(run)
    ordered = list(jobs.values())
    for job in reversed(ordered):
        job.wait += _WEIGHTS.get(job.stage, 1)
        for other in job.needs:
            other.wait = max(other.wait, job.wait)
    return ordered


def _commands(run: Run, stage: StageName, runs: Runs) -> tuple[tuple[str, ...], ...]:
    """The commands of a stage; `CONFIG` stands for the run's configuration."""
    experiment = runs.experiment
    if stage == "world":
        sizes = experiment.world.model_dump()
        numbers = (f"--{key.replace('_', '-')}={size}" for key, size in sizes.items())
        return (("world", "make", str(run.world), *numbers, f"--seed={run.seed}"),)
    if stage == "checkpoints":
        return _evaluations([f"--checkpoints={run.model}"], experiment.benchmarks)
    if stage == "eval":
        models = run.config.eval.models
        single = [name for name, model in models.items() if getattr(model, "modality", None)]
        asked = [f"--model={name}" for name in models if name not in single]
        own = [f"--model={name}" for name in single]  # each has the one modality that it takes
        sets = [f"--benchmark={name}" for name in experiment.benchmarks]
        return (
            *(_evaluations(asked, experiment.benchmarks) if asked else ()),
            *([("eval", "CONFIG", *own, *sets)] if own else ()),
        )
    return ((stage, "CONFIG"),)


def _evaluations(
    what: Sequence[str], benchmarks: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    return tuple(
        ("eval", "CONFIG", *what, f"--benchmark={name}", f"--modality={','.join(given)}")
        for name, given in benchmarks.items()
    )


def _asks(run: Run, stage: StageName, runs: Runs) -> dict[str, Any]:
    if stage not in EVALUATIONS:
        return {}
    settings = run.config.eval.model_dump(mode="json", exclude={"benchmarks", "modalities"})
    given = {name: list(each) for name, each in runs.experiment.benchmarks.items()}
    sets = {}
    for name in given:
        data = run.config.eval.benchmarks[name]
        free = {"root"} if data.root == run.world else set()
        sets[name] = fingerprint(data.model_dump(mode="json", exclude=free))
    return {"benchmarks": given, "settings": fingerprint(settings), "sets": sets}


def run_jobs(jobs: Sequence[Job], n_side_by_side: int) -> list[Job]:
    """Run what is not done, so many jobs at a time; those that failed, and those that need them.

    Ctrl-C ends the jobs under way as it ends their commands; run again, they go on.
    """
    return _Pool(jobs, n_side_by_side).run()


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    left: list[tuple[str, ...]]
    """The commands behind this one."""
    lock: ExitStack
    started_s: float
    cpu_s: float = 0.0


class _Pool:
    def __init__(self, jobs: Sequence[Job], size: int) -> None:
        self._n_jobs, self._size = len(jobs), size
        self._done = {job for job in jobs if job.is_done}
        self._waiting = sorted(
            (job for job in jobs if job not in self._done), key=lambda job: -job.wait
        )
        self._running: list[_Running] = []
        self._failed: list[Job] = []
        self._skipped: list[Job] = []
        self._noted: set[Job] = set()
        self._started_s = time.monotonic()

    def run(self) -> list[Job]:
        say(
            f"experiment: {self._n_jobs} jobs, {len(self._done)} of them done already; "
            f"{self._size} side by side"
        )
        try:
            while self._waiting or self._running:
                self._start_ready()
                if quiet_s() > _QUIET_S:
                    at_work = "; ".join(running.job.title for running in self._running)
                    say(f"{self._so_far()} at work: {at_work or 'waiting'}")
                time.sleep(_WAIT_S)
                for running in list(self._running):
                    self._look_at(running)
        except BaseException:
            self._end_all()
            raise
        return [*self._failed, *self._skipped]

    def _start_ready(self) -> None:
        lost = {*self._failed, *self._skipped}
        for job in list(self._waiting):
            if any(other in lost for other in job.needs):
                self._waiting.remove(job)
                self._skipped.append(job)
                say(f"{job.title}: skipped, because a job that it needs failed")
                lost.add(job)
        busy = {running.job.folder for running in self._running}
        for job in list(self._waiting):
            if len(self._running) >= self._size:
                return
            if job.folder in busy or not all(other in self._done for other in job.needs):
                continue
            if self._start(job):
                busy.add(job.folder)

    def _start(self, job: Job) -> bool:
        """Start a job, unless another experiment works in its folder."""
        lock = ExitStack()
        try:
            world = job.stage == "world"  # `avrt world make` locks its folder itself
            lock.enter_context(hold_output(job.record if world else job.record.parent))
        except ConfigError as error:
            if job not in self._noted:
                say(f"{job.title}: waits, because another command works on it: {error}")
                self._noted.add(job)
            return False
        self._waiting.remove(job)
        if job.is_done:  # another experiment did it
            lock.close()
            self._done.add(job)
            return False
        _prepare(job)
        log = job.record.with_suffix(".log")
        log.unlink(missing_ok=True)
        first, *left = job.commands
        process = _spawn(job, first, log)
        self._running.append(_Running(job, process, left, lock, time.monotonic()))
        return True

    def _look_at(self, running: _Running) -> None:
        pid, status, usage = os.wait4(running.process.pid, os.WNOHANG)
        if not pid:
            return
        job = running.job
        running.process.returncode = os.waitstatus_to_exitcode(status)
        running.cpu_s += usage.ru_utime + usage.ru_stime
        if running.process.returncode == 0 and running.left:
            command = running.left.pop(0)
            running.process = _spawn(job, command, job.record.with_suffix(".log"))
            return
        self._running.remove(running)
        done = running.process.returncode == 0
        _write_record(running, done)
        running.lock.close()
        job.is_failed = not done
        (self._done.add if done else self._failed.append)(job)
        took_s = time.monotonic() - running.started_s
        what = f"done in {format_duration(took_s)}" if done else _failure(running)
        say(f"{self._so_far()} {job.title}: {what}")
        for line in _warnings(job):
            say(f"    {line}")

    def _so_far(self) -> str:
        elapsed = format_duration(time.monotonic() - self._started_s)
        return f"[{len(self._done)}/{self._n_jobs}, {elapsed}]"

    def _end_all(self) -> None:
        """End the commands under way as Ctrl-C does; those that do not end are killed."""
        for running in self._running:
            _signal(running.process, signal.SIGTERM)  # SIGINT is ignored in the background
        deadline = time.monotonic() + _GRACE_S
        for running in self._running:
            while not (ended := os.wait4(running.process.pid, os.WNOHANG))[0]:
                if time.monotonic() > deadline:
                    _signal(running.process, signal.SIGKILL)
                time.sleep(_WAIT_S)
            running.process.returncode = os.waitstatus_to_exitcode(ended[1])
            running.cpu_s += ended[2].ru_utime + ended[2].ru_stime
            _write_record(running, done=False)
            running.lock.close()


def _spawn(job: Job, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    path = str(job.folder / "config.yaml")
    words = [path if word == "CONFIG" else word for word in command]
    environment = {**os.environ}
    if job.run.config.student.device == "cpu" or shutil.which("nvidia-smi") is None:
        environment.setdefault("OMP_NUM_THREADS", "1")
    with log.open("ab") as file:
        file.write(f"$ avrt {' '.join(words)}\n".encode())
        file.flush()
        return subprocess.Popen(
            [sys.executable, "-m", "avrt", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=held_locks(),  # where this process is killed, it keeps others out to its end
            start_new_session=True,  # Ctrl-C at the terminal goes through this process
        )


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _failure(running: _Running) -> str:
    log = running.job.record.with_suffix(".log")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    ended = f"failed with exit code {running.process.returncode}; the end of {log}:"
    return "\n".join([ended, *(f"    {line}" for line in lines)])


def _warnings(job: Job) -> list[str]:
    """The warnings of a training, such as that it cannot show anything."""
    if job.stage not in ("sft", "grpo"):
        return []
    text = job.record.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if line.startswith(f"{job.stage}: warning: ")]


def _write_record(running: _Running, done: bool) -> None:
    """What the job took, over all attempts, and what did it."""
    job = running.job
    before = read_record(job)
    was = before.get("asks", {})  # an attempt that failed adds nothing to what was done
    write_json(
        job.record,
        {
            "stage": job.stage,
            "done": done,
            "asks": _joined(was, job.asks) if done else was,
            "commands": [["avrt", *command] for command in job.commands],
            "wall_s": round(time.monotonic() - running.started_s + before.get("wall_s", 0.0), 2),
            "cpu_s": round(running.cpu_s + before.get("cpu_s", 0.0), 2),
            "avrt": __version__,
            "commit": commit_of_code(),
            "ended": datetime.now().astimezone().isoformat(timespec="seconds"),
        },
    )


def _prepare(job: Job) -> None:
    """Make the run directory: what earlier arms made, and the configuration."""
    job.record.parent.mkdir(parents=True, exist_ok=True)
    if job.stage == "world":
        return
    run, source = job.run, _source(job.run)
    if source is not None and job.stage == run.stages[0]:
        _link_outputs(source, run.folder, _first_own(run))
    if source is not None and job.stage in _ASKING:
        _copy_ledger(source, run.folder)
    save_config(run.config, works=False)


def _source(run: Run) -> Path | None:
    """The run whose files a run goes on from: one that only evaluates has none of its own."""
    parent = run.parent
    while parent is not None and _first_own(parent) == len(STAGES):
        parent = parent.parent
    return None if parent is None else parent.folder


def _first_own(run: Run) -> int:
    """The place in the order of stages from which on a run makes its own files."""
    own = [STAGES.index(stage) for stage in run.stages if stage not in EVALUATIONS]
    return min(own, default=len(STAGES))


def _link_outputs(source: Path, target: Path, first_own: int) -> None:
    """Give a run the files that stages before its own made, and their manifests."""
    names: list[str] = []
    for stage, outputs in _OUTPUTS.items():
        if STAGES.index(stage) < first_own:
            names += [*outputs, f"manifests/{stage}.json"]
    if STAGES.index("grpo") < first_own:
        for path in source.glob("grpo*"):
            names += [path.name, f"manifests/{path.name}.json"]
    for name in names:
        old, new = source / name, target / name
        if old.is_dir():
            files = [path for path in old.rglob("*") if path.is_file()]
        else:
            files = [old] if old.is_file() else []
        for path in files:
            copy = new if path == old else new / path.relative_to(old)
            _link(path, copy)


def _link(path: Path, copy: Path) -> None:
    """A second name of a file; a copy of what commands add lines to, or on another disk."""
    if copy.exists() or path.name.startswith("."):
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".jsonl":
        with suppress(OSError):
            copy.hardlink_to(path)
            return
    shutil.copy2(path, copy)


def _copy_ledger(source: Path, target: Path) -> None:
    """Give a run the replies behind the files that it goes on from; it adds its own."""
    old, new = source / "ledger.sqlite", target / "ledger.sqlite"
    if not old.is_file() or new.exists():
        return
    part = target / ".ledger.new"
    part.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"file:{old}?mode=ro", uri=True)) as before,
        closing(sqlite3.connect(part)) as after,
    ):
        before.backup(after)
    part.rename(new)
