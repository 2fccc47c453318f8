from __future__ import annotations

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.config import DataConfig
from avrt.datasets import FORMATS, annotation_path, read_items
from avrt.evaluate import benchmarks
from avrt.evaluate.benchmarks import BENCHMARKS, annotation_digest, notes, official_prompt
from avrt.generate.decontaminate import find_matches
from avrt.prompts import format_options
from benchmark_sets import SETS, rows_of, write_set


def items_of(root, name, content=None):
    data = write_set(root, name, content)
    return data, list(read_items(data))


@pytest.mark.parametrize("name", SETS)
def test_every_format_is_a_benchmark_whose_groups_its_items_have(tmp_path, name):
    assert BENCHMARKS.keys() == FORMATS.keys() == set(SETS)
    _, items = items_of(tmp_path, name)
    for item in items:
        assert tuple(item.groups) == BENCHMARKS[name].groups
        assert all(isinstance(value, str) and value for value in item.groups.values())


@pytest.mark.parametrize("name", SETS)
def test_items_have_the_modalities_that_are_said(tmp_path, name):
    _, items = items_of(tmp_path, name)
    for item in items:
        sample = item.sample
        given = {"a": sample.sound_path, "v": sample.picture_path}
        given["av"] = given["a"] and given["v"]
        assert {modality for modality in given if given[modality]} == {*BENCHMARKS[name].modalities}


@pytest.mark.parametrize("name", SETS)
def test_gold_in_the_form_that_the_prompt_asks_for_is_right_by_the_authors_rule(tmp_path, name):
    _, items = items_of(tmp_path, name)
    for item in items:
        sample = item.sample
        reply = {
            "omnibench": f"({sample.target})",
            "video_holmes": f"<think>x</think><answer>{sample.target}</answer>",
            "avqa": f"<answer>{sample.target}</answer>",
            "parquet": f"<answer>{sample.target}</answer>",
            "webdataset": f"<answer>{sample.target}</answer>",
            "avhbench": f"{sample.target_text}.",
        }.get(name, sample.target)
        rule = BENCHMARKS[name].variants.get("gold_by_index", BENCHMARKS[name].official)
        assert rule(reply, item).correct


@pytest.mark.parametrize("name", SETS)
def test_the_authors_prompt_has_question_and_all_options(tmp_path, name):
    _, items = items_of(tmp_path, name)
    benchmark = BENCHMARKS[name]
    for item in items:
        _, text = official_prompt(benchmark, item)
        assert item.sample.question in text
        texts = text.casefold()  # "Answer yes or no."
        assert all(option.casefold() in texts for option in item.sample.options)
        assert benchmark.options(item) in text
    lettered = format_options(items[0].sample.options) in text
    assert lettered == (benchmark.prompt == "student")


def test_prompts_read_as_published(tmp_path):
    def ask(name, modality="av"):
        root = tmp_path / name
        return official_prompt(BENCHMARKS[name], items_of(root, name)[1][0], modality)

    system, text = ask("mmar")
    assert system is None
    assert text.splitlines()[:2] == [
        "Which instrument enters last?",
        "Select one option from the provided choices:",
    ]
    assert text.splitlines()[2:] == ["Cello", "Oboe", "Harp", "Gong"]
    system, text = ask("daily_omni")
    assert system is not None
    assert system.startswith("You are Qwen, a virtual human")
    assert "Choices: ['A. A tram', 'B. A ferry', 'C. A kite', 'D. A barrow']\n" in text
    given = {m: ask("omnibench", m)[1].splitlines()[0] for m in ("a", "v", "av")}
    assert given == {
        m: f"Please answer the following question based on the given {what}:"
        for m, what in (("a", "audio"), ("v", "image"), ("av", "image and audio"))
    }
    assert ask("omnibench")[1].splitlines()[1] == "What is the cook about to do?."
    assert "The options are: A: The heir, B: The gardener, C: The doctor" in ask("video_holmes")[1]
    assert ask("worldsense")[1].endswith("\nA. One.\nB. Two.\nC. Three.\nD. None.\nAnswer:")
    assert "Options:\nA.0\nB.1\nC.2\nD.3\n\nAnswer with" in ask("omnivideobench")[1]
    assert ask("video_mme")[1].endswith("\nA. 3.\nB. 5.\nC. 8.\nD. None.\nThe best answer is:")
    riva = ask("rivabench_standup")[1]
    assert "?\nChoose from:\nA. The rent.\nB. His mother.\nC. A goose.\nD. The bill" in riva
    assert ask("avhbench") == (None, "Is the bell heard? Answer yes or no.")


def test_a_count_that_differs_from_the_published_one_is_said(tmp_path, monkeypatch):
    data, items = items_of(tmp_path, "omnibench")
    (note,) = notes(data, items)
    assert note.startswith("3 items, 1139 fewer than the 1142 of OmniBench (2024-08-17)")
    monkeypatch.setitem(BENCHMARKS, "omnibench", _with(BENCHMARKS["omnibench"], n_items=2))
    assert notes(data, items)[0].startswith("3 items, 1 more than the 2 of")
    monkeypatch.setitem(BENCHMARKS, "omnibench", _with(BENCHMARKS["omnibench"], n_items=3))
    assert notes(data, items) == []
    assert notes(data.model_copy(update={"limit": 1}), items[:1]) == []


def _with(benchmark, **changes):
    return type(benchmark)(**{**vars(benchmark), **changes})


def test_a_file_of_another_version_is_said_though_its_count_is_right(tmp_path, monkeypatch):
    data, items = items_of(tmp_path, "daily_omni")
    digest = annotation_digest(data)
    known = _with(BENCHMARKS["daily_omni"], n_items=3, digests={digest: "this one"})
    monkeypatch.setitem(BENCHMARKS, "daily_omni", known)
    assert notes(data, items) == []
    path = annotation_path(data)
    path.write_text(path.read_text().replace("A tram", "A train"))
    assert annotation_digest(data) != digest
    (note,) = notes(data, items)
    assert note.startswith("qa.json: as many items, but not the file")
    assert "(this one)" in note


@pytest.mark.parametrize("alike", [str, str.upper, lambda text: f"{text[0]}{text[1:]}\u00a0"])
def test_options_that_occur_twice_or_are_empty_are_counted(tmp_path, alike):
    content = rows_of("mmau")
    content[1]["choices"][0] = alike(content[1]["choices"][1])
    data, items = items_of(tmp_path, "mmau", content)
    assert notes(data, items)[1:] == ["1 items list an option twice, as published"]
    content[1]["answer"] = content[1]["choices"][0]
    data, items = items_of(tmp_path, "mmau", content)
    assert (
        "1 items list the gold option twice, so that either letter is right"
        in notes(data, items)[2]
    )
    data, items = items_of(tmp_path, "mmar")
    assert notes(data, items)[-1] == "1 items list an empty option, as published"


def test_a_question_that_stands_twice_is_counted(tmp_path):
    content = rows_of("avhbench")
    again = content[0] | {"text": "IS the bell heard?"}
    data, items = items_of(tmp_path, "avhbench", [*content, again])
    assert notes(data, items) == [
        "2 items ask what another one asks of the same clip, as published"
    ]
    data, items = items_of(tmp_path, "avhbench", [*content, content[0] | {"video_id": "00019"}])
    assert notes(data, items) == []


@pytest.mark.parametrize(
    ("name", "file", "note"),
    [
        ("daily_omni", "daily_omni_qa.json", "2 items ask what another one asks of the same clip"),
        ("mmar", "MMAR-meta.jsonl", "4 items list an empty option"),
    ],
)
def test_real_files_are_the_known_versions(tmp_path, real_data, name, file, note):
    data = DataConfig(format=name, root=tmp_path)
    (tmp_path / FORMATS[name].files[0]).symlink_to(real_data / "annotations" / file)
    lines = notes(data, list(read_items(data)))
    assert lines == [f"{note}, as published"]


@pytest.mark.parametrize("name", SETS)
def test_a_benchmark_of_any_format_decontaminates(tmp_path, name):
    data, items = items_of(tmp_path, name)
    first = items[0].sample
    again = type(first)(**{**vars(first), "id": "mine", "video_id": "mine"})
    found = {match.by: match for match in find_matches([again], {name: data})}
    assert found["question"].score == 100.0
    assert found["question"].benchmark_id == first.id


def test_the_command_lists_every_benchmark_and_shows_one():
    run = CliRunner().invoke
    listed = run(cli, ["list", "benchmarks"]).output
    for name, benchmark in BENCHMARKS.items():
        assert name in listed
        assert benchmark.title in listed
        shown = run(cli, ["list", "benchmarks", name]).output
        assert benchmark.licence in shown
        assert benchmark.rule in shown


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OmniBench", "did you mean omnibench? "),
        ("Video-Holmes", "did you mean video_holmes? "),
        ("x", ""),
    ],
)
def test_an_unknown_benchmark_is_answered_with_close_ones(name, meant):
    absent = CliRunner().invoke(cli, ["list", "benchmarks", name])
    assert absent.exit_code == 2
    assert f"no benchmark {name!r}; {meant}`avrt list benchmarks` lists all\n" in absent.output


def test_the_documented_table_is_that_of_the_code(repository):
    page = (repository / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert benchmarks.markdown_table() in page
