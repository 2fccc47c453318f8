"""WebDataset shards: tars of `ID.json` and the clip's files, opened by member.

Reads what AVRT's export writes, and shards of others with the same fields. A shard's index
(`avrt.media.shards`) says where the members lie; rows are read in batches, also from a store. The
path of a clip is that of its member, `part-000000.tar/ID.mp4`; a row without a file of its own
names one below the root.

The decision to question: a sound beside a video takes the place of the video's own, unless the row
says with `audio: null`, as AVRT's export does, that it was only cut out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from avrt.datasets.names import KIND_OF, MediaNames
from avrt.datasets.rows import identifier, options_and_gold, read_annotations, text
from avrt.media.shards import OWN_SOUND, Place, read_index, stem_of
from avrt.stores import StorePath
from avrt.texts import decode, parse_json, shown
from avrt.types import RELATIONS, BenchmarkItem, Sample

__all__ = ["read_webdataset"]

BATCH = 500
"""Rows that are read together."""
MEDIA = ("video", "image", "audio")
Group = tuple[str, dict[str, Place]]
"""A sample's name, and its members."""


def read_webdataset(root: Path, split: str, names: MediaNames) -> Iterator[Sample]:
    """Yield the samples of all shards `SPLIT*.tar`, in the order of their names and members.

    Raises:
        DataError: a shard, its index or a row is malformed; an id occurs twice.
        OSError: a shard cannot be read now.
    """
    shards = sorted(root.glob(f"{split}*.tar"))
    first_row: dict[str, str] = {}
    return (item.sample for shard in shards for item in _read(shard, names, first_row))


def _read(shard: Path, names: MediaNames, seen: dict[str, str]) -> Iterator[BenchmarkItem]:
    groups = [
        (stem, dict(group))
        for stem, group in groupby(read_index(shard).items(), key=lambda each: stem_of(each[0]))
    ]
    with_rows = [group for group in groups if f"{group[0]}.json" in group[1]]

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        stem, members = with_rows[int(source.rpartition(":")[2]) - 1]
        sample = _to_sample(row, stem, shard.name, members, names)
        if sample.id in seen:
            raise ValueError(f"the id {shown(sample.id)} is also in {seen[sample.id]}")
        return BenchmarkItem(sample, {}, {})

    required = ("choices", "options", "question")
    for item in read_annotations(shard, _rows(shard, with_rows), required, to_item):
        seen[item.sample.id] = shard.name
        yield item


def _rows(shard: Path, groups: Sequence[Group]) -> Iterator[tuple[int, Any]]:
    rest, number = iter(groups), 0
    while batch := list(islice(rest, BATCH)):
        places = [members[f"{stem}.json"] for stem, members in batch]
        for (stem, _), content in zip(batch, _contents(shard, places), strict=True):
            number += 1
            where = f"{shard}: {stem}.json"
            yield number, parse_json(decode(content, where), where)


def _contents(shard: Path, places: Sequence[Place]) -> Iterator[bytes]:
    if isinstance(shard, StorePath):
        yield from shard.read_ranges(places)
        return
    with shard.open("rb") as file:
        for start, size in places:
            file.seek(start)
            yield file.read(size)


def _to_sample(
    row: dict[str, Any], name: str, shard: str, members: Mapping[str, Place], names: MediaNames
) -> Sample:
    form = ("choices", "answer") if "choices" in row else ("options", "answer_index")
    options, gold = options_and_gold(row, *form, "index")
    relation = row.get("question_relation") or "both"
    if relation not in RELATIONS:
        raise ValueError(
            f"question_relation {shown(relation)} is not one of {', '.join(RELATIONS)}"
        )
    own = {kind: f"{shard}/{member}" for kind, member in _files(row, members).items()}
    beside = {kind: names.find(identifier(row, kind)) for kind in MEDIA if row.get(kind)}
    files = own or beside
    return Sample(
        id=identifier(row, "id") if row.get("id") is not None else name,
        question=text(row, "question"),
        options=options,
        answer_index=gold,
        question_type=text(row, "question_type") if row.get("question_type") else "none",
        question_relation=relation,
        video_id=identifier(row, "video_id") if row.get("video_id") is not None else name,
        video=files.get("video"),
        image=files.get("image"),
        audio=files.get("audio"),
        source=f"{shard}:{name}",
    )


def _files(row: Mapping[str, Any], members: Iterable[str]) -> dict[str, str]:
    """The members of a sample that are its video or picture and its sound."""
    of_kind: dict[str, str] = {}
    for member in sorted(members):
        ending = member.rpartition(".")[2].lower()
        if kind := KIND_OF.get(f".{ending}"):
            of_kind.setdefault("own" if f".{OWN_SOUND}." in member else kind, member)
    picture = {"video": of_kind.get("video"), "image": of_kind.get("picture")}
    if picture["video"]:
        picture["image"] = None
    has_sound = not picture["video"] or row.get("audio", "") is not None
    sound = of_kind.get("own") or (of_kind.get("sound") if has_sound else None)
    return {kind: member for kind, member in {**picture, "audio": sound}.items() if member}
