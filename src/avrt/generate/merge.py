"""Stage `merge`: a text model joins the two teachers' traces of each selected sample into one.

Reads samples.parquet and traces/teachers.parquet; writes the ledger and traces/merged.parquet, one
row per sample that `build.view` selects. The merger knows the right answer and gets no media: it
writes down why, it does not decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from avrt.config import Config
from avrt.datasets.prepare import load_prepared
from avrt.engines import engine_identity
from avrt.generate.calls import (
    Job,
    Outcome,
    call_all,
    check_failure_rate,
    describe_role,
    sampling_of,
)
from avrt.generate.gates import reject_pair
from avrt.generate.ledger import Call, count_finished, open_ledger
from avrt.generate.records import (
    MergedTrace,
    TeacherTrace,
    check_traced,
    load_teachers,
    merged_path,
    teachers_path,
    write_merged,
)
from avrt.prompts import format_options, load_prompt
from avrt.runs import Result, Stage, check_sums, open_stage, save_config
from avrt.types import Sample

__all__ = ["plan", "run"]


def run(config: Config) -> Result:
    """Merge the traces of the samples that the view selects.

    Raises:
        DataError: the run is not traced.
        ConfigError: merged before with other settings, prepared again after it was traced, or in
            use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    stage = _open(config)
    if _is_done(config, stage):
        return Result(f"merge: nothing to do, {config.run.path} is merged", stage.counts())
    samples = load_prepared(config.run.path)
    pairs = load_teachers(config.run.path)
    check_traced(config.run.path, (sample.id for sample in samples), pairs)
    save_config(config)
    reasons = {sample.id: reject_pair(config.build.view, *pairs[sample.id]) for sample in samples}
    selected = [sample for sample in samples if reasons[sample.id] is None]
    counts = Counter({"read": len(samples), "kept": 0})
    counts.update(reason for reason in reasons.values() if reason is not None)
    with open_ledger(config.run.path) as ledger:
        jobs = _jobs(config, selected, pairs)
        outcomes = call_all(ledger, config.merger, config, jobs, "merger")
        traces = [_to_trace(sample, outcomes[sample.id]) for sample in selected]
        write_merged(config.run.path, traces)
    check_failure_rate("merge", outcomes.values(), config)
    counts.update("kept" if trace.status == "ok" else f"failed/{trace.status}" for trace in traces)
    check_sums("merge", len(samples), counts)
    stage.finish(counts)
    return Result(_summarize(config, counts, len(selected)), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words; makes no call and writes nothing."""
    merger = config.merger
    describe_role(merger, config.media)
    model = f"{merger.model} ({merger.engine.kind}), prompt {merger.prompt}"
    if not teachers_path(config.run.path).is_file():
        return (
            f"merge: one call for every sample of the view {config.build.view!r}\n  merger: {model}"
        )
    pairs = load_teachers(config.run.path).values()
    n_selected = sum(reject_pair(config.build.view, *pair) is None for pair in pairs)
    n_finished = count_finished(config.run.path, "merge")
    return (
        f"merge: {n_selected} of {len(pairs)} samples are in the view {config.build.view!r}; "
        f"{n_finished} finished calls are in the ledger\n  merger: {model}"
    )


def _open(config: Config) -> Stage:
    settings: dict[str, Any] = {
        "merger": describe_role(config.merger, config.media),
        "view": config.build.view,
        "seed": config.run.seed,
    }
    inputs = [config.run.path / "samples.parquet", teachers_path(config.run.path)]
    return open_stage(config.run.path, "merge", settings, inputs)


def _is_done(config: Config, stage: Stage) -> bool:
    """Done, the file is still there, and no failed call is left to try again."""
    if not stage.done or not merged_path(config.run.path).is_file():
        return False
    return not any(key.startswith("failed/") for key in stage.counts())


def _jobs(
    config: Config,
    samples: list[Sample],
    pairs: Mapping[str, tuple[TeacherTrace, TeacherTrace]],
) -> list[Job]:
    merger = config.merger
    prompt = load_prompt(merger.prompt)
    engine = engine_identity(merger.engine, merger.model, merger.revision, config.media)
    jobs: list[Job] = []
    for sample in samples:
        vision, audio = pairs[sample.id]
        system, text = prompt.fill(
            question=sample.question,
            options=format_options(sample.options),
            answer=f"({sample.target}) {sample.target_text}",
            audio_analysis=audio.text.strip(),
            visual_analysis=vision.text.strip(),
        )
        sampling = sampling_of(merger, config.run.seed, sample.id)
        jobs.append(Job(Call("merge", sample.id, "merger", engine, system, text, sampling)))
    return jobs


def _to_trace(sample: Sample, outcome: Outcome) -> MergedTrace:
    if outcome.key is None:
        raise AssertionError(f"{sample.source}: a call without media has no key")
    completion = outcome.completion
    return MergedTrace(
        sample_id=sample.id,
        key=outcome.key,
        status=outcome.status,
        text=completion.text,
        finish_reason=completion.finish_reason,
        n_prompt_tokens=completion.n_prompt_tokens,
        n_completion_tokens=completion.n_completion_tokens,
    )


def _summarize(config: Config, counts: Mapping[str, int], n_selected: int) -> str:
    selected = f"{n_selected} of {counts['read']} samples are in the view {config.build.view!r}"
    lines = [f"merge: {selected}, {counts['kept']} merged"]
    lines += [f"  {n:>7} {reason}" for reason, n in sorted(counts.items()) if "/" in reason]
    return "\n".join(lines)
