"""Ways to make a video: encoded, copied, edited byte by byte, joined, cut at its start."""

from __future__ import annotations

import shlex
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hostile.corpus import ALL, Case, Sound, encode, raw_frames, run_ffmpeg, tone

X264 = "-c:v libx264 -pix_fmt yuv420p -preset veryfast -crf 18"
AAC = "-c:a aac -b:a 128k"
GOP = "keyint=7:min-keyint=7:scenecut=0"
OPEN = f"open-gop=1:bframes=3:b-adapt=0:{GOP}"
LAV1 = "-c:v libaom-av1 -cpu-used 8 -usage realtime -crf 20 -b:v 0 -pix_fmt yuv420p"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -crf 15 -b:v 0 -pix_fmt yuv420p"
VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -crf 8 -b:v 2M -pix_fmt yuv420p"
HEVC = "-c:v libx265 -preset ultrafast -crf 18 -pix_fmt yuv420p -x265-params log-level=none"
OPUS = "-c:a libopus -b:a 96k"

LAME = Sound(level=0.285)
"""The MP3 encoder makes everything a little softer."""


def clip(
    name: str,
    options: str = f"{X264} {AAC}",
    *,
    sound: Sound | None = None,
    source: str | None = None,
    **facts: Any,
) -> Case:
    """Sixty numbered frames, or those of `numbers`, and a tone, encoded with these options."""
    making = {key: facts.pop(key) for key in ("numbers", "size", "before") if key in facts}
    shown = facts.pop("shown", making.get("numbers", ALL))
    silent = source == ""

    def write(path: Path) -> None:
        encode(path, options, sound=None if silent else source or tone(), **making)

    return Case(name, write, shown=shown, sound=None if silent else sound or Sound(), **facts)


def mute(name: str, options: str = X264, **facts: Any) -> Case:
    """As `clip`, without sound."""
    return clip(name, options, source="", **facts)


def recoded(name: str, first: str, second: str, *, via: str = "mkv", **facts: Any) -> Case:
    """A clip in one container, then copied by ffmpeg; @ in `second` stands for that clip.

    It has sound where `first` says how to encode it.
    """
    has_sound = "-c:a" in first
    sound = facts.pop("sound", Sound()) if has_sound else None
    shown = facts.pop("shown", ALL)

    def write(path: Path) -> None:
        between = path.with_name(f"between.{path.name}.{via}")
        encode(between, first, sound=tone() if has_sound else None)
        copying = second.replace("@", f"-i file:{between} -c copy")
        run_ffmpeg(*shlex.split(copying), "-fflags", "+bitexact", f"file:{path}")
        between.unlink()

    return Case(name, write, shown=shown, sound=sound, **facts)


# Bytes of MP4


def find_box(data: bytes, *names: bytes) -> tuple[int, int]:
    """Start and end of the box that this path of names leads to, the first of each name."""
    start, end = 0, len(data)
    for name in names:
        place = start
        while data[place + 4 : place + 8] != name:
            place += int.from_bytes(data[place : place + 4], "big")
            if place >= end:
                raise ValueError(f"no box {name!r}")
        start, end = place + 8, place + int.from_bytes(data[place : place + 4], "big")
    return start - 8, end


def with_edits(data: bytes, edits: Sequence[tuple[int, int]]) -> bytes:
    """An MP4 whose index is at the end, with another edit list: (length in ms, media time) each."""
    entries = b"".join(struct.pack(">Iii", length, media, 0x10000) for length, media in edits)
    body = struct.pack(">4sII", b"elst", 0, len(edits)) + entries
    path = (b"moov", b"trak", b"edts", b"elst")
    start, end = find_box(data, *path)
    grown = bytearray(data)
    for depth in range(1, 4):
        place, box_end = find_box(data, *path[:depth])
        length = box_end - place + len(body) + 4 - (end - start)
        grown[place : place + 4] = struct.pack(">I", length)
    return bytes(grown[:start] + struct.pack(">I", len(body) + 4) + body + grown[end:])


def edited(name: str, edits: Sequence[tuple[int, int]], shown: Sequence[int]) -> Case:
    """An MP4 without sound whose edit list is replaced; 512 units of media time are a frame.

    The first frame has media time 1024.
    """

    def write(path: Path) -> None:
        encode(path, f"{X264} -bf 2 -g 20 -movie_timescale 1000 -video_track_timescale 12800")
        path.write_bytes(with_edits(path.read_bytes(), edits))

    return Case(name, write, shown=shown)


def mirrored(path: Path) -> None:
    """Stored mirrored, and a display matrix that mirrors it back."""
    encode(path, f"{X264} -vf hflip")
    data = bytearray(path.read_bytes())
    matrix = find_box(data, b"moov", b"trak", b"tkhd")[1] - 8 - 36
    assert data[matrix : matrix + 4] == b"\0\1\0\0", "the identity"
    data[matrix : matrix + 4] = struct.pack(">i", -0x10000)
    data[matrix + 24 : matrix + 28] = struct.pack(">i", 128 << 16)
    path.write_bytes(data)


def with_long_box(path: Path) -> None:
    """The size of the content box is written in the long form, in the place kept for it."""
    encode(path, f"{X264} {AAC}", sound=tone())
    data = bytearray(path.read_bytes())
    start, end = find_box(data, b"mdat")
    assert data[start - 8 : start] == b"\0\0\0\x08free"
    data[start - 8 : start + 8] = struct.pack(">I4sQ", 1, b"mdat", end - start + 8)
    path.write_bytes(data)


def without_type(path: Path) -> None:
    """A QuickTime file as cameras wrote them before there was a file type box."""
    encode(path, f"{X264} -c:a pcm_s16le", sound=tone())
    path.write_bytes(path.read_bytes().replace(b"ftyp", b"free", 1))


def followed_by(rest: bytes) -> Callable[[Path], None]:
    """An MP4 with something behind it."""

    def write(path: Path) -> None:
        encode(path, f"{X264} {AAC}", sound=tone())
        path.write_bytes(path.read_bytes() + rest)

    return write


# Files joined from two, files without their start


def joined(
    name: str, second: str = "", size: tuple[int, int] = (96, 128), errors: Sequence[str] = ()
) -> Case:
    """Two transport streams one behind the other, thirty frames each; `second` adds options."""

    def write(path: Path) -> None:
        encode(path, f"{X264} -bf 2", numbers=range(30))
        first = path.read_bytes()
        encode(path, f"{X264} -bf 2 {second}", numbers=range(30, 60), size=size)
        path.write_bytes(first + path.read_bytes())

    # The break in the count of their packets may be taken for damage.
    return Case(name, write, shown=ALL, errors=frozenset({"damaged", *errors}))


def headless(name: str, options: str) -> Case:
    """A recording that begins at the second key frame, in an open group of pictures.

    Frames that come behind that key frame but are due before it cannot be decoded.
    """

    def write(path: Path) -> None:
        whole = path.with_name(f"between.{path.name}.ts")
        encode(whole, f"{options}:{OPEN}")
        asked = "-v error -select_streams v -show_entries packet=pos,flags -of csv=p=0"
        said = subprocess.check_output(["ffprobe", *asked.split(), f"file:{whole}"], text=True)
        second = [int(line.split(",")[0]) for line in said.splitlines() if "K" in line][1]
        whole.write_bytes(whole.read_bytes()[second:])
        run_ffmpeg("-i", f"file:{whole}", "-c", "copy", "-fflags", "+bitexact", f"file:{path}")
        whole.unlink()

    return Case(name, write, shown=range(7, 60))


def two_videos(path: Path) -> None:
    """A second video track of other frames behind the first."""
    other = path.with_name("between.two_videos.rgb")
    other.write_bytes(raw_frames(tuple(range(100, 160)), 96, 128))
    inputs = f"-f rawvideo -pix_fmt rgb24 -s 128x96 -r 25 -i file:{other} -map 0:v -map 1:v"
    encode(path, f"{inputs} {X264} -disposition:v:0 default")
    other.unlink()


def vp8_hidden(path: Path) -> None:
    """VP8 with hidden reference frames, each a packet of its own; that needs two passes."""
    options = (
        "-c:v libvpx -deadline good -cpu-used 1 -b:v 500k -pix_fmt yuv420p -auto-alt-ref 1"
        f" -lag-in-frames 16 -arnr-maxframes 7 -passlogfile {path.with_name('between')}"
    )
    encode(path, f"{options} -pass 1")
    encode(path, f"{options} -pass 2")
    path.with_name("between-0.log").unlink()


def with_cover(path: Path) -> None:
    """A video with a picture as cover."""
    cover = path.with_name("between.with_cover.png")
    encode(cover, "-frames:v 1", numbers=[400])
    options = f"-i file:{cover} -map 0:v -map 1:a -map 2:v {X264} -c:v:1 png {AAC}"
    encode(path, f"{options} -disposition:v:1 attached_pic", sound=tone())
    cover.unlink()


def with_captions(path: Path) -> None:
    """A file with text and a font beside the clip."""
    text, font = (path.with_name(f"between.with_captions.{ending}") for ending in ("srt", "ttf"))
    text.write_text("1\n00:00:00,000 --> 00:01:00,000\nHello\n")
    font.write_bytes(bytes(1000))
    attach = f"-attach file:{font} -metadata:s:t mimetype=font/ttf"
    encode(
        path, f"-i file:{text} -map 2 -map 1 -map 0 {X264} {AAC} -c:s srt {attach}", sound=tone()
    )
    text.unlink()
    font.unlink()
