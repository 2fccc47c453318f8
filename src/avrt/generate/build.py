"""Stage `build`: gate the merged traces, split them by clip, write the dataset and its card.

Reads samples.parquet and traces/; writes dataset/{train,validation,rejected}.parquet and
dataset/README.md. Every sample that was ever read lies in exactly one of the three files, a
rejected one with the stage and the reason. Nothing here calls a model: another view, gate, split
or parser is built by the same command again.

The decision to question: the split ranks clips by a seeded hash and cuts at the wanted share, so
that its size is exact and all questions about a clip stay together; adding data can move a clip at
the cut.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from avrt.answers import split_trace
from avrt.config import Config
from avrt.datasets import annotation_path, row_to_sample
from avrt.datasets.faults import reason_of
from avrt.errors import ConfigError
from avrt.generate.card import write_card
from avrt.generate.decontaminate import Match, find_matches, write_matches
from avrt.generate.gates import GATES, Case, judge
from avrt.generate.merge import shown_sample
from avrt.generate.option_order import places_in, restore_letters
from avrt.generate.records import (
    ABSENT,
    STRATA,
    Answers,
    MergedTrace,
    TeacherTrace,
    best_answer,
    check_teachers,
    check_traced,
    columns_of,
    load_merged,
    load_teachers,
    merged_path,
    stage_settings,
    stratum_of,
    teachers_path,
    trace_outcome,
)
from avrt.generate.views import check_views, condition_of, in_view
from avrt.runs import (
    Result,
    Stage,
    check_sums,
    file_digest,
    open_stage,
    read_parquet,
    save_config,
    write_parquet,
)
from avrt.types import Sample

__all__ = [
    "DATASET_SCHEMA",
    "REJECTED_SCHEMA",
    "plan",
    "question_columns",
    "run",
    "validation_clips",
]

_TEACHER_COUNTS = ("k", "answered", "right")
DATASET_SCHEMA = pa.schema(
    [
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("id", "video_name", "video_id", "question")
        ),
        pa.field("choices", pa.list_(pa.string()), nullable=False),
        pa.field("answer", pa.int32(), nullable=False),
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("answer_letter", "answer_text", "question_relation", "question_type")
        ),
        *(
            pa.field(name, pa.string())
            for name in ("av_reasoning", "think", "vision_text", "audio_text")
        ),
        *(pa.field(name, pa.bool_()) for name in ("vision_correct", "audio_correct")),
        pa.field(
            "teachers",
            pa.list_(
                pa.struct(
                    [
                        pa.field("role", pa.string()),
                        pa.field("modality", pa.string()),
                        *(pa.field(name, pa.int32()) for name in _TEACHER_COUNTS),
                    ]
                )
            ),
        ),
        *(pa.field(name, pa.string()) for name in ("stratum", "video", "image", "audio")),
        pa.field("source", pa.string(), nullable=False),
        pa.field("gates", pa.struct([pa.field(name, pa.string()) for name in GATES])),
        pa.field("call_keys", pa.list_(pa.string()), nullable=False),
    ]
)
"""`teachers` counts each one's answers: those that came, those with a letter, the right ones. NULL
counts: it was not asked. `gates` holds what each gate found; NULL: it passed.
"""
REJECTED_SCHEMA = pa.schema(
    [
        *DATASET_SCHEMA,
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
MIN_PARALLEL = 5_000
"""Traces for which starting processes pays."""
FILES = ("train.parquet", "validation.parquet", "rejected.parquet", "README.md")


@dataclass(frozen=True)
class Judged:
    """A sample with all that generation made of it."""

    sample: Sample
    """With its options in the order of the trace."""
    answers: Answers | None
    merged: MergedTrace | None
    found: Mapping[str, str | None]
    """What each gate found in the trace."""
    stage: str
    """The stage that rejected it; empty when it is kept."""
    reason: str
    """`dropped/NAME` or `failed/CLASS`; empty when it is kept."""


def run(config: Config) -> Result:
    """Build the dataset.

    Raises:
        DataError: the run is not merged.
        ConfigError: no such view or gate, or the samples that were traced or merged are not those
            of now.
    """
    check_views(config.build, config.teachers)
    _check_gates(config)
    check_teachers(config.run.path, config.teachers)
    stage = _open(config)
    folder = config.run.path / "dataset"
    if stage.done and all((folder / name).is_file() for name in FILES):
        return Result(f"build: nothing to do, {folder} is built", stage.counts())
    traced, merged = (stage_settings(config.run.path, name) for name in ("trace", "merge"))
    judged, matches = _without_matches(config, _judge_all(config))
    judged = _at_size(config, judged, {match.id for match in matches})
    save_config(config)
    kept = [one for one in judged if not one.reason]
    held_out = validation_clips(
        (one.sample.video_id for one in kept), config.build.validation_fraction, config.run.seed
    )
    parts = {
        "train": [one for one in kept if one.sample.video_id not in held_out],
        "validation": [one for one in kept if one.sample.video_id in held_out],
        "rejected": [one for one in judged if one.reason],
    }
    counts = _count(judged, parts)
    check_sums("build", len(judged), counts)
    for name, part in parts.items():
        schema = REJECTED_SCHEMA if name == "rejected" else DATASET_SCHEMA
        write_parquet(folder / f"{name}.parquet", [_to_row(one) for one in part], schema)
    write_matches(folder / "contamination.parquet", matches)
    losses = Counter((one.stage, one.reason) for one in parts["rejected"])
    write_card(folder / "README.md", config, traced, merged, counts, losses)
    stage.finish(counts)
    return Result(_summarize(folder, counts, losses), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words."""
    check_views(config.build, config.teachers)
    _check_gates(config)
    return (
        f"build: gate the merged traces ({', '.join(config.build.gates)}), "
        f"hold out {config.build.validation_fraction:.1%} of the clips for validation, "
        f"write {', '.join(FILES)} into {config.run.path / 'dataset'}"
    )


def validation_clips(video_ids: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The clips held out: that share of them, but at least one of two or more, and never all."""
    clips = sorted(set(video_ids), key=lambda clip: _rank(seed, clip))
    if fraction == 0 or len(clips) < 2:
        return set()
    return set(clips[: min(max(1, round(fraction * len(clips))), len(clips) - 1)])


def _open(config: Config) -> Stage:
    run, build = config.run.path, config.build
    views = (build.view, *build.same_size_as)
    free = {
        "view": build.view,
        "conditions": [condition_of(view, build.views) for view in views],
        "validation_fraction": build.validation_fraction,
        "seed": config.run.seed,
        "gates": {name: gate.version for name, gate in GATES.items()},
        "rejecting": list(build.gates),
        "decontaminate": {
            name: file_digest(annotation_path(data)) for name, data in build.decontaminate.items()
        },
    }
    inputs = [run / "samples.parquet", teachers_path(run), merged_path(run)]
    return open_stage(run, "build", {}, inputs, free)


def _check_gates(config: Config) -> None:
    for name in config.build.gates:
        if name not in GATES:
            raise ConfigError(f"build.gates: no gate {name!r}; known: {', '.join(GATES)}")


def _judge_all(config: Config) -> list[Judged]:
    """Every sample that was read, in file order."""
    rows = read_parquet(config.run.path / "samples.parquet")
    answers, merged = load_teachers(config.run.path), load_merged(config.run.path)
    check_traced(config.run.path, (row["id"] for row in rows if row["usable"] is not None), answers)
    samples = [row_to_sample(row) for row in rows]
    traced = [sample for sample in samples if sample.id in answers]
    reasons = in_view(config.build.view, config.build.views, traced, answers)
    all_found = _check_all(traced, answers, merged)
    judged: list[Judged] = []
    for row, sample in zip(rows, samples, strict=True):
        of_sample, trace = answers.get(sample.id), merged.get(sample.id)
        found = all_found.get(sample.id, {})
        if (reason := reason_of(row)) is not None:
            stage = "prepare"
        elif of_sample is not None and (reason := trace_outcome(of_sample)) is not None:
            stage = "trace"
        elif (reason := reasons[sample.id]) is not None:
            stage = "view"
        elif trace is None:
            raise ConfigError(
                f"{merged_path(config.run.path)}: sample {sample.id!r} is in the view "
                f"{config.build.view!r} but was never merged; run `avrt merge` with this view"
            )
        elif trace.status != "ok":
            stage, reason = "merge", f"failed/{trace.status}"
        else:
            stage = "gate"
        if trace is not None:
            sample = shown_sample(sample, trace.order)
        if stage == "gate":
            objecting = next((name for name in config.build.gates if found[name]), None)
            stage, reason = (stage, f"dropped/{objecting}") if objecting else ("", None)
        judged.append(Judged(sample, of_sample, trace, found, stage, reason or ""))
    return judged


def _check_all(
    samples: Sequence[Sample], answers: Mapping[str, Answers], merged: Mapping[str, MergedTrace]
) -> dict[str, dict[str, str | None]]:
    """What the gates find in every merged trace; many traces are looked at in all processors."""
    chosen = [one for one in samples if one.id in merged and merged[one.id].status == "ok"]
    ids = [one.id for one in chosen]
    cases = (
        _case(shown_sample(one, merged[one.id].order), answers[one.id], merged[one.id])
        for one in chosen
    )
    if len(ids) < MIN_PARALLEL:
        return dict(zip(ids, map(judge, cases), strict=True))
    with get_context("spawn").Pool() as pool:
        return dict(zip(ids, pool.imap(judge, cases, chunksize=100), strict=True))


def _case(sample: Sample, answers: Answers, trace: MergedTrace) -> Case:
    texts: dict[str, str] = {}
    for traces in answers.values():
        best = best_answer(traces)
        if best.modality != "none":
            text = restore_letters(best.text, places_in(trace.order))
            texts[best.modality] = f"{texts.get(best.modality, '')}{text}\n"
    return Case(
        text=trace.text,
        question=sample.question,
        options=sample.options,
        target=sample.target,
        question_relation=sample.question_relation,
        finish_reason=trace.finish_reason,
        teacher_texts=texts,
    )


def _without_matches(config: Config, judged: Sequence[Judged]) -> tuple[list[Judged], list[Match]]:
    """What a benchmark holds too is rejected, with a table of the matches.

    The table has samples outside the view too, since they count when views are cut to one size.
    """
    passing = [one.sample for one in judged if not _objection(config, one)]
    matches = find_matches(passing, config.build.decontaminate)
    contaminated = {match.id for match in matches}
    return [
        replace(one, stage="gate", reason="dropped/in_benchmark")
        if one.sample.id in contaminated and not one.reason
        else one
        for one in judged
    ], matches


def _at_size(
    config: Config, judged: Sequence[Judged], contaminated: Collection[str]
) -> list[Judged]:
    """Cut to the smallest size among the views that are compared, by a seeded draw."""
    if not config.build.same_size_as:
        return list(judged)
    kept = [one for one in judged if not one.reason]
    passing = {one.sample.id for one in judged if not _objection(config, one)} - {*contaminated}
    samples = [one.sample for one in judged if one.answers is not None]
    answers = {one.sample.id: one.answers for one in judged if one.answers is not None}
    sizes = [len(kept)]
    for view in config.build.same_size_as:
        reasons = in_view(view, config.build.views, samples, answers)
        sizes.append(sum(reason is None and one in passing for one, reason in reasons.items()))
    ranked = sorted(kept, key=lambda one: _rank(config.run.seed, one.sample.id))
    surplus = {one.sample.id for one in ranked[min(sizes) :]}
    return [
        replace(one, stage="size", reason="dropped/over_size") if one.sample.id in surplus else one
        for one in judged
    ]


def _objection(config: Config, judged: Judged) -> bool:
    if judged.merged is None or judged.merged.status != "ok":
        return True
    return any(judged.found[name] for name in config.build.gates)


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def question_columns(sample: Sample, text: str | None) -> dict[str, Any]:
    """The columns that say what is asked about which clip, and the trace; teachers have others."""
    parts = split_trace(text) if text is not None else None
    return {
        "id": sample.id,
        "video_name": PurePosixPath(sample.picture_path or sample.sound_path or sample.id).stem,
        "video_id": sample.video_id,
        "question": sample.question,
        "choices": list(sample.options),
        "answer": sample.answer_index,
        "answer_letter": sample.target,
        "answer_text": sample.target_text,
        "question_relation": sample.question_relation,
        "question_type": sample.question_type,
        "av_reasoning": text,
        "think": parts[0] if parts else None,
        "video": sample.video,
        "image": sample.image,
        "audio": sample.audio,
        "source": sample.source,
    }


def _to_row(judged: Judged) -> dict[str, Any]:
    sample, merged, answers = judged.sample, judged.merged, judged.answers or {}
    vision, audio = (_first_of(answers, modality) for modality in "va")
    places = places_in(merged.order) if merged else range(len(sample.options))
    keys = [trace.key for traces in answers.values() for trace in traces if trace.key]
    row: dict[str, Any] = {
        **question_columns(sample, merged.text.strip() if merged is not None else None),
        "vision_text": restore_letters(best_answer(vision).text, places) if vision else None,
        "audio_text": restore_letters(best_answer(audio).text, places) if audio else None,
        "vision_correct": vision[0].correct if vision else None,
        "audio_correct": audio[0].correct if audio else None,
        "teachers": _teachers(answers) if answers else None,
        "stratum": stratum_of(answers) if answers and not trace_outcome(answers) else None,
        "gates": {name: judged.found[name] for name in GATES} if judged.found else None,
        "call_keys": [*keys, *([merged.key] if merged else [])],
    }
    return row | ({"stage": judged.stage, "reason": judged.reason} if judged.reason else {})


def _first_of(answers: Answers, modality: str) -> Sequence[TeacherTrace] | None:
    """The answers of the first teacher with that modality; None when it was not asked."""
    found = next((one for one in answers.values() if one[0].modality == modality), None)
    return None if found is None or found[0].status == ABSENT else found


def _teachers(answers: Answers) -> list[dict[str, Any]]:
    columns = columns_of(answers)
    return [
        {
            "role": role,
            "modality": traces[0].modality,
            **{name: columns[f"{role}_{name}"] for name in _TEACHER_COUNTS},
        }
        for role, traces in answers.items()
    ]


def _count(judged: Sequence[Judged], parts: Mapping[str, Sequence[Judged]]) -> Counter[str]:
    counts = Counter({name: len(part) for name, part in parts.items()})
    counts["read"] = len(judged)
    counts["kept"] = len(parts["train"]) + len(parts["validation"])
    counts.update(one.reason for one in parts["rejected"])
    counts.update({f"stratum/{name}": 0 for name in STRATA})
    for one in judged:
        if one.answers and not trace_outcome(one.answers):
            counts[f"stratum/{stratum_of(one.answers)}"] += 1
    return counts


def _summarize(
    folder: Path, counts: Mapping[str, int], losses: Mapping[tuple[str, str], int]
) -> str:
    sizes = ", ".join(f"{counts[name]} {name}" for name in ("train", "validation", "rejected"))
    lines = [f"build: {counts['read']} samples -> {sizes}, in {folder}"]
    lines += [f"  {n:>7} {stage}: {reason}" for (stage, reason), n in sorted(losses.items())]
    if not counts["kept"]:
        (stage, reason), n = max(
            losses.items(), key=lambda item: item[1], default=(("prepare", "nothing read"), 0)
        )
        lines.append(
            f"the dataset is empty: everything was dropped, most often ({n} samples) "
            f"at {stage} for {reason}; see {folder / 'rejected.parquet'}"
        )
    return "\n".join(lines)
