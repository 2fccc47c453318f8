"""Video-MME: 2,700 questions about 900 videos of 11 seconds to an hour, four options, no subtitles.

Two files of the same questions are read: the Hub's Parquet table with a row for each question, and
the authors' JSON list with an object for each video and its three questions. The fields of the
second get the names of the first. Options begin with "A. " and so on, gold is a letter.

The decision to question: videos are called by their YouTube id, as on the Hub (`data/ID.mp4` when
its archives are unpacked). The JSON list has no field for it, so there it comes from the address.
Subtitles, which the authors evaluate with and without, are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrt.datasets.names import MediaNames
from avrt.datasets.parquet import read_parquet_rows
from avrt.datasets.rows import (
    group,
    identifier,
    options_and_gold,
    read_annotations,
    read_questions,
    text,
)
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_video_mme"]

COLUMNS = (
    *("video_id", "duration", "domain", "sub_category", "videoID", "question_id", "task_type"),
    *("question", "options", "answer"),
)
"""Of the Hub's table, beside the address."""
HUB_NAMES = {
    "duration_category": "duration",
    "video_category": "domain",
    "video_subcategory": "sub_category",
    "video_sub_category": "sub_category",
    "choices": "options",
}
"""What the authors' list calls these columns; their README and their template differ in one."""
_YOUTUBE = re.compile(r"(?:[?&]v=|youtu\.be/|/(?:shorts|embed|live)/)([\w-]{11})")


def read_video_mme(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not Video-MME's format, or an id that occurs twice; file and row are named.
    """

    is_table = path.suffix == ".parquet"

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        field = "options" if is_table else "choices"  # so messages name what the file has
        options, gold = options_and_gold(row, field, "answer", "letter")
        name = _video_name(row)
        sample = Sample(
            id=f"video_mme-{identifier(row, 'question_id')}",
            question=text(row, "question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "task_type"),
            question_relation="both",
            video_id=name,
            video=names.find(*(f"{folder}{name}.mp4" for folder in ("data/", "video/", ""))),
            source=source,
        )
        fields = ("duration", "domain", "sub_category", "task_type")
        return BenchmarkItem(sample, {field: group(row, field) for field in fields}, row)

    if is_table:
        rows = read_parquet_rows(path, COLUMNS, "fetch it from the Hub again")
    else:
        rows = _questions(path)
    return read_annotations(path, rows, ("question_id", "task_type", "duration"), to_item)


def _video_name(row: dict[str, Any]) -> str:
    if row.get("videoID"):
        return identifier(row, "videoID")
    found = _YOUTUBE.search(str(row.get("url")))
    return found[1] if found else identifier(row, "video_id")


def _questions(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The questions of the authors' list under the names that the Hub's table has."""
    for number, row in read_questions(path):
        yield number, row | {new: row[old] for old, new in HUB_NAMES.items() if old in row}
