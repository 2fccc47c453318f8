"""Checkpoints of a training, each evaluated as a model of its own."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from click.testing import CliRunner

from avrt.cli.main import cli
from avrt.config import EngineConfig, EvalModel, dump_config
from avrt.engines.weights import model_identity
from avrt.errors import ConfigError
from avrt.evaluate import Choice, plan, run
from avrt.evaluate.checkpoints import checkpoint_models, curves_of, split_name
from avrt.evaluate.logs import find_logs, read_meta
from avrt.evaluate.results import read_results
from avrt.evaluate.to_json import results_to_json
from avrt.report.course import courses_of
from avrt.report.paper import read_runs, tables_to_json
from avrt.types import Completion

IN_PROCESS = EngineConfig(kind="transformers", batch_size=5)


def write_training(run, stage, steps, start):
    """The checkpoints that a training keeps, each with other bytes, and its model."""
    for step in steps:
        folder = run / stage / "checkpoints" / "kept" / str(step)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"step": step, "stage": stage}))
    model = run / stage / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"step": steps[-1], "stage": stage}))
    settings = {"settings": {"student": {**model_identity(start, None), "dtype": "float32"}}}
    (run / stage / "checkpoints" / "stage.json").write_text(json.dumps(settings))


@pytest.fixture
def trained(config):
    """SFT, GRPO from its model and GRPO from the base, all evaluated on `clips`."""
    path = config.run.path
    write_training(path, "sft", [4], config.student.model)
    write_training(path, "grpo", [50, 100, 150], str(path / "sft" / "model"))
    write_training(path, "grpo-base", [100, 50], config.student.model)
    models = {"base": "base", "sft": "sft", "sft_rl": "grpo"}
    return config.model_copy(update={"eval": config.eval.model_copy(update={"models": models})})


@pytest.fixture
def asked(use_completions):
    return use_completions(lambda _: Completion("<answer>A</answer>", "stop"))


def test_each_checkpoint_is_a_model_with_its_own_identity_and_log(trained, asked):
    result = run(trained, Choice(modalities=("av",), checkpoints=("grpo",)))
    names = ["grpo@0", "grpo@100", "grpo@150", "grpo@50"]
    folders = (trained.run.path / "eval" / "clips").glob("*/")
    assert sorted(folder.name for folder in folders) == names
    identities = [read_meta(log).settings.model for log in find_logs(trained.run.path)]
    assert len({identity["revision"] for identity in identities}) == 4
    # Five of six items have both media.
    assert len(asked) == 4 * 5
    assert result.counts == Counter(scored=20, missing_media=4)
    lines = result.summary.splitlines()
    assert lines[0] == "clips, checkpoints of grpo (n = 6, strict accuracy with 95 % interval)"
    assert [line.split()[0] for line in lines[2:6]] == ["0", "50", "100", "150"]
    run(trained, Choice(modalities=("av",), checkpoints=("grpo",)))
    assert len(asked) == 4 * 5, "a repeat asks nothing"


def test_the_start_and_the_end_of_a_curve_are_the_models_that_were_evaluated(trained, asked):
    run(trained, Choice(modalities=("av",)))
    assert len(asked) == 3 * 5
    run(trained, Choice(modalities=("av",), checkpoints=("grpo", "grpo-base")))
    # Asked anew: steps 50 and 100 of one, 50 and 100 of the other.
    assert len(asked) == 3 * 5 + 4 * 5
    results = read_results(trained)
    courses = {course.curve.stage: course for course in courses_of(results, trained.eval.models)}
    assert courses["grpo"].label == "SFT + RL (grpo)"
    assert courses["grpo-base"].label == "RL only (grpo-base)"
    assert [step for step, _ in courses["grpo"].curve.points] == [0, 50, 100, 150]


def test_a_start_that_is_not_there_any_more_is_left_out(trained, asked):
    (trained.run.path / "sft" / "model" / "config.json").write_text("{}")
    run(trained, Choice(modalities=("v",), checkpoints=("grpo",)))
    (curve,) = curves_of(read_results(trained))
    assert [step for step, _ in curve.points] == [50, 100, 150]


def test_a_checkpoint_is_asked_as_the_model_of_its_training_is(trained):
    own = EvalModel(model="grpo", temperature=0.7, k=3, engine=IN_PROCESS)
    models = checkpoint_models(trained.run.path, "grpo", {"x": own}, [])
    assert [*models] == ["grpo@50", "grpo@100", "grpo@150"]
    assert all((model.k, model.engine) == (3, IN_PROCESS) for model in models.values())
    served = EvalModel(model="grpo", engine=EngineConfig(kind="openai"))
    with pytest.raises(ConfigError, match=r"eval\.models\.x: a server .*leave out eval\.models\.x"):
        checkpoint_models(trained.run.path, "grpo", {"x": served}, [])


@pytest.mark.parametrize("stage", ["grpo-other", "../sft", "model"])
def test_a_training_without_kept_checkpoints_is_refused_with_the_setting(trained, stage):
    with pytest.raises(ConfigError, match=r"no checkpoints were kept.*keep_checkpoints=all"):
        plan(trained, Choice(checkpoints=(stage,)))


def test_dry_run_limit_and_json_on_the_command_line(trained, asked, tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(trained))
    args = ["eval", str(path), "--checkpoints", "grpo", "--modality", "v"]
    output = CliRunner().invoke(cli, [*args, "--dry-run"], catch_exceptions=False).output
    assert "clips, 6 items by V, model grpo@50: " in output
    assert "model sft_rl" not in output
    assert not asked
    result = CliRunner().invoke(cli, [*args, "--limit", "2", "--json"], catch_exceptions=False)
    assert len(asked) == 4 * 2
    rows = json.loads(result.stdout)
    assert [(row["model"], row["training"], row["step"]) for row in rows][:2] == [
        ("grpo@0", "grpo", 0),
        ("grpo@100", "grpo", 100),
    ]
    assert all(row["n_left"] == 4 for row in rows)
    assert CliRunner().invoke(cli, ["eval", str(path), "--checkpoints", "x"]).exit_code == 2


def test_other_tables_leave_checkpoints_out_and_those_of_figure_1_have_them(trained, asked):
    data = trained.eval.benchmarks["clips"]
    settings = trained.eval.model_copy(update={"benchmarks": {"omnibench": data}})
    trained = trained.model_copy(update={"eval": settings})
    run(trained, Choice(modalities=("av",), checkpoints=("grpo",)))
    run(trained, Choice(models=("sft_rl", "sft"), modalities=("av",)))
    assert "grpo@" not in run(trained, Choice(models=("sft",), modalities=("av",))).summary
    tables = tables_to_json(read_runs(trained))
    *others, figure = tables
    assert {3, 4, 5, 6} <= {table["table"] for table in others}
    assert not any("@" in str(cell["model"]) for table in others for cell in table["cells"])
    cells = figure["cells"]
    assert [(cell["training"], cell["start"], cell["step"]) for cell in cells] == [
        ("grpo", "sft", step) for step in (0, 50, 100, 150)
    ]
    assert {row["training"] for row in results_to_json(trained)} == {"grpo", None}


def test_names_of_checkpoints_are_no_names_of_models():
    assert split_name("grpo-base@50") == ("grpo-base", 50)
    assert [split_name(name) for name in ("grpo", "base@2", "grpo@x", "sft@")] == [None] * 4
