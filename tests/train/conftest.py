"""A run directory with a dataset and real clips, and a small student with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from avrt.config import Config
from avrt.train.checkpoint import load_student
from avrt.types import LETTERS
from clips import encode_clip, tone

CLIPS = {
    "red-high": (200, 1200),
    "blue-high": (60, 1200),
    "red-low": (200, 300),
    "short": (120, 600),
}
"""Shade and pitch (Hz) of each clip: two pairs that differ in one modality only."""
OPTIONS = ("bell", "drum", "flute", "horn")


def write_clip(path: Path, shade: int, pitch_hz: float, seconds: float = 1.0) -> Path:
    """A clip of one square that moves over a shade, and one tone."""

    def picture(number: int) -> NDArray[np.uint8]:
        pixels = np.full((56, 56, 3), shade, np.uint8)
        pixels[10:24, 4 * number % 40 : 4 * number % 40 + 14] = (255, 20, 90)
        return pixels

    sound = tone(seconds, pitch_hz)
    return encode_clip(
        path, n_frames=int(8 * seconds), size=(56, 56), sound=sound, fps=8, picture=picture
    )


def row(name: str, clip: str, answer: int = 1, **changes: Any) -> dict[str, Any]:
    """One row of the dataset, as the stage `build` writes it."""
    letter = LETTERS[answer]
    think = "A square moves. A tone sounds. " * (1 + answer)
    fields = {
        "id": name,
        "video_name": clip,
        "video_id": clip,
        "question": "What is it?",
        "choices": list(OPTIONS),
        "answer": answer,
        "answer_letter": letter,
        "answer_text": OPTIONS[answer % 4],
        "question_relation": "both",
        "question_type": "Which",
        "av_reasoning": f"<think>{think}</think><answer>{letter}</answer>",
        "video": f"{clip}.mp4",
        "image": None,
        "audio": None,
    }
    return {**fields, **changes}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """A split of the dataset."""
    types = {"choices": pa.list_(pa.string()), "answer": pa.int64()}
    columns = {
        key: pa.array([item[key] for item in rows], types.get(key, pa.string()))
        for key in row("", "")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the clips."""
    folder = tmp_path_factory.mktemp("clips")
    for name, (shade, pitch_hz) in CLIPS.items():
        write_clip(folder / f"{name}.mp4", shade, pitch_hz, 0.6 if name == "short" else 1.0)
    return folder


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved thinker with random weights and its processor."""
    from avrt.world.networks import new_student

    folder = tmp_path_factory.mktemp("student")
    model, processor = new_student()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def student(student_folder: Path) -> tuple[Any, Any]:
    """Model and processor, loaded as the trainers load them."""
    return load_student(str(student_folder))


@pytest.fixture
def make_config(tmp_path: Path, clips: Path, student_folder: Path) -> Callable[..., Config]:
    """A configuration over a written dataset; keyword arguments replace whole sections' keys."""

    def make(rows: list[dict[str, Any]] | None = None, **sections: dict[str, Any]) -> Config:
        tree: dict[str, Any] = {
            "run": {"dir": tmp_path / "runs", "name": "test", "seed": 0},
            "data": {"root": clips},
            "media": {"n_frames": 4, "max_pixels": 56 * 56, "max_audio_s": 1.0},
            "student": {
                "model": str(student_folder),
                "prompt": "world/student",
                "device": "cpu",
                "dtype": "float32",
            },
            "sft": {
                "per_device_batch_size": 2,
                "gradient_accumulation_steps": 2,
                "warmup_steps": 0,
                "learning_rate": 1e-3,
                "gradient_checkpointing": False,
                "save_steps": 2,
            },
            "grpo": {
                "init": "base",
                "max_steps": 2,
                "group_size": 2,
                "prompts_per_step": 4,
                "per_device_batch_size": 4,
                "learning_rate": 1e-3,
                "max_new_tokens": 6,
                "gradient_checkpointing": False,
                "save_steps": 1,
            },
        }
        for section, values in sections.items():
            tree[section] = {**tree.get(section, {}), **values}
        config = Config.model_validate(tree)
        if rows is None:
            rows = [row(f"s{index}", clip, index % 4) for index, clip in enumerate(list(CLIPS) * 2)]
            rows = [
                {**item, "question": f"What is it{index * ' now'}?"}
                for index, item in enumerate(rows)
            ]
        write_rows(config.run.path / "dataset" / "train.parquet", rows)
        write_rows(config.run.path / "dataset" / "validation.parquet", [row("v0", "short", 2)])
        return config

    return make


@pytest.fixture
def read_jsonl() -> Callable[[Path], list[dict[str, Any]]]:
    """Reader of the logs."""
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def read_numbers(read_jsonl: Callable[[Path], list[dict[str, Any]]]) -> Callable[..., Any]:
    """Reader of what of a log must be the same in every run: not how long the steps took."""
    measured = {"tokens_per_s", "step_time_s", "waiting", "memory_gib"}

    def read(path: Path) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in row.items() if name not in measured}
            for row in read_jsonl(path)
        ]

    return read


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    """`row` for tests that change the dataset."""
    return row
