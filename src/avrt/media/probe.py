"""What a media file holds and whether it can be used.

One demux pass, one decoded frame of each track. Never raises for a bad file: the failure is the
answer. The reason carries no path, so that it can be stored.

The decision to question: one frame is decoded, not all. A file whose tracks start well and break
later is found when it is read; decoding everything here would double the cost of a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from avrt.errors import MediaError
from avrt.media.files import (
    audio_stream,
    check_file,
    is_picture,
    open_container,
    read_packets,
    video_stream,
)
from avrt.media.frames import decode_video, open_picture, quarter_turns
from avrt.media.waveform import decode_audio

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["MediaInfo", "probe"]

Track = TypeVar("Track")


@dataclass(frozen=True)
class MediaInfo:
    """One file; what it lacks is None."""

    path: str
    """As given."""
    sha256: str | None = None
    size_bytes: int | None = None
    container: str | None = None
    """FFmpeg's name of the format, or png, jpeg, webp."""
    video_codec: str | None = None
    """None: there is no picture."""
    width: int | None = None
    """As stored, before rotation."""
    height: int | None = None
    rotation: int | None = None
    """Degrees counter-clockwise, 0 to 270, that bring the stored picture upright."""
    fps: float | None = None
    n_frames: int | None = None
    """Frames that a player shows."""
    duration_s: float | None = None
    audio_codec: str | None = None
    """None: there is no sound."""
    sample_rate_hz: int | None = None
    channels: int | None = None
    audio_duration_s: float | None = None
    status: str = "ok"
    """`ok`, or a class of `MEDIA_ERROR_CLASSES`."""
    reason: str | None = None
    """Why not ok, and what to do."""


def probe(path: Path) -> MediaInfo:
    """Look into one file. A file with only one kind of track is ok; a file with none is not."""
    info = MediaInfo(path=str(path))
    try:
        head = check_file(path)
        with path.open("rb") as file:
            info = replace(
                info, sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=file.tell()
            )
        return replace(info, **(_probe_picture(path) if is_picture(head) else _probe_tracks(path)))
    except MediaError as error:
        return replace(info, status=error.error_class, reason=error.detail)


def _probe_picture(path: Path) -> dict[str, Any]:
    picture = open_picture(path)
    container = {b"\x89P": "png", b"\xff\xd8": "jpeg", b"RI": "webp"}[check_file(path)[:2]]
    size = {"width": picture.width, "height": picture.height, "rotation": 0}
    return {"container": container, "video_codec": container, "n_frames": 1, **size}


def _probe_tracks(path: Path) -> dict[str, Any]:
    with open_container(path) as container:
        video = _present(video_stream, container, path)
        audio = _present(audio_stream, container, path)
        tracks = [track for track in (video, audio) if track is not None]
        if not tracks:
            raise MediaError("not_media", str(path), "has neither picture nor sound; leave it out")
        packets = read_packets(container, path, *tracks)
        found: dict[str, Any] = {"container": container.format.name}
        if video is not None:
            found |= _describe_video(
                video, [packet for packet in packets if packet.stream_index == video.index], path
            )
        if audio is not None:
            found |= _describe_audio(
                audio, [packet for packet in packets if packet.stream_index == audio.index]
            )
    return found


def _present(
    find: Callable[[InputContainer, Path], Track], container: InputContainer, path: Path
) -> Track | None:
    try:
        return find(container, path)
    except MediaError as error:
        if error.error_class in ("no_video", "no_audio"):
            return None
        raise


def _describe_video(
    stream: VideoStream, packets: Sequence[Packet[Any]], path: Path
) -> dict[str, Any]:
    frame = next(decode_video(stream, packets), None)
    if frame is None:
        raise MediaError(
            "undecodable", str(path), "no frame of the video track decodes; download it again"
        )
    return {
        "video_codec": stream.codec_context.name,
        "width": stream.codec_context.width,
        "height": stream.codec_context.height,
        "rotation": quarter_turns(frame) * 90,
        "fps": float(stream.average_rate) if stream.average_rate else None,
        "n_frames": sum(1 for packet in packets if not packet.is_discard),
        "duration_s": _duration_s(packets),
    }


def _describe_audio(stream: AudioStream, packets: Sequence[Packet[Any]]) -> dict[str, Any]:
    if next(decode_audio(stream, packets), None) is None:
        return {}  # a track without one sample is no sound
    return {
        "audio_codec": stream.codec_context.name,
        "sample_rate_hz": stream.codec_context.sample_rate,
        "channels": stream.codec_context.layout.nb_channels,
        "audio_duration_s": _duration_s(packets),
    }


def _duration_s(packets: Sequence[Packet[Any]]) -> float | None:
    """From the first start to the last end of what is shown; None without time stamps."""
    shown = [packet for packet in packets if not packet.is_discard and packet.pts is not None]
    if not shown:
        return None
    start = min(packet.pts for packet in shown if packet.pts is not None)
    end = max(packet.pts + (packet.duration or 0) for packet in shown if packet.pts is not None)
    return float((end - start) * shown[0].time_base)
