"""The whole method, small: every stage of the demo in order, and again without doing anything."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from avrt.cli import demo
from avrt.cli.demo import QUICK
from avrt.config import Config, load_config
from avrt.errors import AvrtError, ConfigError

pytestmark = pytest.mark.slow  # the demo itself
DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.fixture
def finished(quick_demo: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Config, str]:
    """The configuration of a quick demo, in whose folder the test runs, and its summary."""
    folder, summary = quick_demo
    monkeypatch.chdir(folder)
    return load_config(DEMO, QUICK), summary


def test_the_last_lines_are_the_table_and_the_page(finished: tuple[Config, str]):
    config, summary = finished
    assert "world-bench" in summary
    assert all(model in summary for model in ("base", "rl", "sft", "sft_rl"))
    page, how = summary.splitlines()[-1].split("; open it, or run ")
    assert page.endswith("index.html")
    assert how == f"`avrt view {config.run.path}`"
    assert (config.run.path / "report" / "index.html").is_file()


def test_every_question_ends_in_one_of_three_files(finished: tuple[Config, str]):
    from avrt.runs import read_parquet

    config, _ = finished
    folder = config.run.path / "dataset"
    rows = {
        name: read_parquet(folder / f"{name}.parquet")
        for name in ("train", "validation", "rejected")
    }
    assert sum(len(found) for found in rows.values()) == 80
    assert all(row["reason"] for row in rows["rejected"])
    assert len(rows["train"]) > 10, "the small teachers agree on about half of the questions"
    assert not {r["video_id"] for r in rows["train"]} & {r["video_id"] for r in rows["validation"]}


def test_a_second_run_makes_no_call_and_trains_nothing(
    finished: tuple[Config, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", _refuse)
    _, summary = finished
    again = demo.run([DEMO], QUICK).summary
    assert again.splitlines()[:-1] == summary.splitlines()[:-1]


def test_a_training_beside_the_others_that_fails_is_named(tmp_path: Path):
    """Its process is another: what it says must not be lost."""
    import torch

    n_threads = torch.get_num_threads()
    config = load_config(DEMO, [*QUICK, f"run.dir={tmp_path}"])
    with closing(demo.RlOnly()) as rl_only:
        assert "grpo.output=grpo-base" in rl_only.start(config).summary
        with pytest.raises(AvrtError, match=r"(?s)RL only .* exit code .*samples\.parquet"):
            rl_only.wait()
    assert torch.get_num_threads() == n_threads


def _refuse(*_args: object, **_options: object) -> None:
    raise AssertionError("a finished demo loads no model")


def test_traces_and_dataset_come_back_identical_from_the_ledger(finished: tuple[Config, str]):
    from avrt.generate import build, merge, trace

    config, _ = finished
    run = config.run.path
    before = {
        path: path.read_bytes()
        for folder in ("traces", "dataset")
        for path in sorted((run / folder).glob("*.parquet"))
    }
    for folder in ("traces", "dataset"):
        shutil.rmtree(run / folder)
    for stage in ("trace", "merge", "build"):
        (run / "manifests" / f"{stage}.json").unlink()
    for stage in (trace, merge, build):
        stage.run(config)
    assert {path: path.read_bytes() for path in before} == before


def test_no_file_of_a_run_holds_an_absolute_path(finished: tuple[Config, str]):
    config, _ = finished
    home = str(Path.cwd())
    for path in config.run.path.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".yaml", ".html", ".md"):
            assert home not in path.read_text(encoding="utf-8"), path.name


def test_training_curves_are_logged_for_every_step(finished: tuple[Config, str]):
    config, _ = finished
    for folder in ("grpo", "grpo-base"):
        lines = (config.run.path / folder / "log.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["step"] for row in rows if "reward" in row] == [1, 2]


def test_a_wrong_setting_is_refused_before_anything_is_made(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"did you mean 'sft\.epochs'"):
        demo.run([DEMO], ("sft.epoch=3", f"run.dir={tmp_path}"))
    assert not list(tmp_path.iterdir())


def test_benchmarks_outside_the_demos_world_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"eval\.benchmarks\.world-bench\.root"):
        demo.run([DEMO], (f"data.root={tmp_path / 'other'}", f"run.dir={tmp_path}"))
    assert not list(tmp_path.iterdir())


def test_a_quick_demo_takes_no_configuration(avrt):
    refused = avrt("demo", str(DEMO), "--quick")
    assert refused.exit_code == 2
    assert "leave out the configuration" in refused.output


def test_a_stage_that_lost_something_ends_the_demo_with_one(avrt, monkeypatch, tmp_path):
    from avrt.runs import Result

    def lossy(_config: Config) -> Result:
        return Result("asked", {}, "trace: 3 questions were not asked")

    monkeypatch.setattr(demo, "_steps", lambda _config, _rl_only: [("Trace", lossy)])
    monkeypatch.setattr(demo, "_results", lambda _config: "the results")
    done = avrt("demo", str(DEMO), f"run.dir={tmp_path}")
    assert done.exit_code == 1
    assert "the results" in done.output
    assert "avrt: error: trace: 3 questions were not asked" in done.output
