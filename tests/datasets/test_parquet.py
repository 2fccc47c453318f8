from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.datasets import (
    SAMPLE_SCHEMA,
    read_avrt_parquet,
    row_to_sample,
    sample_to_row,
    write_samples,
)
from avrt.errors import DataError
from avrt.runs import write_parquet
from avrt.types import RELATIONS, Sample

SAMPLE = Sample(
    id="world-1",
    question="Which object sounds?",
    options=("a bell", "a drum"),
    answer_index=1,
    question_type="Which",
    question_relation="both",
    video_id="clip-1",
    video="videos/1.mp4",
    image=None,
    audio=None,
    source="world:1",
)


def write_row(root, **changes):
    write_parquet(root / "train.parquet", [sample_to_row(SAMPLE) | changes], SAMPLE_SCHEMA)
    return root


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"answer_index": 2}, "answer_index is 2; expected an index from 0 to 1"),
        ({"options": ["one"]}, "1 options"),
        ({"question_relation": "smell"}, "'smell' is not one of"),
        ({"video": "/etc/passwd"}, "leaves the dataset's folder"),
        ({"audio": "../other/x.wav"}, "leaves the dataset's folder"),
    ],
)
def test_an_impossible_row_is_named(tmp_path, changes, complaint):
    with pytest.raises(DataError, match=r"train\.parquet: row 1: ") as caught:
        list(read_avrt_parquet(write_row(tmp_path, **changes), "train"))
    assert complaint in str(caught.value)


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "train.parquet").write_text("id,question\n")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(read_avrt_parquet(tmp_path, "train"))


def test_missing_columns_are_named(tmp_path):
    pq.write_table(pa.table({"id": ["1"], "question": ["?"]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"no column options, answer_index, .*source"):
        list(read_avrt_parquet(tmp_path, "train"))


def test_a_column_that_stands_twice_is_refused(tmp_path):
    write_row(tmp_path)
    table = pq.read_table(tmp_path / "train.parquet")
    pq.write_table(table.append_column("question", [["another"]]), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet: the column question stands twice"):
        list(read_avrt_parquet(tmp_path, "train"))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("options", [("a", "b")], pa.map_(pa.string(), pa.string())),
        ("options", {"A": "a"}, pa.struct({"A": pa.string()})),
        ("question", [["x"]], pa.list_(pa.list_(pa.string()))),
        ("question", b"x", pa.binary()),
    ],
)
def test_a_column_of_another_type_is_named_with_its_row(tmp_path, name, value, kind):
    write_row(tmp_path)
    table = pq.read_table(tmp_path / "train.parquet")
    other = table.set_column(table.schema.names.index(name), name, pa.array([value], kind))
    pq.write_table(other, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=rf"train\.parquet: row 1: {name}.* is .*not a "):
        list(read_avrt_parquet(tmp_path, "train"))


def test_a_duplicate_id_names_both_rows(tmp_path):
    write_samples(tmp_path / "train.parquet", [SAMPLE, replace(SAMPLE, id="other"), SAMPLE])
    with pytest.raises(DataError, match="rows 1 and 3 have the same id 'world-1'"):
        list(read_avrt_parquet(tmp_path, "train"))


def test_samples_come_back_as_they_were_and_bytes_are_stable(tmp_path):
    pair = replace(SAMPLE, id="pair", video=None, image="a.png", audio="a.wav")
    write_samples(tmp_path / "train.parquet", [SAMPLE, pair])
    assert list(read_avrt_parquet(tmp_path, "train")) == [SAMPLE, pair]
    write_samples(tmp_path / "again.parquet", [SAMPLE, pair])
    same = (tmp_path / "again.parquet").read_bytes() == (tmp_path / "train.parquet").read_bytes()
    assert same


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    st.builds(
        Sample,
        id=TEXT,
        question=TEXT,
        options=st.lists(TEXT, min_size=2, max_size=8).map(tuple),
        answer_index=st.integers(0, 1),
        question_type=TEXT,
        question_relation=st.sampled_from(RELATIONS),
        video_id=TEXT,
        video=st.sampled_from([None, "videos/x.mp4"]),
        image=st.sampled_from([None, "x.png"]),
        audio=st.sampled_from([None, "x.wav"]),
        source=TEXT,
    )
)
def test_row_and_sample_are_inverse(sample):
    table = pa.Table.from_pylist([sample_to_row(sample)], schema=SAMPLE_SCHEMA)
    assert row_to_sample(table.to_pylist()[0]) == sample


def repeated(text, n_rows):
    """A column with one text in all rows, which is stored once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * n_rows, pa.int32()), pa.array([text]))


def write_columns(path, n_rows, **changes):
    columns = {name: repeated("x", n_rows) for name in SAMPLE_SCHEMA.names} | changes
    columns.setdefault("options", pa.array([["a", "b"]] * n_rows))
    columns["answer_index"] = pa.array([0] * n_rows, pa.int32())
    pq.write_table(pa.table(columns), path, compression="zstd")


def options_of(n_rows, text, n_options=2):
    """A list of options in every row, each of them the same text."""
    values = repeated(text, n_rows * n_options)
    offsets = pa.array(range(0, n_rows * n_options + 1, n_options), pa.int32())
    return pa.ListArray.from_arrays(offsets, values)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"question": lambda n: repeated("q" * 900_000, n)}, "more than 200 times"),
        ({"source": lambda n: repeated("é" * 450_000, n)}, "more than 200 times"),
        ({"options": lambda n: options_of(n, "o" * 300_000)}, "more than 200 times"),
        ({"question": lambda n: pa.array(["q"] * (n - 1) + ["q" * 70_000_000])}, "question would"),
        ({"question": lambda n: pa.array(["q"] * (n - 1) + ["q" * 1_100_000])}, "1,100,000 bytes"),
        ({"options": lambda n: options_of(n, "o", 20_001)}, "options.list.element would unpack"),
    ],
)
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, changes, complaint):
    path = tmp_path / "train.parquet"
    write_columns(path, 1_000, **{name: make(1_000) for name, make in changes.items()})
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=rf"train\.parquet: .*{complaint}"):
        list(read_avrt_parquet(tmp_path, "train"))


def test_one_question_about_many_clips_is_no_bomb(tmp_path):
    n_rows = 20_000
    ids = {name: pa.array([f"{name}{n}" for n in range(n_rows)]) for name in ("id", "video_id")}
    others = {"question_relation": repeated("both", n_rows), "options": options_of(n_rows, "o", 2)}
    others["options"] = pa.array([["a bell", "a drum"]] * n_rows)
    question = repeated("What makes the sound that is heard? " * 20, n_rows)
    write_columns(tmp_path / "train.parquet", n_rows, question=question, **ids, **others)
    assert sum(1 for _ in read_avrt_parquet(tmp_path, "train")) == n_rows
