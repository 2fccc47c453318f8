"""AVQA's own annotation files: `{split}_qa.json`, a list of questions about VGG-Sound clips.

The media lie in `videos/` or directly in the root, as `NAME.mp4`. Mirrors of VGG-Sound disagree on
whether the start second in NAME is padded with zeros to six digits, so both are looked for.

The decision to question: some rows of the published files have no options (`multi_choice` is null).
They are dropped under `no_options`; every other departure from the format stops the reader.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

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
        DataError: not AVQA's format, or an id that occurs twice; file and row are named.
    """
    path = root / f"{split}_qa.json"
    present = names_in_folders(root)
    first_row: dict[str, int] = {}
    for row, item in enumerate(_read_list(path), start=1):
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
    """The names of the files in each folder where AVQA's media may lie."""
    folders = {folder: root / folder for folder in MEDIA_FOLDERS}
    return {
        folder: frozenset(file.name for file in path.iterdir()) if path.is_dir() else frozenset()
        for folder, path in folders.items()
    }


def find_video(name: str, present: dict[str, frozenset[str]]) -> str:
    """Path of the clip relative to the root; where it belongs when it is not there.

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


def _read_list(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: not UTF-8; save it as UTF-8") from error
    if not isinstance(content, list):
        raise DataError(f"{path}: a {type(content).__name__}, not a list of questions")
    return content


def _to_sample(
    item: dict[str, Any], sample_id: str, present: dict[str, frozenset[str]], source: str
) -> Sample:
    relation = _text(item, "question_relation").lower()
    if relation not in RELATION_OF:
        raise ValueError(f"question_relation {relation!r} is not one of {', '.join(RELATION_OF)}")
    if not isinstance(item["multi_choice"], list):
        raise ValueError(f"multi_choice is a {type(item['multi_choice']).__name__}, not a list")
    return Sample(
        id=sample_id,
        question=_text(item, "question_text"),
        options=tuple(_option(option) for option in item["multi_choice"]),
        answer_index=int(str(item["answer"])),
        question_type=_text(item, "question_type"),
        question_relation=RELATION_OF[relation],
        video_id=str(item["video_id"]),
        video=find_video(_text(item, "video_name"), present),
        image=None,
        audio=None,
        source=source,
    )


def _text(item: dict[str, Any], field: str) -> str:
    value = item[field]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} is {value!r}, not a text")
    return value.strip()


def _option(option: object) -> str:
    """Options are texts; counts such as 3 are written as numbers in some rows."""
    if isinstance(option, bool) or not isinstance(option, str | int | float) or option == "":
        raise ValueError(f"option {option!r} is not a text")
    return str(option).strip()
