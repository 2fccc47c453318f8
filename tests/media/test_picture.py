from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import read_frames

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


def png_that_claims(width, height):
    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
