"""A little dataset on three real clips with eight questions, and scripted models for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from avrt.config import Config
from avrt.types import LETTERS, Prompt
from clips import encode_clip, tone

N_QUESTIONS = 8
SILENT = 8
"""The question whose clip has no sound."""
OPTIONS = ("dog", "cat", "car", "rain")
MakeConfig = Callable[..., Config]
Answer = Callable[[Prompt], str | None]


def right(number: int) -> str:
    """The gold letter of question `number`."""
    return LETTERS[number % 4]


def wrong(number: int) -> str:
    """Another letter."""
    return LETTERS[(number + 1) % 4]


def replies(
    changes: Mapping[tuple[str, int], str | None] = {}, n_questions: int = N_QUESTIONS
) -> dict[tuple[str, int], str]:
    """All models right on every question, except for `changes`; None: the call fails."""
    script: dict[tuple[str, int], str] = {}
    for number in range(1, n_questions + 1):
        letter = right(number)
        script["VISION", number] = f"Visual Description: v{number}\nAnswer: ({letter})"
        script["AUDIO", number] = f"Audio Description: a{number}\nAnswer: ({letter})"
        script["MERGE", number] = f"<think>joined {number}</think>\n<answer>{letter}</answer>"
    script.update({key: reply for key, reply in changes.items() if reply is not None})
    return {key: reply for key, reply in script.items() if changes.get(key, reply) is not None}


def write_dataset(root: Path, n_questions: int = N_QUESTIONS) -> None:
    """Clips, annotations and prompts; questions share three clips, one is about a silent clip."""
    videos = root / "data" / "videos"
    videos.mkdir(parents=True)
    for clip in range(3):
        sound = tone(0.5, hz=300.0 + 100 * clip)
        encode_clip(
            videos / f"clip{clip}_000001.mp4", n_frames=8 + clip, size=(56, 56), sound=sound
        )
    encode_clip(videos / "silent_000001.mp4", n_frames=8, size=(56, 56))
    rows = [
        {
            "id": number,
            "video_name": "silent_000001" if number == SILENT else f"clip{number % 3}_000001",
            "video_id": 9 if number == SILENT else number % 3,
            "question_text": f"question {number}?",
            "multi_choice": list(OPTIONS),
            "answer": number % 4,
            "question_relation": "Both",
            "question_type": "Which" if number % 2 else "Where",
        }
        for number in range(1, n_questions + 1)
    ]
    (root / "data" / "train_qa.json").write_text(json.dumps(rows))
    for role in ("vision", "audio", "merge"):
        fields = "{question}\n{options}"
        if role == "merge":
            fields += "\n{answer}\n{audio_analysis}\n{visual_analysis}"
        (root / f"{role}.txt").write_text(f"{role.upper()} {fields}")


def write_script(root: Path, script: Mapping[tuple[str, int], str]) -> None:
    """The script file of all three models."""
    lines = [
        json.dumps({"match": f"{role} question {number}?", "reply": reply})
        for (role, number), reply in script.items()
    ]
    (root / "script.jsonl").write_text("\n".join(lines))


def overrides(root: Path) -> tuple[str, ...]:
    """Settings of a run on the dataset in `root`."""
    engine = json.dumps({"kind": "scripted", "script": str(root / "script.jsonl")})
    roles = {"teachers.vision": "vision", "teachers.audio": "audio", "merger": "merge"}
    values: dict[str, Any] = {
        "run.name": "test",
        "run.dir": root / "runs",
        "data.root": root / "data",
        "media.n_frames": 4,
        "media.workers": 0,  # read in the main process, which saves a second in every test
        "build.validation_fraction": 0.3,
        "student.model": "org/absent",
    }
    for key, role in roles.items():
        values |= {
            f"{key}.model": f"scripted-{role}",
            f"{key}.prompt": root / f"{role}.txt",
            f"{key}.engine": engine,
        }
    return tuple(f"{key}={value}" for key, value in values.items())
