"""Read frames and sound out of a file, in a single pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from av.stream import Discard

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.cache import local_file
from avrt.media.failures import decoding
from avrt.media.files import (
    MediaFile,
    audio_stream,
    check_file,
    open_file,
    read_packets,
    video_stream,
)
from avrt.media.frames import Taken, take_frames
from avrt.media.kinds import picture_kind
from avrt.media.picture import read_picture
from avrt.media.waveform import SoundDecoder
from avrt.types import Frames, Modality, Waveform

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["Decoded", "read_clip", "read_frames", "read_waveform"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """The requested media of a file; the others are None."""

    frames: Frames | None
    waveform: Waveform | None


def read_frames(path: Path, media: MediaConfig) -> Frames:
    """Read frames at even distances, the first and the last included.

    They are `media.n_frames`, or with `media.fps` as many as `count_frames` says.

    A picture file gives a single still frame. A clip with fewer frames repeats frames. Frames fit
    in `media.max_pixels`; they are upright, with square pixels.

    Raises:
        MediaError: the file cannot give frames; `error_class` says why.
    """
    frames = read_clip(path, media, "v").frames
    assert frames is not None
    return frames


def read_waveform(path: Path, media: MediaConfig) -> Waveform:
    """Read the first `media.max_audio_s` seconds, fewer when the sound is shorter.

    Raises:
        MediaError: the file cannot give sound; `error_class` says why.
    """
    waveform = read_clip(path, media, "a").waveform
    assert waveform is not None
    return waveform


def read_clip(path: Path, media: MediaConfig, modality: Modality) -> Decoded:
    """Read frames for "v", sound for "a", both for "av", as `read_frames` and `read_waveform` do.

    Raises:
        MediaError: a requested modality is absent (no_video, no_audio), or the file failed.
    """
    with local_file(path, media) as local, decoding(local):
        kind = picture_kind(check_file(local, media))
        if kind is None:
            return _read_tracks(local, media, modality)
        if "a" in modality:
            raise MediaError(
                "no_audio", str(local), "is a picture; name the sound file in the sample's `audio`"
            )
        return Decoded(read_picture(local, kind, media), None)


def _read_tracks(path: Path, media: MediaConfig, modality: Modality) -> Decoded:
    with open_file(path, media) as file:
        video = video_stream(file, media) if "v" in modality else None
        sound = None
        if "a" in modality:
            sound = SoundDecoder(audio_stream(file), path, media)
        video_packets = _demux(file, media, video, sound)
        taken = _take(file, video, video_packets, media) if video else None
        frames = waveform = None
        if taken:
            fault = "truncated" if file.is_cut else "damaged" if taken.damaged else None
            frames = Frames(
                taken.pixels,
                taken.times_s,
                taken.fps,
                fault=fault,
                source_pixels=taken.source_pixels,
            )
        if sound:
            waveform = sound.finish(
                "truncated" if file.is_cut else None, taken.start_s if taken else None
            )
    for decoded in (frames, waveform):
        if decoded and decoded.fault and media.damaged == "refuse":
            raise MediaError(
                decoded.fault,
                str(path),
                "parts of it do not decode; download it again, or set media.damaged to "
                '"use" to take the parts that decode',
            )
    return Decoded(frames, waveform)


def _demux(
    file: MediaFile, media: MediaConfig, video: VideoStream | None, sound: SoundDecoder | None
) -> list[Packet[Any]]:
    """Read the file once: video packets are kept, since the rule needs their number first."""
    kept: list[Packet[Any]] = []
    streams = [stream for stream in (video, sound and sound.stream) if stream]
    for packet in read_packets(file, media, *streams):
        if video and packet.stream_index == video.index:
            kept.append(packet)
        elif sound:
            sound.feed(packet)
            if sound.is_full:
                if not video:
                    break
                sound.stream.discard = Discard.all
    return kept


def _take(
    file: MediaFile, video: VideoStream, packets: list[Packet[Any]], media: MediaConfig
) -> Taken:
    taken = take_frames(video, packets, media)
    if taken is None:
        raise MediaError(
            "undecodable", str(file.path), "no frame of the video track decodes; download it again"
        )
    return taken
