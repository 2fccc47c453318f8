"""A row of the dataset: its columns, and the records that they come from.

Pure functions over a sample, its teachers' answers, its trace, and the words of gates and judges
about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from avrt.answers import split_trace
from avrt.generate.gates import GATES
from avrt.generate.judged import Judgement
from avrt.generate.option_order import places_in, restore_letters
from avrt.generate.records import (
    ABSENT,
    NOT_ASKED,
    Answers,
    MergedTrace,
    TeacherTrace,
    best_answer,
    columns_of,
    stratum_of,
    trace_outcome,
)
from avrt.types import Sample

__all__ = ["DATASET_SCHEMA", "REJECTED_SCHEMA", "Entry", "question_columns", "to_row"]

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
        pa.field(
            "findings",
            pa.list_(
                pa.struct([pa.field(name, pa.string()) for name in ("judge", "finding", "quote")])
            ),
        ),
        pa.field("call_keys", pa.list_(pa.string()), nullable=False),
    ]
)
"""`teachers` counts each teacher's answers: those that came, those with a letter, the right ones.
NULL counts: it was not asked. `gates` holds the fault that each gate sees in the trace; NULL: none.
`findings` holds those of the judges; NULL: no judge has read the trace.
"""
REJECTED_SCHEMA = pa.schema(
    [
        *DATASET_SCHEMA,
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Entry:
    """A sample with all that generation made of it."""

    sample: Sample
    """With its options in the order of the trace."""
    answers: Answers | None
    merged: MergedTrace | None
    """The trace that counts."""
    flagged: Mapping[str, str | None]
    """The fault that each gate sees in the trace."""
    judgements: Sequence[Judgement] = ()
    stage: str = ""
    """The stage that rejected it; empty when it is kept."""
    reason: str = ""
    """`dropped/NAME` or `failed/CLASS`; empty when it is kept."""


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


def to_row(entry: Entry) -> dict[str, Any]:
    """The row of a sample; a rejected one has `stage` and `reason` too."""
    sample, merged, answers = entry.sample, entry.merged, entry.answers or {}
    vision, audio = (_first_of(answers, modality) for modality in "va")
    places = places_in(merged.order) if merged else range(len(sample.options))

    def restored(traces: Sequence[TeacherTrace] | None) -> str | None:
        text = best_answer(traces).text if traces else None
        return text and restore_letters(text, places, sample.options)

    row: dict[str, Any] = {
        **question_columns(sample, merged.text.strip() if merged is not None else None),
        "vision_text": restored(vision),
        "audio_text": restored(audio),
        "vision_correct": vision[0].correct if vision else None,
        "audio_correct": audio[0].correct if audio else None,
        "teachers": _teachers(answers) if answers else None,
        "stratum": stratum_of(answers) if answers and not trace_outcome(answers) else None,
        "gates": {name: entry.flagged[name] for name in GATES} if entry.flagged else None,
        "findings": _findings(entry.judgements),
        "call_keys": _call_keys(entry),
    }
    return row | ({"stage": entry.stage, "reason": entry.reason} if entry.reason else {})


def _findings(judgements: Sequence[Judgement]) -> list[dict[str, str]] | None:
    read = [judgement for judgement in judgements if judgement.status == "ok"]
    return (
        [
            {"judge": judgement.judge, "finding": finding, "quote": quote}
            for judgement in read
            for finding, quote in judgement.findings.items()
        ]
        if read
        else None
    )


def _call_keys(entry: Entry) -> list[str]:
    """The calls of the teachers, all of the merger, and all of the judges, each as they were made.

    A judgement names the merger's tries in their order, of which the one that counts may be a later
    one; only a trace without judgements is named by itself.
    """
    keys = [trace.key for of in (entry.answers or {}).values() for trace in of if trace.key]
    keys += [key for judgement in entry.judgements for key in judgement.calls]
    keys += [entry.merged.key] if entry.merged is not None and entry.merged.key else []
    return list(dict.fromkeys(keys))


def _first_of(answers: Answers, modality: str) -> Sequence[TeacherTrace] | None:
    """The answers of the first teacher with that modality; None when it was not asked."""
    of_first = next((of for of in answers.values() if of[0].modality == modality), None)
    if of_first is None or of_first[0].status in (ABSENT, NOT_ASKED):
        return None
    return of_first


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
