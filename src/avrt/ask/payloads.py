"""From the files of a clip to the media of a prompt: the part of a call that worker processes do.

For a server the media are encoded, and kept in RUN/payloads or `media.payloads`; for a model in
this process they stay pixels and samples. A clip whose picture and sound are wanted from one file
is read in one pass.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import SAMPLE_RATE_HZ, read_clip
from avrt.media.cache import file_stamp, local_file
from avrt.media.payloads import encode_frames, encode_sound
from avrt.media.processes import map_files
from avrt.media.store import PayloadStore
from avrt.runs import file_digest
from avrt.types import EncodedFrames, EncodedSound, Frames, Given, Modality, Sample, Waveform

__all__ = [
    "HALVES",
    "NO_CLIP",
    "Clip",
    "Clips",
    "File",
    "Kind",
    "Media",
    "Payload",
    "Source",
    "read_ahead",
    "read_sources",
]

Owner = TypeVar("Owner")
Kind = Literal["frames", "audio"]
"""The field of a prompt that a medium fills."""
Payload: TypeAlias = Frames | Waveform | EncodedFrames | EncodedSound
Media: TypeAlias = Mapping[Kind, Payload | MediaError]
"""The media of one clip, or the reason why one cannot be had."""

HALVES: dict[Given, tuple[Kind, ...]] = {
    "none": (),
    "v": ("frames",),
    "a": ("audio",),
    "av": ("frames", "audio"),
}
"""The media that a prompt of each modality needs, in the order in which they are read."""
_FRAME_SETTINGS = {"n_frames", "max_pixels", "size_factor"}
_LIMITS = {"damaged", "max_file_mb", "max_source_pixels", "max_clip_s"}
"""Settings of `media` that decide whether a file is refused."""
_LETTERS: dict[Kind, Modality] = {"frames": "v", "audio": "a"}


@dataclass(frozen=True)
class File:
    """Knowledge of a media file from before this run of the program."""

    sha256: str | None
    """None when the file could not be read."""
    stamp: tuple[int, int] | None = None
    """Size and time of change when the digest was taken; None: only the digest is compared."""


@dataclass(frozen=True)
class Source:
    """One medium of a clip, not decoded yet."""

    kind: Kind
    root: Path
    name: str
    """Path of the file below `root`."""
    file: File
    recipe: Mapping[str, Any]
    """The settings that decide the decoded result besides the file: part of the call's key."""
    limits: Mapping[str, Any]
    """The settings that decide whether the file is refused."""

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def conditions(self) -> dict[str, Any]:
        """All that decides the outcome of decoding besides the file."""
        return {**self.recipe, **self.limits}


@dataclass(frozen=True)
class Clip:
    """The picture and the sound of a sample; drafts in a row with equal clips are read together."""

    frames: Source | None = None
    audio: Source | None = None

    def sources(self, given: Given) -> tuple[Source | None, ...]:
        """The media that a prompt of this modality needs; None: the sample names none."""
        return tuple(getattr(self, kind) for kind in HALVES[given])


NO_CLIP = Clip()
"""The clip of a draft about text alone."""


@dataclass(frozen=True)
class Clips:
    """Makes the clips of the samples of one dataset."""

    root: Path
    media: MediaConfig
    files: Mapping[str, File]
    """The known files by their path below `root`."""
    _recipes: dict[Kind, dict[str, Any]] = field(init=False)
    _limits: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        frames = self.media.model_dump(include=_FRAME_SETTINGS)
        if self.media.fps is not None:  # so that the keys of older calls hold; so below
            frames["fps"] = self.media.fps
        audio: dict[str, Any] = {"max_audio_s": self.media.max_audio_s, "rate_hz": SAMPLE_RATE_HZ}
        if self.media.opposite_phase != "mix":
            audio["opposite_phase"] = self.media.opposite_phase
        recipes = {"frames": {"kind": "frames", **frames}, "audio": {"kind": "audio", **audio}}
        object.__setattr__(self, "_recipes", recipes)
        object.__setattr__(self, "_limits", self.media.model_dump(include=_LIMITS))

    def of(self, sample: Sample) -> Clip:
        """The clip of a sample; nothing is opened."""
        return Clip(
            self._source("frames", sample.picture_path), self._source("audio", sample.sound_path)
        )

    def _source(self, kind: Kind, name: str | None) -> Source | None:
        if name is None:
            return None
        file = self.files.get(name) or File(None)
        return Source(kind, self.root, name, file, self._recipes[kind], self._limits)


def read_ahead(
    clips: Iterable[tuple[Owner, list[Source]]],
    settings: MediaConfig,
    store: PayloadStore | None,
) -> Generator[tuple[Owner, Media | MediaError]]:
    """Yield the owners of clips with their media, some read ahead in other processes.

    They come in order, but for clips that are read once more, whose owners come later. A MediaError
    stands for all media of a clip when the process that read it died.
    """
    for has_media, same in groupby(clips, key=lambda clip: bool(clip[1])):
        if not has_media:
            yield from ((owner, {}) for owner, _ in same)
            continue
        owners: dict[int, Owner] = {}
        with closing(
            map_files(
                partial(read_sources, settings=settings, store=store),
                _noting_owners(same, owners),
                path_of=lambda sources: sources[0].name,
                timeout_s=settings.timeout_s,
                workers=settings.workers,
            )
        ) as results:
            for sources, media in results:
                yield owners.pop(id(sources)), media


def _noting_owners(
    clips: Iterable[tuple[Owner, list[Source]]], owners: dict[int, Owner]
) -> Iterator[list[Source]]:
    for owner, sources in clips:
        owners[id(sources)] = owner
        yield sources


def read_sources(
    sources: Sequence[Source], settings: MediaConfig, store: PayloadStore | None
) -> Media:
    """The media of one clip: encoded where there is a store, else as pixels and samples.

    Raises:
        AvrtError: the store cannot be written.
    """
    stored = {} if store is None else _find_stored(sources, settings, store)
    left = [source for source in sources if source.kind not in stored]
    media: dict[Kind, Payload | MediaError] = {**stored}
    if len(left) == 2 and left[0].path == left[1].path:
        decoded = _decode(left, settings)
        if not isinstance(decoded, MediaError):
            return media | _encode_all(left, decoded, settings, store)
    for source in left:  # one by one: when one of the two fails, the other may still be there
        decoded = _decode([source], settings)
        if isinstance(decoded, MediaError):
            media[source.kind] = decoded
        else:
            media |= _encode_all([source], decoded, settings, store)
    return media


def _find_stored(
    sources: Sequence[Source], settings: MediaConfig, store: PayloadStore
) -> dict[Kind, Payload]:
    stored: dict[Kind, Payload] = {}
    for source in sources:
        if source.file.sha256:
            payload = store.find(source.file.sha256, _form(source, settings))
            if payload is not None:
                stored[source.kind] = payload
    return stored


def _form(source: Source, settings: MediaConfig) -> dict[str, Any]:
    """The conditions of a stored payload."""
    form = {"jpeg_quality"} if source.kind == "frames" else {"audio_format"}
    return {**source.conditions, **settings.model_dump(include=form)}


def _decode(
    sources: Sequence[Source], settings: MediaConfig
) -> dict[Kind, Frames | Waveform] | MediaError:
    """Pixels and samples of one file, or why it has none; the error holds no path of a machine."""
    source = sources[0]
    try:
        modality: Modality = "av" if len(sources) == 2 else _LETTERS[source.kind]
        with local_file(source.path, settings, source.file.sha256) as local:
            if _is_changed(source, local):
                raise MediaError(
                    "missing",
                    source.name,
                    "another file has the name of the one that was prepared; bring that back, or "
                    "run `avrt prepare` again",
                )
            clip = read_clip(local, settings, modality)
    except MediaError as error:
        return MediaError(
            error.error_class, source.name, error.detail.replace(f"{source.root}/", "")
        )
    decoded = {"frames": clip.frames, "audio": clip.waveform}
    return {source.kind: medium for source in sources if (medium := decoded[source.kind])}


def _encode_all(
    sources: Sequence[Source],
    decoded: Mapping[Kind, Frames | Waveform],
    settings: MediaConfig,
    store: PayloadStore | None,
) -> dict[Kind, Payload]:
    if store is None:
        return {**decoded}
    encoded: dict[Kind, Payload] = {}
    for source in sources:
        medium = decoded[source.kind]
        if isinstance(medium, Frames):
            payload = encode_frames(medium, settings)
        else:  # a stored sound may be used without the pictures beside which it was read
            payload = encode_sound(replace(medium, start_s=None), settings)
        if source.file.sha256:
            store.add(source.file.sha256, _form(source, settings), payload)
        encoded[source.kind] = payload
    return encoded


def _is_changed(source: Source, local: Path) -> bool:
    """Whether another file than the known one has its name; `local` holds its content."""
    if source.file.sha256 is None:
        return False
    is_copy = local != source.path
    try:
        if not is_copy and source.file.stamp and file_stamp(local) == source.file.stamp:
            return False
        return source.file.sha256 != file_digest(local)
    except OSError:
        return False  # reading the file says what is wrong with it
