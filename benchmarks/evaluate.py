"""What evaluation promises, tried: 1,142 items in OmniBench's format, killed, resumed, judged.

    python benchmarks/evaluate.py [--items 1142] [--kills 5] [--json]

Makes a benchmark of that many pictures and sounds in a folder for temporary files (JPEG, 320 x 240;
FLAC, five seconds), answers it with the scripted engine through `avrt eval` in processes of their
own, and prints one table. What a killed run has finished is counted from its logs, line by line,
before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import yaml
from PIL import Image

MAX_S = 30.0
MAX_GROWTH_MIB = 64.0
N_DISTINCT = 48
"""Pictures and sounds that are made; the others are copies, but files of their own."""
MODALITIES = ("a", "v", "av")


@dataclass(frozen=True)
class Run:
    """One `avrt eval`."""

    seconds: float
    cpu_s: float
    """CPU time of it and of the processes that read media for it."""
    peak_mib: float
    """Largest resident size of its own process, without those that read media."""
    growth_mib: float
    """Its resident size near the end, less that after the first tenth of the answers."""


def make_benchmark(root: Path, n_items: int) -> None:
    """Write pictures, sounds and the questions about them, as OmniBench is published."""
    pictures, sounds = root / "mm_data" / "image", root / "mm_data" / "audio"
    pictures.mkdir(parents=True)
    sounds.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n_items):
        if number < N_DISTINCT:
            _write_picture(pictures / f"{number}.jpg", rng)
            _write_sound(sounds / f"{number}.flac", rng)
        else:
            shutil.copy(pictures / f"{number % N_DISTINCT}.jpg", pictures / f"{number}.jpg")
            shutil.copy(sounds / f"{number % N_DISTINCT}.flac", sounds / f"{number}.flac")
        options = [f"{word} {number}" for word in ("dog", "bell", "car", "rain")]
        rows.append(
            {
                "task type": ("Action and Activity", "Story Description")[number % 2],
                "audio type": ("speech", "sound event", "music")[number % 3],
                "question": f"What makes the sound in picture {number}?",
                "audio_path": f"{number}.flac",
                "image_path": f"{number}.jpg",
                "index": number,
                "answer": options[number % 4],
                "options": options,
            }
        )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "dataset").mkdir()
    (root / "dataset" / "batch-5_1142_20240817.jsonl").write_text(text)


def _write_picture(path: Path, rng: np.random.Generator) -> None:
    coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=90)


def _write_sound(path: Path, rng: np.random.Generator) -> None:
    rate_hz, n_samples = 16_000, 80_000
    hum = np.sin(np.arange(n_samples) * rng.uniform(0.01, 0.2)) + 0.1 * rng.normal(size=n_samples)
    samples = (8_000 * hum).clip(-32_768, 32_767).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_config(folder: Path, root: Path) -> Path:
    """The configuration of the benchmark, with a model that always answers alike."""
    script = folder / "script.jsonl"
    script.write_text(json.dumps({"match": "", "reply": "<think>so</think><answer>A</answer>"}))
    engine = {"kind": "scripted", "script": str(script)}
    tree = {
        "run": {"dir": str(folder / "runs"), "name": "bench"},
        "eval": {
            "benchmarks": {"omnibench": {"format": "omnibench", "root": str(root)}},
            "models": {"scripted": {"model": "scripted", "engine": engine}},
            "modalities": list(MODALITIES),
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def evaluate(config: Path, log_folder: Path, *settings: str) -> Run:
    """Run `avrt eval` to its end and watch its memory."""
    started, n_start = time.monotonic(), count_lines(log_folder)
    cpu_before = cpu_of_children_s()
    process = start(config, *settings)
    early, last, peak = 0.0, 0.0, 0.0
    while process.poll() is None:
        size = resident_mib(process.pid)
        peak, last = max(peak, size), size or last
        n_done = count_lines(log_folder) - n_start
        if not early and n_done > 300:
            early = size
        time.sleep(0.1)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"avrt eval ended with {process.returncode}")
    cpu_s = cpu_of_children_s() - cpu_before
    return Run(seconds, cpu_s, peak, last - early if early else 0.0)


def cpu_of_children_s() -> float:
    """CPU time of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(config: Path, *settings: str) -> subprocess.Popen[bytes]:
    """`avrt eval` in a process group of its own."""
    command = [sys.executable, "-m", "avrt", "eval", str(config), *settings]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def kill_after(config: Path, log_folder: Path, n_lines: int, *settings: str) -> None:
    """Start `avrt eval` and end it with SIGKILL when so many lines more are there."""
    wanted = count_lines(log_folder) + n_lines
    process = start(config, *settings)
    while process.poll() is None and count_lines(log_folder) < wanted:
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def count_lines(folder: Path) -> int:
    """Finished answers in all logs."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


def finished(folder: Path) -> list[tuple[str, str]]:
    """Modality and item of every finished answer, repeated ones too."""
    return [
        (path.stem, json.loads(line)["sample_id"])
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().split(b"\n")[:-1]
    ]


def resident_mib(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(n_items: int, n_kills: int, folder: Path) -> list[tuple[str, str, str, bool]]:
    """Rows of (what, figure, bar, kept)."""
    root = folder / "omnibench"
    make_benchmark(root, n_items)
    config = write_config(folder, root)
    logs = folder / "runs" / "bench" / "eval" / "omnibench" / "scripted"
    n_answers = n_items * len(MODALITIES)

    one = evaluate(config, logs, "eval.modalities=[av]")
    all_of = evaluate(config, logs)
    again = evaluate(config, logs)

    killed = folder / "runs" / "killed" / "eval" / "omnibench" / "scripted"
    kept: list[tuple[str, str]] = []
    n_lost = 0
    for number in range(n_kills):
        kill_after(config, killed, 97 + 211 * number, "run.name=killed")
        now = finished(killed)
        n_lost += len(set(kept) - set(now))
        kept = now
    evaluate(config, killed, "run.name=killed")
    end = finished(killed)
    n_repeated = len(end) - len(set(end))
    n_missing = n_answers - len(set(end))
    plan = timed(lambda: avrt("eval", str(config), "--dry-run"))
    tables = timed(lambda: avrt("tables", str(config)))
    return [
        (f"{n_items} items, sound and picture", f"{one.seconds:.1f} s", f"{MAX_S:.0f} s",
         one.seconds <= MAX_S),
        ("CPU time of that, all processes", f"{one.cpu_s:.1f} s", "", True),
        ("the two other modalities after it", f"{all_of.seconds:.1f} s", "", True),
        ("peak memory of the process", f"{max(one.peak_mib, all_of.peak_mib):.0f} MiB", "", True),
        ("memory at the end, less after 300 answers", f"{one.growth_mib:+.1f} MiB",
         f"{MAX_GROWTH_MIB:.0f} MiB", one.growth_mib <= MAX_GROWTH_MIB),
        ("nothing left to do", f"{again.seconds:.1f} s", "", True),
        (f"answers lost by {n_kills} kills", str(n_lost), "0", n_lost == 0),
        ("answers made twice", str(n_repeated), "0", n_repeated == 0),
        ("answers missing at the end", str(n_missing), "0", n_missing == 0),
        ("dry run", f"{plan:.1f} s", "", True),
        ("tables from the logs", f"{tables:.1f} s", "", True),
    ]  # fmt: skip


def avrt(*arguments: str) -> None:
    """Another command, which must succeed."""
    command = [sys.executable, "-m", "avrt", *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def timed(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=1142)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="avrt-evaluate-") as folder:
        rows = measure(options.items, options.kills, Path(folder))
    if options.json:
        print(
            json.dumps(
                [dict(zip(("what", "figure", "bar", "kept"), row, strict=True)) for row in rows]
            )
        )
    else:
        for what, figure, bar, is_kept in rows:
            verdict = f"  bar {bar}: {'kept' if is_kept else 'MISSED'}" if bar else ""
            print(f"{what:44} {figure:>12}{verdict}")
    if not all(is_kept for *_, is_kept in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
