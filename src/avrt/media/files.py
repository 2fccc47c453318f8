"""Open a media file, or name the class of its failure.

Only the file itself is read: the protocol is `file`, and the list has no format that reads other
files or addresses (playlists, concatenations, picture sequences), so an annotation cannot reach
outside its folder.

The decision to question: a file that was cut off is `truncated`, never `not_media`, even when its
index is lost and FFmpeg calls it invalid data. Its structure shows it: an MP4 box, a RIFF chunk
or a Matroska segment that ends after the file, or an MP4 without its `moov` box.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.error import FFmpegError
from av.stream import Discard, Disposition

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.failures import decoding, machine_failure
from avrt.media.kinds import HEAD_BYTES, foreign_kind

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = [
    "MediaFile",
    "audio_stream",
    "check_file",
    "check_kind",
    "check_size",
    "open_file",
    "read_packets",
    "video_stream",
]

MAX_PACKETS_PER_S = 2000
"""A file with more packets than this in each second of `media.max_clip_s` is no clip; uncompressed
sound and pictures at 1,000 per second have the most.
"""

FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,m4v,flv,asf,ogg,wav,w64,aiff,caf,mp3,aac,flac,amr,ac3"
"""FFmpeg demuxers that read a single self-contained file."""

MP4_CONTENT_BOXES = (b"moov", b"moof", b"mdat")
UNKNOWN_RIFF_SIZES = (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Sizes that programs write before they know the real size."""
SEGMENT_ID = b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class MediaFile:
    """An open sound or video file."""

    path: Path
    container: InputContainer
    is_cut: bool
    """The end of its structure is missing."""


def check_file(path: Path, media: MediaConfig) -> bytes:
    """Read the first bytes of a regular, readable, non-empty file within the limit of its size.

    Raises:
        MediaError: missing, permission, not_media, too_large or unreadable.
    """
    if "\0" in str(path):
        raise MediaError("missing", str(path), "no such file: a NUL in its name")
    with decoding(path):
        status = path.stat()
        check_kind(path, status.st_mode)
        check_size(path, status.st_size, media)
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)


def check_kind(path: Path, mode: int) -> None:
    """Refuse what is no regular file, before it is read or fetched.

    Raises:
        MediaError: not_media.
    """
    if not stat.S_ISREG(mode):
        raise MediaError(
            "not_media", str(path), "a folder or device, not a file; name the media file itself"
        )


def check_size(path: Path, n_bytes: int, media: MediaConfig) -> None:
    """Refuse an empty file, and one over the limit.

    Raises:
        MediaError: not_media or too_large.
    """
    if n_bytes == 0:
        raise MediaError("not_media", str(path), "the file is empty; download it again")
    if n_bytes > media.max_file_mb * 2**20:
        detail = (
            f"{n_bytes / 2**20:.0f} MiB, more than media.max_file_mb = {media.max_file_mb}; cut "
            "out the clip in question, or raise the limit"
        )
        raise MediaError("too_large", str(path), detail)


@contextmanager
def open_file(path: Path, media: MediaConfig) -> Iterator[MediaFile]:
    """Open a sound or video file; errors in the body are left to `decoding`.

    Raises:
        MediaError: the file cannot be opened, is longer than `media.max_clip_s`, or is cut off
        while `media.damaged` is "refuse".
    """
    head = check_file(path, media)
    foreign = foreign_kind(head)
    if foreign is not None:
        raise MediaError(foreign[0], str(path), foreign[1])
    is_cut = _is_cut(path, head)
    truncated = MediaError(
        "truncated",
        str(path),
        'the end of the file is missing; download it again, or set media.damaged to "use"',
    )
    if is_cut and media.damaged == "refuse":
        raise truncated
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(f"file:{os.fspath(path)}", options=options, metadata_errors="replace")
    except FFmpegError as error:
        if failure := machine_failure(path, error):
            raise failure from error
        if is_cut:
            raise truncated from error
        detail = f"no sound, video or picture format ({error.strerror}); download it again"
        raise MediaError("not_media", str(path), detail) from error
    with container:
        # In Matroska the duration counts from zero, wherever the first packet is.
        length = (container.duration or 0) - max(0, container.start_time or 0)
        if length / av.time_base > media.max_clip_s:
            raise _too_long(path, media)
        yield MediaFile(path, container, is_cut)


def video_stream(file: MediaFile, media: MediaConfig) -> VideoStream:
    """The first real video track, with one decoder thread; a cover picture is not a video.

    Raises:
        MediaError: no_video, too_large or undecodable.
    """
    path, cover = str(file.path), Disposition.attached_pic
    tracks = [track for track in file.container.streams.video if not track.disposition & cover]
    if not tracks:
        raise MediaError(
            "no_video", path, "has no video track; use it for sound only, or remove it"
        )
    context = _decoder(tracks[0], path)
    n_pixels = context.width * context.height
    if n_pixels == 0:
        raise MediaError("undecodable", path, "the video track has no size; convert it again")
    if n_pixels > media.max_source_pixels:
        detail = (
            f"{context.width}x{context.height} is over media.max_source_pixels = "
            f"{media.max_source_pixels}; scale it down, or raise the limit"
        )
        raise MediaError("too_large", path, detail)
    # A picture may grow inside the stream: the decoder refuses it before it allocates. Twice the
    # limit, since FFmpeg counts pixels that pad the picture to whole blocks.
    context.options = {"max_pixels": str(2 * media.max_source_pixels)}
    return tracks[0]


def audio_stream(file: MediaFile) -> AudioStream:
    """Give the first sound track, with a single decoder thread.

    Raises:
        MediaError: no_audio or undecodable.
    """
    path = str(file.path)
    if not file.container.streams.audio:
        raise MediaError(
            "no_audio", path, "has no sound track; use it for vision only, or remove it"
        )
    stream = file.container.streams.audio[0]
    _decoder(stream, path)
    return stream


def read_packets(
    file: MediaFile, media: MediaConfig, *streams: VideoStream | AudioStream
) -> Iterator[Packet[Any]]:
    """Yield the packets of the streams in file order, undecoded; skip other tracks.

    In a file that was cut off, the last packet of a track may be incomplete; it is left out.

    Raises:
        MediaError: too_long.
    """
    for other in file.container.streams:
        if other.index not in {stream.index for stream in streams}:
            other.discard = Discard.all
    n_packets, most = 0, MAX_PACKETS_PER_S * media.max_clip_s
    longest = {s.index: media.max_clip_s / (s.time_base or math.inf) for s in streams}
    first_dts: dict[int, int] = {}
    for packet in file.container.demux(*streams):
        if not packet.size or (file.is_cut and packet.is_corrupt):
            continue
        n_packets += 1
        if n_packets > most:
            raise MediaError(
                "too_long", str(file.path), f"more than {most:.0f} packets; cut out a clip"
            )
        dts, index = packet.dts, packet.stream_index
        if dts is not None and dts - first_dts.setdefault(index, dts) > longest[index]:
            raise _too_long(file.path, media)
        yield packet


def _too_long(path: Path, media: MediaConfig) -> MediaError:
    detail = (
        f"longer than media.max_clip_s = {media.max_clip_s:g}; "
        "cut out the clip in question, or raise the limit"
    )
    return MediaError("too_long", str(path), detail)


def _decoder(stream: VideoStream | AudioStream, path: str) -> Any:
    context: Any = stream.codec_context  # None, against its annotation, when FFmpeg lacks the codec
    if context is None:
        detail = f"no decoder for its {stream.type} track; convert it to H.264 and AAC"
        raise MediaError("undecodable", path, detail)
    context.thread_count = 1
    return context


def _is_cut(path: Path, head: bytes) -> bool:
    """True when the structure of an MP4, RIFF or Matroska file reaches beyond the file's end."""
    size = path.stat().st_size
    if head[4:8] == b"ftyp":
        return _mp4_is_cut(path, size)
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        # Some programs count the eight bytes before the size too.
        return length not in UNKNOWN_RIFF_SIZES and length > size
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska_is_cut(head, size)
    return False


def _mp4_is_cut(path: Path, size: int) -> bool:
    """True when a content box reaches beyond the end of the file, or no `moov` box was found."""
    names: set[bytes] = set()
    with path.open("rb") as file:
        start = 0
        while start + 8 <= size:
            file.seek(start)
            header = file.read(16)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            names.add(name)
            if length == 0:  # the last box: reaches to the end of the file by definition
                break
            if start + length > size and name in MP4_CONTENT_BOXES:
                return True
            start += max(length, 8)
    return b"moov" not in names


def _matroska_is_cut(head: bytes, size: int) -> bool:
    """True when the segment, which follows the file's header, is longer than the rest."""
    start = head.find(SEGMENT_ID) + len(SEGMENT_ID)
    if start < len(SEGMENT_ID) or start >= len(head):
        return False
    n_bytes = 9 - head[start].bit_length()  # the leading zeros count the bytes of the number
    coded = int.from_bytes(head[start : start + n_bytes], "big")
    length = coded & ((1 << 7 * n_bytes) - 1)
    unknown = (1 << 7 * n_bytes) - 1
    return n_bytes <= 8 and length != unknown and start + n_bytes + length > size
