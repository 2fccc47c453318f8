"""Evaluate models on benchmarks, by modality.

Reads the benchmarks and the models; writes every call into the ledger, and derives
RUN/eval/BENCH/MODEL/MODALITY.jsonl from it (see `logs.py`), also when the budget, an error or
Ctrl-C ends the work. A model is loaded once, and not at all when nothing is left to ask. An item
whose media cannot be had stays in the denominator as `missing_media`; a failed call counts as
`failed` and is made again by the same command.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from avrt.ask.budget import Budget
from avrt.ask.calls import (
    DistantEngine,
    Drafts,
    Outcome,
    call_all,
    check_failure_rate,
    find_outcomes,
    unread_text,
)
from avrt.ask.distant import engine_on
from avrt.ask.ledger import Ledger, open_ledger, read_ledger
from avrt.ask.locks import check_free, take_turns
from avrt.ask.reuse import check_source, forecast_calls, reused_text
from avrt.checkpoints.convert import export_vllm
from avrt.config import Config, EvalModel
from avrt.datasets.names import nearest_names
from avrt.engines import Engine, check_installed
from avrt.errors import AvrtError, ConfigError, EngineError
from avrt.evaluate.checkpoints import checkpoint_models, curves_of
from avrt.evaluate.cost import Answers, cost_text, expected_costs, read_answers
from avrt.evaluate.logs import check_settings, log_path, write_log
from avrt.evaluate.models import check_names, choose_models, settings_of
from avrt.evaluate.protocol import ABSENT, files_digest, media_cache, read_files
from avrt.evaluate.results import read_results
from avrt.evaluate.sets import read_benchmark, write_items
from avrt.evaluate.summary import curves_text, failures_text, summary_text
from avrt.evaluate.tasks import Task
from avrt.runs import Result, save_config, say, write_json
from avrt.texts import printable
from avrt.types import Given

__all__ = ["Choice", "plan", "run"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Choice:
    """The part of the configured evaluation that a command does; None stands for all."""

    models: Sequence[str] | None = None
    modalities: Sequence[Given] | None = None
    benchmarks: Sequence[str] | None = None
    checkpoints: Sequence[str] = ()
    """Trainings whose kept checkpoints are evaluated; without `models`, nothing else is."""

    def restrict(self, config: Config) -> Config:
        """The configuration with only the chosen models, modalities and benchmarks.

        Raises:
            ConfigError: a name that is not in it, or as `checkpoint_models`.
        """
        settings, run = config.eval, config.run.path
        models: dict[str, str | EvalModel] = {}
        if self.models or not self.checkpoints:
            models |= _pick("model", "eval.models", settings.models, self.models)
        starts = (config.student.model, str(run / "sft" / "model"), config.grpo.init)
        for stage in self.checkpoints:
            models |= checkpoint_models(run, stage, settings.models, starts)
        chosen = {
            "models": models,
            "benchmarks": _pick(
                "benchmark", "eval.benchmarks", settings.benchmarks, self.benchmarks
            ),
            "modalities": self.modalities or settings.modalities,
        }
        return config.model_copy(update={"eval": settings.model_copy(update=chosen)})


def run(config: Config, choice: Choice = Choice(), budget: Budget | None = None) -> Result:
    """Evaluate the chosen models (default: all of `eval.models`) and summarise the logs of all
    models that are configured; of checkpoints alone, the curves of their trainings.

    Raises:
        ConfigError: nothing to evaluate, an unknown name, logs made with other settings, or a run
            that another process works on.
        DataError: a benchmark that cannot be read.
        EngineError: a model that cannot be used, or does not get the media it is given.
        AvrtError: too many calls of a model failed; everything is stored, and the summary printed.
    """
    path, source, budget = config.run.path, config.run.calls_path, budget or Budget()
    check_source(source)
    tasks = _tasks(config, choice)
    for task in tasks:
        for given in task.modalities:
            check_settings(
                log_path(path, task.benchmark.name, task.model.name, given), task.settings
            )
    for name in dict.fromkeys(task.model.name for task in tasks):
        check_free(path, budget.shard, _scope(name))
    known = read_answers(path, tasks)
    for model in {task.model.name: task.model for task in tasks if known.n_left(task)}.values():
        try:
            if config.cluster is None:  # the nodes may have what this machine lacks
                check_installed(model.engine)
        except EngineError as error:
            raise EngineError(
                f"eval.models.{model.name}: {error}; without an engine of its own, a model has "
                "that of eval.engine, such as transformers"
            ) from error
    save_config(config)
    for task in {task.benchmark.name: task for task in tasks}.values():
        _print_exceptions(task, choice.modalities or config.eval.modalities)
        write_items(path, task.benchmark)
        write_json(media_cache(path, task.benchmark.name), task.files)
    by_model: dict[str, list[Task]] = {}
    for task in tasks:
        by_model.setdefault(task.model.name, []).append(task)
    made: dict[str, list[Outcome]] = {}
    measured_s: dict[str, float] = {}
    for name, of_model in by_model.items():
        left = [task for task in tasks if task.model.name not in made]
        costs = expected_costs(known, left, measured_s)
        if made:  # what is not known has been said
            costs = [cost for cost in costs if cost.answer_s is not None]
        if text := cost_text(costs):
            say(text)
        model, started_s, n_before = of_model[0].model, time.monotonic(), budget.n_calls
        settings = model.engine, model.checkpoint, model.revision, config.media
        engine, scope = engine_on(config.cluster, *settings, export_vllm), _scope(name)
        with open_ledger(path, budget.shard, scope, source) as ledger, closing(engine):
            made[name] = _ask(path, ledger, engine, of_model, budget, known)
        if n_asked := budget.n_calls - n_before:
            measured_s[model.engine.kind] = (time.monotonic() - started_s) / n_asked
    has_models = bool(choice.models or not choice.checkpoints)
    names = {*config.eval.models, *config.eval.pools} if has_models else set[str]()
    results = list(read_results(config, with_texts=False))
    curves = [curve for curve in curves_of(results) if curve.stage in choice.checkpoints]
    results = [result for result in results if result.model in names]
    counts: Counter[str] = Counter()
    for result in [*results, *(result for curve in curves for _, result in curve.points)]:
        counts.update(result.counts)
    parts = [curves_text(curves)]
    if has_models:
        parts.insert(0, summary_text(results, config.eval))
    parts.append(failures_text(chain(*made.values())))
    if source is not None:
        with read_ledger(path) as ledger:
            parts.append("eval:" + reused_text(ledger, "eval", source)[2:])
    if budget.stopped_by is not None:
        parts.append(budget.summarize("eval"))
    text = "\n\n".join(filter(None, parts))
    try:
        for name, outcomes in made.items():
            check_failure_rate(f"eval, {name}", outcomes, config.generate.max_failure_rate)
    except AvrtError:
        print(printable(text))  # the other models' results are worth as much as ever
        raise
    return Result(text, counts, unread_text("eval", chain(*made.values())))


def plan(config: Config, choice: Choice = Choice()) -> str:
    """The work of `run`, in words; raises as it does for a wrong choice or set."""
    check_source(config.run.calls_path, planned=True)
    lines, tasks = [], _tasks(config, choice)
    for task in tasks:
        n_items, model = len(task.benchmark.asked), task.model
        given = ", ".join(modality.upper() for modality in task.modalities) or "nothing"
        answers = f", {model.k} answers each" if model.k > 1 else ""
        halves = {half for modality in task.modalities for half in modality if modality != "none"}
        media = f"{task.media.describe(''.join(halves))}, " if halves else ""
        lines.append(
            f"eval: {task.benchmark.name}, {n_items} items by {given}{answers}, "
            f"model {model.name}: {model.checkpoint} ({model.engine.kind}, up to "
            f"{model.sampling.max_new_tokens} tokens), prompt {model.prompt}, "
            f"{media}protocol {task.settings.protocol_id}"
        )
    for task in {task.benchmark.name: task for task in tasks}.values():
        lines += _missing_media(task)
    if config.run.calls_path is not None:
        each = ((t.model.identity, t.drafts(t.benchmark.asked, t.modalities)) for t in tasks)
        lines.append(
            "eval: " + forecast_calls(config.run.path, config.run.calls_path, "eval", each)
        )
    lines.append(cost_text(expected_costs(read_answers(config.run.path, tasks), tasks)))
    return "\n".join(filter(None, lines))


def _scope(model: str) -> str:
    """Models are evaluated independently of each other, also at the same time."""
    return f"eval-{model}"


def _tasks(config: Config, choice: Choice) -> list[Task]:
    """Every chosen model on every chosen set."""
    check_names(config.eval)
    chosen = choice.restrict(config)
    models = choose_models(config, chosen.eval.models)
    wanted = {*chosen.eval.modalities, *(model.given for model in models)}
    # All sets are read before any file is digested: a wrong folder is refused at once.
    benchmarks = [
        read_benchmark(config.eval, name, needs_media=bool(wanted - {"none", None}))
        for name in chosen.eval.benchmarks
    ]
    tasks = []
    for benchmark in benchmarks:
        cache = media_cache(config.run.path, benchmark.name)
        files = read_files(benchmark.samples, benchmark.data.root, cache, config.media)
        digests = {"questions": benchmark.questions_digest, "media": files_digest(files)}
        for model in models:
            media = model.media_of(benchmark, config.media)
            is_free = choice.modalities is None and model.given is not None
            own = (model.given,) if is_free and model.given else chosen.eval.modalities
            tasks.append(
                Task(
                    benchmark=benchmark,
                    files=files,
                    model=model,
                    modalities=model.modalities(benchmark, own),
                    settings=settings_of(model, benchmark, digests, media, config.run.seed),
                    media=media,
                    seed=config.run.seed,
                )
            )
    return tasks


def _pick(
    kind: str, setting: str, known: Mapping[str, Value], names: Sequence[str] | None
) -> dict[str, Value]:
    """The configured values that are chosen."""
    for name in names or ():
        if name not in known:
            raise ConfigError(f"{kind} {name!r} is not in {setting}; known: {', '.join(known)}")
    return {name: known[name] for name in names or known}


def _print_exceptions(task: Task, wanted: Sequence[Given]) -> None:
    """Name the modalities that are skipped, missing files, and the peculiarities of the set."""
    benchmark = task.benchmark
    absent = [m.upper() for m in dict.fromkeys(wanted) if m not in benchmark.modalities(wanted)]
    if absent:
        print(printable(f"{benchmark.name}: no item has {', '.join(absent)}; skipped"))
    for note in benchmark.notes:
        print(printable(f"{benchmark.name}: {note}"))
    for line in _missing_media(task):
        print(printable(line))


def _missing_media(task: Task) -> Iterator[str]:
    """How many files of a set are not there, and those that have nearly the name of one."""
    missing = [name for name, (_, digest) in task.files.items() if digest == ABSENT]
    if missing and set(task.modalities) - {"none"}:
        yield (
            f"{task.benchmark.name}: {len(missing)} of {len(task.files)} media files are missing, "
            f"such as {missing[0]}; their items count as wrong"
        )
        nearest = nearest_names(task.benchmark.data.root, missing, task.files)
        yield from (f"  {line}" for line in nearest)


def _ask(
    run: Path,
    ledger: Ledger,
    engine: Engine | DistantEngine,
    tasks: Sequence[Task],
    budget: Budget,
    known: Answers,
) -> list[Outcome]:
    """Ask one model all that the ledger lacks, then derive its logs, also after an error.

    Gives the outcomes of all of its calls.
    """
    made: list[Outcome] = []
    for number, task in enumerate(tasks, 1):
        outcomes: Mapping[Hashable, Outcome] = {}
        items = budget.take(task.benchmark.asked)
        each = task.drafts(items, task.modalities)
        n_later = sum(map(known.n_left, tasks[number:]))
        drafts = Drafts(task.title, task.count_drafts(items), each, task.media, n_later=n_later)
        try:
            outcomes = call_all(ledger, engine, drafts, budget)
        finally:
            _write_logs(run, task, outcomes)
        made.extend(outcomes.values())
    return made


def _write_logs(run: Path, task: Task, outcomes: Mapping[Hashable, Outcome]) -> None:
    """Derive the logs of a task from the ledger files of all shards.

    `outcomes` are those of this process: media that it could not read may be in no ledger.
    """
    items = task.benchmark.asked
    with take_turns(run / "eval"), read_ledger(run) as ledger:
        if len(outcomes) < task.count_drafts(items):
            drafts = task.drafts(items, task.modalities)
            outcomes = {**outcomes, **find_outcomes(ledger, task.model.identity, drafts)}
        for given in task.modalities:
            path = log_path(run, task.benchmark.name, task.model.name, given)
            lines = task.lines(given, outcomes, ledger)
            first = list(islice(lines, 1))
            if first or path.is_file():
                write_log(path, task.meta, chain(first, lines))
