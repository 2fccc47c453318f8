"""The Hub's layout: Parquet under `data/`, three configurations, and the card.

`default` is the dataset, `teachers` every answer of every teacher, `rejected` the rest of the
samples with the stage and the reason. With media `default` gets the columns `frames` (JPEG) and
`sound` (FLAC).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from avrt.errors import DataError
from avrt.exchange.exports.items import Format, Item, Options
from avrt.generate.records import teachers_path

__all__ = ["HUB"]

GROUP_BYTES = 64 << 20
"""Media in one row group, about: readers load a group as a whole."""
_FILE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_NOTE = """
## Media

{media} The columns `video`, `image` and `audio` are paths below the source dataset's folder.
Whoever casts them to media and calls `push_to_hub` uploads the clips, unless it is told not to:
`push_to_hub(..., embed_external_files=False)`.
"""


def _write(place: Path, items: Mapping[str, Sequence[Item]], options: Options, run: Path) -> None:
    for split, of_split in items.items():
        path = place / "data" / "traces" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = run / "dataset" / path.name
        if options.with_media:
            _write_with_media(path, place, of_split, pq.read_schema(source))
        else:
            shutil.copyfile(source, path)
    others = {
        "teachers/answers": teachers_path(run),
        "rejected/rejected": run / "dataset" / "rejected.parquet",
    }
    for name, source in others.items():
        if source.is_file():
            path = place / "data" / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
    _write_card(place, run / "dataset" / "README.md", options.with_media)


def _write_with_media(path: Path, place: Path, items: Sequence[Item], schema: pa.Schema) -> None:
    from datasets import Audio, Features, Image, List

    schema = schema.append(pa.field("frames", pa.list_(_FILE))).append(pa.field("sound", _FILE))
    features = Features.from_arrow_schema(schema.remove_metadata())
    features["frames"], features["sound"] = List(Image()), Audio()
    schema = schema.with_metadata(features.arrow_schema.metadata)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(place, items):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _groups(place: Path, items: Sequence[Item]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for item in items:
        assert item.media is not None
        frames = [_file(place, name) for name in item.media.frames]
        sound = _file(place, item.media.sound)
        group.append({**item.row, "frames": frames, "sound": sound})
        size += sum(len(file["bytes"]) for file in (*frames, sound))
        if size > GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _file(place: Path, name: str) -> dict[str, Any]:
    return {"bytes": (place / name).read_bytes(), "path": name.removeprefix("media/")}


def _write_card(place: Path, card: Path, with_media: bool) -> None:
    """The dataset's card, with the files of this layout in its header."""
    try:
        _, header, body = card.read_text(encoding="utf-8").split("---\n", 2)
    except (OSError, ValueError) as error:
        raise DataError(f"{card}: not the card that `avrt build` writes: {error}") from error
    fields: dict[str, Any] = yaml.safe_load(header)
    tables: dict[str, list[dict[str, str]]] = {"default": [], "teachers": [], "rejected": []}
    for path in sorted((place / "data").glob("*/*.parquet")):
        if pq.read_metadata(path).num_rows:
            folder = path.parent.name
            name = "default" if folder == "traces" else folder
            split = path.stem if folder == "traces" else "train"
            file = {"split": split, "path": path.relative_to(place).as_posix()}
            tables[name].append(file)
    fields["configs"] = [
        {"config_name": name, "data_files": files} for name, files in tables.items() if files
    ]
    media = "Frames and sound are in the columns `frames` and `sound`." if with_media else (
        "No media are in this set."
    )  # fmt: skip
    text = f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n{body}{_NOTE.format(media=media)}"
    (place / "README.md").write_text(text, encoding="utf-8")


HUB = Format(
    write=_write,
    has_grpo=False,
    is_chat=False,
    keeps_clips=False,
    note="to publish: hf upload REPO FOLDER --repo-type dataset; with push_to_hub, say "
    "embed_external_files=False, or clips that paths name are uploaded",
)
