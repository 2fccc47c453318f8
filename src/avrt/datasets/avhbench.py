"""AVHBench: `QA.json`, questions that are answered with yes or no, about clips of ten seconds.

One object per question; two tasks ask for what is seen or heard where the other sense may mislead,
the third whether picture and sound belong together. Videos lie in `videos/ID.mp4`.

The decision to question: captions, the fourth task, have no options; they are left out and counted.
Rows have no id, so the n-th question about a clip is called by the clip and n. The paper counts
5,816 questions and 1,238 captions, the published file has fewer: no number is expected of it.
"""

from __future__ import annotations

from collections import Counter
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

__all__ = ["read_avhbench"]

CAPTIONS = "AV Captioning"


def read_avhbench(
    names: MediaNames, path: Path, counts: Counter[str] | None = None
) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    `counts` gets `dropped/captions`.

    Raises:
        DataError: not AVHBench's format; file and row are named.
    """
    seen: Counter[str] = Counter()

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(
            row | {"options": ["Yes", "No"]}, "options", "label", "text"
        )
        clip = identifier(row, "video_id")
        seen[clip] += 1
        sample = Sample(
            id=f"avhbench-{clip}-{seen[clip]}",
            question=text(row, "text"),
            options=options,
            answer_index=gold,
            question_type=text(row, "task"),
            question_relation="both",
            video_id=clip,
            video=names.find(f"videos/{clip}.mp4", f"video/{clip}.mp4", f"{clip}.mp4"),
            source=source,
        )
        return BenchmarkItem(sample, {"task": group(row, "task")}, row)

    rows = _questions(path, Counter() if counts is None else counts)
    return read_annotations(path, rows, ("task", "label"), to_item)


def _questions(path: Path, counts: Counter[str]) -> Iterator[tuple[int, Any]]:
    for number, row in enumerate(read_json_list(path), start=1):
        if isinstance(row, dict) and row.get("task") == CAPTIONS:
            counts["dropped/captions"] += 1
        else:
            yield number, row
