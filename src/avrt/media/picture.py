"""Picture files: PNG, JPEG and WebP, each a single still frame."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.frames import fit_size
from avrt.types import Frames

__all__ = ["open_picture", "read_picture"]


def read_picture(path: Path, media: MediaConfig) -> Frames:
    """Read a picture as a single still frame, scaled to fit in `media.max_pixels`.

    Raises:
        MediaError: too_large, truncated or undecodable.
    """
    picture = open_picture(path, media)
    height, width = fit_size(picture.height, picture.width, media.max_pixels, media.size_factor)
    pixels = np.array(picture.resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)
    return Frames(pixels[None], times_s=(0.0,), fps=1.0, still=True)


def open_picture(path: Path, media: MediaConfig) -> Image.Image:
    """Open a picture file in RGB, upright by its EXIF orientation, transparency over white.

    Raises:
        MediaError: too_large, truncated or undecodable.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures above its own limit; ours is checked before decoding.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as picture:
                if picture.width * picture.height > media.max_source_pixels:
                    raise Image.DecompressionBombError(
                        f"{picture.width}x{picture.height} is over media.max_source_pixels = "
                        f"{media.max_source_pixels}"
                    )
                return _to_rgb(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise MediaError("too_large", str(path), f"{error}; scale the picture down") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError) as error:
        # Pillow passes the errors of its parsers on; any of them means a broken file.
        error_class = "truncated" if "truncated" in str(error).lower() else "undecodable"
        detail = "the picture is damaged or cut off; download it again"
        raise MediaError(error_class, str(path), detail) from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit greys, which Pillow would clip
        greys = np.asarray(picture, np.float64) / 257
        return Image.fromarray(greys.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
