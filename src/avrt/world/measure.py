"""Measure a small model in the way it is used, and write its card.

New world sets, with a seed of their own, are written, read back, given to the model through the
transformers engine, and scored with the answer parser. The student answers the benchmark with
sound, pictures and both.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avrt.answers import extract_answer, is_well_formed
from avrt.config import DataConfig, EngineConfig
from avrt.datasets import read_samples
from avrt.engines import make_engine
from avrt.evaluate.questions import fill_question
from avrt.evaluate.statistics import wilson
from avrt.media import load_media
from avrt.prompts import PromptTemplate, load_prompt
from avrt.runs import write_atomic
from avrt.types import Completion, Given, Prompt, Request, Sample, Sampling
from avrt.world import make
from avrt.world.content import draw_scene
from avrt.world.curriculum import Lesson, merge, other_merge
from avrt.world.pool import MEDIA

__all__ = ["measure_model", "write_card"]

N_ITEMS = 400
SEED = 20_260
"""A seed that neither training nor the demo nor an experiment uses."""
EVIDENCE = "could be"
"""In every reply that says which answers a sense leaves open (`text.could_be`)."""


Split = tuple[str, str, Given, str]
"""Title, set, what is given of each item, and prompt."""

GIVEN: dict[str, Given] = {"nothing given": "none", "A": "a", "V": "v", "AV": "av"}
BENCH: list[Split] = [
    (f"world-bench, {title}", "bench", given, "world/student") for title, given in GIVEN.items()
]
SETS: dict[str, list[Split]] = {
    "vision_teacher": [("world-train, frames only", "train", "v", "world/vision")],
    "audio_teacher": [("world-train, sound only", "train", "a", "world/audio")],
    "perceiver": [],
    "student": BENCH,
    "supervised": BENCH,
}
MERGERS: dict[str, Lesson] = {"merger": merge, "other_merger": other_merge}
"""The lesson that each merger has to do."""


def measure_model(name: str, folder: Path, work: Path) -> dict[str, str]:
    """Measure the model in `folder`; each figure has its n and 95 % interval."""
    if name in MERGERS:
        return _measure_merger(folder, MERGERS[name])
    world = work / "measure"
    make.run(world, n_train=N_ITEMS, n_bench=N_ITEMS, n_audio=N_ITEMS, seed=SEED)
    figures = {
        title: _rate(sum(right for _, right in _answers(folder, world, rest)), N_ITEMS)
        for title, *rest in SETS[name]
    }
    return figures | (_measure_evidence(folder, world) if name == "student" else {})


def _answers(
    folder: Path, world: Path, asked: Sequence[Any], temperature: float = 0.0
) -> list[tuple[str, bool]]:
    """Each reply to a set, and whether its letter is right; `asked`: set, given, prompt."""
    split, given, prompt = asked
    data = DataConfig(format="avqa" if split == "train" else "parquet", root=world, split=split)
    samples, template = list(read_samples(data)), load_prompt(prompt)
    prompts = [_prompt(sample, world, given, template) for sample in samples]
    return [
        (text, extract_answer(text, sample.options) == sample.target)
        for text, sample in zip(_complete(folder, prompts, temperature), samples, strict=True)
    ]


def _measure_evidence(folder: Path, world: Path) -> dict[str, str]:
    """How often samples at temperature 1 say which answers a sense leaves open, and whether it
    helps: what GRPO can reinforce.
    """
    answers = _answers(folder, world, ("bench", "av", "world/student"), temperature=1.0)
    with_evidence = [right for text, right in answers if EVIDENCE in text]
    without = [right for text, right in answers if EVIDENCE not in text]
    return {
        "AV, sampled": _rate(sum(right for _, right in answers), N_ITEMS),
        "AV, sampled, replies that weigh evidence": _rate(len(with_evidence), N_ITEMS),
        "right of these": _rate(sum(with_evidence), len(with_evidence)),
        "right of the others": _rate(sum(without), len(without)),
    }


def _prompt(sample: Sample, world: Path, given: Given, template: PromptTemplate) -> Prompt:
    frames, audio = (None, None) if given == "none" else load_media(sample, world, MEDIA, given)
    system, text = fill_question(sample, template)
    return Prompt(text, system, frames, audio)


def _measure_merger(folder: Path, lesson: Lesson) -> dict[str, str]:
    rng = random.Random(SEED)
    examples = [lesson(draw_scene(rng), rng) for _ in range(N_ITEMS)]
    texts = _complete(folder, [Prompt(example.user) for example in examples])
    pairs = list(zip(texts, examples, strict=True))
    checks: dict[str, Callable[[str, str], bool]] = {
        "well-formed traces": lambda text, _: is_well_formed(text, 4),
        "right letter": lambda text, reply: text[-10:] == reply[-10:],
        "whole trace as intended": lambda text, reply: text == reply,
    }
    return {
        title: _rate(sum(check(text, example.reply) for text, example in pairs), N_ITEMS)
        for title, check in checks.items()
    }


def _complete(folder: Path, prompts: Sequence[Prompt], temperature: float = 0.0) -> list[str]:
    settings = EngineConfig(kind="transformers", batch_size=64)
    engine = make_engine(settings, str(folder), None, MEDIA)
    texts: dict[str, str] = {}

    def keep(request: Request, completion: Completion) -> None:
        texts[request.key] = completion.text

    requests = [
        Request(str(k), prompt, Sampling(max_new_tokens=128, temperature=temperature, seed=k))
        for k, prompt in enumerate(prompts)
    ]
    engine.generate(requests, keep)
    engine.close()
    return [texts[request.key] for request in requests]


def _rate(right: int, n: int) -> str:
    if n == 0:
        return "none"
    low, high = wilson(right, n)
    return f"{100 * right / n:.1f} % (n = {n}, 95 % interval {100 * low:.1f} to {100 * high:.1f})"


def write_card(
    folder: Path, name: str, recipe: dict[str, Any], figures: dict[str, str], minutes: float
) -> None:
    """Write a model's README.md: its training, its figures, and the command that makes it again."""
    lines = [
        f"# {name.replace('_', ' ')} of AVRT's small world",
        "",
        "A very small model for trying AVRT out: it knows AVRT's procedural world, nothing else.",
        "",
        "| measured | |",
        "|---|---|",
        *(f"| {title} | {figure} |" for title, figure in figures.items()),
        "",
        "| training | |",
        "|---|---|",
        *(f"| {key.replace('_', ' ')} | {value} |" for key, value in recipe.items()),
        f"| time | {minutes:.0f} minutes on {len(os.sched_getaffinity(0))} CPU core(s) |",
        "",
        f"Make it again: `avrt world train --only {name}`, after the models that it starts from.",
        "Licence: Apache-2.0. Weights are bfloat16.",
        "",
    ]
    write_atomic(folder / "README.md", lambda file: file.write("\n".join(lines).encode()))
