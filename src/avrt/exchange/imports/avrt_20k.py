"""AVRT-20K as published: Parquet, a question about a clip of AVQA and a trace in each row.

Every sample has a trace, also where a teacher was wrong; the teachers' texts are not published.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avrt.datasets.avqa import RELATION_OF, find_video, names_in_folders
from avrt.errors import DataError
from avrt.exchange.imports.columns import (
    LETTERED,
    MalformedError,
    Row,
    Source,
    options_of,
    strip_letters,
    target_of,
    text_of,
    texts_of,
)
from avrt.types import LETTERS, Sample

__all__ = ["AVRT_20K", "read_hub"]

_LETTER = re.compile(r"\(?([A-H])\)?[.:]?")

_COLUMNS = ("id", "video_name", "video_id", "question", "choices", "answer",
            "question_relation", "question_type", "av_reasoning")  # fmt: skip


def _read(folder: Path) -> list[Row]:
    paths = sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
    if not paths:
        raise DataError(f"{folder}: no Parquet file here or in data/; name the folder of AVRT-20K")
    rows: list[Row] = []
    for path in paths:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path}: not a readable Parquet file: {error}") from error
        rows += _rows(table.to_pylist(), table.column_names, path.name)
    return rows


def _rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], name: str) -> Iterator[Row]:
    absent = [column for column in _COLUMNS if column not in columns]
    if absent:
        raise DataError(f"{name}: no column {', '.join(absent)}; AVRT-20K has all of {_COLUMNS}")
    for number, row in enumerate(rows, start=1):
        yield Row(f"avrt-20k-{row['id']}", row, f"{name}:{number}")


def _survey(rows: Sequence[Row], root: Path) -> dict[str, Any]:
    """Find the files that exist, and the form of the answers that fits the most rows.

    A single row can be ambiguous: among the options 1, 2, 3, 4 the answer "2" is an index or a
    text.
    """
    fitting = Counter(
        form
        for row in rows
        for form, find in _ANSWERS.items()
        if find(str(row.values["answer"]), strip_letters(texts_of(row.values["choices"])))
        is not None
    )
    best = max(_ANSWERS, key=lambda form: fitting[form])
    return {"find": _ANSWERS[best], "present": names_in_folders(root)}


def _by_index(answer: str, options: Sequence[str]) -> int | None:
    return int(answer) if answer.isdecimal() and int(answer) < len(options) else None


def _by_letter(answer: str, options: Sequence[str]) -> int | None:
    match = _LETTER.fullmatch(answer.strip())
    index = LETTERS.index(match[1]) if match else len(options)
    return index if index < len(options) else None


def _by_text(answer: str, options: Sequence[str]) -> int | None:
    match = LETTERED.fullmatch(answer)
    for text in (answer.strip(), match[3].strip() if match else None):
        if options.count(text) == 1:
            return options.index(text)
    return None


_ANSWERS: dict[str, Callable[[str, Sequence[str]], int | None]] = {
    "index": _by_index,
    "letter": _by_letter,
    "text": _by_text,
}


def _to_sample(row: Row, known: Mapping[str, Any]) -> tuple[Sample, str | None]:
    values = row.values
    options = options_of(values["choices"])
    target = target_of(known["find"](str(values["answer"]), options), options)
    relation = RELATION_OF.get(str(values["question_relation"]).lower())
    if relation is None:
        raise MalformedError("bad_relation")
    try:
        video = find_video(text_of(values["video_name"], "no_video_name"), known["present"])
    except ValueError as error:
        raise MalformedError("bad_video_name") from error
    sample = Sample(
        id=row.id,
        question=text_of(values["question"], "no_question"),
        options=options,
        answer_index=target,
        question_type=text_of(values["question_type"], "no_question_type"),
        question_relation=relation,
        video_id=str(values["video_id"]),
        video=video,
        image=None,
        audio=None,
        source=row.source,
    )
    return sample, text_of(values["av_reasoning"], "no_trace")


def read_hub(source: str) -> list[Row]:
    """Read all splits of the set with this id on the Hub, one after the other."""
    from datasets import load_dataset

    rows: list[Row] = []
    for split, table in load_dataset(source).items():
        rows += _rows(table.to_list(), table.column_names, str(split))
    return rows


AVRT_20K = Source(
    _read,
    _to_sample,
    _survey,
    "Its publishers label it CC-BY-4.0. The questions are AVQA's, and the terms of the models that "
    "wrote\nthe traces (Audio Flamingo 3: non-commercial) flow to them; read both before any use.",
)
