"""From a media file to what a prompt carries: the part of a call that worker processes do.

For a server the media are encoded, and kept in RUN/payloads; for a model in this process they stay
pixels and samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import read_frames, read_waveform
from avrt.media.payloads import encode_frames, encode_sound
from avrt.media.store import PayloadStore
from avrt.runs import file_digest
from avrt.types import EncodedFrames, EncodedSound, Frames, Waveform

__all__ = ["Media", "Payload", "read_all", "read_decoded", "read_encoded"]

Payload: TypeAlias = Frames | Waveform | EncodedFrames | EncodedSound


@dataclass(frozen=True)
class Media:
    """The one modality a call needs, not decoded yet."""

    kind: Literal["frames", "audio"]
    """Which field of the prompt it fills."""
    path: Path
    file_sha256: str | None
    """Digest of the file, as prepare found it; None when prepare could not read it."""
    recipe: Mapping[str, Any]
    """What decides the decoded result besides the file: part of the call's key."""
    limits: Mapping[str, Any]
    """What decides whether the file is refused."""

    @property
    def conditions(self) -> dict[str, Any]:
        """All that decides what becomes of the file."""
        return {**self.recipe, **self.limits}


def read_all(
    media: tuple[Media, ...], settings: MediaConfig, store: PayloadStore | None
) -> tuple[Payload, ...]:
    """All media of one prompt: encoded where there is a store, else as pixels and samples.

    Raises:
        MediaError: one of the files cannot be used, or is not the one that was prepared.
        OSError: the store cannot be read or written.
    """
    if store is None:
        return tuple(read_decoded(one, settings) for one in media)
    return tuple(read_encoded(one, settings, store) for one in media)


def read_decoded(media: Media, settings: MediaConfig) -> Frames | Waveform:
    """Pixels or samples.

    Raises:
        MediaError: the file cannot give them, or is not the one that was prepared.
    """
    if _is_changed(media):
        raise MediaError(
            "missing",
            str(media.path),
            "another file has the name of the one that was prepared; bring that back, or run "
            "`avrt prepare` again",
        )
    read = read_frames if media.kind == "frames" else read_waveform
    return read(media.path, settings)


def read_encoded(
    media: Media, settings: MediaConfig, store: PayloadStore
) -> EncodedFrames | EncodedSound:
    """The bytes for a server: from the store, else made and stored.

    Raises:
        MediaError: as in `read_decoded`.
        OSError: the store cannot be read or written.
    """
    form = {"jpeg_quality"} if media.kind == "frames" else {"audio_format"}
    recipe = {**media.conditions, **settings.model_dump(include=form)}
    stored = store.find(media.file_sha256, recipe) if media.file_sha256 else None
    if stored is not None:
        return stored
    decoded = read_decoded(media, settings)
    if isinstance(decoded, Frames):
        encoded = encode_frames(decoded, settings)
    else:
        encoded = encode_sound(decoded, settings)
    if media.file_sha256:
        store.add(media.file_sha256, recipe, encoded)
    return encoded


def _is_changed(media: Media) -> bool:
    try:
        return media.file_sha256 not in (None, file_digest(media.path))
    except OSError:
        return False  # reading the file says what is wrong with it
