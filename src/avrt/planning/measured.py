"""The rates that a run has measured: in its ledger, its tables, its folders and its training logs.

Reads RUN alone. A rate needs some twenty pieces behind it, or it is not taken.

The decision to question: the pace of a role is its replies over the time in which replies came,
counted in steps of ten seconds, so that the pauses between two commands do not count. Its GPU
seconds are that time on all GPUs of its servers, as the configuration has them now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import prod
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from avrt.ask.database import ledger_paths
from avrt.ask.ledger import read_ledger
from avrt.errors import DataError
from avrt.generate.records import NOT_ASKED
from avrt.planning.asked import Asked
from avrt.planning.rates import Rate
from avrt.planning.rows import counted
from avrt.runs import read_manifest

__all__ = ["measured_rates"]

MIN_PIECES = 20
STEP_S = 10
MIN_S = 60
"""Least time with replies from which a pace is taken."""
MIN_STEPS = 3
"""Least steps of a training."""
PREFIXES = 16
"""Of the 256 folders of the payloads, those whose files are added up."""


def measured_rates(run: Path, asked: Sequence[Asked]) -> tuple[dict[str, Rate], dict[str, str]]:
    """What a run tells, and of which rates it has too few pieces; nothing where there is none.

    Raises:
        DataError: a file of the run is damaged.
    """
    if not (run / "config.yaml").is_file():
        return {}, {}
    rates = dict(_of_clips(run))
    rates |= _of_calls(run, asked)
    rates |= _of_sizes(run)
    rates |= _of_trainings(run)
    measured = {
        name: Rate(value, "measured", f"in {run.name}, {source}")
        for name, (value, source) in rates.items()
        if value is not None
    }
    too_few = {
        name: f"{run.name} has {source}: too few to measure"
        for name, (value, source) in rates.items()
        if value is None
    }
    return measured, too_few


Found = tuple[str, tuple[float | None, str]]
"""A rate: its name, value and what it was measured on; None: on too few pieces."""


def _too_few(names: Iterable[str], n: int, noun: str) -> Iterator[Found]:
    """Rates of which a run has only `n` pieces; a run with none says nothing."""
    if n:
        yield from ((name, (None, counted(n, noun))) for name in names)


def _of_clips(run: Path) -> Iterator[Found]:
    if not (run / "media.parquet").is_file() or not (run / "samples.parquet").is_file():
        return
    sizes = pq.read_table(run / "media.parquet", columns=["size_bytes"]).column(0)
    n_clips, n_samples = len(sizes), pq.read_metadata(run / "samples.parquet").num_rows
    if n_clips < MIN_PIECES:
        names = ("clip.mb", "clip.questions", "frame.mb", "sound.mb_per_s")
        yield from _too_few(names, n_clips, "clip")
        return
    known = [size for size in sizes.to_pylist() if size]
    yield "clip.mb", (sum(known) / max(1, len(known)) / 1e6, f"{len(known):,} files")
    yield "clip.questions", (n_samples / n_clips, f"{n_samples:,} samples, {n_clips:,} files")
    for suffixes, name in ((("jpg",), "clip.frames_mb"), (("wav", "flac"), "clip.sound_mb")):
        if total := _payload_bytes(run / "payloads", suffixes):
            yield name, (total / n_clips / 1e6, f"payloads of {n_clips:,} files")


def _payload_bytes(folder: Path, suffixes: Iterable[str]) -> float:
    """Bytes of all payloads of these kinds, from those of some folders; names are hashes."""
    prefixes = [f"{n:02x}" for n in range(0, 256, 256 // PREFIXES)]
    sizes = [
        path.stat().st_size
        for prefix in prefixes
        for suffix in suffixes
        for path in (folder / prefix).glob(f"*.{suffix}")
    ]
    return sum(sizes) * 256 / PREFIXES if len(sizes) >= MIN_PIECES else 0.0


def _of_calls(run: Path, asked: Sequence[Asked]) -> Iterator[Found]:
    if not ledger_paths(run):
        return
    query = (
        "SELECT stage, role, substr(created, 1, 18), COUNT(*), SUM(n_prompt_tokens),"
        " SUM(n_completion_tokens) FROM calls WHERE finish_reason != 'error' GROUP BY 1, 2, 3"
    )
    try:
        with read_ledger(run) as ledger:
            rows = ledger.query(query)
    except DataError:  # only just created
        return
    for each in asked:
        own = [row for row in rows if (row[0], row[1]) == (each.stage, each.role)]
        n, prompt, reply = (sum(row[column] or 0 for row in own) for column in (3, 4, 5))
        busy_s = STEP_S * len({row[2] for row in own})
        if n < MIN_PIECES:
            names = (f"{each.name}.{rate}" for rate in ("prompt_tokens", "reply_tokens", "gpu_s"))
            yield from _too_few(names, n, "reply")
            continue
        if prompt and reply:  # else a script, or a server that counts nothing
            yield f"{each.name}.prompt_tokens", (prompt / n, f"{n:,} replies")
            yield f"{each.name}.reply_tokens", (reply / n, f"{n:,} replies")
        if gpus := each.n_gpus_in_all:
            source = f"{n:,} replies in {busy_s:,} s on {counted(gpus, 'GPU')}"
            value = busy_s * gpus / n if busy_s >= MIN_S else None
            yield f"{each.name}.gpu_s", (value, source)
    n_calls = sum(row[3] for row in rows)
    if n_calls >= MIN_PIECES:
        total = sum(path.stat().st_size for path in ledger_paths(run))
        yield "call.stored_kb", (total / n_calls / 1e3, f"{n_calls:,} calls with their texts")
    else:
        yield from _too_few(["call.ledger_kb"], n_calls, "call")


def _of_sizes(run: Path) -> Iterator[Found]:
    """Kept shares, and bytes of the derived files per sample."""
    counts = {}
    for stage in ("merge", "build"):
        path = run / "manifests" / f"{stage}.json"
        if path.is_file():
            counts[stage] = read_manifest(path)["counts"]
    of_merge = counts.get("merge", {})
    read = of_merge.get("read", 0) - of_merge.get(f"dropped/{NOT_ASKED}", 0)
    if read < MIN_PIECES:
        names = ("kept.merged", "kept.dataset", "sample.traces_kb", "sample.dataset_kb")
        yield from _too_few(names, read, "sample")
        return
    merged = counts["merge"].get("kept", 0)
    yield "kept.merged", (merged / read, f"{merged:,} of {read:,} samples")
    yield "sample.traces_kb", (_bytes(run / "traces") / read / 1e3, f"{read:,} samples")
    if "build" in counts and merged:
        kept = counts["build"].get("kept", 0)
        yield "kept.dataset", (min(1.0, kept / merged), f"{kept:,} of {merged:,} merged traces")
        yield "sample.dataset_kb", (_bytes(run / "dataset") / read / 1e3, f"{read:,} samples")


def _of_trainings(run: Path) -> Iterator[Found]:
    batch = {
        "sft": ("sample", ("per_device_batch_size", "gradient_accumulation_steps")),
        "grpo": ("prompt", ("prompts_per_step",)),
    }
    for stage, (unit, settings) in batch.items():
        manifest, log = run / "manifests" / f"{stage}.json", run / stage / "log.jsonl"
        if not manifest.is_file() or not log.is_file():
            continue
        section = read_manifest(manifest)["settings"].get(stage, {})
        each = prod(section.get(name, 0) for name in settings)
        with log.open(encoding="utf-8") as lines:
            rows = (json.loads(line) for line in islice(lines, 10_000) if line.endswith("\n"))
            steps = [row["step_time_s"] for row in rows if "step_time_s" in row]
        rate = f"{stage}.{unit}_gpu_s"
        if len(steps) < MIN_STEPS:
            yield from _too_few([rate], len(steps), "step")
        elif each:
            source = f"median of {len(steps)} steps, {counted(each, unit)} of each process"
            yield rate, (median(steps) / each, source)
    if (model := run / "sft" / "model").is_dir():
        yield "model.gb", (_bytes(model) / 1e9, "sft/model")
        checkpoints = sorted((run / "sft" / "checkpoints").glob("checkpoint-*"))
        if checkpoints:
            yield "checkpoint.gb", (_bytes(checkpoints[-1]) / 1e9, f"sft's {checkpoints[-1].name}")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
