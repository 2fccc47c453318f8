"""The JSON of Video-R1 and its descendants; `image_audio` rows are those of EchoInk.

`problem` is the question alone: these trainers write the options and their own prompt around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.answers import split_trace
from avrt.exchange.exports.items import Format, Item, Options
from avrt.runs import write_atomic
from avrt.types import LETTERS

__all__ = ["VIDEO_R1", "video_r1_row"]


def video_r1_row(item: Item, number: int, options: Options) -> dict[str, Any]:
    """A video by one path, a picture and a sound by two; `process` only where there is a trace."""
    sample = item.sample
    row: dict[str, Any] = {
        "problem_id": number,
        "problem": sample.question,
        "data_type": "video" if item.is_video else "image_audio",
        "problem_type": "multiple choice",
        "options": [
            f"{letter}. {option}" for letter, option in zip(LETTERS, sample.options, strict=False)
        ],
    }
    if not options.grpo:
        row["process"] = _thought(item.trace or "")
    solution = {"solution": f"<answer>{sample.target}</answer>"}
    return row | solution | {"path": _path(item, options), "data_source": "AVRT"}


def _thought(trace: str) -> str:
    parts = split_trace(trace)
    return f"<think>{parts[0]}</think>" if parts else trace


def _path(item: Item, options: Options) -> str | dict[str, str]:
    media, sample = item.media, item.sample
    if media is None:
        picture = options.source(sample.picture_path or "")
        sound = options.source(sample.sound_path or "")
    else:
        picture, sound = options.exported(media.file or ""), options.exported(media.sound)
    if not item.is_video:
        return {"image": picture, "audio": sound}
    return picture if options.absolute else f"./{picture}"


def _write(place: Path, items: Mapping[str, Sequence[Item]], options: Options, _run: Path) -> None:
    for split, of_split in items.items():
        rows = [video_r1_row(item, number, options) for number, item in enumerate(of_split, 1)]
        text = json.dumps(rows, ensure_ascii=False, indent=1)
        _write_text(place / f"{split}.json", text)


def _write_text(path: Path, text: str) -> None:
    write_atomic(path, lambda file: file.write(text.encode() + b"\n"))


VIDEO_R1 = Format(write=_write, has_grpo=True, separate_sound=False, takes_files=True)
