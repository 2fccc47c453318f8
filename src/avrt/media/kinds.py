"""Kinds of files by their first bytes: pictures that are read, and what else people have.

The content decides, not the name.
"""

from __future__ import annotations

__all__ = ["HEAD_BYTES", "PICTURE_NAMES", "RAW", "foreign_kind", "picture_kind"]

HEAD_BYTES = 64
"""First bytes of a file that tell its kind."""

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    *((b"P%d%c" % (digit, blank), "PPM") for digit in range(1, 7) for blank in b"\n \r\t"),
)
PICTURE_NAMES = frozenset({kind.lower() for _, kind in _PICTURES} | {"webp", "bmp", "avif"})
"""How probes name the formats of pictures; FFmpeg calls none of its own so."""
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_HEIC_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    *(b"avci", b"avcs", b"mif2", b"heif"),
)
_AS_PICTURE = "convert it to PNG or JPEG"
RAW = f"a camera's raw picture; {_AS_PICTURE}"
_FOREIGN = (
    *((head, "unsupported", RAW) for head in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0")),
    (b"8BPS", "unsupported", f"a Photoshop document; {_AS_PICTURE}"),
    (b"\xff\x0a", "unsupported", f"a JPEG XL picture; {_AS_PICTURE}"),
    (b"\0\0\0\x0cJXL ", "unsupported", f"a JPEG XL picture; {_AS_PICTURE}"),
    (b"\0\0\1\0", "unsupported", f"an icon (ICO); {_AS_PICTURE}"),
    (b"qoif", "unsupported", f"a QOI picture; {_AS_PICTURE}"),
    (b"\x76\x2f\x31\x01", "unsupported", f"an OpenEXR picture; {_AS_PICTURE}"),
    (b"%!PS", "unsupported", f"a PostScript document; {_AS_PICTURE}"),
    (b"%PDF", "unsupported", f"a PDF document; {_AS_PICTURE}"),
    (b"<svg", "unsupported", f"an SVG drawing; {_AS_PICTURE}"),
    (b"MThd", "unsupported", "a MIDI file, which holds notes and no sound; convert it to WAV"),
    (b"version https://git-lfs", "not_media", "a Git LFS pointer; fetch it with `git lfs pull`"),
    (b"<!doctype html", "not_media", "an HTML page, mostly a saved error page; download it again"),
    (b"<html", "not_media", "an HTML page, mostly a saved error page; download it again"),
    (
        b"<?xml",
        "not_media",
        "an XML document: a saved error message, or an SVG drawing to be converted to PNG",
    ),
    (b"{", "not_media", "JSON, mostly a saved error message; download it again"),
    (b"PK\3\4", "not_media", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "not_media", "a gzip archive; unpack it"),
    (b"BZh", "not_media", "a bzip2 archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "not_media", "a Zstandard archive; unpack it"),
    (b"#EXTM3U", "not_media", "a playlist, which names media; download what it names"),
    (b"\xfd7zXZ", "not_media", "an xz archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "not_media", "a 7-Zip archive; unpack it"),
    (b"Rar!", "not_media", "a RAR archive; unpack it"),
)


def picture_kind(head: bytes) -> str | None:
    """Pillow's name of the format of a picture that is read; None for any other file."""
    for magic, kind in _PICTURES:
        if head.startswith(magic):
            return None if head[8:10] == b"CR" and kind == "TIFF" else kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    brands = _brands(head)  # a sequence, `avis`, is a video track to FFmpeg
    return "AVIF" if b"avif" in brands and brands[0] != b"avis" else None


def foreign_kind(head: bytes) -> tuple[str, str] | None:
    """Error class and description of a file of a known kind that is not read."""
    if (head[:4] == b"II*\0" and head[8:10] == b"CR") or _brands(head)[:1] == [b"crx "]:
        return "unsupported", RAW
    if _brands(head)[:1] and _brands(head)[0] in _HEIC_BRANDS:
        return "unsupported", f"a HEIC picture; {_AS_PICTURE}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, error_class, description in _FOREIGN:
        if head.startswith(magic) or (magic.isascii() and text.lower().startswith(magic)):
            return error_class, description
    return None


def _brands(head: bytes) -> list[bytes]:
    """The main brand of an MP4-like file, then the compatible ones."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[start : start + 4] for start in range(16, end - 3, 4))]
