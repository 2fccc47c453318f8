"""Daily-Omni: `qa.json`, 1,197 questions about 684 clips of 30 or 60 seconds with their sound.

Options begin with "A. " and so on, gold is a letter; both are normalised. Media lie in
`Videos/ID/ID_video.mp4` and `Videos/ID/ID_audio.wav`.

The decision to question: rows have no id, so the n-th question about a clip is called by the clip
and n. Where a clip's sound file is absent and its video is there, the video's own sound is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrt.datasets.names import MediaNames
from avrt.datasets.rows import group, options_and_gold, read_annotations, read_json_list, text
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_daily_omni"]


def read_daily_omni(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the file at `path` in file order; media are found by `names`.

    Raises:
        DataError: not Daily-Omni's format; file and row are named.
    """
    seen: Counter[str] = Counter()

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        clip = text(row, "video_id")
        seen[clip] += 1
        options, gold = options_and_gold(row, "Choice", "Answer", "letter")
        folder = f"Videos/{clip}/{clip}"
        video = names.find(f"{folder}_video.mp4", f"{clip}/{clip}_video.mp4")
        audio = names.find(f"{folder}_audio.wav", f"{clip}/{clip}_audio.wav")
        has_own_sound = not names.has(audio) and names.has(video)
        sample = Sample(
            id=f"daily_omni-{clip}-{seen[clip]}",
            question=text(row, "Question"),
            options=options,
            answer_index=gold,
            question_type=group(row, "Type"),
            question_relation="both",
            video_id=clip,
            video=video,
            audio=None if has_own_sound else audio,
            source=source,
        )
        groups = {
            "task_type": group(row, "Type"),
            "duration": group(row, "video_duration"),
            "category": group(row, "video_category"),
        }
        return BenchmarkItem(sample, groups, row)

    required = ("Question", "Choice", "Answer", "video_id")
    return read_annotations(path, enumerate(read_json_list(path), 1), required, to_item)
