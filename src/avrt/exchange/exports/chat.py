"""Rows of messages: TRL, ms-swift and LLaMA-Factory.

Placeholders are written in front of the text, one for each medium in the row's lists, so that
their numbers are equal by construction. Rows whose texts hold a placeholder were dropped before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from avrt.exchange.exports.formats import Entry, ExportFormat, ExportOptions, write_list
from avrt.runs import atomic_file, write_json

__all__ = ["LLAMAFACTORY", "MS_SWIFT", "TRL", "llamafactory_row", "ms_swift_row", "trl_row"]

Row = dict[str, Any]


def trl_row(entry: Entry, options: ExportOptions) -> Row:
    """Write a conversation in parts; with media, frames are `images`, else files are parts."""
    parts, columns = _trl_media(entry, options)
    system = [] if entry.system is None else [_text_turn("system", entry.system)]
    parts = [*parts, {"type": "text", "text": entry.text}]
    row: Row = {"id": entry.sample.id, "prompt": [*system, {"role": "user", "content": parts}]}
    if not options.grpo:
        row["completion"] = [_text_turn("assistant", entry.trace or "")]
    return {**row, **columns, "solution": entry.sample.target}


def ms_swift_row(entry: Entry, options: ExportOptions) -> Row:
    """Write a clip with its own sound; with media, frames and a separate sound."""
    media, sample = entry.media, entry.sample
    lists: dict[str, list[Any]] = {}
    extra: Row = {}
    if media is None:
        picture, sound = options.files_of(entry)
        lists["videos" if entry.is_video else "images"] = [picture]
        if not entry.is_video:
            lists["audios"] = [sound]
    else:
        frames = [options.exported(name) for name in media.frames]
        if entry.is_video:
            lists["videos"] = [frames]
            extra["chat_template_kwargs"] = {"fps": round(media.fps, 6)}
        else:
            lists["images"] = frames
        lists["audios"] = [options.exported(media.sound)]
    row: Row = {"messages": _messages(entry, lists, options), **lists, **extra}
    if options.grpo:
        row |= {"solution": sample.target, "id": sample.id}
    return row


def llamafactory_row(entry: Entry, options: ExportOptions) -> Row:
    """Write a picture or video, always followed by its sound."""
    picture, sound = options.files_of(entry)
    lists = {"videos" if entry.is_video else "images": [picture], "audios": [sound]}
    return {"messages": _messages(entry, lists, options), **lists}


def _trl_media(entry: Entry, options: ExportOptions) -> tuple[list[Row], Row]:
    media = entry.media
    if media is None:
        kinds = ("video" if entry.is_video else "image", "audio")
        files = zip(kinds, options.files_of(entry), strict=True)
        return [{"type": kind, kind: path} for kind, path in files], {}
    frames = [options.exported(name) for name in media.frames]
    return [{"type": "image"} for _ in frames], {
        "images": frames,
        "audio": options.exported(media.sound),
    }


def _text_turn(role: str, text: str) -> Row:
    return {"role": role, "content": [{"type": "text", "text": text}]}


_MARKS = {"images": "<image>", "videos": "<video>", "audios": "<audio>"}


def _messages(
    entry: Entry, lists: Mapping[str, Sequence[Any]], options: ExportOptions
) -> list[Row]:
    """Write the turns, with a placeholder for each medium, picture before sound."""
    marks = "".join(mark * len(lists.get(name, ())) for name, mark in _MARKS.items())
    turns = [] if entry.system is None else [{"role": "system", "content": entry.system}]
    turns.append({"role": "user", "content": marks + entry.text})
    if not options.grpo:
        turns.append({"role": "assistant", "content": entry.trace or ""})
    return turns


def _write_lines(
    to_row: Callable[[Entry, ExportOptions], Row],
    out: Path,
    entries: Mapping[str, Collection[Entry]],
    options: ExportOptions,
    _run: Path,
) -> None:
    for split, of_split in entries.items():
        with atomic_file(out / f"{split}.jsonl") as file:
            for entry in of_split:
                row = json.dumps(to_row(entry, options), ensure_ascii=False)
                file.write(row.encode() + b"\n")


def _write_llamafactory(
    out: Path, entries: Mapping[str, Collection[Entry]], options: ExportOptions, _run: Path
) -> None:
    """Give every row all lists of any row, since the loader asks each row for all of them."""
    present = {
        name
        for of_split in entries.values()
        for entry in of_split
        for name in llamafactory_row(entry, options)
    }
    columns = [name for name in ("messages", *_MARKS) if name in present]
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {f"{role}_tag": role for role in ("user", "assistant", "system")}
    info: Row = {}
    for split, of_split in entries.items():
        name = "avrt_sft" if split == "train" else f"avrt_sft_{split}"
        rows = (llamafactory_row(entry, options) for entry in of_split)
        full = ({column: row.get(column, []) for column in columns} for row in rows)
        write_list(out / f"{name}.json", full)
        info[name] = {
            "file_name": f"{name}.json",
            "formatting": "sharegpt",
            "columns": {column: column for column in columns},
            "tags": tags,
        }
    write_json(out / "dataset_info.json", info)


TRL = ExportFormat(write=partial(_write_lines, trl_row), has_grpo=True)
MS_SWIFT = ExportFormat(
    write=partial(_write_lines, ms_swift_row),
    has_grpo=True,
    has_placeholders=True,
    separate_sound=False,
    note="ms-swift: without --with-media a video brings its own sound, so set "
    "USE_AUDIO_IN_VIDEO=true; with it, leave that unset",
)
LLAMAFACTORY = ExportFormat(
    write=_write_llamafactory,
    has_grpo=False,
    has_placeholders=True,
    takes_files=True,
    note="LLaMA-Factory: set dataset_dir to the folder, media_dir to the folder that the paths are "
    "relative to, and use_audio_in_video: true",
)
