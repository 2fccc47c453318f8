"""Frames of a clip, or the one frame of a picture: chosen by index, scaled, turned upright.

The rule is `linspace(0, n - 1, k).round()` over the n frames a player would show, as Qwen's own
loader has it. n is counted from the packets: the frame count in the header also counts frames that
an edit list hides.

The decision to question: frames that are neither wanted nor needed by others are not decoded
(`skip_frame NONREF`), which changes no pixel. Where time stamps cannot name the frames, or a wanted
one does not decode, the whole clip is decoded and counted instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation
from PIL import Image, ImageOps

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.files import (
    MAX_PIXELS,
    check_file,
    is_picture,
    open_container,
    read_packets,
    video_stream,
)
from avrt.types import Frames

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

__all__ = [
    "decode_video",
    "fit_size",
    "open_picture",
    "quarter_turns",
    "read_frames",
    "sample_indices",
]

Taken: TypeAlias = "list[tuple[float, NDArray[np.uint8]]]"
"""Time in seconds since the first shown frame, and pixels (height, width, 3)."""

SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Bit-exact on every processor: the pixels are part of a model call's key."""


def read_frames(path: Path, media: MediaConfig) -> Frames:
    """`media.n_frames` frames spread over the clip, first and last included.

    A picture file gives one still frame. A clip with fewer frames repeats some. Frames fit in
    `media.max_pixels`. Sample aspect ratio is not applied, as in Qwen's own loader.

    Raises:
        MediaError: the file cannot give frames; `error_class` says why.
    """
    if is_picture(check_file(path)):
        return _read_picture(path, media)
    with open_container(path) as container:
        stream = video_stream(container, path)
        packets = read_packets(container, path, stream)
        height, width = stream.codec_context.height, stream.codec_context.width
        taken, n_shown = _take(
            stream, packets, media.n_frames, lambda frame: _to_rgb(frame, height, width, media)
        )
        if not taken:
            raise MediaError(
                "undecodable", str(path), "no frame of the video track decodes; download it again"
            )
        times_s = tuple(time for time, _ in taken)
        span_s = times_s[-1] - times_s[0]
        # One frame, or copies of one, span no time: the rate follows from the clip's length.
        clip_s = n_shown / float(stream.average_rate or 25)
        fps = (len(taken) - 1) / span_s if span_s > 0 else len(taken) / clip_s
    return Frames(np.stack([pixels for _, pixels in taken]), times_s, fps)


def sample_indices(n_shown: int, n_frames: int) -> list[int]:
    """Which of `n_shown` frames are taken: ascending, with repeats when there are too few."""
    return np.linspace(0, n_shown - 1, n_frames).round().astype(int).tolist()


def fit_size(height: int, width: int, max_pixels: int, factor: int) -> tuple[int, int]:
    """The size a picture is scaled to: multiples of `factor`, at most `max_pixels`.

    Never enlarged, except that a side shorter than `factor` becomes `factor`, the smallest legal
    side.
    """
    shrink = min(1.0, math.sqrt(max_pixels / (height * width)))
    rows, columns = (max(1, int(side * shrink) // factor) for side in (height, width))
    most = max(1, max_pixels // factor**2)
    if rows * columns > most:  # only when one side was too thin to shrink along
        rows, columns = min(rows, most), min(columns, most)
    return rows * factor, columns * factor


def decode_video(
    stream: VideoStream, packets: Sequence[Packet[Any]], wanted: Collection[int] | None = None
) -> Iterator[VideoFrame]:
    """Decode in order of presentation.

    With `wanted` time stamps, other frames may be left out. A damaged packet is passed over: its
    frame is then missing, and whoever wanted it notices.
    """
    context = stream.codec_context
    context.flush_buffers()
    for packet in (*packets, None):
        needed = wanted is None or packet is None or packet.pts in wanted
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        try:
            yield from context.decode(packet)
        except FFmpegError:
            continue


def quarter_turns(frame: VideoFrame) -> int:
    """Counter-clockwise quarter turns that bring the stored picture upright."""
    return round(frame.rotation / 90) % 4


def open_picture(path: Path) -> Image.Image:
    """A picture file in RGB, upright by its EXIF orientation, transparency over white.

    Raises:
        MediaError: too_large, truncated or undecodable.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{picture.width}x{picture.height} pixels")
            upright = ImageOps.exif_transpose(picture)
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            layer = upright.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(
                "RGB"
            )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("too_large", str(path), f"{error}; scale the picture down") from error
    except (OSError, SyntaxError, ValueError) as error:
        error_class = "truncated" if "truncated" in str(error).lower() else "undecodable"
        detail = "the picture is damaged or cut off; download it again"
        raise MediaError(error_class, str(path), detail) from error


def _take(
    stream: VideoStream,
    packets: Sequence[Packet[Any]],
    n_frames: int,
    convert: Callable[[VideoFrame], NDArray[np.uint8]],
) -> tuple[Taken, int]:
    """The chosen frames and how many frames the clip shows; ([], 0) when nothing decodes."""
    shown = [packet.pts for packet in packets if not packet.is_discard]
    if shown and None not in shown and len(set(shown)) == len(shown):
        taken = _take_by_time(
            stream, packets, sorted(pts for pts in shown if pts is not None), n_frames, convert
        )
        if taken:
            return taken, len(shown)
    n_shown = sum(1 for _ in decode_video(stream, packets))
    return _take_by_count(stream, packets, n_shown, n_frames, convert), n_shown


def _take_by_time(
    stream: VideoStream,
    packets: Sequence[Packet[Any]],
    shown: Sequence[int],
    n_frames: int,
    convert: Callable[[VideoFrame], NDArray[np.uint8]],
) -> Taken:
    """The frames whose time stamps the rule names; [] when one of them does not decode."""
    wanted = [shown[index] for index in sample_indices(len(shown), n_frames)]
    pixels: dict[int, NDArray[np.uint8]] = {}
    distinct = set(wanted)
    for frame in decode_video(stream, packets, distinct):
        if frame.pts in distinct:
            pixels[frame.pts] = convert(frame)
    if len(pixels) < len(distinct):
        return []
    unit_s = float(stream.time_base or 0)
    return [((pts - shown[0]) * unit_s, pixels[pts]) for pts in wanted]


def _take_by_count(
    stream: VideoStream,
    packets: Sequence[Packet[Any]],
    n_shown: int,
    n_frames: int,
    convert: Callable[[VideoFrame], NDArray[np.uint8]],
) -> Taken:
    """The frames the rule names among those that decode; times follow from the average rate."""
    if n_shown == 0:
        return []
    wanted = sample_indices(n_shown, n_frames)
    frames = enumerate(decode_video(stream, packets))
    pixels = {index: convert(frame) for index, frame in frames if index in wanted}
    rate = float(stream.average_rate or 25)
    return [(index / rate, pixels[index]) for index in wanted]


def _to_rgb(frame: VideoFrame, height: int, width: int, media: MediaConfig) -> NDArray[np.uint8]:
    """Scale straight to the final size, then turn upright; `height` x `width` is as stored."""
    turns = quarter_turns(frame)
    lies = turns % 2 == 1
    fitted = fit_size(
        *((width, height) if lies else (height, width)), media.max_pixels, media.size_factor
    )
    rows, columns = reversed(fitted) if lies else fitted
    scaled = frame.reformat(
        width=columns, height=rows, format="rgb24", interpolation=SCALING, threads=1
    )
    return np.ascontiguousarray(np.rot90(scaled.to_ndarray(), turns), dtype=np.uint8)


def _read_picture(path: Path, media: MediaConfig) -> Frames:
    picture = open_picture(path)
    height, width = fit_size(picture.height, picture.width, media.max_pixels, media.size_factor)
    pixels = np.array(picture.resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)
    return Frames(pixels[None], times_s=(0.0,), fps=1.0, still=True)
