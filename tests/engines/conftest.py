"""Media, requests, and tiny models with random weights, that the engine tests share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avrt.types import Completion, Frames, Prompt, Request, Sampling, Waveform


@pytest.fixture(scope="session")
def make_frames() -> Callable[..., Frames]:
    def make(seed: int, n_frames: int = 4, still: bool = False) -> Frames:
        pixels = np.random.default_rng(seed).integers(0, 256, (n_frames, 56, 84, 3), dtype=np.uint8)
        return Frames(pixels, tuple(0.4 * i for i in range(n_frames)), 2.5, still)

    return make


@pytest.fixture(scope="session")
def make_sound() -> Callable[..., Waveform]:
    def make(seed: int, seconds: float = 1.0) -> Waveform:
        samples = np.random.default_rng(seed).normal(0, 0.2, int(16_000 * seconds))
        return Waveform(samples.astype(np.float32))

    return make


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Request]:
    def make(key: str, prompt: Prompt | str, **sampling) -> Request:
        prompt = Prompt(prompt) if isinstance(prompt, str) else prompt
        return Request(key, prompt, Sampling(**{"max_new_tokens": 12, **sampling}))

    return make


@pytest.fixture(scope="session")
def collect() -> Callable[..., dict[str, Completion]]:
    """Every completion by its request's key."""

    def run(engine, requests) -> dict[str, Completion]:
        completions: dict[str, Completion] = {}
        engine.generate(requests, lambda request, done: completions.__setitem__(request.key, done))
        return completions

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[[str], Path]:
    """Folder of a tiny checkpoint: "student", "vision_teacher", "audio_teacher" or "merger"."""
    from avrt.world import networks

    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for part in getattr(networks, f"new_{name}")():
                    part.save_pretrained(folder)
            made[name] = folder
        return made[name]

    return make
