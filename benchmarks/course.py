"""AVRT's commands one after the other on many clips, each in a process of its own and measured.

For `full_size.py` and `gpu_smoke.py`. The clips are real ones under many names, or made ones of
720p; teachers and merger answer from a script, so that training and evaluation are what costs.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from avrt.datasets import SAMPLE_SCHEMA, sample_to_row
from avrt.runs import write_parquet
from avrt.types import LETTERS, Sample

__all__ = [
    "Course",
    "Step",
    "find_videos",
    "make_video",
    "read_settings",
    "write_data",
    "write_models",
]

OPTIONS = ("a dog", "a bell", "rain", "a car")
REASONING = (
    "The picture shows a street in the evening, and something moves from left to right. The sound "
    "rises and falls once, as it does when its source passes by. Both together fit one option."
)
RATE_HZ, FPS, SECONDS = 44_100, 25, 10
POLL_S = 0.5
GIB = 2**30


def find_videos() -> list[Path]:
    """The real clips, in the folder that the tests use too; an empty list where there are none."""
    beside = Path(__file__).parents[2] / "shared" / "real"
    folder = Path(os.environ.get("AVRT_REAL_DATA", beside)) / "avqa" / "videos"
    return sorted(folder.glob("*.mp4"))


def make_video(path: Path, seed: int, size: tuple[int, int] = (720, 1280)) -> Path:
    """Write ten seconds of H.264 and AAC in which soft shapes move and a tone sounds."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.height, video.width = size
        video.pix_fmt, video.options = "yuv420p", {"preset": "ultrafast"}
        sound: Any = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        still = 128 + 60 * (np.sin(rows / (17 + seed)) + np.cos(columns / 23))
        for number in range(SECONDS * FPS):
            grey = np.roll(still, 4 * number, axis=1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), "rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        times_s = np.arange(SECONDS * RATE_HZ, dtype=np.float32) / RATE_HZ
        wave = 0.3 * np.sin(2 * np.pi * (300 + 100 * seed) * times_s)
        for start in range(0, len(wave), 1024):
            chunk = av.AudioFrame.from_ndarray(
                wave[None, start : start + 1024], format="fltp", layout="mono"
            )
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            container.mux(sound.encode(chunk))
        container.mux(sound.encode(None))
    return path


def write_data(folder: Path, videos: Sequence[Path], n_train: int, n_bench: int) -> None:
    """Write questions, one clip each, whose files are links to `videos` in turn."""
    (folder / "videos").mkdir(parents=True)
    for split, n_samples in (("train", n_train), ("bench", n_bench)):
        samples = list(_samples(split, n_samples))
        for number, sample in enumerate(samples):
            (folder / str(sample.video)).symlink_to(videos[number % len(videos)].resolve())
        rows = (sample_to_row(sample) for sample in samples)
        write_parquet(folder / f"{split}.parquet", rows, SAMPLE_SCHEMA)


def _samples(split: str, n_samples: int) -> Iterator[Sample]:
    for number in range(n_samples):
        yield Sample(
            id=f"{split}-{number}",
            question=f"Gold {LETTERS[number % 4]}: What do you see and hear?",
            options=OPTIONS,
            answer_index=number % 4,
            question_type="Which",
            question_relation="both",
            video_id=f"{split}{number}",
            video=f"videos/{split}{number}_000001.mp4",
            image=None,
            audio=None,
            source=f"{split}.parquet:{number + 1}",
        )


def write_models(folder: Path) -> dict[str, Any]:
    """Write prompts and a script in which all are right; give the settings of a course.

    The settings name these, the data of `write_data` in FOLDER/data and a student in
    FOLDER/thinker.
    """
    lines = []
    for letter in "ABCD":
        for role in ("VISION", "AUDIO"):
            reply = f"Description: {REASONING}\nAnswer: ({letter})"
            lines.append({"match": f"{role} Gold {letter}:", "reply": reply})
        reply = f"<think>{REASONING}</think>\n<answer>{letter}</answer>"
        lines.append({"match": f"MERGE Gold {letter}:", "reply": reply})
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    answer = "Think inside <think> and </think>, then answer inside <answer> and </answer>."
    ends = {"vision": "", "audio": "", "merge": "\n{answer}\n{visual_analysis}\n{audio_analysis}"}
    for name, end in ends.items():
        (folder / f"{name}.txt").write_text(f"{name.upper()} {{question}}\n{{options}}{end}")
    (folder / "student.txt").write_text(f"[user]\n{{question}}\n{{options}}\n{answer}")
    roles = {"teachers.vision": "vision", "teachers.audio": "audio", "merger": "merge"}
    bench = {"format": "parquet", "root": str(folder / "data"), "split": "bench"}
    settings: dict[str, Any] = {
        "data.format": "parquet",
        "data.root": folder / "data",
        "build.validation_fraction": 0,
        "student.model": folder / "thinker",
        "student.prompt": folder / "student.txt",
        "eval.benchmarks": json.dumps({"bench": bench}),
        "eval.models": json.dumps({"sft_rl": "grpo"}),
        "eval.modalities": "[av]",
    }
    for role, name in roles.items():
        settings |= {
            f"{role}.model": "scripted",
            f"{role}.engine": json.dumps({"kind": "scripted", "script": str(script)}),
            f"{role}.prompt": folder / f"{name}.txt",
        }
    return settings


def read_settings(pairs: Sequence[str]) -> dict[str, str]:
    """Split settings that are given as KEY=VALUE.

    Raises:
        SystemExit: one has no value.
    """
    for pair in pairs:
        if "=" not in pair:
            raise SystemExit(f"{pair}: write a setting as KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


@dataclass(frozen=True)
class Step:
    """What a command took."""

    name: str
    wall_s: float
    cpu_s: float
    peak_gib: float
    """Memory of its processes together, without pages of files."""
    summary: str
    """The last line that it printed."""


@dataclass
class Course:
    """A folder with data and a run, and the commands that were run in it."""

    folder: Path
    settings: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.folder / "runs" / "course"

    def stage(self, *words: str) -> None:
        """Run a command that takes settings."""
        base = {"run.dir": self.folder / "runs", "run.name": "course"}
        pairs = {**base, **self.settings}.items()
        self.command(*words, *(f"{key}={value}" for key, value in pairs))

    def command(self, *words: str) -> None:
        """Run a command, and say what it took.

        Raises:
            SystemExit: it failed; its output is in the message.
        """
        name = " ".join(
            word for word in words[:2] if not Path(word).is_absolute() and "=" not in word
        )
        log = self.folder / f"{len(self.steps):02d}-{name.replace(' ', '-')}.log"
        started, cpu_s = time.monotonic(), _cpu_s()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "avrt", *words], stdout=output, stderr=subprocess.STDOUT
            )
            peak = 0
            while True:
                peak = max(peak, sum(_memory(pid) for pid in _tree(process.pid)))
                try:
                    process.wait(POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
        text = log.read_text(errors="replace")
        if process.returncode:
            raise SystemExit(f"avrt {name} failed:\n{text[-3000:]}")
        lines = [line for line in text.splitlines() if line.strip()] or [""]
        wall_s = time.monotonic() - started
        step = Step(name, wall_s, _cpu_s() - cpu_s, peak / GIB, lines[-1].strip())
        self.steps.append(step)
        print(f"{name:<24}{wall_s:7.1f} s {step.cpu_s:7.1f} s CPU {step.peak_gib:6.2f} GiB  "
              f"{step.summary.replace(f'{self.folder}/', '')}", flush=True)  # fmt: skip

    def log(self, stage: str) -> list[dict[str, Any]]:
        """The rows about optimizer steps in a training's log."""
        lines = (self.run / stage / "log.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if "step_time_s" in row]


def _cpu_s() -> float:
    """CPU seconds of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree(pid: int) -> list[int]:
    """A process and all that it started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _memory(pid: int) -> int:
    """Bytes of a process, without pages of files, which the kernel takes back at need."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    kinds = (text.partition(f"\n{name}:")[2].split() for name in ("RssAnon", "RssShmem"))
    return sum(1024 * int(words[0]) for words in kinds if words)  # a process that ends has none
