"""Every hostile file is read exactly or refused under a permitted class.

Exactly means: the frames that the rule names among those the ffmpeg command shows, their pixels as
a decoder yields them that decodes everything in order, upright and in their true shape; and the
sound that the ffmpeg command decodes, averaged and resampled by other means.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from avrt.media import Decoded
from avrt.types import Frames, Waveform
from hostile.corpus import Case, Truth, all_cases, truth
from hostile.harness import decode_and_pick, read
from hostile.marker import picked, picture, read_numbers

pytestmark = pytest.mark.slow

CASES = all_cases()
SETTINGS = {"size_factor": 2}
"""Fine steps, so that a wrong shape shows."""

WHOLE = [case for case in CASES if (case.shown or case.sound) and not case.errors]
DAMAGED = [case for case in CASES if (case.shown or case.sound) and case.errors]
REFUSED = [case for case in CASES if not case.shown and not case.sound]


def named(cases: Sequence[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[ascii(case.name)[1:-1] for case in cases])


def ask_ffmpeg(case: Case, corpus: Path) -> Truth:
    return truth(corpus / case.name, video=bool(case.shown), sound=case.sound is not None)


@named(REFUSED)
def test_what_is_no_media_is_refused_by_name(case, corpus, worker):
    reading = worker.call(read, Path(case.name), SETTINGS)
    no_sound = {"no_audio"} if case.name.endswith((".png", ".jpg", ".webp", ".jpeg")) else set()
    assert reading.v in case.errors | {"no_video"}
    assert reading.a in case.errors | no_sound
    assert reading.av in case.errors | {"no_video"} | no_sound
    assert reading.info.status in case.errors


@named(WHOLE)
def test_what_is_whole_is_read_exactly(case, corpus, worker):
    reading = worker.call(read, Path(case.name), SETTINGS | case.settings)
    assert reading.info.status == "ok"
    known = None if case.still else ask_ffmpeg(case, corpus)
    if case.shown:
        assert isinstance(reading.v, Decoded), reading.v
        frames = reading.v.frames
        check_frames(frames, case)
        assert frames.still == case.still
        if known:
            assert known.shown == list(case.shown), "the corpus is not what it should be"
            check_times(frames, known, case)
            height, width = frames.pixels.shape[1:3]
            sequential = worker.call(decode_and_pick, Path(case.name), height, width)
            # A mirrored picture too: that it is the right way round, its marker says.
            ways = (sequential, sequential[:, ::-1], sequential[:, :, ::-1])
            assert any(np.array_equal(frames.pixels, way) for way in ways)
    if case.sound:
        assert isinstance(reading.a, Decoded), reading.a
        check_sound(reading.a.waveform, known, case)
    check_together(reading, case)
    if known and case.shown and case.sound and not case.loose:
        assert reading.av.waveform.start_s == pytest.approx(known.start_s, abs=2e-3)


def check_frames(frames: Frames, case: Case) -> None:
    """The right frames, upright, in shape and colour, without a fault."""
    numbers = read_numbers(frames.pixels)
    assert numbers == (picked(case.shown) if not case.still else list(case.shown))
    assert frames.fault is None
    height, width = frames.pixels.shape[1:3]
    if "shape" not in case.loose:
        # Each side is rounded down to a multiple of 2.
        assert abs(width - height * case.shape) <= 2 * (1 + case.shape)
    for number, pixels in zip(numbers, frames.pixels, strict=True):
        difference = np.abs(pixels.astype(int) - picture(number, height, width)).mean(axis=(0, 1))
        if "colour" not in case.loose:
            assert difference.max() < 14, f"channels differ by {difference}"


def check_times(frames: Frames, known: Truth, case: Case) -> None:
    """Frames are due when the ffmpeg command shows them."""
    assert list(frames.times_s) == sorted(frames.times_s)
    if "times" not in case.loose:
        wanted = picked(range(len(known.times_s)))
        assert np.allclose(frames.times_s, [known.times_s[i] for i in wanted], atol=2e-3)


def check_sound(waveform: Waveform, known: Truth | None, case: Case) -> None:
    """A tone of the right pitch and loudness, sample by sample what the ffmpeg command decodes."""
    assert case.sound is not None
    assert known is not None
    samples = waveform.samples.astype(np.float64)
    assert waveform.fault is None
    assert abs(len(samples) / 16_000 - case.sound.seconds) < 0.1 or case.sound.changes
    if not case.sound.changes:
        middle = samples[len(samples) // 4 : -(len(samples) // 4)]
        assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(case.sound.level, abs=0.005)
        if case.sound.level:
            assert pitch_hz(middle) == pytest.approx(case.sound.hz, abs=5)
    if "sound" not in case.loose:
        limit_s = {"max_audio_s": 10.0, **case.settings}["max_audio_s"]
        n_wanted = len(known.mono) if limit_s is None else round(16_000 * limit_s)
        expected = np.clip(known.mono[:n_wanted], -1, 1)
        assert abs(len(samples) - len(expected)) <= 1
        assert noise_db(samples, expected) < -50


def pitch_hz(samples: NDArray[np.float64]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * 16_000 / len(samples)


def noise_db(samples: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Level of the difference against a tone at full scale."""
    n_shared = min(len(samples), len(expected))
    noise = np.mean((samples[:n_shared] - expected[:n_shared]) ** 2)
    return float(10 * np.log10(2 * noise + 1e-20))


def check_together(reading: Any, case: Case) -> None:
    """Asked for at once, frames and sound are those that are read alone."""
    if case.shown and case.sound:
        assert isinstance(reading.av, Decoded), reading.av
        assert reading.v.waveform is None
        assert reading.a.frames is None
        assert np.array_equal(reading.av.frames.pixels, reading.v.frames.pixels)
        assert reading.av.frames.times_s == reading.v.frames.times_s
        assert np.array_equal(reading.av.waveform.samples, reading.a.waveform.samples)
    else:
        missing = "no_audio" if case.shown else "no_video"
        assert reading.av == missing
        assert (reading.a if case.shown else reading.v) == missing


@named(DAMAGED)
def test_what_is_damaged_is_refused_or_read_exactly(case, corpus, worker):
    reading = worker.call(read, Path(case.name), SETTINGS)
    absent = [("no_video", case.shown), ("no_audio", case.sound)]
    permitted = case.errors | {name for name, present in absent if not present}
    for found in (reading.v, reading.a, reading.av):
        assert isinstance(found, Decoded) or found in permitted
    assert reading.info.status in case.errors | {"ok"}
    if not any(isinstance(found, Decoded) for found in (reading.v, reading.a)):
        return
    known = ask_ffmpeg(case, corpus)
    if isinstance(reading.v, Decoded):
        assert reading.v.frames.fault is None
        numbers = read_numbers(reading.v.frames.pixels)
        assert is_exact(numbers, case, known), (numbers, known.shown)
    if isinstance(reading.a, Decoded):
        assert reading.a.waveform.fault is None
        samples = reading.a.waveform.samples
        assert len(samples) > 0.8 * len(known.mono)
        assert noise_db(samples.astype(np.float64), known.mono) < -50
    if isinstance(reading.av, Decoded):
        assert np.array_equal(reading.av.frames.pixels, reading.v.frames.pixels)
        assert np.array_equal(reading.av.waveform.samples, reading.a.waveform.samples)


def is_exact(numbers: list[int | None], case: Case, known: Truth) -> bool:
    """True for the frames of the whole clip, or of what the ffmpeg command shows, perhaps without
    one frame, which may be the one that the cut went through.
    """
    if case.unnoticed:
        return any(
            all(
                None in (number, right) or number == right
                for number, right in zip(*pair, strict=True)
            )
            for pair in ((numbers, picked(case.shown)), (numbers, picked(known.shown)))
        )
    readable = [number for number in known.shown if number is not None]
    shorter = (readable[:gone] + readable[gone + 1 :] for gone in range(len(readable)))
    return numbers in [picked(shown) for shown in (case.shown, readable, *shorter) if shown]


@named(DAMAGED)
def test_damaged_files_can_be_used_and_are_marked(case, corpus, worker):
    reading = worker.call(read, Path(case.name), SETTINGS | {"damaged": "use"})
    strict = worker.call(read, Path(case.name), SETTINGS)
    for used, refused, part in (
        (reading.v, strict.v, "frames"),
        (reading.a, strict.a, "waveform"),
    ):
        if isinstance(used, str):
            assert isinstance(refused, str), "more is read when damage is permitted, never less"
        else:
            fault = getattr(used, part).fault
            assert fault in ("truncated", "damaged") if isinstance(refused, str) else fault is None
    if isinstance(reading.v, Decoded):
        numbers = read_numbers(reading.v.frames.pixels)
        if not case.garbled:
            assert None not in numbers
            assert numbers == sorted(numbers)
            assert set(numbers) <= set(case.shown)


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [
        ("edits_two_parts.mp4", "packet=flags", r"D"),
        ("cut_start.mp4", "packet=flags", r"KD"),
        ("b_pyramid.mp4", "stream=has_b_frames", r"has_b_frames=2"),
        ("no_b.mp4", "stream=has_b_frames", r"has_b_frames=0"),
        ("gop_250.mp4", "packet=flags", r"\A(?!(.*K){3})(.*K){2}"),
        ("interlaced.mp4", "stream=field_order", r"tt"),
        ("ten_bit.mp4", "stream=pix_fmt", r"yuv420p10le"),
        ("full_range.mp4", "stream=color_range", r"pc"),
        ("turned_90.mp4", "stream_side_data=rotation", r"90"),
        ("shape_of_the_container.mp4", "stream=sample_aspect_ratio", r"2:1"),
        ("negative_start.mkv", "packet=dts_time", r"N/A"),
        ("late_sound.mp4", "stream=start_time", r"0\.47"),
        ("uneven.mp4", "stream=r_frame_rate,avg_frame_rate", r"=25/1.*=(?!25/1)"),
    ],
)
def test_the_corpus_is_what_its_names_say(corpus, name, asked, found):
    track = ["-select_streams", "a" if "sound" in name else "v"]
    command = ["ffprobe", "-v", "error", *track, "-of", "default=nw=1", "-show_entries", asked]
    said = subprocess.check_output([*command, f"file:{corpus / name}"], text=True)
    assert re.search(found, said, re.DOTALL), said[:500]
