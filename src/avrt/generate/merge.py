"""Stage `merge`: a text model joins the teachers' traces of each selected sample into one.

Reads samples.parquet and traces/teachers.parquet; writes the ledger and traces/merged.parquet, one
row per sample of the view that is built (and of those it is compared with). The merger knows the
right answer and gets no media: it writes down why, it does not decide. Of several answers of one
teacher it gets the first right one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from avrt.answers import split_trace
from avrt.ask.budget import Limits
from avrt.ask.calls import (
    Job,
    Jobs,
    Outcome,
    call_all,
    check_failure_rate,
    describe_role,
    sampling_of,
)
from avrt.ask.ledger import Call, Ledger, check_free, count_finished, open_ledger
from avrt.config import Config
from avrt.datasets.prepare import load_prepared
from avrt.engines import engine_identity
from avrt.errors import ConfigError
from avrt.generate.option_order import balanced_order, in_order, places_in, restore_letters
from avrt.generate.records import (
    Answers,
    MergedTrace,
    best_answer,
    check_teachers,
    check_traced,
    load_teachers,
    merged_path,
    teachers_path,
    write_merged,
)
from avrt.generate.selection import check_views, selected_by
from avrt.generate.views import condition_of
from avrt.prompts import format_options, load_prompt
from avrt.runs import Result, Stage, check_sums, open_stage, save_config
from avrt.types import Completion, Sample

__all__ = ["plan", "run", "shown_sample"]

BATCH = 500
"""Samples whose replies are taken from the ledger together."""


def run(config: Config, limits: Limits | None = None) -> Result:
    """Merge the traces of the samples that the view selects.

    When a limit stops it, nothing is derived and the stage is not done.

    Raises:
        DataError: the run is not traced.
        ConfigError: merged before with another merger, prepared again after it was traced, not a
            view, or in use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    check_views(config)
    _check_prompt(config)
    limits = limits or Limits()
    check_free(config.run.path)
    check_teachers(config)
    stage = _open(config)
    if _is_done(config, stage):
        return Result(f"merge: nothing to do, {config.run.path} is merged", stage.counts())
    samples = load_prepared(config.run.path)
    answers = load_teachers(config.run.path)
    check_traced(config.run.path, (sample.id for sample in samples), answers)
    reasons = selected_by(config, samples, answers)
    save_config(config)
    selected = [sample for sample in samples if reasons[sample.id] is None]
    counts = Counter({"read": len(samples), "kept": 0})
    counts.update(reason for reason in reasons.values() if reason is not None)
    with open_ledger(config.run.path) as ledger:
        chosen = limits.first(selected)
        jobs = Jobs("merger", len(chosen), _jobs(config, chosen, answers), _keeper(config, chosen))
        outcomes = call_all(ledger, config.merger, config, jobs, limits)
        if limits.stopped_by is None:
            traces = _to_traces(config, ledger, selected, outcomes)
            write_merged(config.run.path, _count(traces, counts))
    check_failure_rate("merge", outcomes.values(), config)
    if limits.stopped_by is not None:
        return Result(limits.summarize("merge"), {})
    check_sums("merge", len(samples), counts)
    stage.finish(counts)
    return Result(_summarize(config, counts, len(selected)), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words; makes no call and writes nothing."""
    merger, views = config.merger, _views(config)
    check_views(config)
    _check_prompt(config)
    describe_role(merger, config.media)
    model = f"{merger.model} ({merger.engine.kind}), prompt {merger.prompt}"
    if not teachers_path(config.run.path).is_file():
        return f"merge: one call for every sample of the view {views}\n  merger: {model}"
    answers = load_teachers(config.run.path)
    samples = [one for one in load_prepared(config.run.path) if one.id in answers]
    n_selected = sum(reason is None for reason in selected_by(config, samples, answers).values())
    n_finished = count_finished(config.run.path, "merge")
    return (
        f"merge: {n_selected} of {len(answers)} samples are in the view {views}; "
        f"{n_finished} finished calls are in the ledger\n  merger: {model}"
    )


def shown_sample(sample: Sample, order: Sequence[int]) -> Sample:
    """The sample with its options in another order."""
    options = in_order(sample.options, order)
    return replace(sample, options=options, answer_index=order.index(sample.answer_index))


def _open(config: Config) -> Stage:
    settings: dict[str, Any] = {
        "merger": describe_role(config.merger, config.media),
        "balance_letters": config.build.balance_letters,
        "seed": config.run.seed,
    }
    free = {"views": _conditions(config)}
    inputs = [config.run.path / "samples.parquet", teachers_path(config.run.path)]
    return open_stage(config.run.path, "merge", settings, inputs, free)


def _views(config: Config) -> str:
    return ", ".join(repr(view) for view in (config.build.view, *config.build.same_size_as))


def _conditions(config: Config) -> list[str]:
    build = config.build
    return [condition_of(view, build.views) for view in (build.view, *build.same_size_as)]


def _is_done(config: Config, stage: Stage) -> bool:
    """Done, the file is still there, and no failed call is left to try again."""
    if not stage.done or not merged_path(config.run.path).is_file():
        return False
    return not any(key.startswith("failed/") for key in stage.counts())


def _check_prompt(config: Config) -> None:
    """A teacher of picture and sound together reaches the merger only as one of `{analyses}`."""
    prompt = load_prompt(config.merger.prompt)
    both = [name for name, teacher in config.teachers.items() if teacher.modality == "av"]
    if both and not prompt.uses("analyses"):
        raise ConfigError(
            f"teachers.{both[0]} (modality av) would not reach the merger: use {{analyses}} in "
            f"merger.prompt ({config.merger.prompt}) instead of the two single analyses"
        )


def _jobs(
    config: Config, samples: Sequence[Sample], answers: Mapping[str, Answers]
) -> Iterator[Job]:
    merger = config.merger
    prompt = load_prompt(merger.prompt)
    engine = engine_identity(merger.engine, merger.model, merger.revision, config.media)
    for sample in samples:
        order = _order(config, sample)
        shown = shown_sample(sample, order)
        system, text = prompt.fill(
            question=shown.question,
            options=format_options(shown.options),
            answer=f"({shown.target}) {shown.target_text}",
            **_analyses(answers[sample.id], order),
        )
        sampling = sampling_of(merger, config.run.seed, sample.id)
        yield Job(Call("merge", sample.id, "merger", engine, system, text, sampling))


def _keeper(config: Config, samples: Sequence[Sample]) -> Callable[[Job, Completion], bool]:
    """Whether a reply is a trace in form with the right letter, which gates can still reject."""
    targets = {one.id: shown_sample(one, _order(config, one)).target for one in samples}

    def keeps(job: Job, completion: Completion) -> bool:
        parts = split_trace(completion.text) if completion.finish_reason == "stop" else None
        return parts is not None and parts[1] == targets[job.call.sample_id]

    return keeps


def _order(config: Config, sample: Sample) -> Sequence[int]:
    n_options = len(sample.options)
    if not config.build.balance_letters:
        return range(n_options)
    return balanced_order(config.run.seed, sample.id, sample.answer_index, n_options)


def _analyses(answers: Answers, order: Sequence[int]) -> dict[str, str]:
    """What the teachers wrote, by modality and all together, with the letters that are shown."""
    places = places_in(order)
    texts: dict[str, list[str]] = {"v": [], "a": [], "av": []}
    titled: list[str] = []
    for name, traces in answers.items():
        best = best_answer(traces)
        if best.modality in texts:
            text = restore_letters(best.text.strip(), places)
            texts[best.modality].append(text)
            titled.append(f"{name.replace('_', ' ').capitalize()} analysis:\n{text}")
    return {
        "visual_analysis": "\n\n".join(texts["v"]),
        "audio_analysis": "\n\n".join(texts["a"]),
        "analyses": "\n\n".join(titled),
    }


def _to_traces(
    config: Config,
    ledger: Ledger,
    samples: Sequence[Sample],
    outcomes: Mapping[tuple[str, int], Outcome],
) -> Iterator[MergedTrace]:
    """What was written about each sample, in order; the replies are taken from the ledger."""
    waiting = iter(samples)
    while batch := list(islice(waiting, BATCH)):
        found = [outcomes[sample.id, 0] for sample in batch]
        replies = ledger.find_all([one.key for one in found if one.key is not None])
        for sample, outcome in zip(batch, found, strict=True):
            yield _to_trace(config, sample, outcome, replies)


def _to_trace(
    config: Config, sample: Sample, outcome: Outcome, replies: Mapping[str, Completion]
) -> MergedTrace:
    if outcome.key is None:
        raise AssertionError(f"{sample.source}: a call without media has no key")
    completion = outcome.failure or replies[outcome.key]
    return MergedTrace(
        sample_id=sample.id,
        key=outcome.key,
        status=outcome.status,
        text=completion.text,
        order=list(_order(config, sample)),
        finish_reason=completion.finish_reason,
        n_prompt_tokens=completion.n_prompt_tokens,
        n_completion_tokens=completion.n_completion_tokens,
    )


def _count(traces: Iterator[MergedTrace], counts: Counter[str]) -> Iterator[MergedTrace]:
    for trace in traces:
        counts["kept" if trace.status == "ok" else f"failed/{trace.status}"] += 1
        yield trace


def _summarize(config: Config, counts: Mapping[str, int], n_selected: int) -> str:
    selected = f"{n_selected} of {counts['read']} samples are in the view {_views(config)}"
    lines = [f"merge: {selected}, {counts['kept']} merged"]
    lines += [f"  {n:>7} {reason}" for reason, n in sorted(counts.items()) if "/" in reason]
    return "\n".join(lines)
