from __future__ import annotations

import csv
import io
import json
import shutil

import pytest

from avrt.ask.budget import Budget
from avrt.config import Config
from avrt.config.baselines import baselines
from avrt.errors import ConfigError
from avrt.evaluate import Choice
from avrt.evaluate import run as evaluate
from avrt.evaluate.difficulty import make_difficulty
from avrt.report import run as write_page
from avrt.report.paper import Wanted, read_runs, run, tables_to_json

N_ITEMS = 12


@pytest.fixture(scope="module")
def config(full_run, tmp_path_factory) -> Config:
    """The questions of the small run as OmniBench, two students and two teachers."""
    folder = tmp_path_factory.mktemp("paper")
    skills = {"base": 4, "sft_rl": 9, "vision": 3, "audio": 6, "other": 0}
    models = {}
    for name, skill in skills.items():
        script = folder / f"{name}.jsonl"
        replies = [
            {"match": f"Question {n}:", "reply": f"Answer: {'ABCD'[(n + (n >= skill)) % 4]}"}
            for n in reversed(range(N_ITEMS))
        ]
        script.write_text("".join(json.dumps(reply) + "\n" for reply in replies))
        models[name] = {"model": name, "engine": {"kind": "scripted", "script": str(script)}}
    models["base"]["model"] = "some/base"
    models["vision"] |= {"preset": "kimi-vl-a3b-thinking", "modality": "v", "prompt": "student"}
    models["vision"]["temperature"] = 0.6
    models["audio"] |= {"modality": "a"}
    models["sft_rl"]["model"] = "some/sft-rl"
    bench = full_run.eval.benchmarks["bench"].model_dump(mode="json")
    config = Config.model_validate(
        full_run.model_dump(mode="json")
        | {
            "run": {"dir": str(folder), "name": "paper"},
            "eval": {"benchmarks": {"omnibench": bench}, "models": models},
        }
    )
    evaluate(config)
    make_difficulty(config, ("vision", "audio"))
    return config


def test_the_page_shows_text_alone_teachers_protocols_and_both_verdicts(config):
    evaluate(config, Choice(models=["base"], modalities=["none"]))
    write_page(config)
    report = config.run.path / "report"
    results = (report / "tables" / "omnibench-results.md").read_text()
    assert "Text only" in results
    assert "Protocols differ and numbers under different ones are not compared" in results
    details = (report / "tables" / "omnibench-details.md").read_text()
    assert "| base | NONE |" in details
    assert "Official" in details
    by_level = (report / "tables" / "omnibench-difficulty.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in by_level[4:7]] == ["| easy", "| medium", "| hard"]
    legend = (report / "figures" / "omnibench-accuracy.svg").read_text()
    assert "#7d6bb0" in legend


def rows_of(config, number: int) -> list[dict[str, str]]:
    text = run(config, "csv", None).summary
    tables = [list(csv.DictReader(io.StringIO("table" + part))) for part in text.split("table")[1:]]
    return [row for table in tables for row in table if row["table"] == str(number)]


def test_ours_stand_beside_the_published_values(config):
    text = run(config, "markdown", None).summary
    lines = [line for line in text.splitlines() if line.startswith("| Qwen2.5-Omni-3B = base ")]
    ours = "33.3 [13.8, 60.9]; n = 12"  # the authors' rule is the strict one
    assert f"42.4 (published), 50.2 (reproduced) | {ours}" in lines[0]
    assert "AVRT-3B, SFT + RL = sft_rl" in text
    assert "Protocol on omnibench: " in text
    assert "base on omnibench AV: 1 without media (1 not_media)." in text


def test_a_teacher_stands_in_table_3_with_what_it_takes(config):
    rows = [r for r in rows_of(config, 3) if r["benchmark"] == "omnibench"]
    (row,) = [r for r in rows if r["model"] == "vision"]
    assert row["row"].startswith("Kimi-VL-A3B-Thinking")
    assert (row["given"], row["published"], row["source"]) == ("v", "33.5", "v1")
    assert float(row["ours"]) == 25.0


def test_a_model_without_a_published_counterpart_has_a_row(config):
    rows = [r for r in rows_of(config, 3) if r["benchmark"] == "omnibench"]
    own = [(r["row"], r["published"], r["ours"]) for r in rows if r["model"] == "other"]
    assert own == [("other", "", "0.0")]
    assert not [r for r in rows_of(config, 5) if r["model"] == "other"]


def test_table_4_is_by_modality(config):
    rows = {r["given"]: r for r in rows_of(config, 4) if r["model"] == "sft_rl"}
    assert {given: r["published"] for given, r in rows.items()} == {
        "none": "", "a": "40.7", "v": "44.3", "av": "54.7",
    }  # fmt: skip
    assert float(rows["v"]["ours"]) > 0


def test_table_6_is_by_difficulty_and_shows_the_second_version(config):
    rows = [r for r in rows_of(config, 6) if r["model"] == "base"]
    assert [(r["difficulty"], r["published"], r["source"]) for r in rows] == [
        ("easy", "70.5", "v2"), ("medium", "53.5", "v2"), ("hard", "45.3", "v2"),
    ]  # fmt: skip
    assert sum(int(r["n"]) for r in rows) == N_ITEMS
    assert all(r["official"] == "" for r in rows)


def test_every_published_model_is_in_some_table(full_run):
    text = run(full_run, "csv", None).summary
    assert all(one.title in text for one in baselines().values())


def test_a_half_finished_evaluation_is_shown_with_the_answers_that_are_left(config):
    other = config.model_copy(update={"run": config.run.model_copy(update={"name": "part"})})
    evaluate(other, Choice(models=["base"], modalities=["av"]), Budget(samples=3))
    assert (
        "base on omnibench AV: 9 of 12 not evaluated yet." in run(other, "markdown", None).summary
    )


def test_latex_is_escaped(config):
    text = run(config, "latex", None).summary
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 6
    assert "sft\\_rl" in text
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {line.count(" & ") for line in body} == {2, 6, 7, 8, 16}
    assert not any("–" in line for line in body)


@pytest.mark.parametrize(("form", "ending"), [("markdown", "md"), ("latex", "tex"), ("csv", "csv")])
def test_tables_are_written_one_by_one(config, tmp_path, form, ending):
    run(config, form, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"table{name}.{ending}"
        for name in (
            "-errors", "-traces", "3-main-results", "4-stages-by-modality", "5-mergers",
            "6-difficulty",
        )
    ]  # fmt: skip


def test_an_unknown_published_model_is_refused(config):
    settings = config.eval.model_copy(update={"published": {"base": "qwen-omni"}})
    with pytest.raises(ConfigError, match=r"eval.published.base: no published model 'qwen-omni'"):
        run(config.model_copy(update={"eval": settings}), "csv", None)


def test_a_run_that_is_not_there_is_refused(config):
    absent = config.model_copy(update={"run": config.run.model_copy(update={"name": "absent"})})
    with pytest.raises(ConfigError, match="no such run"):
        run(absent, "csv", None)


def cells_of(config, name: str, **wanted) -> list[dict]:
    asked = Wanted(**wanted)
    tables = tables_to_json(read_runs(config, asked.others), asked)
    return next((table["cells"] for table in tables if table["name"] == name), [])


@pytest.mark.parametrize(
    ("state", "tables", "values"),
    [
        ("v1", {"main-results", "stages-by-modality", "mergers", "errors"}, {45.5}),
        ("v2", {"main-results", "traces", "difficulty", "errors"}, {49.2}),
        ("eccv", {"main-results", "errors"}, {49.2}),
    ],
)
def test_a_state_of_the_paper_has_its_tables_and_figures(config, state, tables, values):
    wanted = Wanted(states=(state,))
    assert {table["name"] for table in tables_to_json(read_runs(config), wanted)} == tables
    cells = cells_of(config, "main-results", states=(state,))
    daily = [c for c in cells if c["model"] == "sft_rl" and c["benchmark"] == "daily_omni"]
    assert {cell["published"] for cell in daily} == values
    assert len({cell["benchmark"] for cell in cells}) == (4 if state == "v1" else 8)
    titles = {cell["row"] for cell in cells}
    assert ("video-SALMONN-o1-7B" in titles) == (state == "eccv")
    assert ("AVRT-7B, SFT + RL" in titles) == (state != "v1")


def test_the_first_versions_table_by_difficulty_comes_on_request_with_its_fault(config):
    assert "do not average to its own totals" not in run(config, "markdown", None).summary
    text = run(config, "markdown", None, Wanted(states=("eccv",), faulty=True)).summary
    assert "Table 6. OmniBench by difficulty, beside the first version" in text
    assert "do not average to its own totals: no target" in text


@pytest.fixture
def ablations(config, monkeypatch) -> None:
    """Two further runs, whose only student was trained on other traces."""
    for name, published in (("gemma", "merger-gemma-3-12b"), ("audio", "traces-audio")):
        models = {"sft_rl": config.eval.models["sft_rl"].model_copy(update={"temperature": 0.5})}
        settings = config.eval.model_copy(
            update={"models": models, "published": {"sft_rl": published}}
        )
        place = config.run.model_copy(update={"name": name})
        evaluate(
            config.model_copy(update={"run": place, "eval": settings}), Choice(modalities=["av"])
        )


def test_models_of_other_runs_stand_in_the_ablations_beside_the_published_ones(config, ablations):
    ours = {}
    for table in ("mergers", "traces"):
        for cell in cells_of(config, table, others=("gemma", str(config.run.dir / "audio"))):
            ours[cell["row"]] = (cell["published"], cell["model"], cell["n"])
    assert ours == {
        "AVRT-3B, traces merged by Gemma3-12B-it = gemma/sft_rl": (48.1, "gemma/sft_rl", N_ITEMS),
        "AVRT-3B, traces merged by Qwen2.5-14B-Instruct = sft_rl": (54.7, "sft_rl", N_ITEMS),
        "AVRT-3B, traces of the audio teacher alone = audio/sft_rl": (
            52.5,
            "audio/sft_rl",
            N_ITEMS,
        ),
        "AVRT-3B, traces of the vision teacher alone": (50.8, None, None),
        "AVRT-3B, merged traces of both teachers = sft_rl": (56.3, "sft_rl", N_ITEMS),
    }
    assert "gemma/sft_rl" not in {cell["model"] for cell in cells_of(config, "main-results")}


def test_another_run_that_is_not_there_is_refused(config):
    with pytest.raises(ConfigError, match="nothing: no such run, or no stage of it was run"):
        run(config, "csv", None, Wanted(others=("nothing",)))


def test_two_runs_of_one_name_are_refused_where_one_would_hide_the_other(
    config, ablations, tmp_path
):
    shutil.copytree(config.run.dir / "gemma", tmp_path / "gemma")
    with pytest.raises(ConfigError, match=r"another run of the name gemma is given.*rename"):
        run(config, "csv", None, Wanted(others=("gemma", str(tmp_path / "gemma"))))


def test_errors_are_split_into_invalid_format_and_wrong_reasoning(config):
    cells = {cell["model"]: cell for cell in cells_of(config, "errors")}
    base = cells["base"]
    assert (base["given"], base["n"], base["right"], base["invalid"]) == ("av", N_ITEMS, 33.33, 0.0)
    assert (base["wrong"], base["lost"]) == (58.33, 8.33)
    assert base["wrong_low"] < base["wrong"] < base["wrong_high"]
    assert cells["vision"]["given"] == "v"


def test_the_errors_of_a_reply_without_a_letter_are_invalid_and_on_the_page(full_run):
    cells = {cell["model"]: cell for cell in cells_of(full_run, "errors")}
    assert cells["sft_rl"]["invalid"] == pytest.approx(100 / N_ITEMS, abs=0.01)
    assert all(
        sum(cell[kind] for kind in ("right", "invalid", "wrong", "lost"))
        == pytest.approx(100, abs=0.05)
        for cell in cells.values()
    )
    text = (write_page(full_run), full_run.run.path / "report" / "tables" / "errors.md")[
        1
    ].read_text()
    assert "| bench | sft_rl | AV |" in text
