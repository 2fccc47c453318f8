"""Picture files, each a single still frame: the first, of a file with several.

Metadata end no picture: the orientation is read from its own tag alone, and where Pillow stumbles
over a PNG or JPEG, the picture is read once more without all that does not decide its pixels.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, features

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.failures import decoding, machine_failure
from avrt.media.frames import fit_size
from avrt.media.kinds import RAW
from avrt.types import Frames

__all__ = ["Picture", "open_picture", "read_picture"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation."""
_ORIENTATION = 0x112
_SUBFILE, _PREVIEW = 0xFE, 1
_OPTIONAL = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
"""Formats that Pillow may have been built without, by its own name of the library."""
_PNG_PARTS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf")
_JPEG_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)
"""Markers of JPEG segments that decide no pixel; 0xEE says in which colours they are."""


class Picture(NamedTuple):
    """A decoded picture file."""

    image: Image.Image
    """RGB, upright, transparency over white."""
    kind: str
    """Pillow's name of the format."""
    has_more: bool
    """The file has more frames or pages than this, the first."""


def read_picture(path: Path, kind: str, media: MediaConfig) -> Frames:
    """Read a picture of `picture_kind` as a single still frame that fits in `media.max_pixels`.

    Raises:
        MediaError: too_large, truncated, unsupported or undecodable.
    """
    picture = open_picture(path, kind, media).image
    height, width = fit_size(picture.height, picture.width, media.max_pixels, media.size_factor)
    pixels = np.array(picture.resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)
    source = picture.height * picture.width
    return Frames(pixels[None], times_s=(0.0,), fps=1.0, still=True, source_pixels=source)


def open_picture(path: Path, kind: str, media: MediaConfig) -> Picture:
    """Decode a picture file of a kind that `picture_kind` gave.

    Raises:
        MediaError: too_large, truncated, unsupported or undecodable.
    """
    damage = "the picture is damaged or cut off; download it again"
    with decoding(path, damage), warnings.catch_warnings():
        # Pillow warns of odd metadata, and of pictures above its own limit; ours is checked first.
        warnings.simplefilter("ignore")
        try:
            return _decode(path, path, kind, media)
        except MediaError:
            raise
        except Exception as error:
            if machine_failure(path, error) or kind not in _BARE:
                raise
            bare = b"".join(_BARE[kind](path.read_bytes()))
            return _decode(path, io.BytesIO(bare), kind, media)


def _decode(path: Path, source: Path | IO[bytes], kind: str, media: MediaConfig) -> Picture:
    if kind in _OPTIONAL and not features.check(_OPTIONAL[kind]):
        detail = f"a picture in {kind}, which this Pillow does not read; convert it to PNG or JPEG"
        raise MediaError("unsupported", str(path), detail)
    with Image.open(source, formats=(kind,)) as picture:
        if picture.width * picture.height > media.max_source_pixels:
            detail = (
                f"{picture.width}x{picture.height} is over media.max_source_pixels = "
                f"{media.max_source_pixels}; scale the picture down"
            )
            raise MediaError("too_large", str(path), detail)
        picture.load()  # a PNG may have its metadata behind its pixels
        if kind == "TIFF" and getattr(picture, "tag_v2", {}).get(_SUBFILE, 0) == _PREVIEW:
            raise MediaError("unsupported", str(path), RAW)  # its full picture stands elsewhere
        if picture.mode == "F" or (picture.mode == "I" and kind not in ("PNG", "PPM")):
            detail = "its grey values have 32 bits; convert it to PNG or JPEG"
            raise MediaError("unsupported", str(path), detail)
        image = _to_rgb(picture)
        orientation = 1 if kind == "TIFF" else _orientation(picture)  # Pillow turns a TIFF itself
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
        # The further pictures of a photo, its preview and its depth, are no frames.
        return Picture(image, kind, kind != "JPEG" and _has_more(picture))


def _has_more(picture: Image.Image) -> bool:
    try:
        picture.seek(1)
    except EOFError:
        return False
    except Exception:  # noqa: BLE001 - there is a second frame; it is not used, so it may be damaged
        return True
    return True


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit greys, which Pillow would clip
        greys = np.asarray(picture, np.float64) / 257
        return Image.fromarray(greys.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _orientation(picture: Image.Image) -> int:
    """The orientation, 1 to 8, in a picture's EXIF or else its XMP; 1 where there is none."""
    exif = picture.info.get("exif") or b""
    profile = picture.info.get("Raw profile type exif")
    if not exif and isinstance(profile, str):
        digits = "".join(profile.split("\n")[3:])
        exif = bytes.fromhex(digits) if re.fullmatch(r"(\s*[0-9a-fA-F]{2})*\s*", digits) else b""
    xmp = picture.info.get("XML:com.adobe.xmp") or picture.info.get("xmp") or b""
    xmp = xmp.encode(errors="replace") if isinstance(xmp, str) else xmp
    found = re.search(rb'tiff:Orientation(="|>)([0-9])', xmp)
    return _exif_orientation(exif) or (int(found[2]) if found else 1)


def _exif_orientation(exif: bytes) -> int | None:
    """The orientation tag of the first directory, whatever else stands there."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack(f"{order}L", exif[4:8])
    (n_entries,) = struct.unpack(f"{order}H", exif[start : start + 2].ljust(2, b"\0"))
    for place in range(start + 2, min(start + 2 + 12 * n_entries, len(exif) - 11), 12):
        tag, form, _ = struct.unpack(f"{order}HHL", exif[place : place + 8])
        if tag == _ORIENTATION and form in (3, 4):  # SHORT, LONG
            size, code = (2, "H") if form == 3 else (4, "L")
            return struct.unpack(f"{order}{code}", exif[place + 8 : place + 8 + size])[0]
    return None


def _bare_png(content: bytes) -> Iterator[bytes]:
    """The signature and the chunks that decide pixels, of the file's first frame."""
    yield content[:8]
    place = 8
    while place + 12 <= len(content):
        (length,) = struct.unpack(">L", content[place : place + 4])
        end = place + 12 + length
        if content[place + 4 : place + 8] in _PNG_PARTS:
            yield content[place:end]
        place = end


def _bare_jpeg(content: bytes) -> Iterator[bytes]:
    """The file without its metadata, except EXIF."""
    yield content[:2]
    place = 2
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        marker = content[place + 1]
        if marker == 0xDA or marker == 0xFF or 0xD0 <= marker <= 0xD9:
            break
        (length,) = struct.unpack(">H", content[place + 2 : place + 4])
        segment = content[place : place + 2 + length]
        if marker not in _JPEG_METADATA or segment[4:10] == b"Exif\0\0":
            yield segment
        place += 2 + length
    yield content[place:]


_BARE = {"PNG": _bare_png, "JPEG": _bare_jpeg}
