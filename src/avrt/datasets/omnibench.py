"""OmniBench: questions about a still picture and a sound, 1,142 JSON lines.

`answer` and `options` are texts without letters, so gold is the place of the answer among the
options. Media lie in `mm_data/audio` and `mm_data/image`; names such as `6-0044.mp4.mp3.mp3.mp3`
are used as written.

The decision to question: a picture's and a sound's own descriptions are in the rows; they are kept
in the row, and never shown to a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrt.datasets.names import MediaNames
from avrt.datasets.rows import group, identifier, options_and_gold, read_annotations, text
from avrt.texts import read_json_lines
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_omnibench"]


def read_omnibench(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not OmniBench's format, or an index that occurs twice; file and row are named.
    """

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(row, "options", "answer", "text")
        sound, picture = text(row, "audio_path"), text(row, "image_path")
        sample = Sample(
            id=f"omnibench-{identifier(row, 'index')}",
            question=text(row, "question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "task type"),
            question_relation="both",
            video_id=picture,
            image=names.find(f"mm_data/image/{picture}", f"image/{picture}"),
            audio=names.find(f"mm_data/audio/{sound}", f"audio/{sound}"),
            source=source,
        )
        groups = {
            "task_type": group(row, "task type").lower(),
            "audio_type": group(row, "audio type").lower(),
        }
        return BenchmarkItem(sample, groups, row)

    required = ("task type", "audio type", "image_path", "audio_path")
    return read_annotations(path, read_json_lines(path), required, to_item)
