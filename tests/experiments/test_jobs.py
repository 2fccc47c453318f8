"""Jobs of an experiment: what of an evaluation that was done still holds."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from avrt.cli.demo import RlOnly
from avrt.experiments import jobs
from avrt.experiments.jobs import Job, plan_jobs
from avrt.runs import hold_output, write_json
from small_experiment import SMALL, Resolve


def evaluation(resolve: Resolve, tree: dict[str, Any]) -> Job:
    """The first seed's evaluation of the arm sft."""
    return next(job for job in plan_jobs(resolve(tree)) if job.title == "sft, seed 0: eval")


def finish(job: Job) -> None:
    """Write the record as the end of a job does."""
    asks = jobs._joined(jobs.read_record(job).get("asks", {}), job.asks)
    write_json(job.record, {"done": True, "asks": asks})


def with_limit(tree: dict[str, Any], limit: int) -> dict[str, Any]:
    return copy.deepcopy(tree) | {"settings": {"eval.benchmarks.world-bench.limit": limit}}


def test_a_damaged_record_or_a_model_that_is_gone_is_made_again(resolve: Resolve) -> None:
    job = next(job for job in plan_jobs(resolve(SMALL)) if job.title == "sft, seed 0: sft")
    finish(job)
    for path in (job.folder / "manifests/sft.json", job.folder / "sft/model/config.json"):
        assert not job.is_done
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert job.is_done
    job.record.write_text('{"done": tr')
    assert not job.is_done
    finish(job)
    assert job.is_done


def test_an_attempt_that_failed_adds_nothing_to_what_was_evaluated(resolve: Resolve) -> None:
    job = evaluation(resolve, SMALL)
    process = subprocess.Popen(["true"])
    process.wait()
    job.record.parent.mkdir(parents=True)
    for done in (False, True):
        running = jobs._Running(job, process, [], ExitStack(), 0.0)
        jobs._write_record(running, done)
        assert jobs.read_record(job)["asks"] == (job.asks if done else {})
    assert job.is_done


def test_another_set_of_items_is_evaluated_anew(resolve: Resolve) -> None:
    finish(evaluation(resolve, SMALL))
    assert evaluation(resolve, SMALL).is_done
    limited = evaluation(resolve, with_limit(SMALL, 2))
    assert not limited.is_done
    finish(limited)
    assert evaluation(resolve, with_limit(SMALL, 2)).is_done
    assert not evaluation(resolve, SMALL).is_done


def test_what_was_evaluated_of_another_set_does_not_count_for_the_new_one(
    resolve: Resolve,
) -> None:
    finish(evaluation(resolve, SMALL))
    fewer = with_limit(SMALL, 2) | {"benchmarks": {"world-bench": ["a"]}}
    finish(evaluation(resolve, fewer))
    assert evaluation(resolve, fewer).is_done
    assert not evaluation(resolve, with_limit(SMALL, 2)).is_done, "av is of the other set"


def test_a_job_in_whose_folder_another_command_works_waits_and_says_so_once(
    resolve: Resolve, capsys: pytest.CaptureFixture[str]
) -> None:
    job = next(iter(plan_jobs(resolve(SMALL))))
    pool = jobs._Pool([job], 1)
    with hold_output(job.record):
        assert not pool._start(job)
        assert not pool._start(job)
    said = capsys.readouterr().err
    assert said.count("data, seed 0: world: waits, because another command works on it") == 1


def test_a_job_keeps_the_lock_of_its_folder_when_the_experiment_is_killed(
    tmp_path: Path, resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *_, **options: given.update(options))
    job = next(iter(plan_jobs(resolve(SMALL))))
    with hold_output(tmp_path / "folder"):
        jobs._spawn(job, ("world",), tmp_path / "log")
        assert given["pass_fds"] == jobs.held_locks()
        assert len(given["pass_fds"]) == 1


def test_the_demos_training_beside_it_ends_where_ctrl_c_is_ignored() -> None:
    program = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True)"
    words = [sys.executable, "-c", f"{program}; time.sleep(20)"]
    beside = RlOnly()
    beside._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert beside._process.stdout
    beside._process.stdout.readline()
    beside.close()
    assert beside._process.returncode == -signal.SIGTERM
