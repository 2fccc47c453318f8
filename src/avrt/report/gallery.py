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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from avrt.config import MediaConfig
from avrt.datasets import dataset_row_to_sample
from avrt.errors import MediaError
from avrt.evaluate.logs import Line
from avrt.media import encode_wav, load_media
from avrt.report.accuracy import LABELS, BenchmarkResults
from avrt.runs import iter_parquet, write_atomic
from avrt.types import LETTERS, Frames, Sample

__all__ = ["NO_MEDIA", "Answer", "Choice", "GalleryItem", "Media", "Roots", "Trace", "choose",
           "collect", "show_media"]  # fmt: skip

STRIP_HEIGHT = 144
"""Pixels; larger frames are scaled down for the page."""

T = TypeVar("T")


@dataclass(frozen=True)
class Media:
    """Paths relative to the page, or why there is nothing to show."""

    strip: str | None
    strip_alt: str
    sound: str | None
    failures: Mapping[str, MediaError]
    """By the name of the medium."""


NO_MEDIA = Media(None, "", None, {})


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


@dataclass(frozen=True)
class Choice:
    """The items to show, chosen without a look at any text."""

    examples: Sequence[_Place]
    evaluated: Sequence[tuple[str, str]]
    """Benchmark and sample id."""

    @property
    def ids(self) -> set[str]:
        """The items of which the texts are shown."""
        return {place.id for place in self.examples} | {id_ for _, id_ in self.evaluated}


class _Place(NamedTuple):
    """A row of the dataset."""

    split: str
    number: int
    id: str


def choose(run: Path, roots: Roots, benchmarks: Sequence[BenchmarkResults], n_items: int) -> Choice:
    """Half training examples, half evaluated items, where there are both."""
    examples, keys = _example_places(run, benchmarks)
    known = {place.id for place in examples}
    evaluated: list[tuple[str, str]] = []
    outcomes: list[tuple[bool, tuple[bool, ...]]] = []
    for benchmark in benchmarks:
        for id_ in benchmark.samples if benchmark.name in roots.benchmarks else ():
            right = tuple(line.correct for _, line in _lines(benchmark, id_))
            if right and id_ not in known:
                evaluated.append((benchmark.name, id_))
                outcomes.append((len(set(right)) == 1, right))  # those that changed first
    n_examples = min(len(examples), max(n_items // 2, n_items - len(evaluated)))
    return Choice(
        _in_turns(examples, keys)[:n_examples],
        _in_turns(evaluated, outcomes)[: n_items - n_examples],
    )


def collect(
    run: Path, roots: Roots, benchmarks: Sequence[BenchmarkResults], choice: Choice
) -> list[GalleryItem]:
    """The chosen items with their texts; `benchmarks` has those of the chosen items."""
    by_name = {benchmark.name: benchmark for benchmark in benchmarks}
    rows = _read_rows(run, choice.examples)
    items: list[GalleryItem] = []
    for place in choice.examples:
        row = rows[place]
        sample = dataset_row_to_sample(row, row["source"])
        benchmark = _asked(sample, benchmarks)
        answers = () if benchmark is None else _answers(benchmark, sample.id)
        origin = f"dataset, {place.split}"
        items.append(GalleryItem("example", origin, sample, roots.data, _traces(row), answers))
    for name, id_ in choice.evaluated:
        sample, answers = by_name[name].samples[id_], _answers(by_name[name], id_)
        items.append(GalleryItem("evaluated", name, sample, roots.benchmarks[name], (), answers))
    return items


def show_media(item: GalleryItem, media: MediaConfig, folder: Path) -> Media:
    """Write the item's frames and sound into `folder`; files may fail."""
    failures: dict[str, MediaError] = {}
    strip = sound = None
    alt = ""
    if item.sample.picture_path:
        try:
            frames, _ = load_media(item.sample, item.root, media, "v")
            if frames is not None:
                strip = _write(folder, _strip(frames), "jpg")
                alt = _describe(frames)
        except MediaError as error:
            failures["frames"] = error
    if item.sample.sound_path:
        try:
            _, waveform = load_media(item.sample, item.root, media, "a")
            if waveform is not None:
                sound = _write(folder, encode_wav(waveform), "wav")
        except MediaError as error:
            failures["sound"] = error
    return Media(strip, alt, sound, failures)


def _example_places(
    run: Path, benchmarks: Sequence[BenchmarkResults]
) -> tuple[list[_Place], list[tuple[bool, str]]]:
    """Every row of the dataset, and what it is chosen by: whether students were asked the same
    question, and its type.
    """
    places: list[_Place] = []
    keys: list[tuple[bool, str]] = []
    for split in ("validation", "train"):
        path = run / "dataset" / f"{split}.parquet"
        rows = iter_parquet(path, _QUESTION) if path.is_file() else ()
        for number, row in enumerate(rows):
            sample = dataset_row_to_sample(row, row["source"])
            benchmark = _asked(sample, benchmarks)
            is_answered = benchmark is not None and any(_lines(benchmark, sample.id))
            places.append(_Place(split, number, sample.id))
            keys.append((not is_answered, intern(sample.question_type)))
    return places, keys


_QUESTION = (
    *("id", "question", "choices", "answer", "question_relation", "question_type", "video_id"),
    *("video", "image", "audio", "source"),
)


def _read_rows(run: Path, places: Sequence[_Place]) -> dict[_Place, dict[str, Any]]:
    found: dict[_Place, dict[str, Any]] = {}
    for split in dict.fromkeys(place.split for place in places):
        wanted = {place.number: place for place in places if place.split == split}
        for number, row in enumerate(iter_parquet(run / "dataset" / f"{split}.parquet")):
            if number in wanted:
                found[wanted[number]] = row
    return found


def _traces(row: Mapping[str, Any]) -> tuple[Trace, ...]:
    parts = (
        ("Vision teacher, frames alone", row.get("vision_text"), row.get("vision_correct")),
        ("Audio teacher, sound alone", row.get("audio_text"), row.get("audio_correct")),
        ("Merged trace, the student's target", row.get("av_reasoning"), None),
    )
    return tuple(Trace(title, text, right) for title, text, right in parts if text)


def _asked(sample: Sample, benchmarks: Sequence[BenchmarkResults]) -> BenchmarkResults | None:
    """The benchmark that asks the same question."""
    for benchmark in benchmarks:
        asked = benchmark.samples.get(sample.id)
        if asked and (asked.question, asked.options) == (sample.question, sample.options):
            return benchmark
    return None


def _lines(benchmark: BenchmarkResults, sample_id: str) -> Iterator[tuple[str, Line]]:
    """The first and the last model with their lines on the richest input there is."""
    if benchmark.modalities:
        modality = benchmark.modalities[-1]
        for model in dict.fromkeys((benchmark.models[0], benchmark.models[-1])):
            if line := benchmark.line(model, modality, sample_id):
                yield model, line


def _answers(benchmark: BenchmarkResults, sample_id: str) -> tuple[Answer, ...]:
    answers: list[Answer] = []
    for model, line in _lines(benchmark, sample_id):
        verdict = line.status.replace("_", " ")
        if line.status == "scored":
            verdict = f"{line.answer}, {'right' if line.correct else 'wrong'}"
        label = LABELS[benchmark.modalities[-1]]
        answers.append(Answer(model, label, line.text, verdict, line.correct))
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
