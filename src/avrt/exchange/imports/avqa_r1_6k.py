"""AVQA-R1-6K as published: JSON lists of pictures with sounds and questions, without traces.

It reads any list of that form, also lists of videos, and takes the field `process` as the trace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from avrt.errors import DataError
from avrt.exchange.imports.columns import (
    MalformedError,
    Row,
    Source,
    options_of,
    target_of,
    text_of,
)
from avrt.types import LETTERS, Sample

__all__ = ["AVQA_R1_6K", "SPLITS"]

SPLITS = {"train": "train", "valid": "validation"}


def _read(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for split in SPLITS:
        name = f"omni_rl_format_{split}.json"
        path = next(filter(Path.is_file, (folder / split / name, folder / name)), None)
        if path is not None:
            rows += _read_json(path, path.relative_to(folder).as_posix(), split)
    if not rows:
        raise DataError(
            f"{folder}: no rows in omni_rl_format_train.json and omni_rl_format_valid.json, here "
            "or in train/ and valid/; name the folder of AVQA-R1-6K"
        )
    return rows


def _read_json(path: Path, name: str, split: str) -> Iterator[Row]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DataError(f"{path}: not a list of rows")
    for number, row in enumerate(content, start=1):
        row_id = f"avqa-r1-6k-{split}-{row.get('problem_id', f'row{number}')}"
        yield Row(row_id, row, f"{name}:{number}", split)


def _to_sample(row: Row, _known: Mapping[str, Any]) -> tuple[Sample, str | None]:
    values = row.values
    if values.get("problem_type") != "multiple choice":
        raise MalformedError("not_multiple_choice")
    options = options_of(values.get("options"))
    target = re.fullmatch(r"\s*<answer>\s*([A-H])\s*</answer>\s*", str(values.get("solution")))
    if target is None:
        raise MalformedError("bad_answer")
    media = _media(values.get("path"), PurePosixPath(row.source).parent)
    stem = PurePosixPath(media["video"] or media["image"] or "").stem
    sample = Sample(
        id=row.id,
        question=text_of(values.get("problem"), "no_question"),
        options=options,
        answer_index=target_of(LETTERS.index(target[1]), options),
        question_type="unknown",
        question_relation="both",
        video_id=f"{row.split}/{stem}",
        **media,
        source=row.source,
    )
    process = values.get("process")
    return sample, f"{process}\n<answer>{target[1]}</answer>" if process else None


def _media(value: object, folder: PurePosixPath) -> dict[str, str | None]:
    """Give the files of a row; its paths are relative to the folder of its list."""
    given = value if isinstance(value, dict) else {"video": value}
    named = {kind: given.get(kind) for kind in ("video", "image", "audio")}
    if not named["video"] and not (named["image"] and named["audio"]):
        raise MalformedError("no_media")
    files: dict[str, str | None] = {}
    for kind, name in named.items():
        path = folder / str(name)
        if name and (path.is_absolute() or ".." in path.parts):
            raise MalformedError("bad_path")
        files[kind] = path.as_posix() if name else None
    return files


AVQA_R1_6K = Source(
    _read,
    _to_sample,
    lambda _rows, _root: {},
    "The questions are AVQA's, by way of OmniInstruct; the pictures and sounds are cut out of clips"
    "\nwhose copyright stays with their owners.",
)
