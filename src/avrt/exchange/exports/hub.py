"""The Hub's layout: Parquet under `data/`, three configurations, and the card.

`default` is the dataset, `teachers` every answer of every teacher, `rejected` the other samples
with the stage and the reason of their rejection. With media, `default` gets the columns `frames`
(JPEG) and `sound` (FLAC).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from avrt.errors import DataError
from avrt.exchange.exports.formats import Entry, ExportFormat, ExportOptions
from avrt.generate.records import teachers_path

__all__ = ["HUB"]

GROUP_BYTES = 64 << 20
"""Approximate size of the media in a row group; readers load a group as a whole."""
_FILE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_NOTE = """
## Media

{media} The columns `video`, `image` and `audio` are paths below the source dataset's folder.
Casting them to media and calling `push_to_hub` uploads the clips; call
`push_to_hub(..., embed_external_files=False)` to keep them out.
"""


def _write(
    out: Path, entries: Mapping[str, Collection[Entry]], options: ExportOptions, run: Path
) -> None:
    for split, of_split in entries.items():
        path = out / "data" / "traces" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = run / "dataset" / path.name
        if options.with_media:
            _write_with_media(path, out, of_split, pq.read_schema(source))
        else:
            shutil.copyfile(source, path)
    others = {
        "teachers/answers": teachers_path(run),
        "rejected/rejected": run / "dataset" / "rejected.parquet",
    }
    for name, source in others.items():
        if source.is_file():
            path = out / "data" / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
    _write_card(out, run / "dataset" / "README.md", options.with_media)


def _write_with_media(path: Path, out: Path, entries: Collection[Entry], schema: pa.Schema) -> None:
    from datasets import Audio, Features, Image, List

    schema = schema.append(pa.field("frames", pa.list_(_FILE))).append(pa.field("sound", _FILE))
    features = Features.from_arrow_schema(schema.remove_metadata())
    features["frames"], features["sound"] = List(Image()), Audio()
    schema = schema.with_metadata(features.arrow_schema.metadata)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(out, entries):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _groups(out: Path, entries: Collection[Entry]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        assert entry.media is not None
        frames = [_file(out, name) for name in entry.media.frames]
        sound = _file(out, entry.media.sound)
        group.append({**entry.row, "frames": frames, "sound": sound})
        size += sum(len(file["bytes"]) for file in (*frames, sound))
        if size > GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _file(out: Path, name: str) -> dict[str, Any]:
    return {"bytes": (out / name).read_bytes(), "path": name.removeprefix("media/")}


def _write_card(out: Path, card: Path, with_media: bool) -> None:
    """Write the dataset's card, with the files of this layout in its header."""
    try:
        _, header, body = card.read_text(encoding="utf-8").split("---\n", 2)
    except (OSError, ValueError) as error:
        raise DataError(f"{card}: not the card that `avrt build` writes: {error}") from error
    fields: dict[str, Any] = yaml.safe_load(header)
    tables: dict[str, list[dict[str, str]]] = {"default": [], "teachers": [], "rejected": []}
    for path in sorted((out / "data").glob("*/*.parquet")):
        if pq.read_metadata(path).num_rows:
            folder = path.parent.name
            name = "default" if folder == "traces" else folder
            split = path.stem if folder == "traces" else "train"
            file = {"split": split, "path": path.relative_to(out).as_posix()}
            tables[name].append(file)
    fields["configs"] = [
        {"config_name": name, "data_files": files} for name, files in tables.items() if files
    ]
    media = "Frames and sound are in the columns `frames` and `sound`." if with_media else (
        "No media are in this set."
    )  # fmt: skip
    text = f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n{body}{_NOTE.format(media=media)}"
    (out / "README.md").write_text(text, encoding="utf-8")


HUB = ExportFormat(
    write=_write,
    has_grpo=False,
    is_chat=False,
    keeps_clips=False,
    note="`avrt publish dataset` writes this with licences, results and provenance, and checks it; "
    "push_to_hub uploads the clips unless embed_external_files=False",
)
