"""What the items of the page hold, beside the files of the run that they come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from avrt.generate import trace
from avrt.runs import read_parquet, write_parquet
from reading_pages import read_data, read_index, read_items, written

CODES = {0: "right", 1: "wrong", 2: "no answer", 3: "failed", 4: "no media"}
HOSTILE = "<script>alert(1)</script> & <img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def report(full_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    assert written(full_run, folder).faults == []
    return folder


def values_of(index: dict, name: str) -> list[str | None]:
    column = index["coded"][name]
    return [None if code < 0 else column["values"][code] for code in column["codes"]]


def test_every_question_is_an_item_whatever_became_of_it(full_run, report):
    items = read_items(report)
    ids = [f"q{n}" for n in range(12)]
    of_dataset = [item for item in items if item["origin"] == "dataset"]
    assert sorted(item["id"] for item in of_dataset) == sorted(ids)
    assert [item["id"] for item in items if item["origin"] == "bench"] == ids
    rejected = read_parquet(full_run.run.path / "dataset" / "rejected.parquet")
    fates = {row["id"]: (row["stage"], row["reason"]) for row in rejected}
    for item in of_dataset:
        expected = fates.get(item["id"])
        if expected is None:
            assert item["outcome"] in ("train", "validation")
        else:
            assert (item["outcome"], item["reason"]) == expected
    assert fates["q5"] == ("prepare", "failed/not_media")


def test_the_dataset_stands_in_the_order_of_its_files(report):
    order = ["train", "validation", "rejected"]
    outcomes = [item["outcome"] for item in read_items(report) if item["origin"] == "dataset"]
    places = [order.index(name) if name in order else 2 for name in outcomes]
    assert places == sorted(places)


def test_the_index_says_the_same_as_the_items(report):
    index, items = read_index(report), read_items(report)
    assert index["n"] == len(items)
    assert index["texts"]["id"] == [item["id"] for item in items]
    for name in ("origin", "outcome", "reason", "stratum", "type"):
        assert values_of(index, name) == [item[name] for item in items], name
    assert values_of(index, "letter") == [item["target"] for item in items]
    gates = index["sets"]["gates"]
    found = [[gates["values"][code] for code in codes] for codes in gates["codes"]]
    assert found == [list(item["gates"]) for item in items]
    assert any(found)


def test_a_column_without_any_value_is_left_out(report):
    assert "finding" not in read_index(report)["coded"]  # no judge was asked


def test_the_index_codes_every_answer_as_its_item_does(report):
    index, items = read_index(report), read_items(report)
    assert len(index["models"]) == 4 * 3
    seen = set()
    for column in index["models"]:
        assert len(column["codes"]) == len(column["letters"]) == 12
        for offset, code in enumerate(column["codes"]):
            item = items[column["first"] + offset]
            (answer,) = [
                answer
                for answer in item["answers"]
                if (answer["model"], answer["modality"]) == (column["model"], column["modality"])
            ]
            assert answer["verdict"].startswith(CODES[code])
            assert (answer["answer"] or " ") == column["letters"][offset]
            seen.add(CODES[code])
    assert seen == set(CODES.values())


def test_a_dataset_question_that_a_benchmark_asks_too_has_its_answers(report):
    items = {(item["origin"], item["id"]): item for item in read_items(report)}
    assert items["dataset", "q1"]["answers"] == items["bench", "q1"]["answers"] != []


def test_a_trace_names_its_model_prompt_call_and_verdict(full_run, report):
    item = next(item for item in read_items(report) if item["id"] == "q3")
    vision, audio = item["traces"]
    assert (vision["role"], vision["modality"], vision["answer"], vision["right"]) == (
        *("vision", "v", "A", False),
    )
    assert audio["right"] is True
    assert vision["prompt"] == "vision"
    assert vision["model"]
    assert vision["text"].startswith("A square moves to the right.")
    stored = read_parquet(full_run.run.path / "traces" / "teachers.parquet")
    keys = {row["key"] for row in stored if row["sample_id"] == "q3"}
    assert {vision["key"], audio["key"]} == keys


def test_what_models_wrote_is_text_in_ascii_alone(report):
    content = (report / "data" / "items-0000.js").read_bytes()
    assert content.isascii()
    merged = next(item["merged"] for item in read_items(report) if item["merged"])
    assert HOSTILE in merged["text"]


def test_a_gate_marks_the_words_that_it_quotes(a_run, tmp_path):
    path = a_run.run.path / "dataset" / "train.parquet"
    text = "<think>🐕 As the audio description says, it is a dog.</think><answer>A</answer>"
    rows = read_parquet(path)
    said = dict.fromkeys(rows[0]["gates"]) | {"leak": "As the audio description says"}
    finding = {"judge": "j", "finding": "leak", "quote": "audio description"}
    elsewhere = {"judge": "j", "finding": "support", "quote": "words that it has not"}
    rows[0] |= {"av_reasoning": text, "gates": said, "findings": [finding, elsewhere]}
    write_parquet(path, rows, pq.read_schema(path))
    written(a_run, tmp_path)
    item = read_items(tmp_path)[0]
    units = text.encode("utf-16-le")
    ((start, end, gate),) = item["merged"]["gate_marks"]
    assert (gate, units[2 * start : 2 * end].decode("utf-16-le")) == ("leak", said["leak"])
    first, second = item["findings"]
    start, end = first["at"]
    assert units[2 * start : 2 * end].decode("utf-16-le") == finding["quote"]
    assert second["at"] is None
    assert values_of(read_index(tmp_path), "finding")[0] == "leak"


def test_before_the_dataset_is_built_the_questions_are_items(a_run, tmp_path):
    shutil.rmtree(a_run.run.path / "dataset")
    assert written(a_run, tmp_path).faults == []
    items = [item for item in read_items(tmp_path) if item["origin"] == "dataset"]
    assert [item["id"] for item in items] == [f"q{n}" for n in range(12)]
    assert [item["outcome"] for item in items if item["outcome"]] == ["prepare"]
    assert sum(item["merged"] is not None for item in items) > 0


def test_a_run_that_is_only_prepared_has_items(a_run, tmp_path):
    for name in ("dataset", "traces", "eval", "manifests"):
        shutil.rmtree(a_run.run.path / name)
    assert written(a_run, tmp_path).n_items == 12


def test_a_run_with_nothing_has_an_empty_index(a_run, tmp_path):
    shutil.rmtree(a_run.run.path)
    a_run.run.path.mkdir()
    assert written(a_run, tmp_path).faults == []
    assert read_index(tmp_path)["n"] == 0


def test_when_every_trace_is_rejected_the_items_are_there(a_run, tmp_path):
    folder = a_run.run.path / "dataset"
    kept = read_parquet(folder / "train.parquet") + read_parquet(folder / "validation.parquet")
    schema = pq.read_schema(folder / "rejected.parquet")
    rows = [row | {"stage": "gate", "reason": "dropped/leak"} for row in kept]
    write_parquet(folder / "rejected.parquet", rows, schema)
    for name in ("train", "validation"):
        path = folder / f"{name}.parquet"
        write_parquet(path, [], pq.read_schema(path))
    assert written(a_run, tmp_path).faults == []
    items = [item for item in read_items(tmp_path) if item["origin"] == "dataset"]
    assert {item["outcome"] for item in items} == {"gate"}
    assert len(items) == len(kept)


def test_models_of_one_modality_can_be_told_apart(report, a_run, tmp_path):
    eyes = a_run.teachers["vision"].model_copy(update={"model": "other/vision"})
    pool = a_run.model_copy(update={"teachers": {**a_run.teachers, "eyes": eyes}})
    trace.run(pool)
    assert written(pool, tmp_path).faults == []
    index = read_index(tmp_path)
    for name, counts in (("trace_model", {True, False}), ("right_model", {True})):
        column = index["sets"][name]
        assert "other/vision" in column["values"]
        for item, codes in zip(read_items(tmp_path), column["codes"], strict=True):
            wanted = {t["model"] for t in item["traces"]
                      if t["status"] == "ok" and t["right"] in counts}  # fmt: skip
            assert {column["values"][code] for code in codes} == wanted
    assert any(index["sets"]["right_model"]["codes"])
    assert read_index(report)["sets"].keys() == {"gates"}  # one model of each modality


@pytest.mark.parametrize("name", ["teachers", "merged"])
def test_a_trace_file_that_cannot_be_read_costs_its_traces_alone(a_run, tmp_path, name):
    (a_run.run.path / "traces" / f"{name}.parquet").write_bytes(b"PAR1 no more")
    done = written(a_run, tmp_path)
    assert done.n_items == 24
    assert all(f"traces/{name}.parquet: not a readable" in fault for fault in done.faults)
    assert done.faults
    assert str(a_run.run.path) not in "".join(done.faults)


def test_traces_in_another_order_are_a_fault(a_run, tmp_path):
    path = a_run.run.path / "traces" / "teachers.parquet"
    rows = read_parquet(path)[::-1]
    write_parquet(path, rows, pq.read_schema(path))
    assert "is not in the order of samples.parquet" in written(a_run, tmp_path).faults[0]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("av_reasoning", "word " * 100_000),
        ("question", "why " * 20_000),
        ("vision_text", "é" * 30_000),
    ],
)
def test_a_text_that_would_fill_the_page_is_cut_and_its_length_said(a_run, tmp_path, column, text):
    path = a_run.run.path / "dataset" / "train.parquet"
    rows = [row | {column: text} for row in read_parquet(path)]
    write_parquet(path, rows, pq.read_schema(path))
    shutil.rmtree(a_run.run.path / "traces")
    written(a_run, tmp_path)
    data = (tmp_path / "data" / "items-0000.js").read_text()
    assert f" of {len(text):,} characters]" in data
    assert len(data) < len(rows) * 130_000
    assert len(max(read_index(tmp_path)["texts"]["question"], key=len)) <= 501


def test_more_items_than_a_file_holds_are_several_files(full_run, tmp_path, monkeypatch):
    monkeypatch.setattr("avrt.report.items.CHUNK", 7)
    written(full_run, tmp_path)
    sizes = [len(read_data(path)) for path in sorted((tmp_path / "data").glob("items-*.js"))]
    assert sizes == [7, 7, 7, 3]
    assert (tmp_path / "data" / "items-0003.js").read_text().startswith('AVRT.put("items/0003",[')
