"""How much a run has to do: the calls of each model, the steps of each training.

A part whose media cannot be read is not asked, so there may be fewer calls.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from avrt.config import BuildConfig, Config, EvalConfig, TeacherRole, load_config
from avrt.datasets.prepared import load_prepared, load_usable
from avrt.errors import AvrtError
from avrt.evaluate.sets import StoredSet, read_stored_set
from avrt.generate.records import answers_about, merged_path, teachers_path
from avrt.generate.views import Selection
from avrt.runs import read_table
from avrt.texts import read_json
from avrt.types import Given

__all__ = ["Group", "Known", "count_steps"]


class Group(NamedTuple):
    """Calls that are counted together."""

    stage: str
    role: str
    dataset: str = ""
    """The benchmark, in an evaluation."""
    given: str = ""
    """The media, in an evaluation."""


@dataclass
class _Cached:
    stamp: tuple[Any, ...]
    value: Any


class Known:
    """What follows from files that change seldom; each is read again when it was changed."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._values: dict[str, _Cached] = {}

    def read(self, name: str, paths: list[Path], make: Callable[[], Any]) -> Any:
        """A value that is made of some files; None while they are not there or not readable."""
        stamp = tuple(map(_stamp, paths))
        known = self._values.get(name)
        if known is None or known.stamp != stamp:
            value = None
            with suppress(AvrtError, OSError):
                value = make()
            known = self._values[name] = _Cached(stamp, value)
        return known.value

    @property
    def config(self) -> Config | None:
        """The settings of the command that worked here last."""
        path = self._run / "config.yaml"
        return self.read("config", [path], lambda: load_config([path])) if path.is_file() else None

    def stored_set(self, name: str) -> StoredSet | None:
        """The questions of a benchmark."""
        path = self._run / "eval" / name / "samples.parquet"
        return self.read(f"eval {name}", [path], lambda: read_stored_set(self._run, name))

    def calls(self, stages: Collection[str]) -> Mapping[Group, int]:
        """The calls of every model that these stages are to ask, as far as it is known by now."""
        config, run = self.config, self._run
        if config is None:
            return {}
        files = {
            "trace": [run / "samples.parquet"],
            "merge": [run / "samples.parquet", teachers_path(run)],
            "judge": [merged_path(run)],
        }
        votes = {name: judge.votes for name, judge in config.judges.items()}
        makers = {
            "trace": lambda: _trace(run, config.teachers, config.generate.limit),
            "merge": lambda: {} if config.generate.traces_of else _merge(run, config.build),
            "judge": lambda: _judge(run, votes),
        }
        counts: dict[Group, int] = {}
        for stage, make in makers.items():
            paths = files[stage]
            if stage in stages and all(path.is_file() for path in paths):
                counts |= self.read(stage, [run / "config.yaml", *paths], make) or {}
        return counts | dict(self._evaluation(config.eval) if "eval" in stages else {})

    def _evaluation(self, settings: EvalConfig) -> Iterator[tuple[Group, int]]:
        for name in settings.benchmarks:
            stored = self.stored_set(name)
            if stored is None:
                continue
            items = [*stored.items.values()][: settings.limit]
            samples = [item.sample for item in items]
            n_items: dict[Given, int] = {
                "none": len(samples),
                "a": sum(1 for s in samples if s.sound_path),
                "v": sum(1 for s in samples if s.picture_path),
                "av": sum(1 for s in samples if s.sound_path and s.picture_path),
            }
            for model, role in settings.models.items():
                own = None if isinstance(role, str) else role.modality
                k = 1 if isinstance(role, str) else role.k
                for given in (own,) if own else settings.modalities:
                    if n_items[given]:
                        yield Group("eval", model, name, given), k * n_items[given]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _trace(run: Path, teachers: Mapping[str, TeacherRole], limit: int | None) -> dict[Group, int]:
    halves = Counter(load_usable(run)[:limit].column("usable"))
    return {
        Group("trace", name): role.k * _n_askable(role, halves) for name, role in teachers.items()
    }


def _n_askable(teacher: TeacherRole, halves: Mapping[str, int]) -> int:
    """The samples whose usable media are enough for a teacher."""
    needed = set() if teacher.modality == "none" else set(teacher.modality)
    return sum(n for half, n in halves.items() if needed <= set(half))


def _merge(run: Path, build: BuildConfig) -> dict[Group, int]:
    samples = load_prepared(run)
    with Selection(build.views, answers_about(run, samples, with_texts=False)) as selection:
        reasons = selection.reasons(build.view, *build.same_size_as)
    return {Group("merge", "merger"): sum(1 for reason in reasons.values() if reason is None)}


def _judge(run: Path, votes: Mapping[str, int]) -> dict[Group, int]:
    statuses = read_table(merged_path(run), ["status"]).column("status").to_pylist()
    return {Group("judge", name): n * statuses.count("ok") for name, n in votes.items()}


def count_steps(run: Path, training: str) -> int | None:
    """The steps of a training, from the settings that it began with; None where it cannot be told.

    As `avrt sft --dry-run` counts them, without the rows that are too long.
    """
    try:
        settings = read_json(run / training / "checkpoints" / "stage.json")["settings"]
        if training != "sft":
            return int(settings["grpo"]["max_steps"])
        sft = settings["sft"]
        n_rows = pq.read_metadata(run / "dataset" / "train.parquet").num_rows
        batch = sft["per_device_batch_size"] * settings["processes"]
        n_updates = math.ceil(math.ceil(n_rows / batch) / sft["gradient_accumulation_steps"])
        return math.ceil(n_updates * sft["epochs"])
    except (AvrtError, OSError, KeyError, TypeError, ValueError):
        return None
