"""How fast, how lean and how right media are read: one table of ratios, with their bars.

    python benchmarks/media.py --clips FOLDER [--qwen-python PYTHON] [--runs 3] [--cache FOLDER]

Makes twelve synthetic clips with ffmpeg once, into --cache, and takes real ones from --clips. Every
candidate reads every clip --runs times, all in random order. CPU time is that of a process and its
children, so that other load on the machine changes no verdict; a ratio is that of two medians over
the runs of one clip, and the table shows the median over clips.

The decision to question: `read_clip` runs in a process that has started and read a clip before, as
a worker does, while ffmpeg is started for every clip, as its users do. What a start of ffmpeg costs
is a row of its own.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avrt.config import MediaConfig
from avrt.media import read_clip
from avrt.media.processes import map_files
from media_checks import frames_are_exact, sound_snr_db, weigh
from media_clips import Clip, find_real, make_huge, make_synthetic

FOLDER = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / "avrt-benchmarks"
MEDIA = MediaConfig()
BAR_FFMPEG, BAR_QWEN = 0.60, 0.45
BAR_720P_MB, BAR_8K_MB = 120, 450
BAR_SNR_DB = 75

Seconds = Mapping[str, Mapping[Path, float]]
"""Median CPU seconds by candidate and clip."""


class Peer:
    """A process that stays and reads the clips it is told to; see media_peers.py."""

    def __init__(self, python: str, what: str) -> None:
        self._process = subprocess.Popen(
            [python, str(FOLDER / "media_peers.py"), what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.versions: dict[str, str] = self._answer()

    def cpu_s(self, path: Path) -> float:
        """CPU seconds that reading one clip takes."""
        assert self._process.stdin is not None
        print(json.dumps({"path": str(path)}), file=self._process.stdin, flush=True)
        return self._answer()["cpu_s"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._process.args))}: ended; run it by hand")
        return json.loads(line)


def child_cpu_s(command: Sequence[str]) -> float:
    """CPU seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ffmpeg_cpu_s(path: Path, seconds: float | None = None) -> float:
    """CPU seconds of ffmpeg decoding a clip's pictures and sound, or only the first `seconds`."""
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path)]
    command += [] if seconds is None else ["-t", str(seconds)]
    return child_cpu_s([*command, "-map", "0:v", "-map", "0:a", "-f", "null", "-"])


def measure(clips: Sequence[Clip], peers: Mapping[str, Peer], n_runs: int) -> Seconds:
    """Run every candidate on every clip `n_runs` times, in random order."""
    candidates: dict[str, Callable[[Path], float]] = {
        **{name: peer.cpu_s for name, peer in peers.items()},
        "ffmpeg": ffmpeg_cpu_s,
        "start": partial(ffmpeg_cpu_s, seconds=0.001),
    }
    for run in candidates.values():
        run(clips[0].path)
    work = [(name, clip.path) for name in candidates for clip in clips for _ in range(n_runs)]
    random.Random(0).shuffle(work)
    times: dict[str, dict[Path, list[float]]] = defaultdict(lambda: defaultdict(list))
    for n_done, (name, path) in enumerate(work, start=1):
        times[name][path].append(candidates[name](path))
        if sys.stderr.isatty():
            print(f"\r{n_done} of {len(work)} readings", end="", file=sys.stderr)
    return {
        name: {path: statistics.median(values) for path, values in of_clip.items()}
        for name, of_clip in times.items()
    }


def print_ratio(title: str, ratios: Iterable[float], bar: float | None) -> None:
    """One row: the median, its bar, and the range over the clips."""
    values = sorted(ratios)
    if not values:
        print(f"| {title} | no such clip | | |")
        return
    median = statistics.median(values)
    print(
        f"| {title} | {median:.2f}{_verdict(median, bar)} | {'' if bar is None else f'{bar:.2f}'} "
        f"| {values[0]:.2f} to {values[-1]:.2f}, {len(values)} clips |"
    )


def print_speed(clips: Sequence[Clip], seconds: Seconds, why_no_qwen: str) -> None:
    """The rows about CPU time."""
    groups: dict[str, Callable[[Clip], bool]] = {
        "all clips": lambda _: True,
        "real, with B-frames": lambda clip: clip.real and clip.has_b_frames,
        "real, without": lambda clip: clip.real and not clip.has_b_frames,
        "synthetic, with B-frames": lambda clip: not clip.real and clip.has_b_frames,
        "synthetic, without": lambda clip: not clip.real and not clip.has_b_frames,
    }

    def ratios(other: str, belongs: Callable[[Clip], bool]) -> list[float]:
        paths = [clip.path for clip in clips if belongs(clip)]
        return [seconds["avrt"][path] / seconds[other][path] for path in paths]

    for name, belongs in groups.items():
        print_ratio(f"CPU / ffmpeg, {name}", ratios("ffmpeg", belongs), BAR_FFMPEG)
    starts = [seconds["start"][clip.path] / seconds["ffmpeg"][clip.path] for clip in clips]
    print_ratio("a start of ffmpeg / ffmpeg, all clips", starts, None)
    if "qwen" in seconds:
        for name, belongs in groups.items():
            print_ratio(f"CPU / qwen-omni-utils, {name}", ratios("qwen", belongs), BAR_QWEN)
    else:
        print(f"| CPU / qwen-omni-utils | not measured: {why_no_qwen} | {BAR_QWEN:.2f} | |")


def print_memory(clip: Path, huge: Path) -> None:
    """The rows about memory, each from a fresh worker."""
    for title, path, bar in (("1280x720", clip, BAR_720P_MB), ("7680x4320", huge, BAR_8K_MB)):
        ((_, peak),) = map_files(weigh, [path], timeout_s=300, workers=1)
        if isinstance(peak, Exception):
            raise peak
        print(
            f"| peak memory of a worker, {title}, MiB | {peak:.0f}{_verdict(peak, bar)} | {bar} | |"
        )


def print_checks(clips: Sequence[Clip]) -> None:
    """The rows about right frames and right sound."""
    wrong: list[str] = []
    snr_db: dict[str, list[float]] = defaultdict(list)
    for clip in clips:
        read = read_clip(clip.path, MEDIA, "av")
        assert read.frames is not None
        assert read.waveform is not None
        if not frames_are_exact(clip.path, read.frames):
            wrong.append(clip.path.name)
        for name, value in sound_snr_db(clip.path, read.waveform).items():
            snr_db[name].append(value)
    verdict = "yes" if not wrong else f"**no**: {', '.join(wrong)}"
    print(f"| frames equal a plain decode bit by bit | {verdict} | yes | {len(clips)} clips |")
    worst = min(snr_db["sinc"])
    mark = "" if worst >= BAR_SNR_DB else " **missed**"
    print(f"| sound below 7 kHz, worst SNR to float64, dB | {worst:.0f}{mark} | {BAR_SNR_DB} | |")
    worst = min(snr_db["vhq"])
    print(f"| sound, whole band, worst SNR to a steeper filter, dB | {worst:.0f} | | |")


def print_profile(clips: Sequence[Clip]) -> None:
    """Where the CPU time of `read_clip` goes: by function, and in it by the library call."""
    profile = cProfile.Profile(time.process_time)
    for clip in clips:
        profile.runcall(read_clip, clip.path, MEDIA, "av")
    own_s: dict[str, float] = defaultdict(float)
    for (file, _, name), (_, _, seconds, _, callers) in pstats.Stats(profile).stats.items():
        if file != "~":
            own_s[f"{Path(file).stem}.{name}"] += seconds
            continue
        for (caller_file, _, caller), (_, _, seconds_there, _) in callers.items():
            own_s[f"{Path(caller_file).stem}.{caller}: {name}"] += seconds_there
    total_s = sum(own_s.values())
    print(f"\nCPU time of read_clip, {total_s / len(clips) * 1000:.0f} ms for a clip:\n")
    for name, seconds in sorted(own_s.items(), key=lambda entry: -entry[1])[:15]:
        print(f"  {seconds / total_s:6.1%}  {name}")


def print_machine(n_runs: int, peers: Mapping[str, Peer]) -> None:
    """What was measured on, and with what."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    ffmpeg = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True, text=True)
    print(f"{models[0] if models else platform.machine()}, {os.cpu_count()} processors")
    print(f"Python {platform.python_version()}, {ffmpeg.stdout.split(' Copyright')[0]}")
    packages = {name: version(name) for name in ("av", "numpy", "soxr", "pillow")}
    for peer in peers.values():
        packages |= peer.versions
    print(", ".join(f"{name} {number}" for name, number in packages.items()))
    print(f"{n_runs} runs of every candidate on every clip, in random order\n")


def _verdict(value: float, bar: float | None) -> str:
    return "" if bar is None or value <= bar else " **missed**"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clips", type=Path, help="folder of real clips with sound")
    options.add_argument("--cache", type=Path, default=CACHE, help="of synthetic clips")
    options.add_argument("--runs", type=int, default=3, help="of every candidate on every clip")
    options.add_argument("--qwen-python", help="a Python that has qwen-omni-utils and torchcodec")
    asked = options.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not installed: it makes the clips and is what AVRT is compared with")
    clips = [*make_synthetic(asked.cache), *(find_real(asked.clips) if asked.clips else ())]
    peers = {"avrt": Peer(sys.executable, "avrt")}
    why_no_qwen = "name a Python that has it with --qwen-python"
    if asked.qwen_python:
        try:
            peers["qwen"] = Peer(asked.qwen_python, "qwen")
        except RuntimeError as error:
            why_no_qwen = str(error)
    print_machine(asked.runs, peers)
    seconds = measure(clips, peers, asked.runs)
    for peer in peers.values():
        peer.close()
    print("| what | median | bar | range over clips |\n| --- | --- | --- | --- |")
    print_speed(clips, seconds, why_no_qwen)
    print_memory(clips[0].path, make_huge(asked.cache))
    print_checks(clips)
    print_profile(clips)


if __name__ == "__main__":
    main()
