"""Open a media file, or say under a named class why not.

Only the file itself is read: the protocol is `file`, and formats that pull in other files or
addresses (playlists, concatenations, picture sequences) are not on the list, so an annotation
cannot reach outside its folder.

The decision to question: an MP4 that was cut off is `truncated`, never `not_media`, even when its
index is lost and FFmpeg calls it invalid data. Its boxes tell: one that ends after the file, or no
`moov` box at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.error import FFmpegError
from av.stream import Disposition

from avrt.errors import MediaError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = [
    "MAX_PIXELS",
    "audio_stream",
    "check_file",
    "is_picture",
    "open_container",
    "read_packets",
    "video_stream",
]

MAX_BYTES = 2**30
"""Largest file that is opened: a clip's packets are held in memory while its frames are chosen."""
MAX_PACKETS = 500_000
"""Longest stream: more than two hours of video at 60 frames per second."""
MAX_PIXELS = 8192 * 8192
"""Largest picture, in pixels."""

FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,m4v,flv,asf,ogg,wav,w64,aiff,caf,mp3,aac,flac,amr,ac3"
"""FFmpeg demuxers that read one self-contained file."""

MP4_CONTENT_BOXES = (b"moov", b"moof", b"mdat")


def check_file(path: Path) -> bytes:
    """The first bytes of a regular, readable, non-empty file of bearable size.

    Raises:
        MediaError: missing, permission, not_media, too_large or undecodable (a disk error).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(
                "not_media", str(path), "a folder or device, not a file; name the media file itself"
            )
        if status.st_size == 0:
            raise MediaError("not_media", str(path), "the file is empty; download it again")
        if status.st_size > MAX_BYTES:
            detail = (
                f"{status.st_size} bytes, more than {MAX_BYTES}; cut out the clip that is meant"
            )
            raise MediaError("too_large", str(path), detail)
        with path.open("rb") as file:
            return file.read(16)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError(
            "missing", str(path), "no such file; download it, or correct the path"
        ) from error
    except PermissionError as error:
        raise MediaError(
            "permission", str(path), "may not be read; change its permissions"
        ) from error
    except OSError as error:
        raise MediaError("undecodable", str(path), f"cannot be read: {error.strerror}") from error


def is_picture(head: bytes) -> bool:
    """True when a file's first bytes are those of PNG, JPEG or WebP."""
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (
        head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    )


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a sound or video file; FFmpeg's errors in the body become `MediaError` too."""
    head = check_file(path)
    if head[4:8] == b"ftyp" and _mp4_is_cut(path):
        raise MediaError(
            "truncated", str(path), "the end of the file is missing; download it again"
        )
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(f"file:{os.fspath(path)}", options=options, metadata_errors="replace")
    except FFmpegError as error:
        detail = f"no sound, video or picture format ({error.strerror}); download it again"
        raise MediaError("not_media", str(path), detail) from error
    with container:
        try:
            yield container
        except FFmpegError as error:
            raise MediaError(
                "undecodable", str(path), f"{error.strerror}; download it again"
            ) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first real video track, with one decoder thread; a cover picture is not a video.

    Raises:
        MediaError: no_video, too_large or undecodable.
    """
    cover = Disposition.attached_pic
    tracks = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not tracks:
        raise MediaError(
            "no_video", str(path), "has no video track; use it for sound only, or leave it out"
        )
    stream, context = tracks[0], _decoder(tracks[0], path)
    if context.width * context.height == 0:
        raise MediaError("undecodable", str(path), "the video track has no size; convert it again")
    if context.width * context.height > MAX_PIXELS:
        detail = f"{context.width}x{context.height} is over {MAX_PIXELS} pixels; scale it down"
        raise MediaError("too_large", str(path), detail)
    return stream


def audio_stream(container: InputContainer, path: Path) -> AudioStream:
    """The first sound track, with one decoder thread.

    Raises:
        MediaError: no_audio or undecodable.
    """
    if not container.streams.audio:
        raise MediaError(
            "no_audio", str(path), "has no sound track; use it for vision only, or leave it out"
        )
    stream = container.streams.audio[0]
    _decoder(stream, path)
    return stream


def read_packets(
    container: InputContainer, path: Path, *streams: VideoStream | AudioStream
) -> list[Packet[Any]]:
    """All packets of the streams in file order, undecoded.

    Raises:
        MediaError: too_long.
    """
    packets: list[Packet[Any]] = []
    for packet in container.demux(*streams):
        if packet.size:
            packets.append(packet)
        if len(packets) > MAX_PACKETS:
            detail = f"more than {MAX_PACKETS} packets; cut out the clip that is meant"
            raise MediaError("too_long", str(path), detail)
    return packets


def _decoder(stream: VideoStream | AudioStream, path: Path) -> Any:
    context: Any = stream.codec_context  # None, against its annotation, when FFmpeg lacks the codec
    if context is None:
        detail = f"no decoder for its {stream.type} track; convert it to H.264 and AAC"
        raise MediaError("undecodable", str(path), detail)
    context.thread_count = 1
    return context


def _mp4_is_cut(path: Path) -> bool:
    """True when a content box reaches beyond the end of the file, or no `moov` box was found."""
    size = path.stat().st_size
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
