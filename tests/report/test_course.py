"""Figure 1: the accuracy of kept checkpoints over the steps of training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from avrt.config import Config
from avrt.engines import LazyEngine
from avrt.engines.scripted import ScriptedEngine
from avrt.engines.weights import model_identity
from avrt.evaluate import Choice
from avrt.evaluate import run as evaluate
from avrt.report import page

STEPS = (50, 100, 150, 200)
SKILLED = {"sft": "some/sft", "grpo": "some/sft-rl", "grpo-base": "some/rl"}


def write_training(config: Config, stage: str, start: str) -> None:
    folder = config.run.path / stage / "checkpoints"
    for step in STEPS:
        kept = folder / "kept" / str(step)
        kept.mkdir(parents=True)
        (kept / "config.json").write_text(json.dumps([stage, step]))
    settings = {"settings": {"student": model_identity(start, None)}}
    (folder / "stage.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def course_run(full_run, answers, tmp_path_factory) -> Config:
    """A run with GRPO from SFT and from the base, whose checkpoints are evaluated."""
    runs = tmp_path_factory.mktemp("course")
    shutil.copytree(full_run.run.path, runs / "small")
    models = {"base": "base", "sft": "sft", "sft_rl": "some/sft-rl"}
    settings = full_run.eval.model_copy(update={"models": models})
    run = full_run.run.model_copy(update={"dir": runs})
    config = full_run.model_copy(update={"run": run, "eval": settings})
    shutil.rmtree(config.run.path / "eval")
    model = config.run.path / "sft" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    write_training(config, "grpo", str(model))
    write_training(config, "grpo-base", config.student.model)
    skill = {model_identity(str(model), None)["revision"]: "some/sft"}
    for stage in ("grpo", "grpo-base"):
        for step in STEPS:
            kept = config.run.path / stage / "checkpoints" / "kept" / str(step)
            late = SKILLED[stage] if step > 100 else "some/sft" if stage == "grpo" else "some/rl"
            skill[model_identity(str(kept), None)["revision"]] = late

    def generate(engine, requests, on_completion):
        identity = engine.identity
        name = skill.get(identity["revision"], identity["model"])
        ScriptedEngine(answers(name), {}).generate(requests, on_completion)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LazyEngine, "generate", generate)
        evaluate(config, Choice(modalities=("v", "av")))
        trainings = ("grpo", "grpo-base")
        evaluate(config, Choice(modalities=("av",), checkpoints=trainings))
    return config


@pytest.fixture(scope="module")
def report(course_run) -> Path:
    """The page of that run."""
    page.run(course_run, with_media=False)
    return course_run.run.path / "report"


def put(report: Path) -> dict[str, Any]:
    text = (report / "data" / "report.js").read_text()
    return json.loads(text[text.index(",") + 1 : text.rindex(");")])


def test_the_page_draws_sft_and_rl_against_rl_only(report):
    (figure,) = report.glob("figures/bench-av-*-over-training.svg")
    svg = figure.read_text()
    assert "SFT + RL (grpo)" in svg
    assert "RL only (grpo-base)" in svg
    assert "n = 12; dashed: guessing" in svg
    (chart,) = (c for name, c in put(report)["charts"].items() if name.endswith("over-training"))
    assert [line["name"] for line in chart["lines"]] == ["SFT + RL (grpo)", "RL only (grpo-base)"]
    assert [point[0] for point in chart["lines"][0]["points"]] == [0, 50, 100, 150, 200]
    assert all(low <= value <= high for _, value, low, high in chart["lines"][0]["points"])
    table = (report / "tables" / "accuracy-over-training.md").read_text()
    rows = [line.split(" | ") for line in table.splitlines() if "grpo" in line]
    assert [row[3] for row in rows] == ["0", "50", "100", "150", "200"] * 2
    assert {row[6] for row in rows} == {"12"}


def test_checkpoints_are_no_columns_or_rows_of_the_other_tables(report):
    others = [path for path in report.glob("*/*") if "over-training" not in path.name]
    assert len(others) > 8
    assert not any("grpo@" in path.read_text() for path in others if path.suffix in (".md", ".svg"))
    assert "not evaluated yet" not in " ".join(put(report)["missing"])


def test_kept_checkpoints_that_were_not_evaluated_are_named_with_the_command(full_run, tmp_path):
    shutil.copytree(full_run.run.path, tmp_path / "small")
    run = full_run.run.model_copy(update={"dir": tmp_path})
    config = full_run.model_copy(update={"run": run})
    write_training(config, "grpo", config.student.model)
    page.run(config, with_media=False)
    missing = " ".join(put(config.run.path / "report")["missing"])
    assert "The kept checkpoints of grpo were not evaluated yet." in missing
    assert "`avrt eval --checkpoints grpo` does it." in missing
