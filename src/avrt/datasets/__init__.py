"""Readers: each yields `Sample` records from one annotation format and opens no media.

A media file that is not there is no error of a reader: the sample holds the path where it belongs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from avrt.config import DataConfig
from avrt.datasets.avqa import read_avqa
from avrt.datasets.parquet import (
    SAMPLE_SCHEMA,
    dataset_row_to_sample,
    read_avrt_parquet,
    row_to_sample,
    sample_to_row,
    write_samples,
)
from avrt.errors import ConfigError
from avrt.types import Sample

__all__ = [
    "SAMPLE_SCHEMA",
    "annotation_path",
    "dataset_row_to_sample",
    "media_paths",
    "read_avqa",
    "read_avrt_parquet",
    "read_samples",
    "require_media",
    "row_to_sample",
    "sample_to_row",
    "write_samples",
]

FILE_NAMES = {"avqa": "{split}_qa.json", "parquet": "{split}.parquet"}


def read_samples(data: DataConfig, counts: Counter[str] | None = None) -> Iterator[Sample]:
    """The samples of `data.split` in file order, at most `data.limit`.

    Rows that the format allows but that hold no question we can score are left out and counted in
    `counts` under `dropped/REASON`.

    Raises:
        ConfigError: the folder or the annotation file does not exist; raised before the first
        sample. DataError: a malformed row or a duplicate id, named by file and row.
    """
    annotation_path(data)
    if data.format == "avqa":
        samples = read_avqa(data.root, data.split, counts)
    else:
        samples = read_avrt_parquet(data.root, data.split)
    return islice(samples, data.limit)


def annotation_path(data: DataConfig) -> Path:
    """The file that `data` names.

    Raises:
        ConfigError: the folder or the file does not exist.
    """
    if not data.root.is_dir():
        raise ConfigError(f"{data.root}: no such folder; set data.root to the dataset's folder")
    pattern = FILE_NAMES[data.format]
    path = data.root / pattern.format(split=data.split)
    if not path.is_file():
        present = sorted(found.name for found in data.root.glob(pattern.format(split="*")))
        has = (
            f"the folder has {', '.join(present)}" if present else "the folder has none of its kind"
        )
        raise ConfigError(f"{path}: no such file; {has}; set data.split, data.format or data.root")
    return path


def media_paths(samples: Iterable[Sample]) -> list[str]:
    """Every distinct media file the samples name, in order of first use."""
    names = ((sample.video, sample.image, sample.audio) for sample in samples)
    return list(dict.fromkeys(name for group in names for name in group if name is not None))


def require_media(root: Path, samples: Iterable[Sample]) -> None:
    """Refuse a dataset none of whose media files is there: surely a wrong folder, not a bad file.

    Raises:
        ConfigError: no file exists.
    """
    names = media_paths(samples)
    if names and not any((root / name).exists() for name in names):
        raise ConfigError(
            f"{root}: none of the {len(names)} media files is here, such as {names[0]}; "
            "put the media there, or set data.root to the folder that holds them"
        )
