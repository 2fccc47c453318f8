"""Stage `prepare`: read the annotations, probe every media file, mark what cannot be used.

Reads `data.root`; writes samples.parquet (every sample, with its status) and media.parquet (one row
per file) into the run directory. A sample is `ok` when both picture and sound are there: a video
without sound is `no_audio`, because each teacher needs its half. Later stages take the `ok` ones.

The decision to question: the fingerprint holds the names and sizes of the media files, not their
hashes. Finding out that nothing is to do takes a moment, and adding a file that was missing is
noticed; exchanging a file for another of the same size is not.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from avrt.config import Config
from avrt.datasets import (
    SAMPLE_SCHEMA,
    annotation_path,
    media_paths,
    read_samples,
    require_media,
    row_to_sample,
    sample_to_row,
)
from avrt.errors import AvrtError
from avrt.media import MediaInfo, probe
from avrt.runs import (
    Result,
    Stage,
    check_sums,
    fingerprint,
    open_stage,
    read_parquet,
    save_config,
    write_parquet,
)
from avrt.types import Sample

__all__ = ["MEDIA_SCHEMA", "PREPARED_SCHEMA", "load_prepared", "plan", "run"]

PREPARED_SCHEMA = pa.schema(
    [
        *SAMPLE_SCHEMA,
        pa.field("has_sound", pa.bool_(), nullable=False),
        pa.field("has_picture", pa.bool_(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
MEDIA_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("video_codec", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("rotation", pa.int32()),
        pa.field("fps", pa.float64()),
        pa.field("n_frames", pa.int32()),
        pa.field("duration_s", pa.float64()),
        pa.field("audio_codec", pa.string()),
        pa.field("sample_rate_hz", pa.int32()),
        pa.field("channels", pa.int32()),
        pa.field("audio_duration_s", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
FILES = ("samples.parquet", "media.parquet")


def run(config: Config) -> Result:
    """Prepare the dataset of `config.data` for the run.

    Raises:
        ConfigError: no dataset there, no media there, or prepared before with other settings.
        DataError: a malformed annotation.
    """
    counts: Counter[str] = Counter()
    samples = list(read_samples(config.data, counts))
    require_media(config.data.root, samples)
    stage = _open(config, samples)
    if _is_done(config, stage):
        return Result(f"prepare: nothing to do, {config.run.path} is prepared", stage.counts())
    save_config(config)
    infos = {info.path: info for info in _probe_all(config.data.root, media_paths(samples))}
    rows = [sample_to_row(sample) | _judge(sample, infos) for sample in samples]
    counts.update("kept" if row["status"] == "ok" else f"failed/{row['status']}" for row in rows)
    counts["read"] = len(rows) + counts["dropped/no_options"]
    check_sums("prepare", counts["read"], counts)
    write_parquet(config.run.path / "samples.parquet", rows, PREPARED_SCHEMA)
    media_rows = [asdict(info) for info in infos.values()]
    write_parquet(config.run.path / "media.parquet", media_rows, MEDIA_SCHEMA)
    stage.finish(counts)
    return Result(_summarize(config, rows, counts, len(infos)), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words; reads the annotations, writes nothing."""
    counts: Counter[str] = Counter()
    samples = list(read_samples(config.data, counts))
    require_media(config.data.root, samples)
    if _is_done(config, _open(config, samples)):
        return f"prepare: nothing to do, {config.run.path} is prepared"
    names = media_paths(samples)
    n_missing = sum(not (config.data.root / name).exists() for name in names)
    n_read = len(samples) + counts["dropped/no_options"]
    return (
        f"prepare: read {n_read} questions from {annotation_path(config.data)}, "
        f"probe {len(names)} media files ({n_missing} missing), "
        f"write {' and '.join(FILES)} into {config.run.path}"
    )


def load_prepared(run: Path) -> list[Sample]:
    """The usable samples of a prepared run, in file order.

    Raises:
        DataError: the run was not prepared.
    """
    rows = read_parquet(run / "samples.parquet")
    return [row_to_sample(row) for row in rows if row["status"] == "ok"]


def _open(config: Config, samples: Sequence[Sample]) -> Stage:
    root, data = config.data.root, config.data
    sizes = [(name, _size(root / name)) for name in media_paths(samples)]
    settings = {
        "format": data.format,
        "split": data.split,
        "limit": data.limit,
        "media_files": fingerprint(sizes),
    }
    return open_stage(config.run.path, "prepare", settings, [annotation_path(data)])


def _is_done(config: Config, stage: Stage) -> bool:
    """Done, and nobody deleted the files since: they are derived, so they may be."""
    return stage.done and all((config.run.path / name).is_file() for name in FILES)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:  # the probe names the reason
        return None


def _probe_all(root: Path, names: Sequence[str]) -> Iterator[MediaInfo]:
    """Probe in worker processes, in order; paths in the results are relative to `root`."""
    workers = min(os.cpu_count() or 1, max(len(names), 1))
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            found = pool.map(partial(_probe_one, root), names, chunksize=4)
            # disable=None: no bar where stderr is a file
            yield from tqdm(found, "probe", len(names), unit="file", disable=None)
    except BrokenProcessPool as error:
        raise AvrtError(
            f"{root}: a process that was probing media files died (out of memory, or a decoder "
            "crashed); run it again, with data.limit to find the file"
        ) from error


def _probe_one(root: Path, name: str) -> MediaInfo:
    return replace(probe(root / name), path=name)


def _judge(sample: Sample, infos: Mapping[str, MediaInfo]) -> dict[str, Any]:
    """The columns that say what of a sample can be used."""
    picture = infos[sample.picture_path] if sample.picture_path else None
    sound = infos[sample.sound_path] if sample.sound_path else None
    has_picture = picture is not None and picture.video_codec is not None
    has_sound = sound is not None and sound.audio_codec is not None
    status, reason = "ok", None
    failed = next((info for info in (picture, sound) if info and info.status != "ok"), None)
    if failed:
        status, reason = failed.status, f"{failed.path}: {failed.reason}"
    elif not has_picture:
        status, reason = (
            "no_video",
            f"{sample.picture_path or sample.source}: has no picture; usable for sound only",
        )
    elif not has_sound:
        status, reason = (
            "no_audio",
            f"{sample.sound_path or sample.source}: has no sound; usable for vision only",
        )
    return {
        "has_sound": has_sound,
        "has_picture": has_picture,
        "status": status,
        "reason": reason,
    }


def _summarize(
    config: Config, rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int], n_files: int
) -> str:
    lines = [
        f"prepare: {counts['read']} questions about {n_files} media files",
        f"  {counts['kept']:>7} ok",
    ]
    if counts["dropped/no_options"]:
        lines.append(f"  {counts['dropped/no_options']:>7} dropped: the row has no options")
    first: dict[str, str] = {}
    for row in rows:
        if row["status"] != "ok":
            first.setdefault(row["status"], row["reason"])
    for status, reason in sorted(first.items()):
        lines.append(f"  {counts[f'failed/{status}']:>7} {status}, such as {reason}")
    lines.append(f"wrote {' and '.join(FILES)} into {config.run.path}")
    if not counts["kept"]:
        lines.append("no question can be used: mend the files named above, then prepare again")
    return "\n".join(lines)
