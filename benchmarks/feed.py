"""The feed of a training at full size: real clips under many names, a sleep in the model's place.

For each number of samples, in a process of its own: the seconds from the dataset's file to the
inputs of the first step, then how fast the processes read at most, then the share of time that a
trainer waits whose demand is 1/1.3 of that rate, and the memory at four moments. The clips are
linked under as many names as there are samples, and their rows of media.parquet are repeated, as
`avrt prepare` would write them. Loading the model is not part of it.

    python benchmarks/feed.py --clips FOLDER_OF_REAL_CLIPS
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import avrt.engines.torchcompat  # noqa: F401  # isort: skip

import pyarrow as pa
from transformers import WhisperFeatureExtractor

from avrt.config import MediaConfig
from avrt.datasets import require_media
from avrt.datasets.prepare import MEDIA_SCHEMA
from avrt.datasets.probing import probe_settings
from avrt.media import probe
from avrt.runs import manifest_path, write_json, write_parquet
from avrt.train.data import PromptEncoder, keep_usable, read_examples, split_path
from avrt.train.dropped import Dropped
from avrt.train.feed import Feed
from avrt.train.order import length_sorted
from avrt.train.sft import TraceCollator
from avrt.world.networks import new_student

STEP = 8
"""Samples of a step, as by default."""
MARGIN = 1.3
"""The processes' rate over the trainer's demand."""
WORDS = ("a", "dog", "barks", "while", "the", "bell", "rings", "over", "water", "near", "red")
OPTIONS = ["bell", "drum", "flute", "horn"]


def make_run(folder: Path, clips: list[Path], n_samples: int, media: MediaConfig) -> None:
    """Link the clips under `n_samples` names, and write what `prepare` and `build` would."""
    draw = random.Random(0)
    infos = [asdict(probe(clip, media)) for clip in clips]
    (folder / "data").mkdir()
    copies = [folder / f"{number}.mp4" for number in range(len(clips))]
    for clip, copy in zip(clips, copies, strict=True):
        copy.write_bytes(clip.read_bytes())
    rows, probes = [], []
    for number in range(n_samples):
        name = f"{number:06d}.mp4"
        os.link(copies[number % len(clips)], folder / "data" / name)
        probes.append({**infos[number % len(clips)], "path": name})
        rows.append(
            {
                "id": f"s{number}",
                "video_id": name,
                "question": " ".join(draw.choices(WORDS, k=12)),
                "choices": OPTIONS,
                "answer": number % 4,
                "answer_letter": "ABCD"[number % 4],
                "answer_text": OPTIONS[number % 4],
                "question_relation": "both",
                "question_type": "Which",
                "av_reasoning": f"<think>{' '.join(draw.choices(WORDS, k=150))}</think>",
                "video_name": name,
                "video": name,
                "image": None,
                "audio": None,
            }
        )
    types = {"choices": pa.list_(pa.string()), "answer": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in rows[0]])
    run = folder / "run"
    write_parquet(split_path(run, "train"), rows, schema)
    write_parquet(run / "media.parquet", probes, MEDIA_SCHEMA)
    write_json(manifest_path(run, "prepare"), {"settings": {"media": probe_settings(media)}})


def measure(folder: Path, media: MediaConfig, seconds: float) -> str:
    """Read a run as SFT does; give a row of the table."""
    processor = new_student()[1]
    processor.feature_extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=300)
    run = folder / "run"

    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    examples = read_examples(split_path(run, "train"))
    samples = [example.sample for example in examples]
    require_media(folder / "data", samples)
    encoder = PromptEncoder(processor, folder / "data", media, "student")
    dropped = Dropped(run / "dropped.jsonl", 0.2)
    with closing(Feed(encoder, samples, dropped, 2 * STEP)) as feed:
        collator = TraceCollator(examples, encoder, processor, feed.count(run))
        lengths = {example.sample.id: collator.count(example) for example in examples}
        kept = keep_usable("feed", examples, lengths, 10**6).kept
        counted_s = time.perf_counter() - started_s
        cpu_s = time.process_time() - started_cpu_s
        order = length_sorted([collator.length(each) for each in kept], 1, seed=0)
        batches = [[kept[i].sample.id] for i in order]
        feed.follow("train", batches)
        forever = itertools.cycle(batches)
        take_step(feed, forever)
        first_s = time.perf_counter() - started_s
        rate = unpaced(feed, forever)
        demand = rate / MARGIN
        waiting, resident = paced(feed, forever, STEP / demand, seconds)
        after = unpaced(feed, forever)
    cells = [
        f"{len(examples):,}",
        f"{counted_s:.1f} ({cpu_s:.1f})",
        f"{first_s:.1f}",
        f"{rate:.2f}, {after:.2f}",
        f"{demand:.2f}",
        f"{waiting:.1%}",
        ", ".join(f"{n:.0f}" for n in resident),
    ]
    return f"| {' | '.join(cells)} |"


def take_step(feed: Feed, batches: Iterator[list[str]]) -> int:
    """Take the passes of a step, as the trainer does at once; the bytes of the largest sample."""
    taken = [encoded for _ in range(STEP) for _, encoded in feed.take(next(batches))]
    return max(sum(t.nbytes for t in encoded.media.values()) for encoded in taken)


def unpaced(feed: Feed, batches: Iterator[list[str]], n_steps: int = 6) -> float:
    """Samples per second when nothing else is to be done."""
    for _ in range(2):  # what was read ahead of it
        take_step(feed, batches)
    started_s = time.perf_counter()
    largest = max(take_step(feed, batches) for _ in range(n_steps))
    assert largest <= 16e6, f"a waiting sample has {largest / 1e6:.1f} MB"
    return n_steps * STEP / (time.perf_counter() - started_s)


def paced(
    feed: Feed, batches: Iterator[list[str]], step_s: float, seconds: float
) -> tuple[float, list[float]]:
    """Share of time waited by a trainer whose steps take `step_s`, and MB at four moments."""
    time.sleep(2 * step_s)  # the feed is full when a training has had its first steps
    n_steps = max(4, round(seconds / step_s))
    resident: list[float] = []
    started_s, waited_s = time.perf_counter(), feed.waited_s
    for number in range(n_steps):
        take_step(feed, batches)
        time.sleep(step_s)
        if number + 1 in {n_steps * part // 4 for part in (1, 2, 3, 4)}:
            resident.append(resident_mb())
    return (feed.waited_s - waited_s) / (time.perf_counter() - started_s), resident


def resident_mb() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the feed of a training.")
    parser.add_argument("--clips", type=Path, required=True, help="folder with .mp4 files")
    parser.add_argument("--samples", type=int, nargs="+", default=[500, 20_000])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=60.0, help="of the paced part")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    media = MediaConfig(workers=arguments.workers)
    if arguments.folder:
        print(measure(arguments.folder, media, arguments.seconds))
        return
    clips = sorted(arguments.clips.glob("**/*.mp4"))
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"{len(clips)} clips, {arguments.workers} workers, {os.cpu_count()} processors, {load}")
    columns = ("s to count (of CPU)", "s to the first step", "samples/s", "demand", "waiting", "MB")
    print(f"| samples | {' | '.join(columns)} |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for n_samples in arguments.samples:
        with tempfile.TemporaryDirectory() as folder:
            make_run(Path(folder), clips, n_samples, media)
            own = ["--clips", str(arguments.clips), "--folder", folder]
            settings = [f"--workers={arguments.workers}", f"--seconds={arguments.seconds}"]
            subprocess.run([sys.executable, __file__, *own, *settings], check=True)


if __name__ == "__main__":
    main()
