from __future__ import annotations

import json

import pytest

from avrt.datasets import read_items
from avrt.errors import ConfigError, DataError
from avrt.evaluate import Choice, compare, plan_predictions, run, score_predictions
from avrt.evaluate.logs import log_path
from avrt.evaluate.predictions import read_predictions
from avrt.evaluate.results import read_results
from benchmark_sets import SETS, write_set

N_ITEMS = 6
OLA = Choice(models=("ola",), benchmarks=("clips",))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts_of(path):
    return {prediction.id: prediction.text for prediction in read_predictions(path)}


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
    assert [p.id for p in read_predictions(table)] == [p.id for p in read_predictions(predictions)]


def test_a_text_over_several_lines_of_a_csv_file_is_one_prediction(tmp_path):
    table = tmp_path / "ola.csv"
    table.write_text('id,text\nq0,"one\ntwo"\nq1,three\n')
    assert texts_of(table) == {"q0": "one\ntwo", "q1": "three"}


def test_a_number_is_an_id_too(tmp_path):
    rows = [{"id": 0, "text": "A"}, {"id": 1.0, "text": 2}, {"id": "c", "text": 0.5}]
    read = texts_of(write(tmp_path / "p.jsonl", rows))
    assert read == {"0": "A", "1": "2", "c": "0.5"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom"])
@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_texts_of_any_length_and_encoding_are_taken(tmp_path, name, encoding):
    thought = "It is “clear” \U0001f514, " * 20_000  # far over the 128 kB of a field of CSV
    text = f"<think>{thought}</think><answer>B</answer>"
    rows = json.dumps({"id": "q0", "text": text}) if name == "p.jsonl" else f'id,text\nq0,"{text}"'
    bom = b"\xff\xfe" if encoding == "utf-16-le-bom" else b""
    (tmp_path / name).write_bytes(bom + f"{rows}\r\n".encode(encoding.removesuffix("-bom")))
    assert texts_of(tmp_path / name) == {"q0": text}


def test_null_and_half_an_emoji_are_counted_and_taken(config, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "q0", "text": null}\n\n{"id": "q1", "text": "B \\ud83d"}\n')
    assert texts_of(path) == {"q0": None, "q1": "B \ufffd"}
    assert score_predictions(config, path, OLA).counts == {"missing": N_ITEMS - 1}
    (found,) = read_results(config)
    assert found.by_id["q0"].error_class == "no_prediction"
    table = tmp_path / "p.csv"
    table.write_text("id,text\nq0\nq1,\n")
    assert texts_of(table) == {"q0": None, "q1": ""}


OWN_IDS = {
    "mmar": ["first_00-01", "second", "third"],
    "mmau": ["aa-1", "bb-2", "cc-3"],
    "omnibench": [0, 6, 7],
    "video_holmes": [0, 1],
    "avqa": [1, 2],
    "daily_omni": ["clip-0_a1B2c", "clip-0_a1B2c", "-x"],
    "omnivideobench": ["video_1", "video_1", "video_2"],
    "video_mme": ["901-1", "901-2", "902-1"],
    "rivabench_standup": ["clip_a", "clip_a", "clip-b"],
    "rivabench_academic": ["clip_a-1", "clip_a-2", "clip-b"],
    "avhbench": ["00017", "00017", "00018"],
    "worldsense": ["aBcDeFgH", "iJkLmNoP", "iJkLmNoP"],
    "parquet": ["own-1", "own-2"],
    "webdataset": ["own-1", "own-2"],
}


@pytest.mark.parametrize("name", SETS)
def test_a_benchmarks_own_ids_are_taken(config, tmp_path, name):
    data = write_set(tmp_path / name, name)
    settings = config.eval.model_copy(update={"benchmarks": {"clips": data}})
    config = config.model_copy(update={"eval": settings})
    golds = [item.sample.target for item in read_items(data)]
    rows = [{"id": key, "text": gold} for key, gold in zip(OWN_IDS[name], golds, strict=True)]
    score_predictions(config, write(tmp_path / "own.jsonl", rows), OLA)
    (found,) = read_results(config)
    assert (found.accuracy.k, found.accuracy.n) == (len(golds), len(golds))


def test_a_set_of_yes_and_no_is_answered_with_letters_or_words(config, tmp_path):
    data = write_set(tmp_path / "avhbench", "avhbench")
    settings = config.eval.model_copy(update={"benchmarks": {"clips": data}})
    config = config.model_copy(update={"eval": settings})
    texts = ("<answer>B</answer>", "Yes.", "Yes, they belong together.")  # gold: no, yes, yes
    rows = [{"id": key, "text": text} for key, text in zip(OWN_IDS["avhbench"], texts, strict=True)]
    score_predictions(config, write(tmp_path / "own.jsonl", rows), OLA)
    (found,) = read_results(config)
    assert [line.answer for line in found.lines] == ["B", "A", None]  # a sentence is no answer
    assert [verdict.correct for verdict in found.officials] == [True, True, True]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("mmar", ["x"], "such as 'x' in row 1; .* 'mmar-first_00-01' or, as .* 'first_00-01'"),
        ("mmar", ["second", "mmar-second"], "p.jsonl:2: id 'mmar-second' stands twice.*row 1"),
        (
            "daily_omni",
            ["clip-0_a1B2c"],
            "jsonl:1: 'clip-0_a1B2c' names 2 questions and stands 1",
        ),
        ("daily_omni", ["-y"], "'clip-0_a1B2c' or 'clip-0_a1B2c-1'"),
        ("daily_omni", ["-x", "-x"], "p.jsonl:2: id '-x' stands twice"),
        ("mmar", ["x" * 5000], "such as 'x+… in row 1"),
    ],
)
def test_ids_that_do_not_match_are_refused_with_those_that_do(
    config, tmp_path, name, rows, message
):
    data = write_set(tmp_path / name, name)
    settings = config.eval.model_copy(update={"benchmarks": {"clips": data}})
    config = config.model_copy(update={"eval": settings})
    path = write(tmp_path / "p.jsonl", [{"id": key, "text": "A"} for key in rows])
    for act in (score_predictions, plan_predictions):
        with pytest.raises(DataError, match=message):
            act(config, path, OLA)


def test_a_dry_run_checks_a_file_and_writes_nothing(config, predictions):
    assert plan_predictions(config, predictions, OLA) == (
        "eval: ola.jsonl as model ola on clips, AV: texts for 5 of 6 items; 1 items without a "
        "prediction would count as wrong, and 0 texts in which no answer can be read"
    )
    assert not config.run.path.exists()


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
            r"does not have 1 of the 1 ids, such as 'x9' in row 1; its ids look like 'q0'\. Name",
        ),
        ([{"id": "q0"}], r"p.jsonl:1: not a prediction.*for text it has none"),
        ([{"id": "q0", "text": ["A"]}], r"p.jsonl:1: not a prediction.*\['A'\] is neither"),
        ([{"id": "q0", "text": True}], r"p.jsonl:1: not a prediction"),
        ([{"id": "q0", "text": float("nan")}], "p.jsonl: line 1: text: NaN is no JSON number"),
        ([{"id": None, "text": "A"}], r"p.jsonl:1: not a prediction.*for id None is neither"),
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
        ("p.jsonl", b"{", DataError, "p.jsonl: line 1: not valid JSON"),
        ("p.jsonl", b'{"id": "q0", "text": "\xff"}\n', DataError, "not UTF-8"),
        ("p.jsonl", b'{"id": "q0", "text": ' + b"[" * 5000, DataError, "p.jsonl: line 1: "),
        ("p.jsonl", b'{"id": "q0", "text": ' + b"9" * 5000 + b"}", DataError, "5000 digits"),
        ("p.jsonl", b'{"id": "q0", "id": "q1", "text": "A"}', DataError, "'id' stands twice"),
        ("p.csv", b"id;text\nq0;A\n", DataError, r"p.csv:1: .* id and text; it is 'id;text'$"),
        ("p.csv", b"q0,A\n", DataError, r"p.csv:1: .* id and text; it is 'q0', 'A'$"),
        ("p.csv", b"id,text,text\nq0,A,B\n", DataError, r"p.csv:1: .* id and text; it is"),
        ("p.csv", b"ID,Text\nq0,A\n", DataError, r"p.csv:1: .* id and text; it is 'ID'"),
        ("p.csv", b"id,text\nq0,No, (B)\n", DataError, r"p.csv:2: 3 fields .* in quotes"),
        ("p.csv", b'id,text\nq0,"A\n', DataError, r"p.csv:2: not valid CSV"),
        ("p.csv", b"id,text\nq0,A\x00\n", DataError, "line 2: holds a NUL byte"),
        ("p.txt", b"", ConfigError, "a .jsonl or a .csv file"),
        ("absent.jsonl", None, DataError, "absent.jsonl: cannot be read"),
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
