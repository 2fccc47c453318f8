"""The promises of evaluation, measured: 1,142 items in OmniBench's format, killed and resumed.

    python benchmarks/evaluate.py [--items 1142] [--kills 30] [--replies 1000] [--json]

Makes a benchmark of that many pictures and sounds in a folder for temporary files (JPEG, 320 x 240;
FLAC, five seconds), answers it with the scripted engine through `avrt eval` in processes of their
own, and prints one table. The replies of a killed run are counted from its ledger before and after
each kill, and its logs are compared with those of a run that was never killed. Then `avrt rubric`
reads that many replies that are all scored.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml
from PIL import Image

MAX_S = 30.0
MAX_GROWTH_MIB = 64.0
MAX_READING_S = 0.1
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
    """Its resident size near the end, less its size after 300 answers."""


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


def evaluate(config: Path, run: Path, *settings: str) -> Run:
    """Run `avrt eval` to its end and watch its memory."""
    started, n_start = time.monotonic(), len(replies(run))
    cpu_before = cpu_of_children_s()
    process = start(config, *settings)
    early, last, peak = 0.0, 0.0, 0.0
    while process.poll() is None:
        size = resident_mib(process.pid)
        peak, last = max(peak, size), size or last
        if not early and len(replies(run)) - n_start > 300:
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


def kill_after(config: Path, run: Path, n_replies: int, *settings: str) -> None:
    """Start `avrt eval` and end it with SIGKILL when it has that many new replies."""
    wanted = len(replies(run)) + n_replies
    process = start(config, *settings)
    while process.poll() is None and len(replies(run)) < wanted:
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def replies(run: Path) -> set[str]:
    """The keys of all calls that have a reply."""
    return {key for (key,) in query(run, "SELECT key FROM calls WHERE finish_reason != 'error'")}


def query(run: Path, text: str) -> list[tuple[str, ...]]:
    """Rows of a run's ledger; none before it is made."""
    path = run / "ledger.sqlite"
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(text).fetchall()
    except sqlite3.OperationalError:  # between the file and its tables
        return []


def logs(run: Path) -> dict[str, bytes]:
    """Every log of a run, without the time that each call took."""
    return {
        str(path.relative_to(run)): re.sub(rb'"latency_s": [^,]+', b"", path.read_bytes())
        for path in sorted((run / "eval").glob("*/*/*.json*"))
    }


def resident_mib(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(n_items: int, n_kills: int, folder: Path) -> list[tuple[str, str, str, bool]]:
    """Rows of (measurement, figure, bar, kept)."""
    root = folder / "omnibench"
    make_benchmark(root, n_items)
    config = write_config(folder, root)
    whole, killed = folder / "runs" / "bench", folder / "runs" / "killed"
    n_answers = n_items * len(MODALITIES)

    both = evaluate(config, whole, "eval.modalities=[av]")
    others = evaluate(config, whole)
    again = evaluate(config, whole)
    before = {path: path.read_bytes() for path in (whole / "eval").glob("*/*/*.json*")}
    for path in before:
        path.unlink()
    derived = evaluate(config, whole)
    is_same = all(path.read_bytes() == content for path, content in before.items())

    n_lost, kept = 0, replies(killed)
    for number in range(n_kills):
        kill_after(config, killed, 17 + number * 2 * n_answers // n_kills**2, "run.name=killed")
        now = replies(killed)
        n_lost += len(kept - now)
        kept = now
    evaluate(config, killed, "run.name=killed")
    n_made = len(query(killed, "SELECT key FROM attempts"))
    n_replies = len(replies(killed))
    plan = timed(lambda: avrt("eval", str(config), "--dry-run"))
    tables = timed(lambda: avrt("tables", str(config)))
    return [
        (f"{n_items} items, sound and picture", f"{both.seconds:.1f} s", f"{MAX_S:.0f} s",
         both.seconds <= MAX_S),
        ("CPU time of that, all processes", f"{both.cpu_s:.1f} s", "", True),
        ("the two other modalities after it", f"{others.seconds:.1f} s", "", True),
        ("CPU time of that, all processes", f"{others.cpu_s:.1f} s", "", True),
        ("peak memory of the process", f"{max(both.peak_mib, others.peak_mib):.0f} MiB", "", True),
        ("memory at the end, less after 300 answers", f"{both.growth_mib:+.1f} MiB",
         f"{MAX_GROWTH_MIB:.0f} MiB", both.growth_mib <= MAX_GROWTH_MIB),
        ("nothing left to do", f"{again.seconds:.1f} s", "", True),
        ("deleted logs derived again", f"{derived.seconds:.1f} s", "", True),
        ("  byte by byte", "yes" if is_same else "no", "yes", is_same),
        (f"answers lost by {n_kills} kills", str(n_lost), "0", n_lost == 0),
        ("answers asked for twice", str(n_made - n_replies), "0", n_made == n_replies),
        ("answers missing at the end", str(n_answers - n_replies), "0", n_answers == n_replies),
        ("logs that differ from those without kills", str(sum(
            logs(killed)[name] != content for name, content in logs(whole).items())), "0",
         logs(killed) == logs(whole)),
        ("dry run", f"{plan:.1f} s", "", True),
        ("tables from the logs", f"{tables:.1f} s", "", True),
    ]  # fmt: skip


def measure_rubric(n_replies: int, folder: Path) -> list[tuple[str, str, str, bool]]:
    """Rows about `avrt rubric` with so many replies, all of them scored before."""
    folder.mkdir()
    config = write_rubric_run(folder, n_replies)
    first = timed(lambda: avrt("rubric", str(config)))
    seconds, all_s = reading_s(config)
    return [
        (f"{n_replies} replies scored by rubrics", f"{first:.1f} s", "", True),
        ("reading of them when all are scored", f"{seconds:.3f} s", f"{MAX_READING_S} s",
         seconds <= MAX_READING_S),
        ("  all work of that", f"{all_s:.2f} s", "", True),
    ]  # fmt: skip


def write_rubric_run(folder: Path, n_replies: int) -> Path:
    """A set in MMAR's format with its log, and a text model that gives the same points to all."""
    criterion = {"name": "cue", "scoring_point": "1 if it is named", "note": "", "choices": [0, 1]}
    rows = [
        {
            "id": f"sound{number}",
            "audio_path": f"./audio/sound{number}.wav",
            "question": f"Which instrument enters last in piece {number}?",
            "choices": ["Cello", "Oboe", "Harp", "Gong"],
            "answer": "Harp",
            "modality": "music",
            "category": "Perception Layer",
            "sub-category": "Music Theory",
            "language": "en",
            "rubric": [criterion, criterion],
        }
        for number in range(n_replies)
    ]
    (folder / "mmar").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "mmar" / "MMAR-meta.jsonl").write_text(text)
    scripts = {"model": "<think>Plucked strings.</think><answer>C</answer>", "rubric": "1: 1\n2: 0"}
    for name, reply in scripts.items():
        (folder / f"{name}.jsonl").write_text(json.dumps({"match": "", "reply": reply}))
    engines = {
        name: {"kind": "scripted", "script": str(folder / f"{name}.jsonl")} for name in scripts
    }
    tree = {
        "run": {"dir": str(folder / "runs"), "name": "bench"},
        "eval": {
            "benchmarks": {"mmar": {"format": "mmar", "root": str(folder / "mmar")}},
            "models": {"scripted": {"model": "scripted", "engine": engines["model"]}},
            "modalities": ["none"],
        },
        "rubric": {"model": "rubric", "prompt": "rubric", "engine": engines["rubric"]},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    avrt("eval", str(path))
    return path


def reading_s(config: Path) -> tuple[float, float]:
    """Seconds in which the ledger finds all replies and their texts, and of all of `rubric.run`."""
    from avrt.ask.ledger import LedgerReader
    from avrt.config import load_config
    from avrt.evaluate import rubric

    spent_s = 0.0
    original = LedgerReader.query

    def timed_query(
        self: LedgerReader, query: str, parameters: Sequence[Any] = ()
    ) -> list[sqlite3.Row]:
        nonlocal spent_s
        started = time.monotonic()
        rows = original(self, query, parameters)
        spent_s += time.monotonic() - started
        return rows

    LedgerReader.query = timed_query
    all_s = timed(lambda: rubric.run(load_config(config)))
    LedgerReader.query = original
    return spent_s, all_s


def avrt(*arguments: str) -> None:
    """Another command, which must succeed."""
    command = [sys.executable, "-m", "avrt", *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=1142)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--replies", type=int, default=1000, help="replies that rubrics score")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="avrt-evaluate-") as folder:
        rows = measure(options.items, options.kills, Path(folder))
        rows += measure_rubric(options.replies, Path(folder) / "rubric")
    if options.json:
        print(
            json.dumps(
                [dict(zip(("name", "figure", "bar", "kept"), row, strict=True)) for row in rows]
            )
        )
    else:
        for name, figure, bar, is_kept in rows:
            verdict = f"  bar {bar}: {'kept' if is_kept else 'MISSED'}" if bar else ""
            print(f"{name:44} {figure:>12}{verdict}")
    if not all(is_kept for *_, is_kept in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
