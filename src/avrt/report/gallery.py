"""Items to look at: the frames and sound that a model got, and the texts that models wrote.

Reads RUN/dataset/, the evaluation logs and the media they name; writes RUN/report/media/ (a strip
of frames as JPEG, the sound as WAV: exactly what the models got). Items are taken in turns from
every question type (training examples) and from every outcome (evaluated items), so that the
gallery does not show only successes.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from avrt.config import MediaConfig
from avrt.datasets import dataset_row_to_sample
from avrt.errors import MediaError
from avrt.media import encode_wav, load_media
from avrt.report.accuracy import LABELS, BenchmarkResults
from avrt.runs import read_parquet, write_atomic
from avrt.types import LETTERS, Frames, Sample

__all__ = ["Answer", "GalleryItem", "Media", "Roots", "Trace", "collect", "show_media"]

STRIP_HEIGHT = 144
"""Pixels; larger frames are scaled down for the page."""

T = TypeVar("T")


@dataclass(frozen=True)
class Media:
    """Paths relative to the page, or why there is nothing to show."""

    strip: str | None
    strip_alt: str
    sound: str | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """A text that led to the training example."""

    title: str
    text: str
    right: bool | None
    """None where right and wrong do not apply."""


@dataclass(frozen=True)
class Answer:
    """The reply of an evaluated model."""

    model: str
    modality: str
    text: str
    verdict: str
    right: bool


@dataclass(frozen=True)
class GalleryItem:
    """A question with its traces and answers."""

    group: str
    origin: str
    sample: Sample
    root: Path
    traces: tuple[Trace, ...] = ()
    answers: tuple[Answer, ...] = ()

    @property
    def options(self) -> list[tuple[str, str, bool]]:
        """(letter, text, is the target) of every option."""
        options = zip(LETTERS, self.sample.options, strict=False)
        return [(letter, text, letter == self.sample.target) for letter, text in options]


@dataclass(frozen=True)
class Roots:
    """The folders of the media files."""

    data: Path
    """Of the dataset."""
    benchmarks: Mapping[str, Path]
    """Of each benchmark that is configured."""


def collect(
    run: Path, roots: Roots, benchmarks: Sequence[BenchmarkResults], n_items: int
) -> list[GalleryItem]:
    """The gallery's items: half training examples, half evaluated ones, where there are both."""
    examples = _examples(run, roots.data, benchmarks)
    known = {item.sample.id for item in examples}
    evaluated = _evaluated(roots.benchmarks, benchmarks, known)
    n_examples = min(len(examples), max(n_items // 2, n_items - len(evaluated)))
    by_type = _in_turns(examples, [(not i.answers, i.sample.question_type) for i in examples])
    outcomes = [tuple(answer.right for answer in item.answers) for item in evaluated]
    changed_first = [(len(set(outcome)) == 1, outcome) for outcome in outcomes]
    return by_type[:n_examples] + _in_turns(evaluated, changed_first)[: n_items - n_examples]


def show_media(item: GalleryItem, media: MediaConfig, folder: Path) -> Media:
    """Write the item's frames and sound into `folder`; a file that fails becomes a problem."""
    problems: list[str] = []
    strip = sound = None
    alt = ""
    if item.sample.picture_path:
        try:
            frames, _ = load_media(item.sample, item.root, media, "v")
            if frames is not None:
                strip = _write(folder, _strip(frames), "jpg")
                alt = _describe(frames)
        except MediaError as error:
            problems.append(f"no frames: {error.error_class.replace('_', ' ')}")
    if item.sample.sound_path:
        try:
            _, waveform = load_media(item.sample, item.root, media, "a")
            if waveform is not None:
                sound = _write(folder, encode_wav(waveform), "wav")
        except MediaError as error:
            problems.append(f"no sound: {error.error_class.replace('_', ' ')}")
    return Media(strip, alt, sound, tuple(problems))


def _examples(run: Path, root: Path, benchmarks: Sequence[BenchmarkResults]) -> list[GalleryItem]:
    """Rows of the dataset, with the answers of students that were asked the same question."""
    items = []
    for split in ("validation", "train"):
        path = run / "dataset" / f"{split}.parquet"
        for row in read_parquet(path) if path.is_file() else ():
            sample = dataset_row_to_sample(row, row["source"])
            answers = _answers_to(sample, benchmarks)
            origin = f"dataset, {split}"
            items.append(GalleryItem("example", origin, sample, root, _traces(row), answers))
    return items


def _traces(row: Mapping[str, Any]) -> tuple[Trace, ...]:
    parts = (
        ("Vision teacher, frames alone", row.get("vision_text"), row.get("vision_correct")),
        ("Audio teacher, sound alone", row.get("audio_text"), row.get("audio_correct")),
        ("Merged trace, the student's target", row.get("av_reasoning"), None),
    )
    return tuple(Trace(title, text, right) for title, text, right in parts if text)


def _answers_to(sample: Sample, benchmarks: Sequence[BenchmarkResults]) -> tuple[Answer, ...]:
    for benchmark in benchmarks:
        asked = benchmark.samples.get(sample.id)
        if asked and (asked.question, asked.options) == (sample.question, sample.options):
            return _answers(benchmark, sample.id)
    return ()


def _evaluated(
    roots: Mapping[str, Path], benchmarks: Sequence[BenchmarkResults], known: set[str]
) -> list[GalleryItem]:
    """Questions of the benchmarks that are configured, with the answers before and after."""
    items = []
    for benchmark in benchmarks:
        root = roots.get(benchmark.name)
        if root is None:
            continue
        for sample in benchmark.samples.values():
            answers = _answers(benchmark, sample.id)
            if answers and sample.id not in known:
                items.append(GalleryItem("evaluated", benchmark.name, sample, root, (), answers))
    return items


def _answers(benchmark: BenchmarkResults, sample_id: str) -> tuple[Answer, ...]:
    """The answers of the first and the last model, on the richest input there is."""
    if not benchmark.modalities:
        return ()
    modality = benchmark.modalities[-1]
    answers = []
    for model in dict.fromkeys((benchmark.models[0], benchmark.models[-1])):
        line = benchmark.line(model, modality, sample_id)
        if line:
            verdict = line.status.replace("_", " ")
            if line.status == "scored":
                verdict = f"{line.answer}, {'right' if line.correct else 'wrong'}"
            answers.append(Answer(model, LABELS[modality], line.text, verdict, line.correct))
    return tuple(answers)


def _in_turns(items: Sequence[T], keys: Iterable[Any]) -> list[T]:
    """One item of every key, then the next of every key; keys sorted, items in their order."""
    groups: dict[Any, list[T]] = defaultdict(list)
    for item, key in zip(items, keys, strict=True):
        groups[key].append(item)
    ranked = [(turn, key, item) for key, group in groups.items() for turn, item in enumerate(group)]
    ranked.sort(key=lambda entry: entry[:2])
    return [item for _, _, item in ranked]


def _strip(frames: Frames) -> bytes:
    """All frames side by side as one JPEG."""
    strip = Image.fromarray(np.concatenate(list(frames.pixels), axis=1))
    if strip.height > STRIP_HEIGHT:
        width = round(strip.width * STRIP_HEIGHT / strip.height)
        strip = strip.resize((width, STRIP_HEIGHT), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    strip.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _describe(frames: Frames) -> str:
    if frames.still:
        return "the picture of this item"
    first, last = frames.times_s[0], frames.times_s[-1]
    return f"{len(frames.pixels)} frames of the clip in order, {first:.1f} s to {last:.1f} s"


def _write(folder: Path, content: bytes, ending: str) -> str:
    """Write a file named by its content; returns its path relative to the page."""
    name = f"{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
    write_atomic(folder / name, lambda file: file.write(content))
    return f"{folder.name}/{name}"
