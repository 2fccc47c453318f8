"""How fast files are probed and how much memory that takes: one small table.

    python benchmarks/probing.py [--files 10000] [--workers N]

Makes the files in a folder for temporary files, out of a few clips of 2 s, 112 x 112, H.264 and
AAC; each is another file, because a box that players pass over holds its number. Then `avrt
prepare`'s own `probe_files` looks at all of them. CPU time is that of this process and its workers,
so that other load on the machine changes no verdict.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from avrt.config import MediaConfig
from avrt.datasets.probing import probe_files

N_CLIPS = 4
SECONDS, SIDE, FPS, RATE_HZ = 2, 112, 25, 44_100
BAR_PER_S, BAR_CORES = 300, 2


def encode(path: Path, seed: int) -> bytes:
    """A clip in which soft shapes move, with a tone."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        audio: Any = container.add_stream("aac", rate=RATE_HZ, layout="stereo")
        for number in range(SECONDS * FPS):
            waves = np.sin((rows + 3 * number) / (7 + seed)) + np.cos((columns + number) / 9)
            pixels = np.repeat((128 + 60 * waves).astype(np.uint8)[..., None], 3, axis=2)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(video.encode(None))
        seconds = np.arange(SECONDS * RATE_HZ, dtype=np.float32) / RATE_HZ
        wave = 0.3 * np.sin(2 * np.pi * (300 + 100 * seed) * seconds)
        for start in range(0, len(wave), 1024):
            piece = np.stack([wave[start : start + 1024]] * 2)
            chunk = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            container.mux(audio.encode(chunk))
        container.mux(audio.encode(None))
    return path.read_bytes()


def write_files(folder: Path, n_files: int) -> list[str]:
    """The names of the files, no two of which are alike."""
    clips = [encode(folder / "clip.mp4", seed) for seed in range(N_CLIPS)]
    names = [f"{number:06d}.mp4" for number in range(n_files)]
    for number, name in enumerate(names):
        box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        (folder / name).write_bytes(clips[number % N_CLIPS] + box)
    return names


def cpu_s(*whose: int) -> float:
    """Seconds of this process (RUSAGE_SELF) or of those that it started and that ended."""
    used = [resource.getrusage(who) for who in whose]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mib(pid: int | str = "self") -> float:
    """Largest resident size of a process so far; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


class WorkersWatch(threading.Thread):
    """Notes the largest resident size of any worker, five times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib, self.done = 0.0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.2):
            pids = [child.pid for child in multiprocessing.active_children() if child.pid]
            self.peak_mib = max([self.peak_mib, *map(peak_mib, pids)])


def measure(n_files: int, workers: int) -> list[tuple[str, str]]:
    """Name and value of each row."""
    everyone = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        root.mkdir()
        names = write_files(root, n_files)
        size_kib = (root / names[0]).stat().st_size / 1024
        media, watch = MediaConfig(workers=workers), WorkersWatch()
        before_mib, before_s, own_s = peak_mib(), cpu_s(*everyone), cpu_s(everyone[0])
        watch.start()
        start_s = time.perf_counter()
        infos = probe_files(Path(place) / "run", root, names, media)
        wall_s = time.perf_counter() - start_s
        ms = 1000 * (cpu_s(*everyone) - before_s) / n_files
        own_ms = 1000 * (cpu_s(everyone[0]) - own_s) / n_files
        watch.done.set()
        assert all(info.status == "ok" for info in infos.values())
        start_s = time.perf_counter()
        probe_files(Path(place) / "run", root, names, media)
        again_s = time.perf_counter() - start_s
    return [
        ("files", f"{n_files} of {size_kib:.0f} KiB, 2 s, 112 x 112"),
        ("processes", f"{workers} on {os.cpu_count()} cores"),
        ("files per second", f"{n_files / wall_s:.0f}; bar: {BAR_PER_S} on {BAR_CORES} idle cores"),
        ("CPU per file", f"{ms:.2f} ms, of it {own_ms:.2f} ms in the parent"),
        (f"that is on {BAR_CORES} cores", f"{1000 * BAR_CORES / ms:.0f} files per second"),
        ("peak memory of the parent", f"{before_mib:.0f} MiB before, {peak_mib():.0f} MiB after"),
        ("peak memory of a worker", f"{watch.peak_mib:.0f} MiB"),
        ("the same again, from the journal", f"{again_s:.2f} s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Files per second and memory of probing.")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    rows = measure(options.files, options.workers)
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"| {name:<{width}} | {value} |" for name, value in rows))


if __name__ == "__main__":
    main()
