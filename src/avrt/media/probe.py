"""Probe a media file: its tracks, whether it can be used, and notes on unusual properties.

A single demux pass decodes the sound that models would get, and a frame. A bad file raises no
error: its failure is the result. The reason holds no path, so that it can be stored.

The decision to question: a single frame of the pictures is decoded, not all. A video that starts
well and breaks later is noticed when it is read; decoding all of it here would double the cost of a
run. Only where packets are as small as those of a frozen picture are more frames decoded, until two
differ.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter

from avrt.config import MediaConfig
from avrt.errors import PASSING_CLASSES, MediaError
from avrt.media.cache import file_stamp, local_file
from avrt.media.failures import decoding, is_short_of_memory
from avrt.media.files import (
    MediaFile,
    audio_stream,
    check_file,
    open_file,
    read_packets,
    video_stream,
)
from avrt.media.frames import quarter_turns, shown_size
from avrt.media.kinds import PICTURE_NAMES, picture_kind
from avrt.media.picture import open_picture
from avrt.media.waveform import SILENT_DBFS, SoundDecoder

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from avrt.types import Waveform

__all__ = ["PROBE_SETTINGS", "PROBE_VERSION", "MediaInfo", "probe"]

PROBE_VERSION = 2
"""Increase it when the same file would give another result."""
PROBE_SETTINGS = (
    *("max_audio_s", "damaged", "opposite_phase"),
    *("max_file_mb", "max_source_pixels", "max_clip_s"),
)
"""Settings of `media` that the result depends on."""

FLOOR_DBFS = -120.0
"""Lower levels, down to digital silence, are stored as this level."""
SHORT_AUDIO = 0.5
"""Sound is short below this share of the picture's duration, or of `media.max_audio_s`."""
LATE_AUDIO_S = 0.5
"""Sound that begins later than this after the first frame is late."""
STILL_PACKET = 0.05
"""In a candidate for a still, three of four packets have at most this share of the largest, ..."""
STILL_BYTES = 64
"""... or this many bytes and two bits for every block of 16 x 16. The fourth packet may be a key
frame, or mend one.
"""
STILL_DIFFERENCE = 4
"""Frames are alike when no cell of STILL_CELLS x STILL_CELLS differs by more than this, of 255.

Encoders let a frozen picture waver by 3; a dot of 8 x 8 that moves over 640 x 360 makes 13.
"""
STILL_CELLS = 16
"""Over the picture; fewer where a cell would be smaller than 16 x 16."""
STILL_FRAMES = 1000
"""Frames that are compared; in a longer video the sizes of the packets decide."""

Track = TypeVar("Track")


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """The probe of a file; properties that the file lacks are None."""

    path: str
    """As given."""
    sha256: str | None = None
    size_bytes: int | None = None
    mtime_ns: int | None = None
    """Time of the last change."""
    container: str | None = None
    """FFmpeg's name of the format, or that of a picture: png, jpeg, webp, gif, bmp, tiff, avif."""
    video_codec: str | None = None
    """None: there is no picture."""
    width: int | None = None
    """As stored, before rotation; so is the height."""
    height: int | None = None
    shown_width: int | None = None
    """On a screen: upright, with square pixels; so is the height."""
    shown_height: int | None = None
    rotation: int | None = None
    """Degrees counter-clockwise, 0 to 270, that bring the stored picture upright."""
    fps: float | None = None
    n_frames: int | None = None
    """Frames that a player shows."""
    duration_s: float | None = None
    audio_codec: str | None = None
    """None: there is no sound."""
    n_audio_tracks: int = 0
    """The first one is used."""
    sample_rate_hz: int | None = None
    channels: int | None = None
    audio_duration_s: float | None = None
    n_audio_samples: int | None = None
    """Samples that models get: the used part of the sound, mono, at 16 kHz. None in the probes of
    earlier versions, too.
    """
    audio_start_s: float | None = None
    """Start of the sound, relative to the first frame."""
    rms_dbfs: float | None = None
    """Level of the used part of the sound, mono, relative to the largest amplitude."""
    peak_dbfs: float | None = None
    mono_loss_db: float | None = None
    """Level of the mono mix below the mean level of the channels; None: one channel, or silence."""
    status: str = "ok"
    """`ok`, or a class of `MEDIA_ERROR_CLASSES`."""
    reason: str | None = None
    """The reason why the status is not ok, and the remedy."""
    notes: tuple[str, ...] = ()
    """Unusual properties of a usable file: truncated or damaged (where `media.damaged` is `use`),
    silent, opposite_phase, short_audio, late_audio, still, several_frames.
    """

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture file, a single still frame."""
        return self.container in PICTURE_NAMES


def probe(path: Path, media: MediaConfig) -> MediaInfo:
    """Probe a file. A file with only picture or only sound is ok; a file with neither is not.

    Raises:
        MediaError: of a class in `PASSING_CLASSES`, so that nothing is known about the file.
    """
    size_bytes, mtime_ns = file_stamp(path)  # first: a file that changes meanwhile is noticed
    info = MediaInfo(path=str(path), size_bytes=size_bytes, mtime_ns=mtime_ns)
    stamp = None if size_bytes is None or mtime_ns is None else (size_bytes, mtime_ns)
    try:
        with local_file(path, media, stamp=stamp) as local, decoding(local):
            kind = picture_kind(check_file(local, media))
            with local.open("rb") as file:
                info = replace(info, sha256=hashlib.file_digest(file, "sha256").hexdigest())
            found = _probe(local, media) if kind is None else _probe_picture(local, kind, media)
            return replace(info, **found)
    except MediaError as error:
        if error.error_class in PASSING_CLASSES:
            raise
        return replace(info, status=error.error_class, reason=error.detail)


def _probe_picture(path: Path, kind: str, media: MediaConfig) -> dict[str, Any]:
    image, _, has_more = open_picture(path, kind, media)
    return {
        "container": kind.lower(),
        "video_codec": kind.lower(),
        "n_frames": 1,
        "rotation": 0,
        "notes": ("several_frames",) if has_more else (),
        **_sizes(image.height, image.width, (image.height, image.width)),
    }


def _probe(path: Path, media: MediaConfig) -> dict[str, Any]:
    """Probe the tracks of a sound or video file."""
    with open_file(path, media) as file:
        video = _present(lambda: video_stream(file, media))
        audio = _present(lambda: audio_stream(file))
        tracks = [track for track in (video, audio) if track is not None]
        if not tracks:
            raise MediaError("not_media", str(path), "has neither picture nor sound; remove it")
        sound = SoundDecoder(audio, path, media) if audio else None
        pictures, sounds = (
            _Packets((track and track.time_base) or Fraction(0)) for track in (video, audio)
        )
        frame: VideoFrame | None = None
        for packet in read_packets(file, media, *tracks):
            if sound and packet.stream_index == sound.stream.index:
                sounds.add(packet)
                sound.feed(packet)
            elif video:
                pictures.add(packet)
                frame = frame or next(iter(_decode(video, packet)), None)
        properties: dict[str, Any] = {
            "container": file.container.format.name,
            "n_audio_tracks": len(file.container.streams.audio),
        }
        if video:
            frame = frame or next(iter(_decode(video, None)), None)
            properties |= _describe_video(file, video, frame, pictures)
        waveform = _present(lambda: sound.finish(None, pictures.start_s, None)) if sound else None
        if sound and not waveform and not video:
            raise MediaError("no_audio", str(path), "the sound track holds no sample; remove it")
        if sound and waveform:
            properties |= _describe_audio(sound, waveform, sounds)
        notes = [
            *(["truncated"] if file.is_cut else []),
            *_notes_on_sound(properties, waveform, media, sound is not None and sound.cancels),
        ]
    if waveform and waveform.fault and media.damaged == "refuse":
        detail = (
            "parts of the sound do not decode; download it again, or set media.damaged to "
            '"use" to take the parts that decode'
        )
        raise MediaError("damaged", str(path), detail)
    if video and _may_be_still(properties, pictures.sizes) and _is_still(path, media):
        notes.append("still")
    return properties | {"notes": tuple(notes)}


@dataclass
class _Packets:
    """Properties of a track that its undecoded packets have."""

    unit_s: Fraction
    """Unit of the track's time stamps."""
    n_shown: int = 0
    start: int | None = None
    end: int = 0
    sizes: list[int] = field(default_factory=list)

    def add(self, packet: Packet[Any]) -> None:
        self.sizes.append(packet.size)
        if packet.is_discard:
            return
        self.n_shown += 1
        pts = packet.pts
        if pts is not None:
            self.start = pts if self.start is None else min(self.start, pts)
            self.end = max(self.end, pts + (packet.duration or 0))

    @property
    def start_s(self) -> float | None:
        """Start of the first shown packet; None without time stamps."""
        return None if self.start is None else float(self.start * self.unit_s)

    @property
    def duration_s(self) -> float | None:
        """From the first start to the last end of shown packets; None without time stamps."""
        return None if self.start is None else float((self.end - self.start) * self.unit_s)


def _present(find: Callable[[], Track]) -> Track | None:
    try:
        return find()
    except MediaError as error:
        if error.error_class in ("no_video", "no_audio"):
            return None
        raise


def _decode(stream: VideoStream, packet: Packet[Any] | None) -> list[VideoFrame]:
    """Decode a packet, None at the end of the track; a damaged packet gives no frame."""
    try:
        return stream.codec_context.decode(packet)
    except FFmpegError as error:
        if is_short_of_memory(error):
            raise
        return []


def _describe_video(
    file: MediaFile, stream: VideoStream, frame: VideoFrame | None, packets: _Packets
) -> dict[str, Any]:
    if frame is None:
        raise MediaError(
            "undecodable", str(file.path), "no frame of the video track decodes; download it again"
        )
    turns = quarter_turns(frame)
    context = stream.codec_context
    return {
        "video_codec": context.name,
        "rotation": turns * 90,
        "fps": float(stream.average_rate) if stream.average_rate else None,
        "n_frames": packets.n_shown,
        "duration_s": packets.duration_s,
        **_sizes(context.height, context.width, shown_size(stream, turns)),
    }


def _sizes(height: int, width: int, shown: tuple[int, int]) -> dict[str, int]:
    return {"height": height, "width": width, "shown_height": shown[0], "shown_width": shown[1]}


def _describe_audio(sound: SoundDecoder, waveform: Waveform, packets: _Packets) -> dict[str, Any]:
    context, samples = sound.stream.codec_context, waveform.samples
    power = np.square(samples).sum() / max(1, len(samples))
    return {
        "audio_codec": context.name,
        "sample_rate_hz": context.sample_rate,
        "channels": context.layout.nb_channels,
        "audio_duration_s": packets.duration_s,
        "n_audio_samples": sound.n_resampled,
        "audio_start_s": waveform.start_s,
        "rms_dbfs": _to_dbfs(math.sqrt(power)),
        "peak_dbfs": _to_dbfs(np.abs(samples).max(initial=0.0)),
        "mono_loss_db": sound.mono_loss_db,
    }


def _to_dbfs(amplitude: float) -> float:
    return max(FLOOR_DBFS, round(20 * math.log10(max(float(amplitude), 1e-12)), 2))


def _notes_on_sound(
    properties: Mapping[str, Any], waveform: Waveform | None, media: MediaConfig, cancels: bool
) -> Iterator[str]:
    if waveform is None:
        return
    if waveform.fault:
        yield "damaged"
    if cancels:
        yield "opposite_phase"
    elif properties["peak_dbfs"] < SILENT_DBFS:
        yield "silent"
    picture_s, sound_s = properties.get("duration_s"), properties["audio_duration_s"]
    if picture_s is not None and sound_s is not None:
        wanted_s = picture_s if media.max_audio_s is None else min(picture_s, media.max_audio_s)
        if sound_s < SHORT_AUDIO * wanted_s:
            yield "short_audio"
    if (waveform.start_s or 0.0) > LATE_AUDIO_S:
        yield "late_audio"


def _may_be_still(properties: Mapping[str, Any], sizes: Sequence[int]) -> bool:
    """True when, as in a frozen picture, most packets are tiny or all have about the same size."""
    ordered = sorted(sizes)
    least, most, largest = ordered[0], ordered[3 * (len(ordered) - 1) // 4], ordered[-1]
    next_to_nothing = STILL_BYTES + properties["width"] * properties["height"] / 1024
    return (
        most <= max(next_to_nothing, STILL_PACKET * largest)
        or least >= (1 - STILL_PACKET) * largest
    )


def _is_still(path: Path, media: MediaConfig) -> bool:
    """True when all frames look like the first; stop at the first frame that does not."""
    with open_file(path, media) as file:
        stream = video_stream(file, media)
        packets = chain(read_packets(file, media, stream), [None])
        frames = chain.from_iterable(_decode(stream, packet) for packet in packets)
        size = stream.codec_context.width, stream.codec_context.height
        columns, rows = (min(STILL_CELLS, max(1, side // 16)) for side in size)
        scaler, first = VideoReformatter(), None
        for frame in islice(frames, STILL_FRAMES):
            cells = scaler.reformat(
                frame, columns, rows, "gray", interpolation=Interpolation.AREA, threads=1
            )
            pixels = cells.to_ndarray().astype(np.int16)
            if first is None:
                first = pixels
            elif np.abs(pixels - first).max() > STILL_DIFFERENCE:
                return False
    return True
