"""Stage `build`: gate the merged traces, split them by clip, write the dataset and its card.

Reads samples.parquet and traces/; writes dataset/{train,validation,rejected}.parquet and
dataset/README.md. Every sample that was ever read lies in exactly one of the three files, a
rejected one with the stage and the reason.

The decision to question: the split ranks clips by a seeded hash and cuts at the wanted share, so
that its size is exact and all questions about a clip stay together; adding data can move a clip at
the cut.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from avrt.answers import split_trace
from avrt.config import Config
from avrt.datasets import row_to_sample
from avrt.datasets.faults import reason_of
from avrt.errors import ConfigError
from avrt.generate.card import write_card
from avrt.generate.gates import RULES, reject_merged, reject_pair
from avrt.generate.records import (
    STRATA,
    MergedTrace,
    TeacherTrace,
    check_traced,
    load_merged,
    load_teachers,
    merged_path,
    stage_settings,
    stratum_of,
    teachers_path,
)
from avrt.runs import (
    Result,
    Stage,
    check_sums,
    open_stage,
    read_parquet,
    save_config,
    write_parquet,
)
from avrt.types import Sample

__all__ = ["DATASET_SCHEMA", "REJECTED_SCHEMA", "plan", "run", "validation_clips"]

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
        *(pa.field(name, pa.string()) for name in ("stratum", "video", "image", "audio")),
        pa.field("source", pa.string(), nullable=False),
    ]
)
REJECTED_SCHEMA = pa.schema(
    [
        *DATASET_SCHEMA,
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
FILES = ("train.parquet", "validation.parquet", "rejected.parquet", "README.md")


@dataclass(frozen=True)
class Judged:
    """A sample with all that generation made of it."""

    sample: Sample
    teachers: tuple[TeacherTrace, TeacherTrace] | None
    merged: MergedTrace | None
    stage: str
    """The stage that rejected it; empty when it is kept."""
    reason: str
    """`dropped/NAME` or `failed/CLASS`; empty when it is kept."""


def run(config: Config) -> Result:
    """Build the dataset.

    Raises:
        DataError: the run is not merged.
        ConfigError: built before with other settings, or the samples that were traced or merged
            are not those of now.
    """
    stage = _open(config)
    folder = config.run.path / "dataset"
    if stage.done and all((folder / name).is_file() for name in FILES):
        return Result(f"build: nothing to do, {folder} is built", stage.counts())
    traced, merged = (stage_settings(config.run.path, name) for name in ("trace", "merge"))
    judged = _judge_all(config, merged["view"])
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
    losses = Counter((one.stage, one.reason) for one in parts["rejected"])
    write_card(folder / "README.md", config.build.view, traced, merged, counts, losses)
    stage.finish(counts)
    return Result(_summarize(folder, counts, losses), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words."""
    return (
        f"build: gate the merged traces ({', '.join(RULES)}), "
        f"hold out {config.build.validation_fraction:.1%} of the clips for validation, "
        f"write {', '.join(FILES)} into {config.run.path / 'dataset'}"
    )


def validation_clips(video_ids: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The clips held out: that share of them, but at least one of two or more, and never all."""
    clips = sorted(
        set(video_ids), key=lambda clip: hashlib.sha256(f"{seed}:{clip}".encode()).digest()
    )
    if fraction == 0 or len(clips) < 2:
        return set()
    return set(clips[: min(max(1, round(fraction * len(clips))), len(clips) - 1)])


def _open(config: Config) -> Stage:
    run = config.run.path
    settings = {
        "view": config.build.view,
        "validation_fraction": config.build.validation_fraction,
        "seed": config.run.seed,
        "rules": list(RULES),
    }
    return open_stage(
        run, "build", settings, [run / "samples.parquet", teachers_path(run), merged_path(run)]
    )


def _judge_all(config: Config, merged_view: str) -> list[Judged]:
    """Every sample that was read, in file order."""
    rows = read_parquet(config.run.path / "samples.parquet")
    pairs, merged = load_teachers(config.run.path), load_merged(config.run.path)
    check_traced(config.run.path, (row["id"] for row in rows if row["usable"] is not None), pairs)
    judged: list[Judged] = []
    for row in rows:
        sample = row_to_sample(row)
        pair, trace = pairs.get(sample.id), merged.get(sample.id)
        stage = ""
        if (reason := reason_of(row)) is not None:
            stage = "prepare"
        elif row["usable"] != "av":
            stage, reason = "trace", "dropped/one_sided"
        elif (reason := reject_pair(config.build.view, *pairs[sample.id])) is not None:
            stage = "trace" if reason.startswith("failed/") else "view"
        elif trace is None:
            raise ConfigError(
                f"{merged_path(config.run.path)}: sample {sample.id!r} is in the view "
                f"{config.build.view!r} but was never merged (merged with build.view="
                f"{merged_view}); run `avrt merge` again, or choose another run.name"
            )
        elif (reason := reject_merged(trace, sample)) is not None:
            stage = "merge" if reason.startswith("failed/") else "gate"
        judged.append(Judged(sample, pair, trace, stage, reason or ""))
    return judged


def _to_row(judged: Judged) -> dict[str, Any]:
    sample, merged = judged.sample, judged.merged
    vision, audio = judged.teachers or (None, None)
    answered = vision is not None and audio is not None and vision.status == audio.status == "ok"
    text = merged.text.strip() if merged is not None else None
    parts = split_trace(text) if text is not None else None
    row: dict[str, Any] = {
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
        "vision_text": vision.text if vision else None,
        "audio_text": audio.text if audio else None,
        "vision_correct": vision.correct if vision else None,
        "audio_correct": audio.correct if audio else None,
        "stratum": stratum_of(vision, audio) if answered and vision and audio else None,
        "video": sample.video,
        "image": sample.image,
        "audio": sample.audio,
        "source": sample.source,
    }
    return row | ({"stage": judged.stage, "reason": judged.reason} if judged.reason else {})


def _count(judged: Sequence[Judged], parts: Mapping[str, Sequence[Judged]]) -> Counter[str]:
    counts = Counter({name: len(part) for name, part in parts.items()})
    counts["read"] = len(judged)
    counts["kept"] = len(parts["train"]) + len(parts["validation"])
    counts.update(one.reason for one in parts["rejected"])
    counts.update({f"stratum/{name}": 0 for name in STRATA})
    for one in judged:
        if one.teachers and all(trace.status == "ok" for trace in one.teachers):
            counts[f"stratum/{stratum_of(*one.teachers)}"] += 1
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
