"""What is exported: one row of the dataset with its prompt, and what a format asks of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.types import Sample

__all__ = ["Extracted", "Format", "Item", "Options", "find_fault"]

_SPECIAL = re.compile(r"<\|[A-Za-z_]+\|>")
"""What a tokenizer takes for a token of its own, such as one that stands for a picture."""
_PLACEHOLDER = re.compile(r"<(?:image|video|audio|bbox|ref-object|start-image|cot-process)>")
"""What a trainer replaces by a medium wherever it stands in a text."""


@dataclass(frozen=True)
class Extracted:
    """A clip's media as files of the export, relative to its folder."""

    frames: tuple[str, ...]
    fps: float
    sound: str
    """FLAC, at most `media.max_audio_s` long."""
    file: str | None
    """The picture or video as it is, where the format takes whole files."""


@dataclass(frozen=True)
class Item:
    """One row on its way out."""

    sample: Sample
    trace: str | None
    system: str | None
    text: str
    """The student's prompt, filled."""
    row: Mapping[str, Any]
    """All columns of the dataset."""
    media: Extracted | None = None

    @property
    def is_video(self) -> bool:
        return self.sample.video is not None


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    with_media: bool = False
    grpo: bool = False
    """Prompts with their solution, for reinforcement learning, instead of prompts with a trace."""
    absolute: bool = False
    root: Path | None = None
    """Set by `placed`."""
    folder: Path | None = None

    def placed(self, root: Path, folder: Path) -> Options:
        """With the places that absolute paths begin with."""
        return replace(self, root=root.resolve(), folder=folder.resolve())

    def source(self, path: str) -> str:
        """How the export names a file of the dataset."""
        return str(self.root / path) if self.absolute and self.root else path

    def exported(self, path: str) -> str:
        """How the export names a file in its own folder."""
        return str(self.folder / path) if self.absolute and self.folder else path


@dataclass(frozen=True)
class Format:
    """One form of the dataset."""

    write: Callable[[Path, Mapping[str, Sequence[Item]], Options, Path], None]
    """Called with the folder, the items of each split, the options and the run directory."""
    has_grpo: bool
    is_chat: bool = True
    """Its texts go through a chat template, and every row needs picture and sound."""
    has_placeholders: bool = False
    """Media stand in its texts as `<video>`."""
    separate_sound: bool = True
    """It can say that a video's sound lies in another file."""
    takes_files: bool = False
    """With media it takes whole clips, not frames."""
    keeps_clips: bool = True
    """With media its folder `media` stays; others have the bytes inside of their files."""
    has_paths: bool = True
    note: str = ""
    """What else its user must know."""


def find_fault(item: Item, form: Format, options: Options) -> str | None:
    """Why a row cannot be exported in this format; None when it can."""
    sample = item.sample
    if form.is_chat or options.with_media:
        if sample.picture_path is None:
            return "no_picture"
        if sample.sound_path is None:
            return "no_sound"
    if not form.is_chat:
        return None
    if not item.trace and not options.grpo:
        return "no_trace"
    texts = "\n".join((item.system or "", item.text, item.trace or ""))
    if _SPECIAL.search(texts) or (form.has_placeholders and _PLACEHOLDER.search(texts)):
        return "media_token"
    is_separate = item.is_video and sample.audio is not None
    if is_separate and not form.separate_sound and (form.takes_files or not options.with_media):
        return "separate_sound"
    return None
