"""MMAR: 1,000 questions about sounds, speech, music and their mixtures; two to six options.

`MMAR-meta.jsonl` has one object per line; the README still calls it `MMAR-meta.json`, and a JSON
list of that name is read too. `answer` is a text, always one of the options. Since February 2026
rows have `thinking`, `cue` and `rubric`; they are kept in the row for `avrt.evaluate.rubric`.

The decision to question: four items list an empty option. It is kept, as it has a letter.
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
from avrt.texts import read_json_lines
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_mmar"]


def read_mmar(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not MMAR's format, or an id that occurs twice; file and row are named.
    """

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(row, "choices", "answer", "text")
        name = identifier(row, "id")
        sample = Sample(
            id=f"mmar-{name}",
            question=text(row, "question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "category"),
            question_relation="sound",
            video_id=name,
            audio=names.find(text(row, "audio_path"), f"{name}.wav"),
            source=source,
        )
        groups = {
            "modality": group(row, "modality"),
            "category": group(row, "category"),
            "sub_category": group(row, "sub-category"),
            "language": group(row, "language"),
        }
        return BenchmarkItem(sample, groups, row)

    rows = read_json_lines(path) if path.suffix == ".jsonl" else enumerate(read_json_list(path), 1)
    return read_annotations(path, rows, ("audio_path", "modality"), to_item)
