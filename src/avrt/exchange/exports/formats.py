"""Common to all export formats: a row with its prompt, the options, and a format's demands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.runs import atomic_file
from avrt.stores import StorePath
from avrt.types import Sample

__all__ = [
    "INCOMPLETE",
    "Entry",
    "ExportFormat",
    "ExportOptions",
    "ExtractedClip",
    "drop_reason",
    "send_all",
    "write_list",
]

INCOMPLETE = "INCOMPLETE.md"
"""Its name is one that no loader reads."""
_SPECIAL = re.compile(r"<\|[A-Za-z_]+\|>")
"""Texts that a tokenizer reads as a special token, such as the token for a picture."""
_PLACEHOLDER = re.compile(r"<(?:image|video|audio|bbox|ref-object|start-image|cot-process)>")
"""Texts that a trainer replaces by a medium wherever they occur."""


@dataclass(frozen=True)
class ExtractedClip:
    """A clip's media as files of the export, relative to its folder."""

    frames: tuple[str, ...]
    fps: float
    sound: str
    """FLAC, at most `media.max_audio_s` long."""
    file: str | None
    """The picture or video as it is, where the format takes whole files."""
    own_sound: str | None = None
    """The sound file as it is, where the format takes whole files and the sample has one."""


@dataclass(frozen=True)
class Entry:
    """A row of the dataset with its filled prompt, and its media when they are exported."""

    sample: Sample
    trace: str | None
    system: str | None
    text: str
    """The student's prompt, filled."""
    row: Mapping[str, Any]
    """All columns of the dataset."""
    media: ExtractedClip | None = None

    @property
    def is_video(self) -> bool:
        return self.sample.video is not None


@dataclass(frozen=True)
class ExportOptions:
    """The options of the command."""

    with_media: bool = False
    grpo: bool = False
    """Prompts with their solution, for reinforcement learning, instead of prompts with a trace."""
    absolute: bool = False
    root: Path | None = None
    """The dataset's folder, which paths of its files begin with; set by `with_roots`."""
    folder: Path | None = None
    """The export's folder, which paths of its files begin with; set by `with_roots`."""
    store: StorePath | None = None
    """The export's folder, when it is in a store; set by `with_roots`."""

    def with_roots(self, root: Path, folder: Path) -> ExportOptions:
        """Give the options with the folders that absolute paths begin with."""
        store = folder if isinstance(folder, StorePath) else None
        return replace(self, root=root.resolve(), folder=folder.resolve(), store=store)

    def source(self, path: str) -> str:
        """Give the path of a file of the dataset as the export writes it."""
        return str(self.root / path) if self.absolute and self.root else path

    def files_of(self, entry: Entry) -> tuple[str, str]:
        """Give the paths of a row's picture or video and its sound as the export writes them."""
        if entry.media is None:
            names = (entry.sample.picture_path or "", entry.sample.sound_path or "")
            return self.source(names[0]), self.source(names[1])
        return self.exported(entry.media.file or ""), self.exported(entry.media.sound)

    def exported(self, path: str) -> str:
        """Give the path of a file in the export's folder as the export writes it."""
        return str(self.folder / path) if self.absolute and self.folder else path


@dataclass(frozen=True)
class ExportFormat:
    """A format of the export, and what it needs."""

    write: Callable[[Path, Mapping[str, Collection[Entry]], ExportOptions, Path], None]
    """Called with the folder, the entries of each split, the options and the run directory."""
    has_grpo: bool
    is_chat: bool = True
    """Its texts go through a chat template, and every row needs picture and sound."""
    has_placeholders: bool = False
    """Its texts hold a placeholder such as `<video>` for each medium."""
    separate_sound: bool = True
    """It has a field for a video's sound in another file."""
    takes_files: bool = False
    """With media it exports whole clips, not frames."""
    keeps_clips: bool = True
    """With media its folder `media` stays; other formats hold the bytes in their own files."""
    is_sharded: bool = False
    """With media it takes the clips one by one, and needs them no longer than for a shard."""
    note: str = ""
    """A hint for the user, printed after the export."""


def drop_reason(entry: Entry, form: ExportFormat, options: ExportOptions) -> str | None:
    """Give the reason why a row cannot be exported in this format, or None."""
    sample = entry.sample
    if form.is_chat or options.with_media:
        if sample.picture_path is None:
            return "no_picture"
        if sample.sound_path is None:
            return "no_sound"
    if not form.is_chat:
        return None
    if not entry.trace and not options.grpo:
        return "no_trace"
    texts = "\n".join((entry.system or "", entry.text, entry.trace or ""))
    if _SPECIAL.search(texts) or (form.has_placeholders and _PLACEHOLDER.search(texts)):
        return "media_token"
    is_separate = entry.is_video and sample.audio is not None
    if is_separate and not form.separate_sound and (form.takes_files or not options.with_media):
        return "separate_sound"
    return None


def send_all(out: Path, store: StorePath) -> None:
    """Move the files of a folder into a store.

    Raises:
        OSError: the store cannot be written.
    """
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        (store / path.relative_to(out)).put(path)
        if path.name != INCOMPLETE:
            path.unlink()


def write_list(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a list of rows as indented JSON, row by row."""
    with atomic_file(path) as file:
        start = b"["
        for row in rows:
            text = json.dumps(row, ensure_ascii=False, indent=1).replace("\n", "\n ")
            file.write(start + b"\n " + text.encode())
            start = b","
        file.write(b"[]\n" if start == b"[" else b"\n]\n")
