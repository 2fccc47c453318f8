"""Evaluate models on benchmarks, by modality.

Reads the benchmarks and the models; writes RUN/eval/BENCH/MODEL/MODALITY.jsonl (see `logs.py`),
one line per answer as it finishes, and continues where a killed run stopped. A model is loaded
once. An item whose media cannot be had stays in the denominator as `missing_media`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TypeVar

from avrt.config import Config
from avrt.engines import Engine, make_engine
from avrt.errors import ConfigError
from avrt.evaluate.logs import (
    Line,
    LogMeta,
    Settings,
    check_settings,
    log_path,
    log_paths,
    open_log,
    read_logs,
)
from avrt.evaluate.models import Model, check_names, choose_models, settings_of
from avrt.evaluate.protocol import Files, files_digest, media_cache, read_files
from avrt.evaluate.questions import question_digest
from avrt.evaluate.results import read_results
from avrt.evaluate.sets import EvalSet, read_benchmark, write_items
from avrt.evaluate.summary import summary_text
from avrt.evaluate.work import Log, answer_all
from avrt.runs import Result, save_config, write_json
from avrt.types import BenchmarkItem, Given

__all__ = ["Choice", "EngineFactory", "Shard", "plan", "run"]

Value = TypeVar("Value")
EngineFactory = Callable[[Config, str], Engine]
"""Makes the engine for the model at a place."""


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the items, for several processes or machines."""

    index: int
    """From 1."""
    count: int

    @property
    def name(self) -> str | None:
        """As in the names of logs; None for the whole."""
        return None if self.count == 1 else f"{self.index}of{self.count}"

    def holds(self, position: int) -> bool:
        return position % self.count == self.index - 1


@dataclass(frozen=True)
class Choice:
    """What a call restricts itself to; None is all that is configured."""

    models: Sequence[str] | None = None
    modalities: Sequence[Given] | None = None
    benchmarks: Sequence[str] | None = None
    shard: Shard = Shard(1, 1)

    def restrict(self, config: Config) -> Config:
        """The configuration with only what is chosen left to evaluate.

        Raises:
            ConfigError: a name that is not in it.
        """
        settings = config.eval
        chosen = {
            "models": _pick("model", "eval.models", settings.models, self.models),
            "benchmarks": _pick(
                "benchmark", "eval.benchmarks", settings.benchmarks, self.benchmarks
            ),
            "modalities": self.modalities or settings.modalities,
        }
        return config.model_copy(update={"eval": settings.model_copy(update=chosen)})


@dataclass(frozen=True)
class _Task:
    """One model on one set."""

    benchmark: EvalSet
    files: Files
    model: Model
    modalities: Sequence[Given]
    settings: Settings


def run(
    config: Config,
    models: Sequence[str] | None = None,
    modalities: Sequence[Given] | None = None,
    make: EngineFactory | None = None,
    choice: Choice | None = None,
) -> Result:
    """Evaluate the chosen models (default: all of `eval.models`) and summarise their logs.

    Raises:
        ConfigError: nothing to evaluate, an unknown name, or logs made with other settings.
        DataError: a benchmark that cannot be read.
        EngineError: a model that cannot be used, or does not get the media it is given.
    """
    choice = choice or Choice(models, modalities)
    tasks = _tasks(config, choice)
    for task in tasks:
        _check_logs(config, task)
    save_config(config)
    for task in {task.benchmark.name: task for task in tasks}.values():
        _print_exceptions(task.benchmark, choice.modalities or config.eval.modalities)
        write_items(config.run.path, task.benchmark)
        write_json(media_cache(config.run.path, task.benchmark.name), task.files)
    for name in dict.fromkeys(task.model.name for task in tasks):
        own = [task for task in tasks if task.model.name == name]
        _evaluate_model(config, own, choice.shard, make)
    return summarise(config)


def summarise(config: Config) -> Result:
    """The results of all models that are configured."""
    names = {*config.eval.models, *config.eval.pools}
    results = [result for result in read_results(config) if result.model in names]
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
    return Result(summary_text(results, config.eval), counts)


def plan(config: Config, choice: Choice = Choice()) -> str:
    """What `run` would evaluate, in words."""
    if not choice.restrict(config).eval.benchmarks:
        return "eval: nothing; eval.benchmarks is empty"
    lines = []
    for task in _tasks(config, choice):
        n_items = len(task.benchmark.asked)
        given = ", ".join(modality.upper() for modality in task.modalities) or "nothing"
        answers = f", {task.model.k} answers each" if task.model.k > 1 else ""
        lines.append(
            f"eval: {task.benchmark.name}, {n_items} items by {given}{answers}, "
            f"model {task.model.name}: {task.model.checkpoint} ({task.model.engine.kind}, up to "
            f"{task.model.sampling.max_new_tokens} tokens), protocol {task.settings.protocol_id}"
        )
    return "\n".join(lines)


def _tasks(config: Config, choice: Choice) -> list[_Task]:
    """Every model on every set, as far as they are chosen."""
    check_names(config.eval)
    chosen = choice.restrict(config).eval
    models = choose_models(choice.restrict(config))
    needs_media = any({*chosen.modalities, model.given} - {"none", None} for model in models)
    # All sets are read before any file is digested: a wrong folder is refused at once.
    benchmarks = [read_benchmark(config.eval, name, needs_media) for name in chosen.benchmarks]
    tasks = []
    for benchmark in benchmarks:
        cache = media_cache(config.run.path, benchmark.name)
        files = read_files(benchmark.samples, benchmark.data.root, cache)
        digests = {"questions": benchmark.questions_digest, "media": files_digest(files)}
        for model in models:
            is_free = choice.modalities is None and model.given is not None
            wanted = (model.given,) if is_free and model.given else chosen.modalities
            modalities = model.modalities(benchmark, wanted)
            settings = settings_of(model, benchmark, digests, config.media, config.run.seed)
            tasks.append(_Task(benchmark, files, model, modalities, settings))
    return tasks


def _pick(
    what: str, setting: str, known: Mapping[str, Value], names: Sequence[str] | None
) -> dict[str, Value]:
    """Those of the configured values that are chosen."""
    for name in names or ():
        if name not in known:
            raise ConfigError(f"{what} {name!r} is not in {setting}; known: {', '.join(known)}")
    return {name: known[name] for name in names or known}


def _print_exceptions(benchmark: EvalSet, wanted: Sequence[Given]) -> None:
    """Say what will not be in the table."""
    absent = [m.upper() for m in dict.fromkeys(wanted) if m not in benchmark.modalities(wanted)]
    if absent:
        print(f"{benchmark.name}: no item has {', '.join(absent)}; skipped")
    for note in benchmark.notes:
        print(f"{benchmark.name}: {note}")


def _check_logs(config: Config, task: _Task) -> None:
    """Refuse, before anything is written, logs of other settings or of other questions."""
    for modality in task.modalities:
        paths = log_paths(config.run.path, task.benchmark.name, task.model.name, modality)
        for line in read_logs(paths):
            item = task.benchmark.by_id.get(line.sample_id)
            if item is None or not _is_same(config, task, modality, item, line):
                raise ConfigError(
                    f"{paths[0]}: item {line.sample_id!r} is not the question that "
                    f"{task.benchmark.data.root} has; give the benchmark another name, or delete "
                    f"this file to evaluate again"
                )
        for path in paths:
            check_settings(path, task.settings)


def _is_same(config: Config, task: _Task, modality: Given, item: BenchmarkItem, line: Line) -> bool:
    """Whether a line is about the question as it would be asked now."""
    question = task.model.ask(item, modality, task.benchmark, config.media.n_frames)
    return (line.prompt_digest, line.target) == (question_digest(question), item.sample.target)


def _evaluate_model(
    config: Config, tasks: Sequence[_Task], shard: Shard, make: EngineFactory | None
) -> None:
    """Open all logs, then load the model: finished work costs nothing."""
    model = tasks[0].model
    with ExitStack() as stack:
        work = [(task, _open_logs(config, task, shard, stack)) for task in tasks]
        if not any(log.left for _, logs in work for log in logs):
            return
        checkpoint = model.checkpoint
        engine = (
            make(config, checkpoint)
            if make
            else make_engine(model.engine, checkpoint, model.revision, config.media)
        )
        stack.enter_context(closing(engine))
        for task, logs in work:
            if any(log.left for log in logs):
                answer_all(config, engine, model, task.benchmark, task.settings, logs)


def _open_logs(config: Config, task: _Task, shard: Shard, stack: ExitStack) -> list[Log]:
    """The logs of a task with what they lack of this shard; what any shard has is done."""
    asked = task.benchmark.asked
    wanted = {
        (item.sample.id, k)
        for position, item in enumerate(asked)
        if shard.holds(position)
        for k in range(task.model.k)
    }
    run, name, model = config.run.path, task.benchmark.name, task.model
    meta = LogMeta(task.settings, len(asked), model.k, task.benchmark.notes)
    logs = []
    for modality in task.modalities:
        path = log_path(run, name, model.name, modality, shard.name)
        file = stack.enter_context(open_log(path, meta))
        finished = {line.id for line in read_logs(log_paths(run, name, model.name, modality))}
        logs.append(Log(modality, file, wanted - finished))
    return logs
