"""A small benchmark on disk: real clips, one of them silent, and a set of sounds alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avrt.config import BenchmarkConfig, Config, EvalConfig, MediaConfig, RunConfig, StudentConfig
from avrt.datasets import write_samples
from avrt.engines import LazyEngine, OnCompletion
from avrt.media import encode_wav
from avrt.types import Completion, Request, Sample, Waveform

N_ITEMS = 6
RATE_HZ = 16_000


def tone(seconds: float) -> np.ndarray:
    return (0.3 * np.sin(np.arange(round(seconds * RATE_HZ)) / 8)).astype(np.float32)


def write_clip(path: Path, *, sound: bool, n_frames: int = 8) -> None:
    """One second of moving colour with or without a tone."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=8)
        video.width, video.height, video.pix_fmt = 56, 56, "yuv420p"
        audio: Any = container.add_stream("aac", rate=RATE_HZ, layout="mono") if sound else None
        for number in range(n_frames):
            pixels = np.full((56, 56, 3), (30 * number, 90, 200 - 20 * number), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(video.encode(None))
        if sound:
            frame = av.AudioFrame.from_ndarray(tone(1.0)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))


def sample(number: int, **fields: Any) -> Sample:
    values: dict[str, Any] = {
        "id": f"q{number}",
        "question": f"Question {number}: what is it?",
        "options": ("dog", "cat", "car", "bell"),
        "answer_index": number % 4,
        "question_type": ("Which", "Where")[number % 2],
        "question_relation": "both",
        "video_id": f"clip{number}",
        "video": "clip.mp4",
        "image": None,
        "audio": None,
        "source": f"bench.parquet:{number}",
    }
    return Sample(**(values | fields))


@pytest.fixture(scope="session")
def bench_root(tmp_path_factory) -> Path:
    """`clips` has N_ITEMS questions, the last one about a silent clip; `sounds` has three."""
    root = tmp_path_factory.mktemp("bench")
    write_clip(root / "clip.mp4", sound=True)
    write_clip(root / "silent.mp4", sound=False)
    (root / "tone.wav").write_bytes(encode_wav(Waveform(tone(0.5))))
    clips = [sample(n) for n in range(N_ITEMS - 1)]
    write_samples(root / "clips.parquet", [*clips, sample(N_ITEMS - 1, video="silent.mp4")])
    sounds = [sample(n, video=None, audio="tone.wav") for n in range(3)]
    write_samples(root / "sounds.parquet", sounds)
    return root


@pytest.fixture
def config(tmp_path, bench_root) -> Config:
    data = BenchmarkConfig(format="parquet", root=bench_root, split="clips")
    return Config(
        run=RunConfig(dir=tmp_path / "runs", name="test"),
        media=MediaConfig(n_frames=4, max_pixels=56 * 56, workers=1),
        student=StudentConfig(model="some/model"),
        eval=EvalConfig(
            benchmarks={"clips": data}, models={"base": "base", "other": "some/other"}, batch_size=2
        ),
    )


@pytest.fixture
def use_completions(monkeypatch) -> Callable[[Callable[[Request], Completion]], list[Request]]:
    """Let a function complete the requests to all models; returns the requests that it gets."""

    def use(complete: Callable[[Request], Completion]) -> list[Request]:
        seen: list[Request] = []

        def generate(
            _: LazyEngine, requests: Iterable[Request], on_completion: OnCompletion
        ) -> None:
            for request in requests:
                seen.append(request)
                on_completion(request, complete(request))

        monkeypatch.setattr(LazyEngine, "generate", generate)
        return seen

    return use
