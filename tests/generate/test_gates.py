"""Facts about views and gates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from avrt.config import BuildConfig
from avrt.generate.gates import VIEWS, reject_merged, reject_pair
from avrt.generate.records import MergedTrace, TeacherTrace, stratum_of
from avrt.types import Sample

SAMPLE = Sample(
    id="s",
    question="?",
    options=("dog", "cat"),
    answer_index=1,
    question_type="Which",
    question_relation="both",
    video_id="v",
    video="v.mp4",
    image=None,
    audio=None,
    source="test:1",
)
VISION = TeacherTrace("s", "vision", "k", "ok", "text", "B", True, "stop", 1, 1)
AUDIO = replace(VISION, role="audio")
WRONG = {"answer": "A", "correct": False}
SILENT = {"answer": None, "correct": False}
MERGED = MergedTrace("s", "k", "ok", "<think>x</think><answer>B</answer>", "stop", 1, 1)


def test_every_configurable_view_exists() -> None:
    assert set(VIEWS) == set(BuildConfig.model_json_schema()["properties"]["view"]["enum"])


@pytest.mark.parametrize(
    ("vision", "audio", "paper", "either", "unfiltered"),
    [
        ({}, {}, None, None, None),
        ({}, WRONG, "dropped/one_teacher_wrong", None, None),
        (WRONG, {}, "dropped/one_teacher_wrong", None, None),
        (WRONG, WRONG, "dropped/both_teachers_wrong", "dropped/both_teachers_wrong", None),
        ({}, SILENT, "dropped/no_answer", None, "dropped/no_answer"),
        (SILENT, WRONG, "dropped/no_answer", "dropped/no_answer", "dropped/no_answer"),
        ({"status": "timeout"}, {}, "failed/timeout", "failed/timeout", "failed/timeout"),
        ({}, {"status": "no_audio"}, "failed/no_audio", "failed/no_audio", "failed/no_audio"),
    ],
)
def test_views_name_the_reason(
    vision: dict[str, Any],
    audio: dict[str, Any],
    paper: str | None,
    either: str | None,
    unfiltered: str | None,
) -> None:
    pair = (replace(VISION, **vision), replace(AUDIO, **audio))
    assert reject_pair("paper", *pair) == paper
    assert reject_pair("either", *pair) == either
    assert reject_pair("unfiltered", *pair) == unfiltered


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"status": "timeout", "text": "", "finish_reason": "error"}, "failed/timeout"),
        ({"finish_reason": "length"}, "dropped/truncated"),
        ({"text": " \n"}, "dropped/empty"),
        ({"text": "Answer: (B) cat"}, "dropped/bad_format"),
        ({"text": "<think>x</think><answer>C</answer>"}, "dropped/bad_format"),
        ({"text": "<think>x</think><answer>A</answer>"}, "dropped/wrong_letter"),
    ],
)
def test_gates_name_the_reason(change: dict[str, Any], reason: str | None) -> None:
    assert reject_merged(replace(MERGED, **change), SAMPLE) == reason


def test_strata_are_the_four_cells() -> None:
    wrong_vision, wrong_audio = replace(VISION, **WRONG), replace(AUDIO, **WRONG)
    assert stratum_of(VISION, AUDIO) == "both"
    assert stratum_of(VISION, wrong_audio) == "vision_only"
    assert stratum_of(wrong_vision, AUDIO) == "audio_only"
    assert stratum_of(wrong_vision, wrong_audio) == "none"
