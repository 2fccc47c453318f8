"""The JSON of Video-R1 and its descendants; `image_audio` rows follow EchoInk.

`problem` is the question alone: these trainers write the options and their own prompt around it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from avrt.answers import split_trace
from avrt.exchange.exports.formats import Entry, ExportFormat, ExportOptions, write_list
from avrt.types import LETTERS

__all__ = ["VIDEO_R1", "video_r1_row"]


def video_r1_row(entry: Entry, number: int, options: ExportOptions) -> dict[str, Any]:
    """Write a video with its path, or a picture and a sound with two; with a trace, `process`."""
    sample = entry.sample
    row: dict[str, Any] = {
        "problem_id": number,
        "problem": sample.question,
        "data_type": "video" if entry.is_video else "image_audio",
        "problem_type": "multiple choice",
        "options": [
            f"{letter}. {option}" for letter, option in zip(LETTERS, sample.options, strict=False)
        ],
    }
    if not options.grpo:
        parts = split_trace(entry.trace or "")
        row["process"] = f"<think>{parts[0]}</think>" if parts else entry.trace or ""
    solution = {"solution": f"<answer>{sample.target}</answer>"}
    return row | solution | {"path": _path(entry, options), "data_source": "AVRT"}


def _path(entry: Entry, options: ExportOptions) -> str | dict[str, str]:
    picture, sound = options.files_of(entry)
    if not entry.is_video:
        return {"image": picture, "audio": sound}
    return picture if options.absolute else f"./{picture}"


def _write(
    out: Path, entries: Mapping[str, Collection[Entry]], options: ExportOptions, _run: Path
) -> None:
    for split, of_split in entries.items():
        rows = (video_r1_row(entry, number, options) for number, entry in enumerate(of_split, 1))
        write_list(out / f"{split}.json", rows)


VIDEO_R1 = ExportFormat(write=_write, has_grpo=True, separate_sound=False, takes_files=True)
