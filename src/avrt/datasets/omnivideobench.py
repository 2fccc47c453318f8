"""OmniVideoBench: `data.json`, 1,000 questions about 628 videos with their sound.

One object per video with its list of questions. Options begin with "A." and so on, with or without
a space behind it; gold is `correct_option`. Videos lie in `videos/NAME.mp4`.

The decision to question: rows have no id, so the n-th question about a video is called by the video
and n. `answer` repeats the gold option in words, at times in others, and is not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrt.datasets.names import MediaNames
from avrt.datasets.rows import group, options_and_gold, read_annotations, read_questions, text
from avrt.texts import shown
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_omnivideobench"]


def read_omnivideobench(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not OmniVideoBench's format; the file, and the place of the question in it, is
        named.
    """
    seen: Counter[str] = Counter()

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(row, "options", "correct_option", "letter")
        name = text(row, "video")
        seen[name] += 1
        sample = Sample(
            id=f"omnivideobench-{name}-{seen[name]}",
            question=text(row, "question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "question_type"),
            question_relation="both",
            video_id=name,
            video=names.find(f"videos/{name}.mp4", f"{name}.mp4"),
            source=source,
        )
        groups = {
            "task_type": group(row, "question_type"),
            "audio_type": group(row, "audio_type").lower(),
            "video_type": group(row, "video_type"),
            "duration": _duration_class(text(row, "duration")),
        }
        return BenchmarkItem(sample, groups, row)

    required = ("question", "options", "correct_option")
    return read_annotations(path, read_questions(path), required, to_item)


def _duration_class(duration: str) -> str:
    """The class of length that `MM:SS` or `HH:MM:SS` falls into."""
    if not re.fullmatch(r"\d{1,3}(:\d{1,2})*", duration):
        raise ValueError(f"duration is {shown(duration)}, not MM:SS or HH:MM:SS")
    total_s = 0
    for part in duration.split(":"):
        total_s = 60 * total_s + int(part)
    bounds = ((60, "up to 1 min"), (300, "1 to 5 min"), (600, "5 to 10 min"))
    return next((name for bound, name in bounds if total_s <= bound), "over 10 min")
