"""AVQA's own annotation files: `{split}_qa.json`, a list of questions about VGG-Sound clips.

The media lie in `videos/` or directly in the root, as `NAME.mp4`. Mirrors of VGG-Sound disagree on
whether the start second in NAME is padded with zeros to six digits, so AVRT looks for both names.

The decision to question: some rows of the published files have no options (`multi_choice` is null).
They are dropped as `no_options`; every other departure from the format stops the reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from avrt.datasets.rows import option_texts, read_json_list, text
from avrt.errors import DataError
from avrt.types import Relation, Sample

__all__ = ["RELATION_OF", "find_video", "names_in_folders", "read_avqa"]

RELATION_OF: dict[str, Relation] = {
    "view": "visual",
    "visual": "visual",
    "sound": "sound",
    "both": "both",
}
MEDIA_FOLDERS = ("videos", "")


def read_avqa(root: Path, split: str, counts: Counter[str] | None = None) -> Iterator[Sample]:
    """Yield the samples of one split in file order; `counts` gets `dropped/no_options`.

    Raises:
        DataError: the file has another format, or an id occurs twice; file and row are named.
    """
    path = root / f"{split}_qa.json"
    present = names_in_folders(root)
    first_row: dict[str, int] = {}
    for row, item in enumerate(read_json_list(path), start=1):
        source = f"{path.name}:{row}"
        try:
            if not item["multi_choice"]:
                if counts is not None:
                    counts["dropped/no_options"] += 1
                continue
            sample = _to_sample(item, f"avqa-{split}-{item['id']}", present, source)
        except KeyError as error:
            raise DataError(f"{path}: row {row}: the field {error} is missing; add it") from error
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: row {row}: {error}; correct the row or remove it") from error
        if sample.id in first_row:
            both = f"rows {first_row[sample.id]} and {row}"
            raise DataError(f"{path}: {both} have the same id {item['id']!r}; make ids unique")
        first_row[sample.id] = row
        yield sample


def names_in_folders(root: Path) -> dict[str, frozenset[str]]:
    """List the files in each folder that may hold AVQA's media."""
    folders = {folder: root / folder for folder in MEDIA_FOLDERS}
    return {
        folder: frozenset(file.name for file in path.iterdir()) if path.is_dir() else frozenset()
        for folder, path in folders.items()
    }


def find_video(name: str, present: dict[str, frozenset[str]]) -> str:
    """Find the path of a clip relative to the root; give the usual path of a missing clip.

    Raises:
        ValueError: the name leaves the folder.
    """
    if "/" in name or "\\" in name:
        raise ValueError(f"video_name {name!r} holds a folder separator")
    clip, _, start = name.rpartition("_")
    variants = [name]
    if clip and start.isdecimal():
        variants += [f"{clip}_{int(start):06d}", f"{clip}_{int(start)}"]
    for folder in MEDIA_FOLDERS:
        for variant in variants:
            if f"{variant}.mp4" in present[folder]:
                return str(PurePosixPath(folder, f"{variant}.mp4"))
    return f"videos/{name}.mp4"


def _to_sample(
    item: dict[str, Any], sample_id: str, present: dict[str, frozenset[str]], source: str
) -> Sample:
    relation = text(item, "question_relation").lower()
    if relation not in RELATION_OF:
        raise ValueError(f"question_relation {relation!r} is not one of {', '.join(RELATION_OF)}")
    return Sample(
        id=sample_id,
        question=text(item, "question_text"),
        options=option_texts(item, "multi_choice"),
        answer_index=int(str(item["answer"])),
        question_type=text(item, "question_type"),
        question_relation=RELATION_OF[relation],
        video_id=str(item["video_id"]),
        video=find_video(text(item, "video_name"), present),
        image=None,
        audio=None,
        source=source,
    )
