"""Hostile media files, made by ffmpeg and by editing bytes, each with what is true of it.

`python tests/hostile/corpus.py FOLDER` writes them all into a folder and names them. `truth`
decodes a file with the ffmpeg command: another build of the decoders than the one under test, and
another count of frames.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":  # run as a script: the folder of tests is not on the path
    sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.marker import picture, read_number

RATE_HZ = 44_100
ALL = range(60)
CUT = frozenset({"truncated", "damaged", "undecodable"})
"""What a file may be called that was cut off or damaged."""
NOT_MEDIA = frozenset({"not_media", "undecodable"})
"""What a file may be called that holds no media."""


@dataclass(frozen=True)
class Sound:
    """A tone: what the mean over the channels must sound like."""

    level: float = 0.3
    """Amplitude of the mean over the channels."""
    seconds: float = 2.4
    hz: float = 440.0
    changes: bool = False
    """The tone does not last, so neither its level nor its pitch holds for the whole."""


@dataclass(frozen=True)
class Case:
    """One file and what is true of it."""

    name: str
    write: Callable[[Path], object]
    """Makes the file at this path."""
    shown: Sequence[int] = ()
    """The numbers of the frames that a player shows, in order; empty: there is no picture."""
    shape: float = 4 / 3
    """Width / height of the picture as shown."""
    sound: Sound | None = None
    errors: frozenset[str] = frozenset()
    """What the file may be called instead of being read exactly. With neither frames nor sound, it
    must be called one of these.
    """
    garbled: bool = False
    """When damage is permitted, pictures may be unreadable."""
    unnoticed: bool = False
    """The decoder does not notice such damage: pictures may be unreadable, but no others."""
    still: bool = False
    """A picture file."""
    settings: dict[str, object] = field(default_factory=dict)
    """Changes to `MediaConfig`."""
    loose: str = ""
    """What cannot be compared: any of "shape", "colour", "sound", "times"."""


@dataclass(frozen=True)
class Truth:
    """What the ffmpeg command makes of a file."""

    shown: list[int | None]
    """Numbers of the frames on show; None: a frame without a readable number."""
    times_s: list[float]
    """Time of each frame since the first."""
    mono: NDArray[np.float64]
    """Mean over the channels, at 16 kHz."""
    start_s: float | None
    """Start of the sound relative to the first frame."""


def run_ffmpeg(*arguments: str, stdin: bytes | None = None) -> str:
    """Run ffmpeg; returns what it said.

    Raises:
        RuntimeError: it failed.
    """
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-y", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{said[-2000:]}")
    return said


@cache
def raw_frames(numbers: tuple[int, ...], height: int, width: int) -> bytes:
    """Pictures of these numbers, as ffmpeg reads raw RGB."""
    return b"".join(picture(number, height, width).tobytes() for number in numbers)


def tone(levels: Sequence[float] = (0.4, 0.2), hz: float = 440, seconds: float = 2.4) -> str:
    """Source of a tone for ffmpeg, one level for each channel."""
    channels = "|".join(f"{level}*sin(2*PI*{hz}*t)" for level in levels)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}[len(levels)]
    return f"aevalsrc={channels}:c={layout}:s={RATE_HZ}:d={seconds}"


def encode(
    path: Path,
    options: str = "",
    *,
    numbers: Sequence[int] = ALL,
    size: tuple[int, int] = (96, 128),
    sound: str | None = None,
    before: str = "",
) -> Path:
    """Encode numbered frames of `size` (height, width) at 25/s, and sound if given.

    `before` are options of the inputs, in front of the sound's.
    """
    inputs = []
    if numbers:
        height, width = size
        inputs = shlex.split(f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r 25 -i pipe:0")
    if sound:
        inputs += [*shlex.split(before), "-f", "lavfi", "-i", sound]
    raw = raw_frames(tuple(numbers), *size) if numbers else None
    # One thread and no dates: the same bytes every time.
    exact = shlex.split("-threads 1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact")
    run_ffmpeg(*inputs, *exact, *shlex.split(options), f"file:{path}", stdin=raw)
    return path


def truth(path: Path, *, video: bool, sound: bool) -> Truth:
    """Decode a file with the ffmpeg command, at most 256 x 192 pixels of each frame.

    Raises:
        RuntimeError: ffmpeg refuses the file.
    """
    outputs: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        pictures, samples = Path(folder, "pictures"), Path(folder, "samples")
        if video:
            outputs += shlex.split("-map 0:v:0 -fps_mode passthrough -pix_fmt gray -f rawvideo")
            outputs += ["-vf", "showinfo,scale=256:192:flags=area", str(pictures)]
        if sound:
            outputs += shlex.split("-map 0:a:0 -af ashowinfo -c:a pcm_f32le -f f32le")
            outputs += [str(samples)]
        said = run_ffmpeg("-threads", "1", "-i", f"file:{path}", *outputs)
        frames = np.fromfile(pictures, np.uint8).reshape(-1, 192, 256) if video else []
        mono = _mono(np.fromfile(samples, "<f4"), said) if sound else np.zeros(0)
    times = [_seconds(line) for line in re.findall(r"_showinfo_.*] n:.*", said)]
    starts = [_seconds(line) for line in re.findall(r"_ashowinfo_.*] n:.*", said)[:1]]
    return Truth(
        shown=[read_number(frame) for frame in frames],
        times_s=[time - times[0] for time in times],
        mono=mono,
        start_s=starts[0] - times[0] if starts and times else None,
    )


def _seconds(line: str) -> float:
    found = re.search(r"pts_time:(\S+)", line)
    return float(found.group(1)) if found and found.group(1) != "NOPTS" else float("nan")


def _mono(samples: NDArray[np.float32], said: str) -> NDArray[np.float64]:
    """Mean over the channels, resampled to 16 kHz by its spectrum."""
    found = re.search(r"_ashowinfo_.*] n:0 .*? channels:(\d+) .*? rate:(\d+)", said)
    if found is None:
        return np.zeros(0)
    n_channels, rate_hz = int(found.group(1)), int(found.group(2))
    mono = samples.reshape(-1, n_channels).mean(axis=1, dtype=np.float64)
    step = rate_hz // np.gcd(rate_hz, 16_000)
    # Padded by at least a tenth of a second, else the end of a tone leaks into its start.
    n_blocks = -(-(len(mono) + rate_hz // 10) // step)
    n_out = n_blocks * step * 16_000 // rate_hz
    spectrum = np.fft.rfft(mono, n_blocks * step)
    resized = np.zeros(n_out // 2 + 1, complex)
    n_kept = min(len(spectrum), len(resized))
    resized[:n_kept] = spectrum[:n_kept]
    length = round(len(mono) * 16_000 / rate_hz)
    return np.fft.irfft(resized, n_out)[:length] * (16_000 / rate_hz)


def all_cases() -> list[Case]:
    """Every case, in the order in which they are described."""
    from hostile.broken_cases import BROKEN
    from hostile.sound_cases import SOUNDS
    from hostile.video_cases import VIDEOS

    return [*VIDEOS, *SOUNDS, *BROKEN]


def build(folder: Path, cases: Sequence[Case]) -> None:
    """Write the files of `cases` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda case: case.write(folder / case.name), cases))


def main() -> None:
    """Write the corpus into the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/hostile/corpus.py FOLDER")
    cases = all_cases()
    build(Path(sys.argv[1]), cases)
    for case in cases:
        wanted = [f"{len(case.shown)} frames"] * bool(case.shown) + ["sound"] * bool(case.sound)
        permitted = [f"or {', '.join(sorted(case.errors))}"] * bool(case.errors)
        print(f"{case.name!a}: {', '.join([*wanted, *permitted])}")


if __name__ == "__main__":
    main()
