from __future__ import annotations

import json

import pytest

from avrt.errors import ConfigError, DataError
from avrt.evaluate import Choice, compare, run, score_predictions
from avrt.evaluate.logs import log_path
from avrt.evaluate.predictions import read_predictions
from avrt.evaluate.results import read_results

N_ITEMS = 6
OLA = Choice(models=("ola",), benchmarks=("clips",))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def predictions(tmp_path):
    rows = [{"id": f"q{n}", "text": f"The answer is {'ABCD'[n % 4]}."} for n in range(N_ITEMS - 1)]
    return write(tmp_path / "ola.jsonl", rows)


def test_predictions_are_scored_and_missing_ones_are_in_the_denominator(config, predictions):
    result = score_predictions(config, predictions, OLA)
    assert "1 of 6 items have no prediction and count as wrong" in result.summary
    (found,) = read_results(config)
    assert (found.accuracy.k, found.accuracy.n) == (5, N_ITEMS)
    missing = found.by_id["q5"]
    assert (missing.status, missing.error_class) == ("failed", "no_prediction")


def test_a_csv_file_says_the_same(config, predictions, tmp_path):
    table = tmp_path / "ola.csv"
    lines = ['"id","text"'] + [f'"q{n}","<answer>{"ABCD"[n % 4]}</answer>"' for n in range(5)]
    table.write_text("\n".join(lines))
    assert score_predictions(config, table, OLA).counts == {"missing": 1}
    assert read_predictions(table).keys() == read_predictions(predictions).keys()


def test_a_text_over_several_lines_of_a_csv_file_is_one_prediction(tmp_path):
    table = tmp_path / "ola.csv"
    table.write_text('id,text\nq0,"one\ntwo"\nq1,three\n')
    assert read_predictions(table) == {"q0": "one\ntwo", "q1": "three"}


def test_a_number_is_an_id_too(tmp_path):
    rows = [{"id": 0, "text": "A"}, {"id": 1, "text": "B"}]
    assert read_predictions(write(tmp_path / "p.jsonl", rows)) == {"0": "A", "1": "B"}


def test_predictions_read_twice_are_one_log_and_others_are_refused(config, predictions, tmp_path):
    score_predictions(config, predictions, OLA)
    score_predictions(config, predictions, OLA)
    (found,) = read_results(config)
    assert len(found.lines) == N_ITEMS
    other = write(tmp_path / "other.jsonl", [{"id": "q0", "text": "A"}])
    with pytest.raises(ConfigError, match=r"other settings \(model\)"):
        score_predictions(config, other, OLA)


def test_a_deleted_log_comes_back_as_it_was(config, predictions):
    score_predictions(config, predictions, OLA)
    path = log_path(config.run.path, "clips", "ola", "av")
    before = path.read_bytes()
    path.unlink()
    score_predictions(config, predictions, OLA)
    assert path.read_bytes() == before


def test_predictions_are_not_tested_against_a_model_unless_forced(config, predictions, use_answers):
    score_predictions(config, predictions, OLA)
    use_answers(lambda _: "<answer>A</answer>")
    run(config, Choice(models=["base"], modalities=["av"]))
    with pytest.raises(ConfigError, match=r"n_frames: 4 / unknown"):
        compare(config, "base", "ola")
    assert "n = 6" in compare(config, "base", "ola", force=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"id": "q0", "text": "A"}, {"id": "q0", "text": "B"}],
            r"p.jsonl:2: id 'q0' stands",
        ),
        (
            [{"id": "x9", "text": "A"}],
            r"does not have 1 of the 1 ids, such as 'x9'.*like 'q0'",
        ),
        ([{"id": "q0"}], r"p.jsonl:1: not a prediction"),
        ([{"id": "q0", "text": None}], r"p.jsonl:1: not a prediction"),
        ([{"id": True, "text": "A"}], r"p.jsonl:1: not a prediction"),
        ([{"id": ["q0"], "text": "A"}], r"p.jsonl:1: not a prediction"),
        (["q0"], r"p.jsonl:1: not a prediction"),
        ([], "holds no predictions"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(config, tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        score_predictions(config, write(tmp_path / "p.jsonl", rows), OLA)
    assert not config.run.path.exists()


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("p.jsonl", b"{", DataError, r"p.jsonl: line 1: not valid JSON"),
        ("p.jsonl", b'{"id": "q0", "text": "\xff"}\n', DataError, "not UTF-8"),
        ("p.csv", b"id;text\nq0;A\n", DataError, r"p.csv:2: not a prediction"),
        ("p.csv", b'id,text\nq0,"A\n', DataError, "not valid CSV"),
        ("p.txt", b"", ConfigError, "a .jsonl or a .csv file"),
        ("absent.jsonl", None, DataError, "cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, error, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_predictions(path)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(benchmarks=("clips",)), "name a single --model"),
        (Choice(models=("a", "b")), "name a single --model.*known: a, b"),
        (Choice(models=("base",)), "'base' is in eval.models, so `avrt eval` asks it"),
        (Choice(models=("../x",)), "becomes a folder"),
        (Choice(models=("ola",), benchmarks=("nope",)), "'nope' is not in eval.benchmarks"),
        (Choice(models=("ola",), modalities=("a", "av")), "name a single --modality"),
    ],
)
def test_what_the_texts_are_of_must_be_clear(config, predictions, choice, message):
    with pytest.raises(ConfigError, match=message):
        score_predictions(config, predictions, choice)
