"""The first seconds of a file's sound: 16 kHz, mono, float32.

The decision to question: channels are averaged here and resampled by soxr, not by FFmpeg. FFmpeg's
mono is 0.707 x (left + right), 3 dB louder than the training data of audio models, and its default
filter lets frequencies just above 8 kHz fold back. Channels in opposite phase cancel out in a mix;
`media.opposite_phase` says what becomes of those.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import av
import numpy as np
import soxr
from av.audio.fifo import AudioFifo
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.failures import is_short_of_memory
from avrt.types import Waveform

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container.input import InputContainer
    from av.packet import Packet
    from numpy.typing import NDArray

__all__ = ["SAMPLE_RATE_HZ", "SILENT_DBFS", "SoundDecoder"]

SAMPLE_RATE_HZ = 16_000
PIECE = 2**18
"""Samples per channel that are averaged at a time."""
SILENT_DBFS = -80.0
"""A level below this is silence: less than four steps of 16 bit."""
CANCELLED_DB = 6.0
"""Channels cancel out where their mix is this much below that of channels that have nothing to do
with each other: for stereo, 9 dB below their mean level, as with a correlation of -0.75.
"""
MOST_DB = 120.0
"""A larger loss, up to that of a mix without any sound, is given as this one."""
TAIL_S = 0.1
"""Sound decoded beyond the cut, so that the resampling filter sees no artificial end."""


class SoundDecoder:
    """Takes the packets of a sound track, in order, until it has the wanted seconds.

    A packet that does not decode is skipped. Between good packets that is damage, because the later
    sound moves forward in time; before the first and after the last it is the edge of a recording.
    """

    def __init__(self, stream: AudioStream, path: Path, media: MediaConfig) -> None:
        self.stream = stream
        self._context = stream.codec_context
        self._path = str(path)
        self._wanted_s = math.inf if media.max_audio_s is None else media.max_audio_s
        self._keeps_channels = media.opposite_phase == "loudest_channel"
        self._rate_hz = 0
        self._n_samples = 0
        self._queue, self._form = AudioFifo(), ("", "")
        """Decoded frames of one sample format and layout."""
        self._pieces: list[NDArray[np.float32]] = []
        self._channels: list[NDArray[np.float32]] = []
        """Of each piece, shape (channels, n), where they may be wanted."""
        self._n_channels = 0
        """The most that a frame has."""
        self._mixed = self._mean = self._unrelated = 0.0
        """Energy of the mono mix; the mean of the channels' energies; and the energy of the mix if
        the channels had nothing to do with each other.
        """
        self._error: FFmpegError | None = None
        """The last failure since the last good frame."""
        self.damaged = False
        self.start_s: float | None = None
        """Presentation time of the first sample; None before it, and without time stamps."""

    @property
    def is_full(self) -> bool:
        return self._n_samples > 0 and self._n_samples >= self._rate_hz * (self._wanted_s + TAIL_S)

    @property
    def n_resampled(self) -> int:
        """Samples that `finish` gives at `SAMPLE_RATE_HZ`, once the track has ended.

        soxr rounds n x new rate / old rate, halves up.
        """
        n_samples = self._n_samples
        if self._rate_hz != SAMPLE_RATE_HZ:
            doubled = 2 * n_samples * SAMPLE_RATE_HZ + self._rate_hz
            n_samples = doubled // (2 * self._rate_hz)
        if math.isfinite(self._wanted_s):
            n_samples = min(n_samples, round(self._wanted_s * SAMPLE_RATE_HZ))
        return n_samples

    @property
    def mono_loss_db(self) -> float | None:
        """Level of the mono mix below the mean level of the channels; None: there is no loss to
        measure, in sound of one channel and in silence.
        """
        is_heard = self._mean > self._n_samples * 10 ** (SILENT_DBFS / 10)
        if not is_heard or self._n_channels < 2:
            return None
        return round(min(MOST_DB, _ratio_db(self._mean, self._mixed)), 2) + 0.0

    @property
    def cancels(self) -> bool:
        """True when the channels cancel out in the mono mix; see `CANCELLED_DB`."""
        return (
            self.mono_loss_db is not None
            and _ratio_db(self._unrelated, self._mixed) >= CANCELLED_DB
        )

    def feed(self, packet: Packet[Any] | None) -> None:
        """Decode a packet; None ends the track.

        Raises:
            MediaError: undecodable.
        """
        if self.is_full:
            return
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            if is_short_of_memory(error):
                raise
            self._error = error
            return
        for frame in frames:
            if frame.samples:
                self._append(frame)

    def finish(
        self,
        fault: Literal["truncated"] | None,
        video_start_s: float | None,
        rate_hz: int | None = SAMPLE_RATE_HZ,
    ) -> Waveform:
        """Give the first `max_audio_s` seconds, fewer when the track is shorter.

        `rate_hz` None keeps the stored rate, which saves the resampling.

        Silence is sound like any other. The track begins at its own first sample; a later start
        than the video's is reported, not padded, as in Qwen's own loader.

        Raises:
            MediaError: no_audio or undecodable.
        """
        self.feed(None)
        self._fold()
        if not self._pieces:
            if self._error:
                raise self._undecodable(f"no sound decodes ({self._error.strerror})")
            raise MediaError(
                "no_audio", self._path, "the sound track holds no sample; use it for vision only"
            )
        native = np.concatenate(
            self._loudest() if self._keeps_channels and self.cancels else self._pieces
        )
        if not np.isfinite(native).all():
            raise self._undecodable("the sound holds values that are not numbers")
        if len(native) * SAMPLE_RATE_HZ < self._rate_hz:
            raise self._undecodable(f"only {len(native)} samples at {self._rate_hz} Hz")
        rate_hz = rate_hz or self._rate_hz
        samples = native
        if self._rate_hz != rate_hz:
            samples = soxr.resample(native, self._rate_hz, rate_hz, quality="HQ")
        if math.isfinite(self._wanted_s):
            samples = samples[: round(self._wanted_s * rate_hz)]
        start_s = None
        if self.start_s is not None and video_start_s is not None:
            start_s = self.start_s - video_start_s
        return Waveform(
            np.ascontiguousarray(np.clip(samples, -1.0, 1.0), dtype=np.float32),
            rate_hz,
            start_s,
            fault or ("damaged" if self.damaged else None),
            self._source_s(),
        )

    def _source_s(self) -> float:
        """Length of the whole track; where its end was not decoded, as its header says."""
        decoded_s = self._n_samples / self._rate_hz
        if not self.is_full:
            return decoded_s
        if self.stream.duration is not None and self.stream.time_base is not None:
            return max(decoded_s, float(self.stream.duration * self.stream.time_base))
        whole = cast("InputContainer", self.stream.container).duration
        return max(decoded_s, (whole or 0) / av.time_base)

    def _append(self, frame: AudioFrame) -> None:
        if self._rate_hz and frame.sample_rate != self._rate_hz:
            raise self._undecodable("the sample rate changes inside the track")
        if not self._n_samples:
            self._rate_hz, self.start_s = frame.sample_rate, frame.time
        elif self._error:
            self.damaged = True
        self.damaged |= frame.is_corrupt
        self._error = None
        form = (frame.format.name, frame.layout.name)
        if form != self._form or self._queue.samples >= PIECE:
            self._fold()
            self._form = form
        frame.pts = None  # the queue would insist on time stamps without gaps
        self._queue.write(frame)
        self._n_samples += frame.samples

    def _fold(self) -> None:
        """Average the channels of the queued frames: many frames at a time, for speed."""
        frame = self._queue.read() if self._queue.samples else None
        if frame:
            samples = _to_samples(frame)
            mono = _to_mono(samples)
            self._pieces.append(mono)
            self._measure(samples, mono)
            if self._keeps_channels:
                self._channels.append(_scaled(samples).astype(np.float32))
        self._queue = AudioFifo()

    def _measure(self, samples: NDArray[Any], mono: NDArray[np.float32]) -> None:
        n = len(samples)
        self._n_channels = max(n, self._n_channels)
        mixed = _energy(mono)
        channels = [mixed] if n == 1 else [_energy(channel) for channel in samples]
        self._mixed += mixed
        self._mean += sum(channels) / n
        self._unrelated += sum(channels) / n**2

    def _loudest(self) -> list[NDArray[np.float32]]:
        """The pieces of the channel with the most energy, the first of equal ones."""
        energies = np.zeros(max(len(piece) for piece in self._channels))
        for piece in self._channels:
            energies[: len(piece)] += [_energy(channel) for channel in piece]
        loudest = int(energies.argmax())
        return [piece[min(loudest, len(piece) - 1)] for piece in self._channels]

    def _undecodable(self, problem: str) -> MediaError:
        return MediaError("undecodable", self._path, f"{problem}; download or convert it again")


def _to_samples(frame: AudioFrame) -> NDArray[Any]:
    """The samples, (channels, n), of a frame in any sample format."""
    frame = _readable(frame)
    samples = frame.to_ndarray()  # (channels, n) when planar, (1, n x channels) when interleaved
    return samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T


def _to_mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Average the channels, in [-1, 1]."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused later
        mono = samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float64)
        return _scaled(mono, samples.dtype).astype(np.float32)


def _scaled(samples: NDArray[Any], form: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Bring samples of the form to [-1, 1]."""
    form = form or samples.dtype
    if form == np.uint8:
        return (samples.astype(np.float64) - 128) / 128
    return samples / 2.0 ** (8 * form.itemsize - 1) if form.kind == "i" else samples


def _energy(samples: NDArray[Any]) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = _scaled(samples).astype(np.float64)  # a square of 32 bits may be infinite
        return float(np.dot(scaled, scaled))


def _ratio_db(first: float, second: float) -> float:
    return 10 * math.log10(first / second) if second > 0 else math.inf


def _readable(frame: AudioFrame) -> AudioFrame:
    """Convert a frame that PyAV cannot hand out: 64-bit integers, and planes from 8 channels on.

    PyAV looks for one plane more than such a frame has.
    """
    if frame.format.name.rstrip("p") == "s64":
        form = "dbl"
    elif frame.format.is_planar and frame.layout.nb_channels >= 8:
        form = frame.format.packed.name
    else:
        return frame
    resampler = AudioResampler(form, frame.layout, frame.sample_rate)
    (readable,) = resampler.resample(frame)
    return readable
