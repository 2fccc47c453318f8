"""`avrt experiment` from the file to the page, with scripted models on real clips."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from running import children_of, is_running, wait_for
from scripted_run import N_QUESTIONS, overrides, replies, right, write_dataset, write_script, wrong
from small_experiment import write_experiment


def answers(path: Path, n_right: int) -> dict[str, Any]:
    """An evaluated model that has the first questions right."""
    letters = {n: (right if n <= n_right else wrong)(n) for n in range(1, N_QUESTIONS + 1)}
    lines = [
        {"match": f"question {n}?", "reply": f"<answer>{letter}</answer>"}
        for n, letter in letters.items()
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return {"model": "scripted", "engine": {"kind": "scripted", "script": path.name}}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Two arms that are evaluated, and one whose teacher has no script yet."""
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    settings = dict(text.split("=", 1) for text in overrides(tmp_path))
    tree = {
        "title": "Two readers",
        "question": "Which reader is better?",
        "configs": ["settings.yaml"],
        "seeds": [0, 1],
        "settings": {key: yaml.safe_load(value) for key, value in settings.items()},
        "arms": {
            "data": {"stages": ["prepare"]},
            "good": {
                "from": "data",
                "stages": ["eval"],
                "model": "reader",
                "settings": {"eval.models.reader": answers(tmp_path / "good.jsonl", 8)},
            },
            "bad": {
                "from": "data",
                "stages": ["eval"],
                "model": "poor",
                "settings": {"eval.models.poor": answers(tmp_path / "bad.jsonl", 2)},
            },
            "late": {
                "from": "data",
                "stages": ["trace"],
                "settings": {"teachers.vision.engine.script": "later.jsonl"},
            },
            "merged": {"from": "late", "stages": ["merge"]},
        },
        "benchmarks": {"clips": ["av"]},
        "groups": ["question_type"],
        "claims": [
            {"claim": "The good reader is better", "better": "good av", "than": "bad av"},
            {"claim": "By a lot", "better": "good av", "than": "bad av", "at_least": 90},
        ],
    }
    del tree["settings"]["run.name"], tree["settings"]["run.dir"]
    (tmp_path / "settings.yaml").write_text(
        "eval: { benchmarks: { clips: { format: avqa, root: data, split: train } } }"
    )
    return write_experiment(tmp_path, tree, "readers")


@pytest.mark.slow
def test_an_experiment_runs_its_arms_tests_its_claims_and_goes_on_where_a_job_failed(
    avrt, experiment: Path, tmp_path: Path
) -> None:
    page = tmp_path / "log.md"
    page.write_text("# Log\n\nOur words.\n\n## Before\n\nOld.\n")
    planned = avrt("experiment", experiment, "--dry-run")
    assert "10 jobs, 0 done" in planned.output
    assert "teachers.vision.engine.script = later.jsonl" in planned.output
    assert not (tmp_path / "runs").exists()

    failed = avrt("experiment", experiment, "--write", page)
    assert failed.exit_code == 1
    assert "log.md is left as it was" in failed.output
    assert "Two readers" not in page.read_text()
    assert "late, seed 0: trace: failed with exit code 2" in failed.output
    assert "later.jsonl: cannot be read" in failed.output, "the end of its log"
    assert "merged, seed 1: merge: skipped" in failed.output
    assert "2 of 10 jobs failed, and 2 that need them were skipped" in failed.output
    assert "62.5 [+62.5, +62.5]" in failed.output, "the others went on"
    records = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "runs").rglob("jobs/*.json")
        if json.loads(path.read_text())["done"]
    }
    assert len(records) == 6

    (tmp_path / "later.jsonl").write_bytes((tmp_path / "script.jsonl").read_bytes())
    done = avrt("experiment", experiment, "--write", page, "--by-seed")
    assert done.exit_code == 0, done.output
    assert "10 jobs, 6 of them done already" in done.output
    assert {path: path.stat().st_mtime_ns for path in records} == records

    _check_results(tmp_path / "runs" / "experiments" / "readers")
    _check_runs(tmp_path / "runs" / "experiments" / "arms")
    text = page.read_text()
    assert text.index("Our words") < text.index("<!-- experiment readers -->")
    assert text.index("<!-- end -->") < text.index("## Before")
    assert "Two readers" in text
    assert (tmp_path / "figures" / "readers.svg").read_text().startswith("<svg")


def _check_results(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    by_arm = {cell["arm"]: cell for cell in results["accuracies"]}
    assert by_arm["good"]["mean"] == 87.5, "one clip has no sound"
    assert [seed["accuracy"] for seed in by_arm["bad"]["seeds"]] == [25.0, 25.0]
    for cell in by_arm.values():
        for seed in cell["seeds"]:
            lines = Path(seed["log"]).read_text().splitlines()
            share = sum(json.loads(line)["correct"] for line in lines) / seed["n"]
            assert 100 * share == seed["accuracy"], "every number leads back to a log"
    first, second = results["claims"]
    unknown = "not shown: the same difference with every seed, so its spread is unknown"
    assert (first["difference"], first["verdict"]) == (62.5, unknown)
    assert first["items"] is None, "the seeds share them"
    assert second["verdict"] == unknown
    assert results["missing"] == []
    assert results["core_minutes"]["total"] > 0
    for name in ("table.md", "figure.svg", "experiment.yaml"):
        assert (folder / name).stat().st_size


def _check_runs(arms: Path) -> None:
    """Each arm has a run of its own, with the files of the one that it goes on from."""
    (data,) = arms.glob("data-*")
    (late,) = arms.glob("late-*")
    (merged,) = arms.glob("merged-*")
    for name in ("samples.parquet", "media.parquet", "manifests/prepare.json"):
        assert (late / "seed-1" / name).samefile(data / "seed-1" / name)
    teachers = "traces/teachers.parquet"
    assert (merged / "seed-1" / teachers).samefile(late / "seed-1" / teachers)
    assert (merged / "seed-1" / "config.yaml").is_file()
    assert (merged / "seed-1" / "traces" / "merged.parquet").is_file()
    assert not (late / "seed-1" / "traces" / "merged.parquet").exists()
    ledgers = [run / "seed-1" / "ledger.sqlite" for run in (late, merged)]
    assert not ledgers[0].samefile(ledgers[1]), "it goes on with a copy of the replies"
    assert not (data / "seed-1" / "ledger.sqlite").exists()
    assert not (late / "seed-1" / "eval").exists()


@pytest.mark.slow
def test_ctrl_c_ends_the_jobs_and_the_next_attempt_goes_on(tmp_path: Path) -> None:
    tree = {
        "title": "Long",
        "question": "?",
        "seeds": [0, 1],
        "world": {"n_train": 400, "n_bench": 1, "n_audio": 1},
        "arms": {"data": {"stages": ["world"]}},
    }
    path = write_experiment(tmp_path, tree, "long")
    command = [sys.executable, "-m", "avrt", "experiment", path.name, "--jobs", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    folder = tmp_path / "runs" / "experiments" / "worlds"
    wait_for(lambda: len(list(folder.glob("*/*/videos/*.mp4"))) >= 2)
    jobs = children_of(process.pid)
    assert len(jobs) == 2
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not any(map(is_running, jobs))
    records = [json.loads(path.read_text()) for path in folder.glob("*/seed-*.json")]
    assert [record["done"] for record in records] == [False, False]
    assert not list(folder.glob("*/*/world.json"))
