"""AVQA's own annotation files: `{split}_qa.json`, a list of questions about VGG-Sound clips.

The media lie in `videos/` or directly in the root, as `NAME.mp4`. Mirrors of VGG-Sound disagree on
whether the start second in NAME is padded with zeros to six digits, so AVRT looks for both names.

The decision to question: some rows of the published files have no options (`multi_choice` is null).
They are dropped as `no_options`; every other departure from the format stops the reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrt.datasets.names import MediaNames, split_ending
from avrt.datasets.rows import (
    identifier,
    options_and_gold,
    read_annotations,
    read_json_list,
    text,
)
from avrt.texts import shown
from avrt.types import BenchmarkItem, Relation, Sample

__all__ = ["RELATION_OF", "find_video", "names_in_folders", "read_avqa"]

RELATION_OF: dict[str, Relation] = {
    "view": "visual",
    "visual": "visual",
    "sound": "sound",
    "both": "both",
}
MEDIA_FOLDERS = ("videos", "")


def read_avqa(
    root: Path,
    split: str,
    counts: Counter[str] | None = None,
    names: MediaNames | None = None,
) -> Iterator[Sample]:
    """Yield the samples of one split in file order; `counts` gets `dropped/no_options`.

    Raises:
        DataError: the file has another format, or an id occurs twice; file and row are named.
    """
    path = root / f"{split}_qa.json"
    files = MediaNames(root) if names is None else names
    counts = Counter() if counts is None else counts

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        relation = text(row, "question_relation").lower()
        if relation not in RELATION_OF:
            known = ", ".join(RELATION_OF)
            raise ValueError(f"question_relation {shown(relation)} is not one of {known}")
        options, gold = options_and_gold(row, "multi_choice", "answer", "index")
        sample = Sample(
            id=f"avqa-{split}-{identifier(row, 'id')}",
            question=text(row, "question_text"),
            options=options,
            answer_index=gold,
            question_type=" ".join(text(row, "question_type").split()),
            question_relation=RELATION_OF[relation],
            video_id=identifier(row, "video_id"),
            video=find_video(identifier(row, "video_name"), files),
            source=source,
        )
        return BenchmarkItem(sample, {}, {})

    rows = _with_options(path, counts)
    required = ("multi_choice", "question_text", "video_name")
    return (item.sample for item in read_annotations(path, rows, required, to_item))


def names_in_folders(root: Path) -> dict[str, frozenset[str]]:
    """List the files in each folder that may hold AVQA's media."""
    folders = {folder: root / folder for folder in MEDIA_FOLDERS}
    return {
        folder: frozenset(file.name for file in path.iterdir()) if path.is_dir() else frozenset()
        for folder, path in folders.items()
    }


def find_video(name: str, names: MediaNames) -> str:
    """Find the path of a clip relative to the root; give the usual path of a missing clip.

    Raises:
        ValueError: the name leaves the folder.
    """
    if "/" in name or "\\" in name:
        raise ValueError(f"video_name {shown(name)} holds a folder separator")
    stem, ending = split_ending(name)
    clip, _, start = stem.rpartition("_")
    variants = [stem]
    if clip and start.isdecimal() and len(start) < 10:
        variants += [f"{clip}_{int(start):06d}", f"{clip}_{int(start)}"]
    return names.find(
        *(
            f"{folder}/{variant}{ending or '.mp4'}".lstrip("/")
            for folder in MEDIA_FOLDERS
            for variant in dict.fromkeys(variants)
        )
    )


def _with_options(path: Path, counts: Counter[str]) -> Iterator[tuple[int, Any]]:
    for number, row in enumerate(read_json_list(path), start=1):
        if isinstance(row, dict) and not row.get("multi_choice", True):
            counts["dropped/no_options"] += 1
        else:
            yield number, row
