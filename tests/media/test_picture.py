from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from avrt.config import MediaConfig
from avrt.errors import MEDIA_ERROR_CLASSES, MediaError
from avrt.media import probe, read_clip, read_frames

SMALL = MediaConfig(max_pixels=784 * 12, size_factor=28)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_that_claims(60_000, 60_000))
    with pytest.raises(MediaError, match="too_large") as caught:
        read_frames(path, SMALL)
    assert caught.value.error_class == "too_large"


def test_the_limit_is_a_setting(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (100, 60)).save(path)
    with pytest.raises(MediaError, match="too_large"):
        read_frames(path, MediaConfig(max_source_pixels=5999))
    assert read_frames(path, MediaConfig(max_source_pixels=6000)).still


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_broken_picture_is_undecodable_or_truncated(tmp_path, kind):
    path = tmp_path / "picture"
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    Image.fromarray(noise).save(path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError) as caught:
        read_frames(path, SMALL)
    assert caught.value.error_class in ("truncated", "undecodable")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_one_still_frame(tmp_path, kind):
    path = tmp_path / "picture.dat"  # the content decides, not the name
    Image.new("RGB", (100, 60), (250, 0, 0)).save(path, kind)
    frames = read_frames(path, SMALL)
    assert frames.still
    assert frames.pixels.shape == (1, 56, 84, 3)
    assert np.abs(frames.pixels[0, 20, 20].astype(int) - (250, 0, 0)).max() < 6


def test_a_picture_is_turned_by_its_exif(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to see it upright
    Image.new("RGB", (112, 56)).save(path, exif=exif)
    assert read_frames(path, SMALL).pixels.shape == (1, 112, 56, 3)


def test_transparency_is_over_white(tmp_path):
    path = tmp_path / "stamp.png"
    Image.new("RGBA", (56, 56), (0, 0, 0, 0)).save(path)
    assert (read_frames(path, SMALL).pixels == 255).all()


def test_a_cut_picture_is_truncated(tmp_path):
    path = tmp_path / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MediaError) as caught:
        read_frames(path, SMALL)
    assert caught.value.error_class == "truncated"


# Formats and modes

PIXELS = np.zeros((64, 96, 3), np.uint8)
PIXELS[:, :48], PIXELS[:32, 48:] = (200, 30, 30), (20, 220, 30)


def upright(path):
    """The picture at its own size, near its left top and right top corner."""
    pixels = read_frames(path, MediaConfig(size_factor=1)).pixels[0]
    return pixels.shape, pixels[4, 4].astype(int), pixels[4, -4].astype(int)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"]
)
def test_every_format_that_pillow_reads_everywhere_is_used_whatever_its_name(tmp_path, kind):
    if not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000"}.get(kind, "jpg")):
        pytest.skip(f"this Pillow has no {kind}")
    path = tmp_path / "picture.jpg"
    Image.fromarray(PIXELS).save(path, kind)
    shape, left, right = upright(path)
    assert shape == (64, 96, 3)
    assert np.abs(left - (200, 30, 30)).max() < 12
    assert np.abs(right - (20, 220, 30)).max() < 12
    info = probe(path, MediaConfig())
    assert (info.status, info.container, info.video_codec) == ("ok", kind.lower(), kind.lower())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_used_and_noted(tmp_path, kind):
    path = tmp_path / "animation"
    colours = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "lime")]
    colours[0].save(path, kind, save_all=True, append_images=colours[1:])
    info = probe(path, MediaConfig())
    assert (info.status, info.n_frames, info.notes) == ("ok", 1, ("several_frames",))
    assert np.abs(upright(path)[1] - (255, 0, 0)).max() < 12


def test_the_previews_of_a_photo_are_no_frames(tmp_path):
    path = tmp_path / "photo.jpg"
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    red.save(path, "MPO", save_all=True, append_images=[blue])
    info = probe(path, MediaConfig())
    assert (info.container, info.notes) == ("jpeg", ())
    assert np.abs(upright(path)[1] - (255, 0, 0)).max() < 12


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *(("1", kind) for kind in ("PNG", "TIFF", "GIF")),
        *(("L", kind) for kind in ("PNG", "JPEG", "TIFF")),
        *(("LA", kind) for kind in ("PNG", "TIFF")),
        *(("P", kind) for kind in ("PNG", "GIF", "BMP", "TIFF")),
        *(("RGBA", kind) for kind in ("PNG", "WEBP", "TIFF", "BMP")),
        *(("CMYK", kind) for kind in ("JPEG", "TIFF")),
        ("YCbCr", "TIFF"),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, kind):
    path = tmp_path / "picture"
    halves = np.repeat(np.array([[0, 255]], np.uint8), 32, axis=1).repeat(64, axis=0)
    Image.fromarray(halves).convert("RGB").convert(mode).save(path, kind)
    _, left, right = upright(path)
    assert np.abs(left).max() < 12
    assert np.abs(right - 255).max() < 12


@pytest.mark.parametrize(
    ("kind", "order"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")]
)
def test_greys_of_16_bits_are_scaled_not_clipped(tmp_path, kind, order):
    path = tmp_path / "greys"
    greys = np.full((64, 64), 128 * 257, order)
    mode = "I;16B" if order == ">u2" else "I;16"
    Image.frombytes(mode, (64, 64), greys.tobytes()).save(path, kind)
    assert (upright(path)[1] == 128).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_greys_of_32_bits_are_named(tmp_path, mode):
    path = tmp_path / "greys"
    Image.new(mode, (64, 64), 1).save(path, "TIFF")
    info = probe(path, MediaConfig())
    assert (info.status, info.reason) == (
        "unsupported",
        "its grey values have 32 bits; convert it to PNG or JPEG",
    )


@pytest.mark.parametrize(
    ("content", "status", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported", "a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "unsupported", "a HEIC picture"),
        (b"\xff\x0a\xfa\x1f", "unsupported", "a JPEG XL picture"),
        (b"8BPS\0\1", "unsupported", "a Photoshop document"),
        (b"II*\0\x10\0\0\0CR\2\0", "unsupported", "a camera's raw picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0crx isom", "unsupported", "a camera's raw picture"),
        (b"FUJIFILMCCD-RAW 0201", "unsupported", "a camera's raw picture"),
        (b"\0\0\0\x18ftypavci\0\0\0\0mif1avci", "unsupported", "a HEIC picture"),
        (b"%!PS-Adobe-3.0", "unsupported", "a PostScript document"),
        (b"BZh91AY&SY", "not_media", "a bzip2 archive"),
        (b"#EXTM3U\n", "not_media", "a playlist"),
        (b"\0\0\1\0\1\0", "unsupported", "an icon (ICO)"),
        (b"%PDF-1.7", "unsupported", "a PDF document"),
        (b"MThd\0\0\0\6", "unsupported", "a MIDI file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not_media", "a Git LFS pointer"),
        (b"\r\n <!DOCTYPE html>", "not_media", "an HTML page"),
        (b"\xef\xbb\xbf<html>", "not_media", "an HTML page"),
        (b'<?xml version="1.0"?><Error>', "not_media", "an XML document"),
        (b'{"error": "denied"}', "not_media", "JSON"),
        (b"PK\3\4\x14", "not_media", "a ZIP archive"),
        (b"\x1f\x8b\x08", "not_media", "a gzip archive"),
    ],
)
def test_what_is_not_read_is_named_for_what_it_is(tmp_path, content, status, name):
    path = tmp_path / "picture.jpg"
    path.write_bytes(content + bytes(200))
    info = probe(path, MediaConfig())
    assert info.status == status
    assert info.reason.startswith(name)
    assert "H.264" not in info.reason
    with pytest.raises(MediaError, match=status):
        read_frames(path, SMALL)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"P1\n# black and white\n2 2\n", b"0 1 1 0"),
        (b"P2 2 2 15 ", b"0 15 15 0"),
        (b"P3\t2 2 255\n", b"0 0 0 255 255 255 255 255 255 0 0 0"),
        (b"P4\n2 2\n", b"\x40\x80"),
        (b"P6\t2 2\t255\n", b"\0\0\0" + b"\xff" * 6 + b"\0\0\0"),
    ],
)
def test_all_forms_of_ppm_are_read(tmp_path, head, body):
    path = tmp_path / "picture.jpg"
    path.write_bytes(head + body)
    assert (probe(path, MediaConfig()).status, probe(path, MediaConfig()).shown_width) == ("ok", 2)


def test_the_preview_in_a_raw_picture_is_not_taken_for_the_picture(tmp_path):
    path = tmp_path / "picture.dng"
    Image.fromarray(PIXELS).save(path, "TIFF", tiffinfo={0xFE: 1})
    info = probe(path, MediaConfig())
    assert (info.status, "raw picture" in info.reason) == ("unsupported", True)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "WEBP"])
def test_a_format_that_this_pillow_lacks_is_named(tmp_path, monkeypatch, kind):
    if not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}[kind]):
        pytest.skip(f"no {kind} to be written")
    path = tmp_path / "picture"
    Image.fromarray(PIXELS).save(path, kind)
    monkeypatch.setattr(features, "check", lambda _: False)
    info = probe(path, MediaConfig())
    assert (info.status, kind in info.reason) == ("unsupported", True)


# Metadata


def photo(entries, order="<"):
    """A JPEG that is 64 x 96 when upright, with these further entries before its orientation."""
    orientation = struct.pack(f"{order}HHLHH", 0x112, 3, 1, 6, 0)
    body = struct.pack(f"{order}H", len(entries) + 1) + b"".join(entries) + orientation
    mark = b"II*\0" if order == "<" else b"MM\0*"
    exif = b"Exif\0\0" + mark + struct.pack(f"{order}L", 8) + body + bytes(4)
    plain = io.BytesIO()
    Image.fromarray(PIXELS).save(plain, "JPEG", quality=95)
    content = plain.getvalue()
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("tag", "form", "count", "value"),
    [
        (0x11A, 2, 3, b"72\0\0"),  # a resolution as text
        (0x131, 11, 1, struct.pack("<f", 1.5)),  # the software as a number
        (0x8769, 4, 1, struct.pack("<L", 2**20)),  # a directory beyond the end
        (0x8769, 4, 1, struct.pack("<L", 8)),  # a directory inside itself
        (0x8825, 13, 1, b"\xff\xff\xff\xff"),
        (0x9286, 7, 2**31, b"\xff\xff\xff\x7f"),
        (0x132, 99, 1, b"what"),
        (0x10F, 5, 0, bytes(4)),
        (0x11A, 5, 1, bytes(4)),
    ],
)
def test_the_orientation_is_read_whatever_else_stands_there(
    tmp_path, tag, form, count, value, order
):
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo([struct.pack(f"{order}HHL", tag, form, count) + value], order))
    shape, left, right = upright(path)
    assert shape == (96, 64, 3)
    assert np.abs(left - (200, 30, 30)).max() < 12
    assert np.abs(right - (200, 30, 30)).max() < 12
    assert probe(path, MediaConfig()).status == "ok"


def segment(marker, content):
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize(
    "more",
    [
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + b"\x01\xb0" * 9),
        segment(0xE2, b"ICC_PROFILE\0\x02\x01" + bytes(10)),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\xfe"),
        segment(0xFE, b"\0\xff" * 30),
    ],
)
def test_other_metadata_of_a_jpeg_do_not_matter(tmp_path, more):
    path = tmp_path / "photo.jpg"
    content = photo([])
    path.write_bytes(content[:2] + more + content[2:])
    assert upright(path)[0] == (96, 64, 3)


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(*before, after=()):
    """A green PNG with further chunks before and behind its pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (56, 84), (10, 200, 10)).save(buffer, "PNG")
    content, place = buffer.getvalue(), 8 + 25  # the signature and the header
    end = len(content) - 12
    parts = (content[:place], *before, content[place:end], *after, content[end:])
    return b"".join(parts)


def text_chunk(name, n_bytes, keyword=b"XML:com.adobe.xmp"):
    head = keyword + (b"\0\0" if name == b"zTXt" else b"\0\1\0\0\0")
    return chunk(name, head + zlib.compress(b"x" * n_bytes))


@pytest.mark.parametrize(
    "content",
    [
        png(text_chunk(b"zTXt", 2_000_000)),
        png(text_chunk(b"iTXt", 2_000_000)),
        png(after=[text_chunk(b"iTXt", 2_000_000)]),
        png(*(text_chunk(b"zTXt", 1_000_000, b"note %d" % n) for n in range(70))),
        png(text_chunk(b"zTXt", 200_000_000)),
        png(chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2_000_000)))),
        png(chunk(b"tEXt", b"a\0b")[:-1] + b"!"),
        png(chunk(b"pHYs", b"\0")),
        png(chunk(b"gAMA", b"")),
    ],
)
def test_large_or_broken_metadata_of_a_png_do_not_matter(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    assert (read_frames(path, SMALL).pixels == (10, 200, 10)).all()
    assert probe(path, MediaConfig()).status == "ok"


def test_an_orientation_in_xmp_or_in_a_png_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, options in enumerate(
        ({"exif": exif}, {"pnginfo": xmp_info('tiff:Orientation="6"')})
    ):
        path = tmp_path / f"{number}.png"
        Image.fromarray(PIXELS).save(path, **options)
        assert upright(path)[0] == (96, 64, 3)


def xmp_info(text):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f"<rdf {text}/>", zip=True)
    return info


def test_1500_damaged_photos_end_in_a_picture_or_a_named_failure(tmp_path):
    path, counts = tmp_path / "photo", Counter()
    sources = [photo([]), photo([struct.pack("<HHLL", 0x8769, 4, 1, 8)]), png()]
    for kind in ("GIF", "TIFF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).save(buffer, kind)
        sources.append(buffer.getvalue())
    for seed in range(1500):
        choice = random.Random(seed)
        content = bytearray(sources[seed % len(sources)])
        for _ in range(choice.randint(1, 6)):
            place = choice.randrange(4, min(len(content), choice.choice((120, 4000))))
            content[place] = choice.choice((0, 1, 0x7F, 0xFF, choice.randrange(256)))
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            info = probe(path, MediaConfig(max_source_pixels=2**20))
        assert info.status in ("ok", *MEDIA_ERROR_CLASSES)
        counts[info.status] += 1
        try:
            assert read_frames(path, SMALL.model_copy(update={"max_source_pixels": 2**20})).still
        except MediaError as error:
            assert error.error_class == info.status  # noqa: PT017
    assert counts["ok"] > 300
    assert counts.total() == 1500


@pytest.mark.parametrize(
    "error",
    [
        struct.error("unpack requires 4 bytes"),
        SyntaxError("not a TIFF file"),
        TypeError("'<' not supported"),
        OverflowError("too large"),
        ZeroDivisionError("no resolution"),
        RecursionError("a directory in itself"),
        Image.DecompressionBombError("a bomb"),
    ],
)
@pytest.mark.parametrize("name", ["picture.png", "clip.mp4"])
def test_any_error_of_a_decoder_is_its_files_failure(tmp_path, clip, monkeypatch, error, name):
    path = tmp_path / name
    if name == "clip.mp4":
        path.write_bytes(clip.read_bytes())
    else:
        Image.fromarray(PIXELS).save(path)

    def fail(*_, **__):
        raise error

    for place in (
        "avrt.media.picture._decode",
        "avrt.media.waveform._to_samples",
        "avrt.media.frames.decode_video",
    ):
        monkeypatch.setattr(place, fail)
    wanted = "too_large" if "Bomb" in type(error).__name__ else "undecodable"
    assert probe(path, MediaConfig()).status == wanted
    for modality in ("v",) if name == "picture.png" else ("v", "a", "av"):
        with pytest.raises(MediaError, match=wanted):
            read_clip(path, SMALL, modality)


def png_that_claims(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
