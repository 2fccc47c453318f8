"""MMAU test-mini: `mmau-test-mini.json`, 1,000 questions about sounds, with 2, 4, 5 or 8 options.

The authors revised a quarter of the questions in May 2025 (v05.15.25) under the same file name, so
results of both versions differ; the digest of the file tells them apart.

The decision to question: some items list one option twice. They are kept, and counted by
`avrt.evaluate.benchmarks.notes`. Gold is the first of equal options, and any of them is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrt.datasets.names import MediaNames
from avrt.datasets.rows import (
    group,
    identifier,
    options_and_gold,
    read_annotations,
    read_json_list,
    text,
)
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_mmau"]


def read_mmau(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not MMAU's format, or an id that occurs twice; file and row are named.
    """

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(row, "choices", "answer", "text")
        name = identifier(row, "id")
        sound = text(row, "audio_id")
        sample = Sample(
            id=f"mmau-{name}",
            question=text(row, "question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "sub-category"),
            question_relation="sound",
            video_id=name,
            audio=names.find(sound, f"test-mini-audios/{name}.wav", f"{name}.wav"),
            source=source,
        )
        groups = {
            "task": group(row, "task"),
            "category": group(row, "category"),
            "sub_category": group(row, "sub-category"),
            "difficulty": group(row, "difficulty"),
        }
        return BenchmarkItem(sample, groups, row)

    return read_annotations(
        path, enumerate(read_json_list(path), 1), ("audio_id", "task", "difficulty"), to_item
    )
