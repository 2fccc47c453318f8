"""A small run made by the real stages: real clips, scripted teachers, merger and students."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avrt.config import Config
from avrt.datasets import prepare, write_samples
from avrt.engines import LazyEngine, OnCompletion
from avrt.engines.scripted import ScriptedEngine
from avrt.evaluate import run as evaluate
from avrt.generate import build, merge, trace
from avrt.types import Prompt, Request, Sample
from reading_pages import moved

N_QUESTIONS = 12
OPTIONS = ("a dog", "a bell & <b>more</b>", "a car", "a drum")
HOSTILE = "<script>alert(1)</script> & <img src=x onerror=alert(2)>"


def write_clip(path: Path, hue: int) -> None:
    """Two seconds of a square that moves, with a beep of its own pitch."""
    time = np.arange(2 * 16_000) / 16_000
    beep = (0.3 * np.sin(2 * np.pi * (300 + 60 * hue) * time) * (time % 0.5 < 0.25))[None]
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=8)
        video.width, video.height, video.pix_fmt = 112, 112, "yuv420p"
        audio: Any = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(16):
            pixels = np.full((112, 112, 3), (225, 222, 210), np.uint8)
            left = 4 + 5 * number
            pixels[40:72, left : left + 28] = (40 + 16 * hue, 90, 220 - 16 * hue)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(beep.astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def write_world(root: Path) -> None:
    """Questions about six clips, a file that is no video, and half of them as a benchmark."""
    for number in range(N_QUESTIONS // 2):
        write_clip(root / f"clip{number}.mp4", number)
    (root / "broken.mp4").write_bytes(b"this is no video")
    samples = [
        Sample(
            id=f"q{n}",
            question=f"Question {n}: what makes this sound?",
            options=OPTIONS,
            answer_index=n % 4,
            question_type=("Which", "Come From", "Where")[n % 3],
            question_relation="both",
            video_id=f"clip{n // 2}",
            video="broken.mp4" if n == 5 else f"clip{n // 2}.mp4",
            image=None,
            audio=None,
            source=f"train.parquet:{n}",
        )
        for n in range(N_QUESTIONS)
    ]
    write_samples(root / "train.parquet", samples)
    write_samples(root / "bench.parquet", samples)


def write_scripts(folder: Path) -> dict[str, Path]:
    """The vision teacher errs on every fourth question, the audio teacher on every third."""
    replies: dict[str, list[dict[str, str]]] = {"vision": [], "audio": [], "merge": []}
    for n in reversed(range(N_QUESTIONS)):
        letter, other = "ABCD"[n % 4], "ABCD"[(n + 1) % 4]
        match = f"Question {n}:"
        seen = other if n % 4 == 3 else letter
        heard = other if n % 3 == 2 else letter
        merged = f"<think>I see and hear it. {HOSTILE}</think>\n<answer>{letter}</answer>"
        texts = {
            "vision": f"A square moves to the right. {HOSTILE}\nAnswer: {seen}",
            "audio": f"A beep every half second.\nAnswer: {heard}",
            "merge": "no trace" if n == 4 else merged,
        }
        for name, text in texts.items():
            replies[name].append({"match": match, "reply": text})
    paths = {name: folder / f"{name}.jsonl" for name in replies}
    for name, path in paths.items():
        path.write_text("".join(json.dumps(reply) + "\n" for reply in replies[name]))
    return paths


def write_training_logs(run: Path) -> None:
    for stage, n_steps in (("sft", 60), ("grpo", 40)):
        rows = []
        for step in range(1, n_steps + 1):
            done = step / n_steps
            row = {"step": step, "loss": 2 * math.exp(-2 * done) + 0.1 * math.sin(step * step)}
            if stage == "grpo":
                row |= {"reward": 1 + done, "reward_format": min(1, 0.6 + done),
                        "reward_accuracy": 0.4 + 0.4 * done, "kl": 0.02 * done,
                        "completion_length": 60 + 8 * math.sin(step)}  # fmt: skip
            elif step % 20 == 0:
                row["eval_loss"] = 2.1 * math.exp(-1.8 * done)
            rows.append(row)
        (run / stage).mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (run / stage / "log.jsonl").write_text(text + '{"step": 61, "lo')


def make_config(root: Path, runs: Path) -> Config:
    scripts = write_scripts(runs)

    def role(name: str) -> dict[str, Any]:
        engine = {"kind": "scripted", "script": str(scripts[name])}
        return {"model": f"some/{name}", "prompt": name, "engine": engine, "max_new_tokens": 64}

    data = {"format": "parquet", "root": str(root), "split": "bench"}
    models = {"base": "base", "rl_only": "some/rl", "sft": "some/sft", "sft_rl": "some/sft-rl"}
    return Config.model_validate(
        {
            "run": {"dir": str(runs), "name": "small"},
            "data": data | {"split": "train"},
            "media": {"n_frames": 8, "max_pixels": 112 * 112, "workers": 0},
            "teachers": {
                "vision": role("vision") | {"modality": "v"},
                "audio": role("audio") | {"modality": "a"},
            },
            "merger": role("merge"),
            "build": {"validation_fraction": 0.3},
            "student": {"model": "some/student"},
            "eval": {"benchmarks": {"bench": data}, "models": models},
            "report": {"gallery_items": 16},
        }
    )


def answer_as(model: str) -> Callable[[Prompt], str | None]:
    """Later models are right on more questions, and more so with both modalities."""
    skill = {"some/student": 2, "some/rl": 3, "some/sft": 5, "some/sft-rl": 8}[model]

    def answer(prompt: Prompt) -> str | None:
        number = int(prompt.text.split("Question ")[1].split(":")[0])
        both = prompt.frames is not None and prompt.audio is not None
        letter = "ABCD"[number % 4] if number < skill + 2 * both else "ABCD"[(number + 2) % 4]
        if number == 11:
            return None if model == "some/rl" else f"{HOSTILE} no idea"
        return f"<think>{HOSTILE} a square, a beep</think><answer>{letter}</answer>"

    return answer


def generate(engine: LazyEngine, requests: Iterable[Request], on_completion: OnCompletion) -> None:
    """In place of `LazyEngine.generate`: the students' answers."""
    answer = answer_as(engine.identity["model"])
    ScriptedEngine(answer, {}).generate(requests, on_completion)


@pytest.fixture(scope="session")
def answers() -> Callable[[str], Callable[[Prompt], str | None]]:
    """The answers of a model, by its name."""
    return answer_as


@pytest.fixture(scope="session")
def full_run(tmp_path_factory) -> Config:
    """The configuration of a run in which every stage is done. Read only."""
    folder = tmp_path_factory.mktemp("report")
    root, runs = folder / "world", folder / "runs"
    root.mkdir()
    runs.mkdir()
    write_world(root)
    config = make_config(root, runs)
    for stage in (prepare, trace, merge, build):
        stage.run(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LazyEngine, "generate", generate)
        evaluate(config)
    write_training_logs(config.run.path)
    return config


@pytest.fixture
def a_run(full_run, tmp_path) -> Config:
    """A copy that a test may change."""
    return moved(full_run, tmp_path)
