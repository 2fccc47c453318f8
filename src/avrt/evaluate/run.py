"""Evaluate checkpoints on benchmarks, by modality.

Reads the benchmarks and the models; writes RUN/eval/BENCH/MODEL/MODALITY.jsonl (see `logs.py`),
one line per item as it finishes, and continues where a killed run stopped. A model is loaded
once. Items go in blocks: the media of a block are decoded once and then shown to the model as
sound, as pictures and as both, so that a batch holds one modality. An item whose media cannot be
had stays in the denominator as `missing_media`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from avrt.config import Config, DataConfig, EngineConfig
from avrt.datasets import read_samples, require_media, write_samples
from avrt.engines import Engine, make_engine
from avrt.engines.checkpoints import model_identity
from avrt.errors import ConfigError, DataError, EngineError, MediaError
from avrt.evaluate.items import Item, load_item, prompt_digest
from avrt.evaluate.logs import Line, append, finished_lines, log_path, open_log, samples_path
from avrt.evaluate.summary import read_results, summary_text
from avrt.prompts import PromptTemplate, load_prompt
from avrt.runs import Result, save_config, student_path
from avrt.types import Completion, Modality, Prompt, Request, Sample, Sampling

__all__ = ["EngineFactory", "plan", "run", "student_engine"]

EngineFactory = Callable[[Config, str], Engine]
"""Makes the engine for the model at a place."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Benchmark:
    """One evaluation set."""

    name: str
    data: DataConfig
    samples: tuple[Sample, ...]
    """All questions of the set."""
    unusable: Mapping[str, int]
    """Rows of the annotations that hold no question to score, by reason."""
    limit: int | None
    """Only the first of them are evaluated."""

    @property
    def asked(self) -> tuple[Sample, ...]:
        """The questions that are evaluated."""
        return self.samples[: self.limit]

    def modalities(self, wanted: Sequence[Modality]) -> list[Modality]:
        """Those of the wanted modalities that at least one item has."""
        has: dict[Modality, bool] = {
            "a": any(s.sound_path for s in self.samples),
            "v": any(s.picture_path for s in self.samples),
            "av": any(s.sound_path and s.picture_path for s in self.samples),
        }
        return [modality for modality in dict.fromkeys(wanted) if has[modality]]


@dataclass(frozen=True)
class _Model:
    """One model to evaluate."""

    name: str
    place: str
    settings: Mapping[str, Any]
    """What decides its answers; its logs are refused when they were made with others."""


@dataclass(frozen=True)
class _Log:
    """One open log and the items that it still lacks."""

    modality: Modality
    file: IO[str]
    left: set[str]


def run(
    config: Config,
    models: Sequence[str] | None = None,
    modalities: Sequence[Modality] | None = None,
    make: EngineFactory | None = None,
) -> Result:
    """Evaluate the chosen models (default: all of `eval.models`) and summarise their logs.

    Raises:
        ConfigError: nothing to evaluate, an unknown model, or logs made with other settings.
        DataError: a benchmark that cannot be read.
    """
    template = load_prompt(config.student.prompt)
    chosen = [
        _Model(name, place, _settings(config, place, template))
        for name, place in _places(config, models).items()
    ]
    wanted = modalities or config.eval.modalities
    benchmarks = [_read_benchmark(config, name) for name in config.eval.benchmarks]
    for benchmark in benchmarks:
        for model in chosen:
            _check_logs(config.run.path, benchmark, model, wanted, template)
    save_config(config)
    for benchmark in benchmarks:
        _print_exceptions(benchmark, wanted)
        write_samples(samples_path(config.run.path, benchmark.name), benchmark.samples)
    for model in chosen:
        _evaluate_model(config, model, benchmarks, wanted, template, make or student_engine)
    results = [r for r in read_results(config.run.path) if r.model in config.eval.models]
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
    return Result(summary_text(results, config.eval), counts)


def plan(config: Config) -> str:
    """What `run` would evaluate, in words."""
    lines = [f"eval: greedy answers of up to {config.eval.max_new_tokens} tokens"]
    lines += [f"  model {name}: {place}" for name, place in config.eval.models.items()]
    for name in config.eval.benchmarks:
        benchmark = _read_benchmark(config, name)
        modalities = ", ".join(m.upper() for m in benchmark.modalities(config.eval.modalities))
        lines.append(f"  benchmark {name}: {len(benchmark.asked)} items by {modalities}")
    return "\n".join(lines)


def student_engine(config: Config, model: str) -> Engine:
    """The transformers engine, with the student's device and number format."""
    engine = EngineConfig(
        kind="transformers",
        batch_size=config.eval.batch_size,
        device=config.student.device,
        dtype=config.student.dtype,
    )
    return make_engine(engine, model, None, config.media)


def _places(config: Config, models: Sequence[str] | None) -> dict[str, str]:
    """Name and place of the models to evaluate."""
    known = config.eval.models
    if not config.eval.benchmarks:
        raise ConfigError(
            "eval.benchmarks is empty; name at least one evaluation set, such as "
            "eval.benchmarks='{bench: {format: avqa, root: DIR, split: val}}'"
        )
    for name in [*known, *config.eval.benchmarks]:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"eval: the name {name!r} becomes a folder; use letters, digits, '.', '_' and '-'"
            )
    for name in models or ():
        if name not in known:
            raise ConfigError(f"model {name!r} is not in eval.models; known: {', '.join(known)}")
    return {name: student_path(config, known[name]) for name in models or known}


def _read_benchmark(config: Config, name: str) -> Benchmark:
    data = config.eval.benchmarks[name]
    unusable: Counter[str] = Counter()
    try:
        samples = tuple(read_samples(data, unusable))
        require_media(data.root, samples)
    except ConfigError as error:
        raise ConfigError(
            f"eval.benchmarks.{name}: {error} "
            f"(for this benchmark, data.root is eval.benchmarks.{name}.root, and so on)"
        ) from error
    if not samples:
        raise DataError(f"eval.benchmarks.{name}: no questions in {data.root} (split {data.split})")
    return Benchmark(name, data, samples, unusable, config.eval.limit)


def _print_exceptions(benchmark: Benchmark, wanted: Sequence[Modality]) -> None:
    """Say what will not be in the table."""
    absent = [m.upper() for m in dict.fromkeys(wanted) if m not in benchmark.modalities(wanted)]
    if absent:
        print(f"{benchmark.name}: no item has {', '.join(absent)}; skipped")
    for reason, n in sorted(benchmark.unusable.items()):
        print(f"{benchmark.name}: {n} rows are no question that can be scored: {reason}")


def _settings(config: Config, place: str, template: PromptTemplate) -> dict[str, Any]:
    return {
        "model": model_identity(place, None),
        "prompt": template.digest,
        "media": config.media.decoding(),
        "max_new_tokens": config.eval.max_new_tokens,
        "dtype": config.student.dtype,
    }


def _check_logs(
    run: Path,
    benchmark: Benchmark,
    model: _Model,
    wanted: Sequence[Modality],
    template: PromptTemplate,
) -> None:
    """Refuse, before anything is written, logs of other settings or of other questions."""
    samples = {sample.id: sample for sample in benchmark.samples}
    for modality in benchmark.modalities(wanted):
        path = log_path(run, benchmark.name, model.name, modality)
        for line in finished_lines(path, model.settings):
            sample = samples.get(line.sample_id)
            same = sample is not None and line.prompt_digest == prompt_digest(sample, template)
            if sample is None or not same or line.target != sample.target:
                raise ConfigError(
                    f"{path}: item {line.sample_id!r} is not the question that "
                    f"{benchmark.data.root} has; give the benchmark another name, or delete this "
                    f"file to evaluate again"
                )


def _evaluate_model(
    config: Config,
    model: _Model,
    benchmarks: Sequence[Benchmark],
    wanted: Sequence[Modality],
    template: PromptTemplate,
    make: EngineFactory,
) -> None:
    """Open all logs, then load the model: finished work costs nothing."""
    with ExitStack() as stack:
        work: list[tuple[Benchmark, list[_Log]]] = []
        for benchmark in benchmarks:
            logs = []
            for modality in benchmark.modalities(wanted):
                path = log_path(config.run.path, benchmark.name, model.name, modality)
                file, finished = open_log(path, model.settings, len(benchmark.asked))
                stack.enter_context(file)
                left = {s.id for s in benchmark.asked} - {line.sample_id for line in finished}
                logs.append(_Log(modality, file, left))
            work.append((benchmark, logs))
        if not any(log.left for _, logs in work for log in logs):
            return
        engine = stack.enter_context(closing(make(config, model.place)))
        for benchmark, logs in work:
            _evaluate_benchmark(config, engine, benchmark, logs, template, model.name)


def _evaluate_benchmark(
    config: Config,
    engine: Engine,
    benchmark: Benchmark,
    logs: Sequence[_Log],
    template: PromptTemplate,
    model: str,
) -> None:
    """Do what the logs lack, block by block."""
    sampling = Sampling(temperature=0.0, max_new_tokens=config.eval.max_new_tokens)
    root, size = benchmark.data.root, config.eval.batch_size
    left = [sample for sample in benchmark.asked if any(sample.id in log.left for log in logs)]
    n_left = sum(len(log.left) for log in logs)
    name = f"eval {benchmark.name}/{model}"
    with tqdm(total=n_left, desc=name, unit="item", disable=None) as bar:
        for start in range(0, len(left), size):
            block = left[start : start + size]
            items = [load_item(sample, template, root, config.media) for sample in block]
            for log in logs:
                bar.update(_answer(engine, items, log, sampling, root))


def _answer(
    engine: Engine, items: Sequence[Item], log: _Log, sampling: Sampling, root: Path
) -> int:
    """Ask the model the items that `log` lacks and write each as it finishes; returns how many."""
    asked: dict[str, tuple[Item, Prompt]] = {}
    n_before = len(log.left)

    def finish(line: Line) -> None:
        append(log.file, line)
        log.left.remove(line.sample_id)

    def on_completion(request: Request, completion: Completion) -> None:
        item, prompt = asked[request.key]
        finish(item.answered(prompt, completion))

    for item in items:
        if item.sample.id not in log.left:
            continue
        prompt = item.prompt(log.modality)
        if isinstance(prompt, MediaError):
            finish(item.missing(prompt, root))
        else:
            asked[item.sample.id] = (item, prompt)
    if asked:
        requests = [Request(key, prompt, sampling) for key, (_, prompt) in asked.items()]
        engine.generate(requests, on_completion)
    lost = asked.keys() & log.left
    if lost:
        raise EngineError(f"the engine gave no reply to {len(lost)} items, such as {min(lost)!r}")
    return n_before - len(log.left)
