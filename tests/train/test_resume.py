"""Trainings that are really killed, and disks that are really too small."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

from avrt.config import dump_config
from avrt.errors import AvrtError
from avrt.train import grpo, sft
from avrt.train.disk import complete_checkpoints, naming_full_disks
from hostile.forks import KILLED, STOPPED, Forks

STAGES = {"sft": sft, "grpo": grpo}


@pytest.fixture
def kill_when(tmp_path):
    """Start `avrt STAGE` as a process of its own and kill it as soon as something is true."""

    def kill(stage, config, is_time):
        path = tmp_path / "config.yaml"
        path.write_text(dump_config(config))
        command = [sys.executable, "-m", "avrt", stage, str(path)]
        with (tmp_path / "output.txt").open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None and not is_time():
                time.sleep(0.002)
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "output.txt").read_text()

    return kill


def assert_same(config, straight, stage, read_numbers):
    """The same numbers at every step, and the same weights."""
    logs = [read_numbers(run.run.path / stage / "log.jsonl") for run in (straight, config)]
    assert len(logs[0]) == len(logs[1])
    for expected, row in zip(*logs, strict=True):
        assert row.pop("warnings", None) == expected.pop("warnings", None)  # which are texts
        assert row == pytest.approx(expected, abs=1e-5)
    models = [
        load_file(run.run.path / stage / "model" / "model.safetensors")
        for run in (straight, config)
    ]
    assert all((models[0][name] - models[1][name]).abs().max() < 1e-5 for name in models[0])


@pytest.mark.slow
def test_sft_killed_while_it_saves_and_then_out_of_space_goes_on(
    make_config, kill_when, read_numbers
):
    straight = make_config(run={"name": "straight"}, sft={"epochs": 3})
    sft.run(straight)
    config = make_config(sft={"epochs": 3})
    checkpoints = config.run.path / "sft" / "checkpoints"
    kill_when("sft", config, (checkpoints / "checkpoint-4").exists)

    known = [path.name for path in complete_checkpoints(checkpoints)]
    assert known[0] == "checkpoint-2"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(AvrtError, match=rf"disk is full.*last good .*{known[-1]};.*run the"):
            sft.run(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in complete_checkpoints(checkpoints)] == known

    assert sft.run(config).counts["steps"] == 6
    assert_same(config, straight, "sft", read_numbers)


@pytest.mark.slow
def test_grpo_killed_between_two_checkpoints_goes_on(make_config, kill_when, read_numbers):
    sections = {
        "student": {"model": "world:student"},  # whose answers differ, and earn something
        "grpo": {"max_steps": 8, "save_steps": 2, "max_new_tokens": 24},
    }
    straight = make_config(run={"name": "straight"}, **sections)
    grpo.run(straight)
    config = make_config(**sections)
    log = config.run.path / "grpo" / "log.jsonl"
    kill_when("grpo", config, lambda: log.is_file() and log.read_text().count("\n") >= 3)
    assert grpo.run(config).counts["steps"] == 8
    assert_same(config, straight, "grpo", read_numbers)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_resumed_at_its_last_step_in_the_midst_of_an_epoch_it_trains_no_more(make_config, stage):
    config = make_config(sft={"epochs": 0.5}, grpo={"max_steps": 1})
    STAGES[stage].run(config)
    folder = config.run.path / stage

    def files():
        return {
            path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in folder.rglob("*")
            if path.is_file()
        }

    before = files()
    shutil.rmtree(folder / "model")
    shutil.rmtree(config.run.path / "manifests")
    assert STAGES[stage].run(config).counts["steps"] == 1
    after = files()
    assert {path: content for path, (content, _) in after.items()} == {
        path: content for path, (content, _) in before.items()
    }
    kept = [path for path in before if path.parts[0] == "checkpoints" and len(path.parts) > 2]
    assert kept
    assert all(after[path] == before[path] for path in kept)


@pytest.fixture(scope="module")
def forks():
    with closing(Forks(("avrt.cli.main", "avrt.train.sft", "avrt.train.grpo"))) as forks:
        yield forks


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_training_killed_at_its_last_writes_ends_the_same(
    make_config, read_numbers, forks, tmp_path, monkeypatch, stage
):
    """Around the last checkpoint, the model and the manifest, and with a second process."""
    monkeypatch.chdir(tmp_path)  # the paths in a written configuration are relative
    straight = make_config(run={"name": "straight"}, grpo={"max_steps": 1})
    config = make_config(grpo={"max_steps": 1})
    (tmp_path / "straight.yaml").write_text(dump_config(straight))
    (tmp_path / "config.yaml").write_text(dump_config(config))
    events = tmp_path.parent / f"{stage}.events"
    code, output = forks.run(tmp_path, stage, "straight.yaml", events=str(events))
    assert code == 0, output
    writes = events.read_text().splitlines()
    final = writes.index("os.mkdir .model.new") + 1
    renames = [n for n, write in enumerate(writes, start=1) if write == "os.rename .model.new"]
    for number in (final - 1, final + 1, renames[-1], len(writes) - 1, len(writes)):
        shutil.rmtree(config.run.path / stage, ignore_errors=True)
        shutil.rmtree(config.run.path / "manifests", ignore_errors=True)
        first = forks.start(tmp_path, stage, "config.yaml", kill=number)
        code, output = forks.end(first)
        assert code == KILLED, f"{writes[number - 1]}: {code} {output}"
        code, output = forks.run(tmp_path, stage, "config.yaml")
        assert code == 0, f"killed before {writes[number - 1]}: {output}"
        assert_same(config, straight, stage, read_numbers)
        hidden = [path for path in config.run.path.rglob(".*") if path.name != ".gitignore"]
        assert hidden == [], writes[number - 1]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_second_training_in_the_same_folder_is_refused(
    make_config, forks, tmp_path, monkeypatch, stage
):
    monkeypatch.chdir(tmp_path)
    config = make_config(grpo={"max_steps": 1})
    (tmp_path / "config.yaml").write_text(dump_config(config))
    first = forks.start(tmp_path, stage, "config.yaml", stop=6)
    assert forks.end(first)[0] == STOPPED
    code, output = forks.run(tmp_path, stage, "config.yaml")
    assert code == 2
    assert f"{stage}: in use by process {first} on" in output
    assert forks.end(first)[0] == 0


def test_a_checkpoint_whose_last_file_is_cut_off_is_not_complete(tmp_path):
    for step, text in {8: "{}", 10: "{}", 12: '{"step'}.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-14").mkdir()
    names = [path.name for path in complete_checkpoints(tmp_path)]
    assert names == ["checkpoint-8", "checkpoint-10"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_every_form_of_a_full_disk_is_one_message(tmp_path, error):
    with (
        pytest.raises(AvrtError, match=r"the disk is full.*no checkpoint yet; free space"),
        naming_full_disks(tmp_path),
    ):
        raise error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied"), RuntimeError("out of memory")])
def test_other_errors_pass_unchanged(tmp_path, error):
    with pytest.raises(type(error)) as caught, naming_full_disks(tmp_path):
        raise error
    assert caught.value is error
