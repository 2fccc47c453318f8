"""Readers: each yields the questions of one annotation format and opens no media.

A missing media file is no error of a reader: the sample then holds the usual path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from heapq import nsmallest
from itertools import islice
from pathlib import Path

from avrt.config import DataConfig
from avrt.datasets.avhbench import read_avhbench
from avrt.datasets.avqa import read_avqa
from avrt.datasets.daily_omni import read_daily_omni
from avrt.datasets.hub import fetch_annotations
from avrt.datasets.mmar import read_mmar
from avrt.datasets.mmau import read_mmau
from avrt.datasets.names import MediaNames, nearest_names
from avrt.datasets.omnibench import read_omnibench
from avrt.datasets.omnivideobench import read_omnivideobench
from avrt.datasets.parquet import (
    SAMPLE_SCHEMA,
    dataset_row_to_sample,
    read_avrt_parquet,
    row_to_sample,
    sample_to_row,
    write_samples,
)
from avrt.datasets.rivabench import read_rivabench_academic, read_rivabench_standup
from avrt.datasets.video_holmes import read_video_holmes
from avrt.datasets.video_mme import read_video_mme
from avrt.datasets.webdataset import read_webdataset
from avrt.datasets.worldsense import read_worldsense
from avrt.errors import ConfigError
from avrt.runs import file_digest, fingerprint
from avrt.texts import shown
from avrt.types import BenchmarkItem, Sample

__all__ = [
    "FORMATS",
    "SAMPLE_SCHEMA",
    "annotation_path",
    "annotations_digest",
    "dataset_row_to_sample",
    "media_paths",
    "read_avqa",
    "read_avrt_parquet",
    "read_items",
    "read_samples",
    "require_files",
    "require_media",
    "row_to_sample",
    "sample_to_row",
    "write_samples",
]


@dataclass(frozen=True)
class Format:
    """The annotation files of a format, and their reader."""

    files: tuple[str, ...]
    """Names below the root, the usual name first; `{split}` is `data.split`."""
    read: Callable[..., Iterator[BenchmarkItem]] | None = None
    """Gives the items of the annotation file, called with `MediaNames` and `Path`; None for AVQA's
    and AVRT's own files, and for shards.
    """
    counts: bool = False
    """Whether `read` takes the counter of rows that it leaves out, too."""


FORMATS: dict[str, Format] = {
    "avqa": Format(("{split}_qa.json",)),
    "parquet": Format(("{split}.parquet",)),
    "webdataset": Format(("{split}*.tar",)),
    "omnibench": Format(
        ("dataset/batch-5_1142_20240817.jsonl", "batch-5_1142_20240817.jsonl"), read_omnibench
    ),
    "daily_omni": Format(("qa.json",), read_daily_omni),
    "mmar": Format(("MMAR-meta.jsonl", "MMAR-meta.json"), read_mmar),
    "mmau": Format(("mmau-test-mini.json",), read_mmau),
    "video_holmes": Format(
        ("test_Video-Holmes.json", "Benchmark/test_Video-Holmes.json"), read_video_holmes
    ),
    "worldsense": Format(("worldsense_qa.json",), read_worldsense),
    "omnivideobench": Format(("data.json", "data_example/data.json"), read_omnivideobench),
    "video_mme": Format(
        (
            "videomme/test-00000-of-00001.parquet",
            "test-00000-of-00001.parquet",
            "Video-MME.json",
        ),
        read_video_mme,
    ),
    "rivabench_standup": Format(("standup.json", "{split}.json"), read_rivabench_standup),
    "rivabench_academic": Format(("academic.json", "{split}.json"), read_rivabench_academic),
    "avhbench": Format(("QA.json", "qa.json"), read_avhbench, counts=True),
}
"""Every value of `data.format`."""


def read_samples(
    data: DataConfig, counts: Counter[str] | None = None, names: MediaNames | None = None
) -> Iterator[Sample]:
    """Read the samples of `data` in file order, at most `data.limit`; see `read_items`."""
    return (item.sample for item in read_items(data, counts, names))


def read_items(
    data: DataConfig, counts: Counter[str] | None = None, names: MediaNames | None = None
) -> Iterator[BenchmarkItem]:
    """Read the items of `data` in file order, of `data.sample` questions at most `data.limit`.

    `names` are the files below the root, as they were listed before: who reads twice finds the
    same.

    Rows that the format allows but that AVRT cannot score are left out, and counted in `counts` as
    `dropped/REASON`.

    Raises:
        ConfigError: the folder or the annotation file does not exist; raised before the first item.
        DataError: a row is malformed or an id occurs twice; file and row are named.
    """
    path, kind = annotation_path(data), FORMATS[data.format]
    names = MediaNames(data.root) if names is None else names
    if kind.read is None:
        items = _own_items(data, counts, names)
    else:
        items = kind.read(names, path, *([counts] if kind.counts else []))
    if data.sample is not None:
        items = _sampled(items, data.sample, path)
    return islice(items, data.limit)


def _sampled(items: Iterable[BenchmarkItem], n: int, path: Path) -> Iterator[BenchmarkItem]:
    """The `n` items whose ids have the smallest hashes, in their order."""
    every = list(items)
    if n > len(every):
        raise ConfigError(
            f"data.sample = {n}, but {path} holds {len(every)} questions; lower it, or leave it "
            "out for all of them"
        )
    hashes = [sha256(item.sample.id.encode()).digest() for item in every]
    chosen = {*nsmallest(n, hashes)}
    return (item for item, digest in zip(every, hashes, strict=True) if digest in chosen)


def annotation_path(data: DataConfig) -> Path:
    """Find the file that `data` names; a missing file is first downloaded from `data.hub`.

    Raises:
        ConfigError: the folder or the file does not exist or has an impossible name, or the Hub
            cannot be reached.
    """
    try:
        return _find_annotations(data)
    except OSError as error:
        where = shown(str(data.root / data.split))
        raise ConfigError(f"data.root, data.split: {where}: {error.strerror}") from error


def _find_annotations(data: DataConfig) -> Path:
    names = [name.format(split=data.split) for name in FORMATS[data.format].files]
    if data.hub is not None and not any((data.root / name).is_file() for name in names):
        fetch_annotations(data.hub, data.root, names)
    if not data.root.is_dir():
        raise ConfigError(f"{data.root}: no such folder; set data.root to the dataset's folder")
    for name in names:
        if "*" in name and (shards := sorted(data.root.glob(name))):
            return shards[0]
        if (data.root / name).is_file():
            return data.root / name
    pattern = FORMATS[data.format].files[0].format(split="*").replace("**", "*")
    present = sorted(file.name for file in data.root.glob(pattern))[:5]
    if not present:  # of another format, perhaps
        kinds = ("*.json", "*.jsonl", "*.parquet")
        present = sorted(file.name for kind in kinds for file in data.root.glob(kind))[:5]
    has = f"the folder has {', '.join(present)}" if present else "the folder has no annotations"
    raise ConfigError(
        f"{data.root / names[0]}: no such file; {has}; set data.split, data.format or data.root"
    )


def annotations_digest(data: DataConfig) -> str:
    """Of the annotation file; of shards, which hold the clips too, of their questions.

    Raises:
        ConfigError, DataError: as `read_items`.
    """
    if data.format != "webdataset":
        return file_digest(annotation_path(data))
    digest = sha256()
    for sample in read_samples(data):
        digest.update(fingerprint(sample_to_row(sample)).encode())
    return digest.hexdigest()


def media_paths(samples: Iterable[Sample]) -> list[str]:
    """List the distinct media files that the samples name, in order of first use."""
    names = ((sample.video, sample.image, sample.audio) for sample in samples)
    return list(dict.fromkeys(name for group in names for name in group if name is not None))


def require_media(root: Path, samples: Iterable[Sample]) -> None:
    """Refuse a dataset without a single existing media file: the folder must be wrong.

    Raises:
        ConfigError: no media file exists.
    """
    require_files(root, media_paths(samples))


def require_files(root: Path, names: Sequence[str]) -> None:
    """As `require_media`, for the files that the samples name."""
    present = MediaNames(root)
    if names and not any(map(present.has, names)):
        nearest = "".join(f"\n  {line}" for line in nearest_names(root, names, names))
        raise ConfigError(
            f"{root}: none of the {len(names)} media files is here, such as "
            f"{shown(names[0])[1:-1]}; copy the media into this folder, or set data.root to the "
            f"folder that holds them{nearest}"
        )


def _own_items(
    data: DataConfig, counts: Counter[str] | None, names: MediaNames
) -> Iterator[BenchmarkItem]:
    """Yield AVQA's and AVRT's own questions; the fields of the sample are their groups."""
    if data.format == "avqa":
        samples = read_avqa(data.root, data.split, counts, names)
    elif data.format == "webdataset":
        samples = read_webdataset(data.root, data.split, names)
    else:
        samples = read_avrt_parquet(data.root, data.split, names)
    for sample in samples:
        groups = {"question_type": sample.question_type, "relation": sample.question_relation}
        yield BenchmarkItem(sample, groups, {})
