"""One file that cannot be read costs the page what it holds: it is named with what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.errors import ConfigError
from avrt.report import figures, run
from reading_pages import read_data, read_index


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch) -> None:
    """The pages of these tests are about their texts."""
    monkeypatch.setattr(
        figures, "_finish", lambda _, name, caption: figures.Figure(name, caption, "", b"")
    )


def tear(name: str) -> Callable[[Path], None]:
    def change(run_folder: Path) -> None:
        path = run_folder / name
        path.write_text(path.read_text()[:40])

    return change


def add_line(name: str) -> Callable[[Path], None]:
    """A line amid the others that is no JSON."""

    def change(run_folder: Path) -> None:
        path = run_folder / name
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([*lines[:2], "no line\n", *lines[2:]]))

    return change


def damage(name: str) -> Callable[[Path], None]:
    return lambda run_folder: (run_folder / name).write_bytes(b"PAR1 no more")


LOG = "eval/bench/sft/av.jsonl"
FAULTS = {
    "a stage's manifest": (tear("manifests/trace.json"), "manifests/trace.json", "delete the file"),
    "a training's manifest": (
        lambda path: (path / "manifests" / "sft.json").write_text("[]"),
        "manifests/sft.json",
        "delete it to do this stage again",
    ),
    "the first line of a log": (tear(LOG), LOG, "run `avrt eval`"),
    "a line of a log": (add_line(LOG), f"{LOG}:3", "run `avrt eval`"),
    "the questions of a benchmark": (
        damage("eval/bench/samples.parquet"),
        "eval/bench/samples.parquet",
        "run `avrt eval`",
    ),
    "a row of a training's log": (
        add_line("grpo/log.jsonl"),
        "grpo/log.jsonl:3",
        "delete that line",
    ),
    "the rejected samples": (
        damage("dataset/rejected.parquet"),
        "dataset/rejected.parquet",
        "run `avrt generate`",
    ),
    "the media": (damage("media.parquet"), "media.parquet", "run `avrt prepare`"),
    "a file of a finished stage": (
        lambda path: (path / "traces" / "merged.parquet").unlink(),
        "traces/merged.parquet",
        "copy it from where the run was made",
    ),
    "the log of a finished training": (
        lambda path: (
            (path / "grpo" / "log.jsonl").unlink(),
            (path / "manifests" / "grpo.json").write_text(
                '{"settings": {}, "inputs": {}, "counts": {"steps": 3}}'
            ),
        ),
        "grpo/log.jsonl",
        "delete manifests/grpo.json",
    ),
    "completions of another form": (
        lambda path: (path / "grpo" / "completions.jsonl").write_text('{"step": 1}\n'),
        "grpo/completions.jsonl",
        "delete the file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_read_is_named_and_the_page_written(a_run, fault):
    change, name, remedy = FAULTS[fault]
    change(a_run.run.path)
    done = run(a_run, with_media=False)
    report = a_run.run.path / "report"
    data = read_data(report / "data" / "report.js")
    said = [sentence for sentence in data["missing"] if sentence.startswith(name)]
    assert said, data["missing"]
    assert all(remedy in sentence for sentence in said)
    assert f"report: {said[0]}; the page is written without it" in done.fault
    assert str(a_run.run.path) not in str(data)
    assert (report / "index.html").is_file()
    assert read_index(report)["n"] > 0
    assert not any("No trace yet" in sentence for sentence in data["missing"])


def test_a_broken_log_costs_no_other_log_and_a_broken_manifest_no_other_stage(a_run):
    tear(LOG)(a_run.run.path)
    tear("manifests/merge.json")(a_run.run.path)
    run(a_run, with_media=False)
    report = a_run.run.path / "report"
    asked = {(m["model"], m["modality"]) for m in read_index(report)["models"]}
    assert ("sft", "av") not in asked
    assert {("sft", "a"), ("base", "av")} < asked
    stages = read_data(report / "data" / "report.js")["tables"]["stages"]["rows"]
    assert [row[0] for row in stages if row[0]] == ["prepare", "trace", "build"]


def test_the_command_ends_with_1_and_says_it(a_run):
    tear("manifests/build.json")(a_run.run.path)
    shutil.rmtree(a_run.run.path / "report", ignore_errors=True)
    done = CliRunner().invoke(cli, ["report", str(a_run.run.path), "report.gallery_items=0"])
    assert done.exit_code == 1
    assert "manifests/build.json" in done.output
    assert "delete the file to do this stage again; the page is written without it" in done.output
    assert (a_run.run.path / "report" / "index.html").is_file()


def test_pictures_of_an_earlier_page_stay_where_no_clip_is_found(a_run, tmp_path):
    report = a_run.report.model_copy(update={"gallery_items": 3})
    config = a_run.model_copy(update={"report": report})
    run(config)
    media = a_run.run.path / "report" / "media"
    before = sorted(path.name for path in media.iterdir())
    assert before
    away = {"root": tmp_path / "elsewhere"}
    benchmarks = {
        name: each.model_copy(update=away) for name, each in config.eval.benchmarks.items()
    }
    moved = {
        "data": config.data.model_copy(update=away),
        "eval": config.eval.model_copy(update={"benchmarks": benchmarks}),
    }
    done = run(config.model_copy(update=moved))
    assert "none of the 3 clips that were chosen is found" in done.fault
    assert "set data.root" in done.fault
    assert sorted(path.name for path in media.iterdir()) == before


def test_two_runs_of_one_name_are_refused(a_run, tmp_path):
    other = tmp_path / "elsewhere" / a_run.run.name
    shutil.copytree(a_run.run.path, other)
    with pytest.raises(ConfigError, match=f"2 of the runs are called {a_run.run.name}"):
        run(a_run, with_media=False, others=[str(other)])
