"""Files that are cut off, damaged or no media at all; pictures; odd names and places.

What is cut off or damaged may be refused. What is read all the same must be exact.
"""

from __future__ import annotations

import io
import os
import random
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from hostile.corpus import ALL, CUT, NOT_MEDIA, Case, Sound, encode, tone
from hostile.making import AAC, GOP, HEVC, OPUS, VP9, X264, find_box
from hostile.marker import picture
from hostile.sound_cases import raw

Edit = Callable[[bytes], bytes]


def cut(share: float) -> Edit:
    """Keep this share of a file."""
    return lambda content: content[: int(len(content) * share)]


def flip_bits(seed: int, n_bits: int = 6) -> Edit:
    """Flip bits between 40 % and 80 % of a file: behind its header, before an index at its end."""

    def edit(content: bytes) -> bytes:
        choice, edited = random.Random(seed), bytearray(content)
        for _ in range(n_bits):
            place = choice.randrange(int(len(content) * 0.4), int(len(content) * 0.8))
            edited[place] ^= 1 << choice.randrange(8)
        return bytes(edited)

    return edit


def hole(start: float, n_bytes: int) -> Edit:
    """Overwrite bytes with zeros."""

    def edit(content: bytes) -> bytes:
        place = int(len(content) * start)
        return content[:place] + bytes(n_bytes) + content[place + n_bytes :]

    return edit


def lost(start: float, n_bytes: int) -> Edit:
    """Leave bytes out, from a transport stream's packet boundary."""

    def edit(content: bytes) -> bytes:
        place = int(len(content) * start) // 188 * 188
        return content[:place] + content[place + n_bytes :]

    return edit


def damaged(
    name: str, edit: Edit, options: str, *, numbers: Sequence[int] = ALL, **facts: Any
) -> Case:
    """A clip whose bytes are edited; it has sound where `options` say how to encode it."""
    has_sound = "-c:a" in options

    def write(path: Path) -> None:
        encode(path, options, numbers=numbers, sound=tone() if has_sound else None)
        path.write_bytes(edit(path.read_bytes()))

    sound = Sound(changes=True) if has_sound else None
    return Case(name, write, **{"shown": numbers, "sound": sound, "errors": CUT, **facts})


def garbled(name: str, edit: Edit, options: str, **facts: Any) -> Case:
    """A clip that is damaged in the middle: what follows may decode to rubbish."""
    return damaged(name, edit, options, garbled=True, **facts)


def unusable(name: str, edit: Edit, options: str, *errors: str) -> Case:
    """A clip that cannot be read, in whole or in part."""
    return damaged(name, edit, options, shown=(), sound=None, errors=frozenset(errors))


def refused(name: str, content: bytes, *errors: str) -> Case:
    """Bytes that are no media."""
    return raw(name, content, errors=frozenset(errors) or NOT_MEDIA)


H264 = f"{X264} -bf 3 -g 20"
FAST = f"{H264} {AAC} -movflags +faststart"
MPEG4 = "-c:v mpeg4 -q:v 2 -bf 0 -g 15"
FRAGMENTS = f"{H264} {AAC} -movflags +frag_keyframe+empty_moov+default_base_moof"

CUTS = [
    *(damaged(f"cut_{share}.mp4", cut(share / 100), FAST) for share in (20, 50, 80, 99)),
    damaged("cut_mute.mp4", cut(0.6), f"{H264} -movflags +faststart"),
    damaged(
        "cut_no_index.mp4",
        cut(0.7),
        f"{H264} {AAC}",
        shown=(),
        sound=None,
        errors=frozenset({"truncated"}),
    ),
    damaged("cut_fragments.mp4", cut(0.63), FRAGMENTS),
    damaged("cut_between_fragments.mp4", lambda c: c[: c.rindex(b"moof") - 4], FRAGMENTS),
    damaged("cut_old.mov", lambda c: cut(0.7)(c.replace(b"ftyp", b"free", 1)), FAST),
    damaged("cut_30.mkv", cut(0.3), f"{H264} {AAC}"),
    damaged("cut_70.mkv", cut(0.7), f"{H264} {AAC}"),
    damaged("cut_live.mkv", cut(0.7), f"{H264} {AAC} -live 1 -f matroska"),
    damaged("cut.webm", cut(0.7), f"{VP9} {OPUS}"),
    damaged("cut.avi", cut(0.7), f"{MPEG4} -c:a pcm_s16le"),
    damaged("cut.flv", cut(0.7), f"{H264} {AAC}"),
    damaged("cut.mpg", cut(0.7), "-c:v mpeg2video -q:v 2 -bf 2 -c:a mp2"),
    damaged("cut.ogg", cut(0.7), "-c:v libtheora -q:v 9 -c:a libvorbis"),
    damaged("cut.asf", cut(0.7), "-c:v wmv2 -q:v 2 -c:a wmav2"),
    *(damaged(f"cut_{share}.ts", cut(share / 1000), f"{H264} {AAC}") for share in (251, 602, 953)),
    damaged("cut_start.ts", lambda c: c[len(c) // 5 :], f"{H264} {AAC}"),
    damaged("cut_hevc.ts", cut(0.61), f"{HEVC}:bframes=3:{GOP}"),
    *(
        damaged(f"cut.{ending}", cut(0.6), options, numbers=())
        for ending, options in (
            ("wav", "-c:a pcm_s16le"),
            ("mp3", "-c:a libmp3lame"),
            ("flac", "-c:a flac"),
            ("opus", "-c:a libopus"),
            ("m4a", f"{AAC} -movflags +faststart"),
            ("aiff", "-c:a pcm_s16be"),
            ("aac", f"{AAC} -f adts"),
        )
    ),
]

SAME = f"{X264} -x264-params asm=0 -cpuflags 0"
"""The same bytes, and so the same damage, on every processor."""

DAMAGE = [
    *(
        garbled(f"flipped_{seed}.mp4", flip_bits(seed), f"{SAME} -bf 3 -g 20 -crf 10")
        for seed in range(6)
    ),
    *(garbled(f"flipped_{seed}.mkv", flip_bits(seed), f"{SAME} -bf 0 -g 250") for seed in range(3)),
    *(garbled(f"flipped_{seed}.ts", flip_bits(seed), f"{SAME} -bf 3 -g 20") for seed in range(3)),
    *(garbled(f"flipped_{seed}.avi", flip_bits(seed), f"{MPEG4} -cpuflags 0") for seed in range(3)),
    # The decoders of VP9 and HEVC take nearly all bits for pictures.
    *(garbled(f"flipped_{n}.webm", flip_bits(n), VP9, unnoticed=True) for n in range(3)),
    *(
        garbled(f"flipped_hevc_{n}.mp4", flip_bits(n), f"{HEVC}:asm=0", unnoticed=True)
        for n in range(3)
    ),
    garbled("hole.webm", hole(0.5, 3000), f"{VP9} -g 20", unnoticed=True),
    garbled("hole.mp4", hole(0.5, 600), f"{H264} -movflags +faststart"),
    garbled("hole.mkv", hole(0.5, 600), H264),
    garbled("hole.ts", hole(0.5, 188 * 8), H264),
    garbled("lost_packets.ts", lost(0.5, 188 * 8), H264),
    garbled("hole_in_sound.mp4", hole(0.5, 3000), f"-map 0:v -map 1:a {FAST}"),
    *(
        garbled(f"hole.{ending}", hole(0.5, 2000), options, numbers=())
        for ending, options in (
            ("mp3", "-c:a libmp3lame"),
            ("flac", "-c:a flac"),
            ("ogg", "-c:a libvorbis"),
        )
    ),
]

# Sizes that lie


def lying_vp8(path: Path) -> None:
    """A key frame in the middle that says it is 16383 x 16383."""
    encode(path, "-c:v libvpx -deadline realtime -g 20 -pix_fmt yuv420p -f webm")
    data = path.read_bytes()
    key = data.rindex(b"\x9d\x01\x2a") + 3
    path.write_bytes(data[:key] + struct.pack("<HH", 16383, 16383) + data[key + 4 :])


def lying_count(path: Path) -> None:
    """An index of two thousand million samples."""
    encode(path, X264)
    data = bytearray(path.read_bytes())
    names = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
    place = _inner_box(data, names) + 16
    data[place : place + 4] = struct.pack(">I", 0x7FFFFFFF)
    path.write_bytes(data)


def _inner_box(data: bytes, names: Sequence[bytes]) -> int:
    return find_box(data, *names)[0]


def png_header(width: int, height: int) -> bytes:
    """A PNG file of this size with next to no pixels in it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


LIES = [
    Case("lying_frame_size.webm", lying_vp8, shown=ALL, errors=CUT | {"too_large"}),
    Case("lying_count.mp4", lying_count, shown=ALL, errors=CUT | NOT_MEDIA | {"too_long"}),
    unusable("unknown.mp4", lambda c: c.replace(b"avc1", b"zzz1"), X264, "undecodable", "no_audio"),
    unusable(
        "encrypted.mp4",
        lambda c: c,
        f"{X264} {AAC} -encryption_scheme cenc-aes-ctr -encryption_kid {'01' * 16}"
        f" -encryption_key {'02' * 16}",
        *CUT,
    ),
    refused("bomb.png", png_header(60_000, 60_000), "too_large"),
    refused("no_width.png", png_header(0, 100), *NOT_MEDIA, "damaged", "truncated"),
]

# Pictures


def still(
    name: str, form: str, image: Image.Image | None = None, loose: str = "", **options: Any
) -> Case:
    """A picture of number 300."""

    def write(path: Path) -> None:
        (image or Image.fromarray(picture(300))).save(path, form, **options)

    return Case(name, write, shown=[300], still=True, loose=loose)


def turned(orientation: int, undo: Image.Transpose) -> Case:
    """A JPEG stored turned, with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(picture(300)).transpose(undo)
    return still(f"exif_{orientation}.jpg", "JPEG", stored, exif=exif, quality=95)


def see_through() -> Image.Image:
    """A palette with a transparent colour where the marker is dark, over white when shown."""
    inverse = Image.fromarray(picture(300)).convert("L").point(lambda value: 255 * (value > 128))
    layer = Image.new("LA", inverse.size, (0, 255))
    layer.putalpha(inverse.point(lambda value: 255 - value))
    return layer


def encoded(form: str, **options: Any) -> bytes:
    """A picture file of number 300."""
    buffer = io.BytesIO()
    Image.fromarray(picture(300)).save(buffer, form, **options)
    return buffer.getvalue()


def large_text() -> PngImagePlugin.PngInfo:
    """More metadata than Pillow reads."""
    info = PngImagePlugin.PngInfo()
    info.add_text("XML:com.adobe.xmp", "x" * 2_000_000, zip=True)
    return info


GREY = Image.fromarray(picture(300)).convert("L")
GREY_16 = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
BAD_PICTURE = CUT | NOT_MEDIA

PICTURES = [
    still("picture.png", "PNG"),
    still("picture.jpg", "JPEG", quality=95),
    still("progressive.jpg", "JPEG", quality=95, progressive=True),
    still("picture.webp", "WEBP", quality=95),
    still("lossless.webp", "WEBP", lossless=True),
    still("png_named.mp4", "PNG"),
    still("grey.jpg", "JPEG", GREY, loose="colour", quality=95),
    still("grey_16.png", "PNG", GREY_16, loose="colour"),
    still("palette.png", "PNG", Image.fromarray(picture(300)).quantize(64)),
    still("cmyk.jpg", "JPEG", Image.fromarray(picture(300)).convert("CMYK"), quality=95),
    still("see_through.png", "PNG", see_through(), loose="colour"),
    still(
        "two_in_one.jpg",
        "MPO",
        save_all=True,
        append_images=[Image.fromarray(picture(301))],
        quality=95,
    ),
    still(
        "moving.webp",
        "WEBP",
        save_all=True,
        append_images=[Image.fromarray(picture(301))],
        lossless=True,
    ),
    turned(3, Image.Transpose.ROTATE_180),
    turned(5, Image.Transpose.TRANSPOSE),
    turned(6, Image.Transpose.ROTATE_90),
    turned(8, Image.Transpose.ROTATE_270),
    still("frames.gif", "GIF", save_all=True, append_images=[Image.fromarray(picture(301))]),
    still("really_a_gif.jpg", "GIF"),
    still("scan.tiff", "TIFF", compression="tiff_lzw"),
    still("plain.bmp", "BMP"),
    still("picture.avif", "AVIF", quality=95),
    still("picture.jp2", "JPEG2000"),
    still("large_xmp.png", "PNG", pnginfo=large_text()),
    raw("followed.jpg", encoded("JPEG", quality=95) + bytes(999), shown=[300], still=True),
    *(
        refused(f"cut.{form.lower()}", encoded(form)[: len(encoded(form)) * 2 // 3], *BAD_PICTURE)
        for form in ("PNG", "JPEG", "WEBP")
    ),
    refused("cut_head.jpg", encoded("JPEG")[:20], *BAD_PICTURE),
    refused("cut_head.png", encoded("PNG")[:20], *BAD_PICTURE),
    refused("flipped.png", flip_bits(1)(encoded("PNG")), *BAD_PICTURE),
]

# What is no media

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\nplain.mp4\n#EXT-X-ENDLIST\n"
MANIFEST = b"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="9">
<BaseURL>plain.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"""
SESSION = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"

OTHERS = [
    refused("page.mp4", b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20),
    refused("text.mp4", b"The quick brown fox.\n" * 500),
    refused("empty.mp4", b""),
    refused("one_byte.mp4", b"\0"),
    refused("zeros.mp4", bytes(100_000), "not_media", "undecodable", "truncated"),
    refused("random.mp4", random.Random(1).randbytes(100_000)),
    refused("only_ftyp.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "truncated", *NOT_MEDIA),
    refused("playlist.mp4", PLAYLIST),
    refused("playlist.m3u8", PLAYLIST),
    refused("concat.mp4", b"ffconcat version 1.0\nfile plain.mp4\n"),
    refused("manifest.mp4", MANIFEST),
    refused("session.mp4", SESSION),
    refused("script.mp4", b"#!/bin/sh\necho plain.mp4\n"),
    unusable("raw_h264.mp4", lambda c: c, f"{X264} -f h264", *NOT_MEDIA),
    refused("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), "unsupported"),
    refused("photo.jxl", b"\xff\x0a" + bytes(500), "unsupported"),
    refused("drawing.psd", b"8BPS\0\1" + bytes(500), "unsupported"),
    refused("pointer.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    refused("denied.mp4", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    refused("archive.mp4", b"PK\3\4" + random.Random(2).randbytes(5000)),
    refused("captions.mp4", b"1\n00:00:00,000 --> 00:00:02,000\nHello\n\n" * 50),
]

# The file system


@cache
def plain_clip() -> bytes:
    """A good clip."""
    with tempfile.TemporaryDirectory() as folder:
        return encode(Path(folder, "plain.mp4"), f"{X264} {AAC}", sound=tone()).read_bytes()


def plain_at(path: Path) -> None:
    path.write_bytes(plain_clip())


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def forbidden(path: Path) -> None:
    plain_at(path)
    path.chmod(0)


def place(name: str, write: Callable[[Path], object], *errors: str) -> Case:
    return Case(name, write, errors=frozenset(errors))


def good(name: str, write: Callable[[Path], object] = plain_at) -> Case:
    return Case(name, write, shown=ALL, sound=Sound())


MAY_READ_ALL = os.geteuid() == 0
PLACES = [
    place("folder.mp4", Path.mkdir, "not_media"),
    place("pipe.mp4", os.mkfifo, "not_media"),
    place("zeros_forever.mp4", link("/dev/zero"), "not_media"),
    place("loop.mp4", link("loop.mp4"), "missing"),
    place("dangling.mp4", link("gone.mp4"), "missing"),
    place("not_there.mp4", lambda _: None, "missing"),
    good("link.mp4", link("plain.mp4")),
    # An administrator may read everything.
    good("forbidden.mp4", forbidden)
    if MAY_READ_ALL
    else place("forbidden.mp4", forbidden, "permission"),
]

NAMES = [
    good(name)
    for name in (
        "name with  spaces.mp4",
        "quotes ' \" ` .mp4",
        "Ümläut ñ 漢字 🎬.mp4",
        "new\nline.mp4",
        "-dash.mp4",
        "x" * 251 + ".mp4",
        "%03d.mp4",
        "file:colon.mp4",
        "http:colon.mp4",
        "concat:plain.mp4|plain.mp4",
        "pipe:0",
        "back\\slash.mp4",
        "[star]*?.mp4",
        "$HOME;&.mp4",
        "no ending",
        os.fsdecode(b"not \xff UTF-8.mp4"),
    )
]

BROKEN = [*CUTS, *DAMAGE, *LIES, *PICTURES, *OTHERS, *PLACES, *NAMES]
