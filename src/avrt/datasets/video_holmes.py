"""Video-Holmes: `test_Video-Holmes.json`, 1,837 questions about 270 short films, six options.

`Options` is an object from letter to text, A to F. `train_Video-Holmes.json` has the same form.
Films lie in `videos/ID.mp4`, beside the annotations as the authors' script puts them.
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
from avrt.texts import shown
from avrt.types import LETTERS, BenchmarkItem, Sample

__all__ = ["read_video_holmes"]


def read_video_holmes(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not Video-Holmes's format, or an id that occurs twice; file and row are named.
    """

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(
            row | {"Options": _options(row)}, "Options", "Answer", "letter"
        )
        film = text(row, "video ID")
        sample = Sample(
            id=f"video_holmes-{identifier(row, 'Question ID')}",
            question=text(row, "Question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "Question Type"),
            question_relation="both",
            video_id=film,
            video=names.find(f"videos/{film}.mp4", f"{film}.mp4"),
            source=source,
        )
        return BenchmarkItem(sample, {"task_type": group(row, "Question Type")}, row)

    required = ("video ID", "Question Type", "Options")
    return read_annotations(path, enumerate(read_json_list(path), 1), required, to_item)


def _options(row: dict[str, Any]) -> list[Any]:
    options = row["Options"]
    if not isinstance(options, dict):
        raise ValueError(f"Options is a {type(options).__name__}, not an object from A to F")
    if list(options) != list(LETTERS[: len(options)]):
        raise ValueError(
            f"Options has the letters {shown(', '.join(options))[1:-1]}, not A, B, C, ... in order"
        )
    return list(options.values())
