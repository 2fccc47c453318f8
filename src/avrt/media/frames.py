"""Frames of a clip, chosen by index, scaled and turned upright.

The rule is `linspace(0, n - 1, k).round()` over the n frames that a player would show, as in Qwen's
own loader. n is counted from the packets: the frame count in the header also counts frames that
an edit list hides.

Only the packets that the chosen frames need are decoded, which changes no pixel: groups of pictures
without a chosen frame are skipped, and in the other groups frames that no other frame refers to.

The decision to question: where that cannot be trusted, every packet is decoded and the frames are
counted. That is so when time stamps do not identify the frames, when the codec hides frames (VP8,
VP9), and when a chosen frame is missing or a packet on the way is damaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter

from avrt.config import MediaConfig
from avrt.media.bitstream import has_layers, is_restart
from avrt.media.failures import is_short_of_memory

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

__all__ = [
    "Taken",
    "count_frames",
    "decode_video",
    "fit_size",
    "quarter_turns",
    "sample_indices",
    "shown_size",
    "take_frames",
    "upright",
]

Convert: TypeAlias = "Callable[[VideoFrame], NDArray[np.uint8]]"

SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Bit-exact on every processor: the pixels are part of a model call's key."""
HIDING_CODECS = ("vp8", "vp9")
"""Their packets may hold frames that are never shown."""
SKIPPING_CODECS = ("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video")
"""Their decoders know before decoding which frames no other frame refers to."""
_RATE = 25
"""Frames per second of a track that does not say."""
JOINED_FORMATS = ("mpegts", "mpeg")
"""Recordings may begin in the middle: packets before the first whole frame are no damage."""


@dataclass(frozen=True)
class Taken:
    """The chosen frames of a video track."""

    pixels: NDArray[np.uint8]
    """Shape (n_frames, height, width, 3)."""
    times_s: tuple[float, ...]
    """Since the first shown frame."""
    fps: float
    """Rate of the chosen frames."""
    start_s: float | None
    """Time of the first shown frame on the file's own clock."""
    source_pixels: int
    """Height x width of the frames before they were scaled."""
    damaged: bool
    """A packet on the way to the chosen frames did not decode as it should."""


def sample_indices(n_shown: int, n_frames: int) -> list[int]:
    """Choose `n_frames` of `n_shown` indices: ascending, with repeats when there are too few."""
    return np.linspace(0, n_shown - 1, n_frames).round().astype(int).tolist()


def count_frames(n_shown: int, rate: float | None, media: MediaConfig) -> int:
    """The frames to take of a clip of `n_shown` frames at `rate` per second.

    With `media.fps`, those of Qwen2.5-Omni's loader (qwen_omni_utils, `smart_nframes`): at least
    four, at most `media.n_frames` and those that there are, and an even number.
    """
    if media.fps is None:
        return media.n_frames
    wanted = n_shown / (rate or _RATE) * media.fps
    n_frames = int(min(max(wanted, 4), media.n_frames, n_shown))
    return max(n_frames - n_frames % 2, min(2, media.n_frames))


def fit_size(height: int, width: int, max_pixels: int, factor: int) -> tuple[int, int]:
    """Compute the size to scale a picture to: multiples of `factor`, at most `max_pixels`.

    A picture is never enlarged, except that a side shorter than `factor` becomes `factor`, the
    smallest legal side.
    """
    shrink = min(1.0, math.sqrt(max_pixels / (height * width)))
    rows, columns = (max(1, int(side * shrink) // factor) for side in (height, width))
    most = max(1, max_pixels // factor**2)
    if rows * columns > most:  # only when one side was too thin to shrink along
        rows, columns = min(rows, most), min(columns, most)
    return rows * factor, columns * factor


def shown_size(stream: VideoStream, turns: int) -> tuple[int, int]:
    """Compute height and width on a screen: pixels made square, then `turns` quarter turns."""
    height, width = stream.codec_context.height, stream.codec_context.width
    aspect = stream.sample_aspect_ratio
    if aspect:
        width = max(1, round(width * aspect))
    return (width, height) if turns % 2 else (height, width)


def quarter_turns(frame: VideoFrame) -> int:
    """Count the counter-clockwise quarter turns that bring the stored picture upright."""
    return round(frame.rotation / 90) % 4


def upright(pixels: NDArray[np.uint8], frame: VideoFrame) -> NDArray[np.uint8]:
    """Turn and mirror pixels (height, width, 3) by the display matrix of their frame.

    The matrix takes a stored point (x, y) to (a x + c y, b x + d y) on the screen, y downwards.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return pixels
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    if abs(b) > abs(a):  # rows become columns
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def take_frames(
    stream: VideoStream, packets: Sequence[Packet[Any]], media: MediaConfig
) -> Taken | None:
    """Take frames evenly over the packets of a track; None when no packet decodes.

    A clip with fewer frames repeats frames.
    """
    convert = _converter(stream, media)
    taken = _take_by_time(stream, packets, media, convert)
    return taken or _take_by_count(stream, packets, media, convert)


def decode_video(
    stream: VideoStream, packets: Iterable[Packet[Any]], wanted: Collection[int] | None = None
) -> Iterator[VideoFrame | None]:
    """Decode from a clean start, in order of presentation, to the end; None is a damaged packet.

    With `wanted` time stamps, frames that no other frame refers to may be left out.
    """
    context = stream.codec_context
    context.flush_buffers()
    for packet in (*packets, None):
        needed = wanted is None or packet is None or packet.pts in wanted
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        try:
            yield from context.decode(packet)
        except FFmpegError as error:
            if is_short_of_memory(error):
                raise
            yield None


def _take_by_time(
    stream: VideoStream, packets: Sequence[Packet[Any]], media: MediaConfig, convert: Convert
) -> Taken | None:
    """Decode only the packets that the chosen frames need; None when that cannot be trusted."""
    codec = stream.codec_context.name
    shown = sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)
    if (
        codec in HIDING_CODECS
        or not shown
        or len(set(shown)) < len(shown)
        or any(packet.pts is None or packet.is_corrupt for packet in packets)
        or (stream.codec_context.has_b_frames and _in_order(packets))
    ):
        return None
    n_frames = count_frames(len(shown), _rate(stream), media)
    chosen = [shown[index] for index in sample_indices(len(shown), n_frames)]
    wanted = set(chosen)
    skippable = codec in SKIPPING_CODECS and not has_layers(stream, packets)
    pixels: dict[int, NDArray[np.uint8]] = {}
    for run in _runs(stream, packets, wanted):
        for frame in decode_video(stream, run, wanted if skippable else None):
            if frame is None or frame.is_corrupt:
                return None
            if frame.pts in wanted and frame.pts not in pixels:
                pixels[frame.pts] = convert(frame)
            del frame  # a picture at 8K is 50 MB, and the next one is decoded now
    if len(pixels) < len(wanted):
        return None
    unit_s = float(stream.time_base or 0)
    times_s = [(pts - shown[0]) * unit_s for pts in chosen]
    return _taken(stream, _stack(pixels, chosen), times_s, len(shown), shown[0] * unit_s)


def _in_order(packets: Sequence[Packet[Any]]) -> bool:
    """True when time stamps rise from packet to packet.

    Where frames are shown in another order, these are times of decoding, as in AVI.
    """
    stamps = [packet.pts for packet in packets if packet.pts is not None]
    return len(stamps) > 2 and stamps == sorted(stamps)


def _runs(
    stream: VideoStream, packets: Sequence[Packet[Any]], wanted: Collection[int]
) -> Iterator[Sequence[Packet[Any]]]:
    """Yield the runs of packets to decode, each from a packet where a decoder may start.

    Frames shown before the picture that begins their group refer to the group before it, so that
    group is decoded too, in the same run.
    """
    starts = [0, *(i for i in range(1, len(packets)) if is_restart(stream, packets[i]))]
    ends = [*starts[1:], len(packets)]
    last_wanted: list[int | None] = []
    for group, (start, end) in enumerate(zip(starts, ends, strict=True)):
        inside = [i for i in range(start, end) if packets[i].pts in wanted]
        last_wanted.append(inside[-1] if inside else None)
        first_pts = packets[start].pts or 0
        if group and any((packets[i].pts or 0) < first_pts for i in inside):
            last_wanted[group - 1] = start - 1
    run_start = run_end = 0
    for start, end, last in zip(starts, ends, last_wanted, strict=True):
        if last is None:
            continue
        if run_end != start:
            if run_end > run_start:
                yield packets[run_start:run_end]
            run_start = start
        # Adjacent groups are decoded as a single run, without a new start between them.
        run_end = end if last + 1 == end else last + 1
    if run_end > run_start:
        yield packets[run_start:run_end]


def _take_by_count(
    stream: VideoStream, packets: Sequence[Packet[Any]], media: MediaConfig, convert: Convert
) -> Taken | None:
    """Decode every packet, and choose among the frames that come out.

    Their number is guessed from the packets and known at the end: a wrong guess costs a second
    pass.
    """
    n_guessed = sum(not packet.is_discard for packet in packets)
    indices = sample_indices(n_guessed, count_frames(n_guessed, _rate(stream), media))
    shown = _decode_all(stream, packets, set(indices), convert)
    if shown.n_frames not in (0, n_guessed):
        n_guessed = shown.n_frames
        indices = sample_indices(n_guessed, count_frames(n_guessed, _rate(stream), media))
        shown = _decode_all(stream, packets, set(indices), convert)
    if not shown.pixels:
        return None
    if shown.n_frames != n_guessed:  # a damaged track may decode differently each time
        shown.damaged = True
        indices = [max((i for i in shown.pixels if i <= index), default=0) for index in indices]
    times_s = [index / _rate(stream) for index in indices]
    stamps = [shown.times_s[index] for index in indices]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) == len(stamps) and known == sorted(known):
        times_s = [stamp - known[0] for stamp in known]
    return _taken(
        stream,
        _stack(shown.pixels, indices),
        times_s,
        shown.n_frames,
        stamps[0],
        shown.damaged,
    )


@dataclass
class _Shown:
    """The frames that a whole track decodes to."""

    pixels: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    """The wanted frames by index."""
    times_s: dict[int, float | None] = field(default_factory=dict)
    n_frames: int = 0
    damaged: bool = False


def _decode_all(
    stream: VideoStream, packets: Sequence[Packet[Any]], wanted: Collection[int], convert: Convert
) -> _Shown:
    whole = [packet for packet in packets if not packet.is_corrupt]
    shown = _Shown(damaged=len(whole) < len(packets))
    joined = stream.container.format.name in JOINED_FORMATS
    unit_s = float(stream.time_base or 0)
    due = sorted(p.pts for p in whole if p.pts is not None and not p.is_discard)
    came: list[int] = []
    halves = False
    for frame in decode_video(stream, whole):
        if frame is None:
            shown.damaged |= not joined or shown.n_frames > 0
            continue
        if frame.is_corrupt:
            shown.damaged = True
            continue
        halves |= frame.interlaced_frame
        if frame.pts is not None:
            came.append(frame.pts)
        if shown.n_frames in wanted:
            shown.pixels[shown.n_frames] = convert(frame)
            shown.times_s[shown.n_frames] = None if frame.pts is None else frame.pts * unit_s
        shown.n_frames += 1
        del frame
    # Two packets may be the halves of one interlaced frame, and hidden frames are no damage.
    if came and not halves and stream.codec_context.name not in HIDING_CODECS:
        shown.damaged |= bool({pts for pts in due if pts > came[0]} - set(came))
    return shown


def _stack(pixels: dict[int, NDArray[np.uint8]], keys: Sequence[int]) -> NDArray[np.uint8]:
    """Stack the pictures in the order of `keys`; free each when it is copied, to save memory."""
    stack = np.empty((len(keys), *pixels[keys[0]].shape), np.uint8)
    for index, key in enumerate(keys):
        stack[index] = pixels[key] if key in keys[index + 1 :] else pixels.pop(key)
    return stack


def _taken(
    stream: VideoStream,
    pixels: NDArray[np.uint8],
    times_s: Sequence[float],
    n_shown: int,
    start_s: float | None,
    damaged: bool = False,
) -> Taken:
    span_s = times_s[-1] - times_s[0]
    # A single frame, or copies of it, span no time: the rate follows from the clip's length.
    clip_s = n_shown / _rate(stream)
    fps = (len(times_s) - 1) / span_s if span_s > 0 else len(times_s) / clip_s
    height, width = shown_size(stream, 0)
    return Taken(pixels, tuple(times_s), fps, start_s, height * width, damaged)


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or _RATE)


def _converter(stream: VideoStream, media: MediaConfig) -> Convert:
    """Give a function that scales a frame directly to its final size, then turns it upright.

    All frames get the size that the track begins with.
    """
    sizes = [shown_size(stream, turns) for turns in (0, 1)]
    scaler = VideoReformatter()

    def convert(frame: VideoFrame) -> NDArray[np.uint8]:
        turns = quarter_turns(frame)
        fitted = fit_size(*sizes[turns % 2], media.max_pixels, media.size_factor)
        rows, columns = reversed(fitted) if turns % 2 else fitted
        scaled = scaler.reformat(
            frame, columns, rows, "rgb24", interpolation=SCALING, threads=1
        ).to_ndarray()
        return upright(np.asarray(scaled, np.uint8), frame)

    return convert
