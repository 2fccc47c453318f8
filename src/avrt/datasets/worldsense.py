"""WorldSense: `worldsense_qa.json`, 3,172 questions about 1,662 videos with their sound.

One object per video, under its name; its questions are the fields `task0`, `task1`, ... and what
is said of the video (duration, domain, audio class) holds for each. `candidates` begin with
"A. " and so on, gold is a letter. Videos lie in `videos/NAME.mp4`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrt.datasets.names import MediaNames
from avrt.datasets.rows import group, options_and_gold, read_annotations, text
from avrt.errors import DataError
from avrt.texts import read_json, shown
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_worldsense"]


def read_worldsense(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not WorldSense's format; the file, and the place of the question in it, is named.
    """

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(row, "candidates", "answer", "letter")
        name = row["video"]
        sample = Sample(
            id=f"worldsense-{name}-{row['task']}",
            question=text(row, "question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "task_type"),
            question_relation="both",
            video_id=name,
            video=names.find(f"videos/{name}.mp4", f"{name}.mp4"),
            source=source,
        )
        audio_class = row.get("audio_class")
        classes = audio_class if isinstance(audio_class, list) else [audio_class or "none"]
        groups = {
            "task_domain": group(row, "task_domain"),
            "task_type": group(row, "task_type"),
            "domain": group(row, "domain"),
            "duration": group(row, "duration"),
            "audio_class": " + ".join(sorted(map(str, classes))),
        }
        return BenchmarkItem(sample, groups, row)

    required = ("question", "candidates", "answer", "task_type")
    return read_annotations(path, _questions(path), required, to_item)


def _questions(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number the questions; each has the fields of its video, then its own."""
    number = 0
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: a {type(content).__name__}, not an object with one field a video")
    for name, video in content.items():
        if not isinstance(video, dict):
            raise DataError(f"{path}: video {shown(name)}: a {type(video).__name__}, not an object")
        about = {field: value for field, value in video.items() if not field.startswith("task")}
        for task in (field for field in video if field.startswith("task")):
            if not isinstance(video[task], dict):
                raise DataError(f"{path}: video {shown(name)}: {shown(task)} is not a question")
            number += 1
            yield number, {**about, **video[task], "video": name, "task": task}
