"""Decontamination: which samples a benchmark holds too, by clip or by question.

Two clips are the same when their files carry the same YouTube id, as VGG-Sound, AVQA and Daily-Omni
name them (`ID_000030`, `ID_30`, `ID_video`, `ID`), or the same name; a mere number as a name says
nothing. Two questions are the same when the question and each of the options is alike to 95 % of
its letters and to all of its numbers, in any order of the options; the question alone says nothing,
since "What makes the sound?" is asked of everything.

The decision to question: the same question about another clip counts too. It may be chance, and the
table says by which rule each sample was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from avrt.config import DataConfig
from avrt.datasets import read_samples
from avrt.datasets.rows import folded
from avrt.runs import write_parquet
from avrt.types import Sample

__all__ = ["MATCH_SCHEMA", "Match", "find_matches", "write_matches"]

MATCH_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("benchmark_id", pa.string(), nullable=False),
        pa.field("by", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)
SAME = 95.0
"""Percent of the letters that two questions must share, and each two of their options."""
ROWS = 1024
"""Samples compared with a whole benchmark at a time: memory is rows x items x 4 bytes."""
_YOUTUBE = re.compile(r"([A-Za-z0-9_-]{11})_(?:\d+(?:_\d+)?|video|audio)", re.ASCII)
_NUMBER = re.compile(r"(?:[a-z]+[_-]?)?\d*", re.ASCII | re.IGNORECASE)
"""Names that any two datasets may share: `12`, `sample_12`, `video`."""


@dataclass(frozen=True)
class Match:
    """A sample that a benchmark holds too."""

    id: str
    benchmark: str
    benchmark_id: str
    by: str
    """`clip` or `question`."""
    score: float
    """Percent; 100 for clips."""


def find_matches(samples: Sequence[Sample], benchmarks: Mapping[str, DataConfig]) -> list[Match]:
    """All matches by clip, and for each sample the best one by question, of every benchmark.

    Raises:
        ConfigError, DataError: a benchmark cannot be read.
    """
    matches: list[Match] = []
    for name, data in benchmarks.items():
        items = list(read_samples(data))
        matches += _by_clip(samples, items, name)
        matches += _by_question(samples, items, name)
    return matches


def write_matches(path: Path, matches: Sequence[Match]) -> None:
    """The table of matches, in the order of the samples; without matches, without rows."""
    write_parquet(path, [asdict(match) for match in matches], MATCH_SCHEMA)


def _by_clip(samples: Sequence[Sample], items: Sequence[Sample], name: str) -> list[Match]:
    of_clip: dict[str, list[str]] = {}
    for item in items:
        if (clip := _clip(item)) is not None:
            of_clip.setdefault(clip, []).append(item.id)
    return [
        Match(sample.id, name, item, "clip", 100.0)
        for sample in samples
        for item in of_clip.get(_clip(sample) or "", ())
    ]


def _by_question(samples: Sequence[Sample], items: Sequence[Sample], name: str) -> list[Match]:
    from rapidfuzz.fuzz import ratio
    from rapidfuzz.process import cdist

    wanted = [_parts(item) for item in items]
    matches: list[Match] = []
    for start in range(0, len(samples) if items else 0, ROWS):
        rows = list(samples[start : start + ROWS])
        own = [_parts(sample) for sample in rows]
        # Where all parts are alike, so are the texts: this leaves few pairs to look at in parts.
        near = cdist(
            ["\n".join(parts) for parts in own],
            ["\n".join(parts) for parts in wanted],
            scorer=ratio,
            score_cutoff=SAME,
            workers=-1,
            dtype=np.float32,
        )
        best: dict[int, tuple[float, int]] = {}
        for row, item in np.argwhere(near).tolist():
            score = _likeness(own[row], wanted[item])
            if score >= SAME and score > best.get(row, (0.0, 0))[0]:
                best[row] = score, item
        matches += [
            Match(rows[row].id, name, items[item].id, "question", score)
            for row, (score, item) in best.items()
        ]
    return matches


def _likeness(first: Sequence[str], second: Sequence[str]) -> float:
    """Percent of the letters that the least alike of their parts share."""
    from rapidfuzz.fuzz import ratio

    if len(first) != len(second) or _numbers(first) != _numbers(second):
        return 0.0
    return min(ratio(*parts) for parts in zip(first, second, strict=True))


def _numbers(parts: Sequence[str]) -> list[str]:
    """One digit is a small part of the letters and a great part of the meaning."""
    return [number for part in parts for number in re.findall(r"\d+", part)]


def _clip(sample: Sample) -> str | None:
    """The name by which two datasets share a clip; None where the file has no such name."""
    stem = PurePosixPath(sample.picture_path or sample.sound_path or "").stem
    youtube = _YOUTUBE.fullmatch(stem)
    if youtube is not None:
        return youtube[1]
    return None if _NUMBER.fullmatch(stem) else stem


def _parts(sample: Sample) -> list[str]:
    """Question and options in one form: case, blanks, width and the options' order do not count."""
    question, *options = map(folded, (sample.question, *sample.options))
    return [question, *sorted(options)]
