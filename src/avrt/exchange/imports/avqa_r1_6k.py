"""AVQA-R1-6K as published: JSON lists of pictures with sounds and questions, without traces.

It reads any list of that form, also lists of videos and what `avrt export --to video-r1` writes,
and takes the field `process` as the trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from avrt.datasets.names import MediaNames
from avrt.datasets.rows import read_json_list
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

__all__ = ["AVQA_R1_6K"]

_FILES = {
    "train": ("train/omni_rl_format_train.json", "omni_rl_format_train.json", "train.json"),
    "validation": ("valid/omni_rl_format_valid.json", "omni_rl_format_valid.json",
                   "validation.json"),
}  # fmt: skip
"""The list of each split; the first that exists is read."""


def _read(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for split, names in _FILES.items():
        name = next((name for name in names if (folder / name).is_file()), None)
        if name is not None:
            rows += _read_list(folder / name, name, split)
    if not rows:
        raise DataError(
            f"{folder}: no rows in omni_rl_format_train.json and omni_rl_format_valid.json, here "
            "or in train/ and valid/, nor in train.json and validation.json; name the folder of "
            "AVQA-R1-6K, or of an export for video-r1"
        )
    return rows


def _read_list(path: Path, name: str, split: str) -> Iterator[Row]:
    published = "valid" if split == "validation" else split
    for number, row in enumerate(read_json_list(path), start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: a {type(row).__name__}, not a question")
        row_id = f"avqa-r1-6k-{published}-{row.get('problem_id', f'row{number}')}"
        yield Row(row_id, row, f"{name}:{number}", split)


def _to_sample(row: Row, known: Mapping[str, Any]) -> tuple[Sample, str | None]:
    values = row.values
    if values.get("problem_type") != "multiple choice":
        raise MalformedError("not_multiple_choice")
    options = options_of(values.get("options"))
    target = re.fullmatch(r"\s*<answer>\s*([A-H])\s*</answer>\s*", str(values.get("solution")))
    if target is None:
        raise MalformedError("bad_answer")
    media = _media(values.get("path"), PurePosixPath(row.source).parent, known["present"])
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
    return sample, _trace(values.get("process"), target[1])


def _trace(process: object, letter: str) -> str | None:
    """Give the thought with its answer behind it, which exporters leave to the solution."""
    if not process:
        return None
    text = text_of(process, "no_trace")
    return text if "<answer>" in text else f"{text}\n<answer>{letter}</answer>"


def _media(value: object, folder: PurePosixPath, present: MediaNames) -> dict[str, str | None]:
    """Give the files of a row; its paths are relative to the folder of its list."""
    given = value if isinstance(value, dict) else {"video": value}
    named = {kind: given.get(kind) or None for kind in ("video", "image", "audio")}
    if not named["video"] and not (named["image"] and named["audio"]):
        raise MalformedError("no_media")
    files: dict[str, str | None] = dict.fromkeys(named)
    for kind, name in named.items():
        if name is None:
            continue
        try:
            files[kind] = present.find((folder / text_of(name, "bad_path")).as_posix())
        except ValueError as error:  # it leaves the folder
            raise MalformedError("bad_path") from error
    return files


AVQA_R1_6K = Source(
    _read,
    _to_sample,
    lambda _rows, root: {"present": MediaNames(root)},
    "The questions are AVQA's, by way of OmniInstruct; the pictures and sounds are cut out of clips"
    "\nwhose copyright stays with their owners.",
)
