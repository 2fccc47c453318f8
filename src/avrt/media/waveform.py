"""The first seconds of a file's sound: 16 kHz, mono, float32.

The decision to question: channels are averaged here and resampled by soxr, not by FFmpeg. FFmpeg's
mono is 0.707 x (left + right), 3 dB louder than what audio models were trained on, and its default
filter lets frequencies just above 8 kHz fold back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
from av.error import FFmpegError

from avrt.errors import MediaError
from avrt.media.files import audio_stream, check_file, is_picture, open_container
from avrt.types import Waveform

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.packet import Packet
    from numpy.typing import NDArray

__all__ = ["SAMPLE_RATE_HZ", "decode_audio", "read_waveform"]

SAMPLE_RATE_HZ = 16_000
TAIL_S = 0.1
"""Sound decoded beyond the cut, so that the resampling filter sees no artificial end."""


def read_waveform(path: Path, max_audio_s: float) -> Waveform:
    """The first `max_audio_s` seconds, fewer when the file is shorter.

    Silence is sound like any other. The track begins at its own first sample; a later start than
    the video's is not padded, as in Qwen's own loader.

    Raises:
        MediaError: the file cannot give sound; `error_class` says why.
    """
    if is_picture(check_file(path)):
        raise MediaError(
            "no_audio", str(path), "is a picture; name the sound file in the sample's `audio`"
        )
    with open_container(path) as container:
        stream = audio_stream(container, path)
        native, rate_hz = _join(
            decode_audio(stream, container.demux(stream)), max_audio_s + TAIL_S, path
        )
    if not len(native):
        raise MediaError(
            "no_audio", str(path), "the sound track holds no sample; use it for vision only"
        )
    if not np.isfinite(native).all():
        raise MediaError(
            "undecodable",
            str(path),
            "the sound holds values that are not numbers; convert it again",
        )
    samples = (
        native
        if rate_hz == SAMPLE_RATE_HZ
        else soxr.resample(native, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    )
    samples = np.clip(samples[: round(max_audio_s * SAMPLE_RATE_HZ)], -1.0, 1.0)
    return Waveform(np.ascontiguousarray(samples, dtype=np.float32), SAMPLE_RATE_HZ)


def decode_audio(stream: AudioStream, packets: Iterable[Packet[Any]]) -> Iterator[AudioFrame]:
    """Decode in order; a damaged packet is passed over. When none decodes, its error is raised."""
    damage: FFmpegError | None = None
    n_frames = 0
    for packet in packets:
        try:
            for frame in stream.codec_context.decode(packet if packet.size else None):
                n_frames += 1
                yield frame
        except FFmpegError as error:
            damage = damage or error
    if damage and not n_frames:
        raise damage


def _join(
    frames: Iterable[AudioFrame], length_s: float, path: Path
) -> tuple[NDArray[np.float32], int]:
    """Mono samples of at least `length_s` where there are so many, and their rate."""
    pieces: list[NDArray[np.float32]] = []
    rate_hz, n_samples = 0, 0
    for frame in frames:
        if rate_hz and frame.sample_rate != rate_hz:
            raise MediaError(
                "undecodable",
                str(path),
                "the sample rate changes inside the track; convert it again",
            )
        rate_hz = frame.sample_rate
        pieces.append(_to_mono(frame))
        n_samples += len(pieces[-1])
        if n_samples >= length_s * rate_hz:
            break
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.float32)), rate_hz


def _to_mono(frame: AudioFrame) -> NDArray[np.float32]:
    """Mean over channels, in [-1, 1], of a frame in whatever sample format its codec has."""
    samples = frame.to_ndarray()  # (channels, n) when planar, (1, n x channels) when interleaved
    n_channels = frame.layout.nb_channels
    channels_first = samples if frame.format.is_planar else samples.reshape(-1, n_channels).T
    mono = channels_first.mean(axis=0, dtype=np.float64)
    if samples.dtype == np.uint8:
        mono = (mono - 128) / 128
    elif samples.dtype.kind == "i":
        mono = mono / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return mono.astype(np.float32)
