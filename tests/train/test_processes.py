"""Trainings of several processes, really launched: equal to one process, killed, hung, resumed.

A launch takes seconds to start, so each test gets several facts out of the same one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

import launched
from avrt.config import Config, dump_config
from avrt.errors import ConfigError
from avrt.train import grpo, sft
from avrt.train.disk import complete_checkpoints

SCRIPT = str(Path(launched.__file__))
LAUNCH = Path(__file__).parents[2] / "configs" / "launch"
LIMIT_S = 600
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node")
STAGES = {"sft": sft, "grpo": grpo}


def accelerate(name: str, *options: str) -> tuple[str, ...]:
    """A launcher of two processes by one of the launch files."""
    file = ("--config_file", str(LAUNCH / f"{name}.yaml"))
    return ("accelerate.commands.launch", *file, "--num_processes", "2", *options)


@dataclass
class Launch:
    """A launcher that was started, and what it and its processes wrote."""

    process: subprocess.Popen[bytes]
    written: Path

    def end(self) -> tuple[int, str]:
        """Wait for its end."""
        code = self.process.wait(LIMIT_S)
        return code, self.written.read_text(errors="replace")

    def rank(self, number: int) -> psutil.Process:
        """The process of this rank."""
        for child in psutil.Process(self.process.pid).children():
            if child.environ().get("RANK") == str(number):
                return child
        raise AssertionError(f"no rank {number}: {self.written.read_text()}")

    def wait_for(self, is_time) -> None:
        """Wait until something is true; it must not have ended before."""
        limit_s = time.monotonic() + LIMIT_S
        while not is_time():
            assert self.process.poll() is None, self.written.read_text()
            assert time.monotonic() < limit_s
            time.sleep(0.01)


@pytest.fixture
def start(tmp_path):
    """Start a launcher with a program for all its processes."""

    @contextmanager
    def start(launcher, *program: str) -> Iterator[Launch]:
        written = tmp_path / f"written-{time.monotonic_ns()}.txt"
        with written.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *launcher, *program],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        children: list[psutil.Process] = []
        try:
            yield Launch(process, written)
        finally:
            if process.poll() is None:
                children = psutil.Process(process.pid).children(recursive=True)
                process.kill()
            for child in children:
                child.kill()
            process.wait()

    return start


def write(config: Config) -> str:
    """The configuration as a file."""
    path = config.run.dir / f"{config.run.name}.yaml"
    path.write_text(dump_config(config))
    return str(path)


def losses(read_jsonl, folder: Path) -> list[dict[str, float]]:
    # Not kl, which TRL takes as the mean of the means over processes' tokens.
    names = ("step", "loss", "eval_loss", "grad_norm", "reward", "dropped_groups")
    return [
        {name: row[name] for name in names if name in row}
        for row in read_jsonl(folder / "log.jsonl")
    ]


def assert_same_training(read_jsonl, first: Path, second: Path) -> None:
    rows = [losses(read_jsonl, folder) for folder in (first, second)]
    assert rows[0]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for one, two in zip(*rows, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
    models = [load_file(folder / "model" / "model.safetensors") for folder in (first, second)]
    for name, tensor in models[0].items():
        torch.testing.assert_close(models[1][name], tensor, atol=2e-4, rtol=0)


def cut_back(make_config, config: Config, stage: str, step: int, **sections) -> Config:
    """A copy of a finished run as it was when `step` was its last checkpoint."""
    copy = make_config(run={"name": f"{config.run.name}-{stage}-cut"}, **sections)
    folder = copy.run.path / stage
    shutil.copytree(config.run.path / stage, folder)
    shutil.rmtree(folder / "model")
    for checkpoint in complete_checkpoints(folder / "checkpoints"):
        if int(checkpoint.name.partition("-")[2]) > step:
            shutil.rmtree(checkpoint)
    assert [path.name for path in complete_checkpoints(folder / "checkpoints")][-1:] == [
        f"checkpoint-{step}"
    ]
    return copy


SFT = {"epochs": 5, "save_steps": 4}
"""Ten steps of four samples."""


def sft_pair(make_config, **student) -> tuple[Config, Config]:
    """One process, and two, with the same samples in each pass."""
    one = make_config(run={"name": "one"}, sft={**SFT, "per_device_batch_size": 2})
    two = make_config(run={"name": "two"}, sft={**SFT, "per_device_batch_size": 1}, student=student)
    return one, two


def grpo_pair(make_config, name, settings, **student) -> tuple[Config, Config]:
    of_one, of_two = ({**settings, "prompts_per_step": n} for n in (4, 2))
    one = make_config(run={"name": f"one-{name}"}, grpo=of_one)
    two = make_config(run={"name": f"two-{name}"}, grpo=of_two, student=student)
    return one, two


@pytest.mark.slow
def test_sft_on_two_processes_one_of_which_is_killed_is_sft_on_one(make_config, read_jsonl, start):
    one, two = sft_pair(make_config)
    sft.run(one)
    program = ("-m", "avrt", "sft", write(two))
    checkpoints = two.run.path / "sft" / "checkpoints"
    with start(accelerate("gpus-4"), *program) as launch:
        launch.wait_for(lambda: complete_checkpoints(checkpoints))
        launch.rank(0).send_signal(signal.SIGKILL)
        code, written = launch.end()
    assert code == 1
    assert written.count("avrt: error: ") == 1, written
    # From the lost connection or, where the launcher is faster, from its signal.
    assert ": another process of this launch ended" in written
    assert "the same command" in written
    assert [path.name for path in complete_checkpoints(checkpoints)] == ["checkpoint-4"]
    assert len(list(checkpoints.glob("checkpoint-4/rng_state_*.pth"))) == 2

    with start(accelerate("gpus-4"), *program) as launch:
        code, written = launch.end()
    assert code == 0, written
    assert written.count("sft: 8 samples") == 1, "more than one process speaks"
    assert_same_training(read_jsonl, one.run.path / "sft", two.run.path / "sft")

    with pytest.raises(ConfigError, match=r"2 processes x sft\.gradient_accu\w+ = 2, and"):
        sft.run(two)
    of_one = {**SFT, "per_device_batch_size": 1, "gradient_accumulation_steps": 4}
    resumed = cut_back(make_config, two, "sft", 8, sft=of_one)
    assert sft.run(resumed).counts["steps"] == 10
    assert_same_training(read_jsonl, two.run.path / "sft", resumed.run.path / "sft")
    assert "already done" in sft.run(resumed).summary


GRPO = {
    "plain": {"max_steps": 10, "save_steps": 4},
    "twice": {"num_iterations": 2, "max_steps": 4, "save_steps": 2, "loss_type": "dapo"},
    "replaced": {"drop_zero_spread": True, "max_steps": 4},
}


@pytest.mark.slow
def test_grpo_on_two_nodes_is_grpo_on_one_process(make_config, read_jsonl, monkeypatch, start):
    """Two launchers of one process each; in the last training a process stops to answer."""
    launched.tell_apart(monkeypatch.setattr)
    pairs = {name: grpo_pair(make_config, name, settings) for name, settings in GRPO.items()}
    for one, _ in pairs.values():
        grpo.run(one)
    hung = make_config(
        run={"name": "hung"},
        grpo={"prompts_per_step": 2, "max_steps": 1000},
        student={"process_timeout_s": 10},
    )
    trainings = [f"grpo:{write(two)}" for two in (*(two for _, two in pairs.values()), hung)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    options = ("--main_process_ip", "127.0.0.1", "--main_process_port", port, "--machine_rank")
    nodes = [accelerate("nodes-2", *options, number) for number in ("0", "1")]
    checkpoints = hung.run.path / "grpo" / "checkpoints"
    with start(nodes[0], SCRIPT, *trainings) as head, start(nodes[1], SCRIPT, *trainings) as other:
        head.wait_for(lambda: complete_checkpoints(checkpoints))
        stopped = other.rank(1)
        stopped.suspend()
        code, written = head.end()
        stopped.kill()
        assert other.end()[0] == 1
    assert code == 1
    assert written.count("avrt: error: ") == 1, written
    assert "student.process_timeout_s (Timed out waiting 10000ms" in written

    for one, two in pairs.values():
        assert losses(read_jsonl, one.run.path / "grpo")[0]["grad_norm"] > 0
        assert_same_training(read_jsonl, one.run.path / "grpo", two.run.path / "grpo")
    one, two = pairs["plain"]
    texts = [run.run.path / "grpo" / "completions.jsonl" for run in (one, two)]
    assert texts[0].read_text() == texts[1].read_text()
    of_one = {**GRPO["plain"], "prompts_per_step": 4}
    resumed = cut_back(make_config, two, "grpo", 8, grpo=of_one)
    assert grpo.run(resumed).counts["steps"] == 10
    assert_same_training(read_jsonl, two.run.path / "grpo", resumed.run.path / "grpo")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is absent")
def test_deepspeed_gives_the_same_training(make_config, read_jsonl, monkeypatch, start):
    one, two = sft_pair(make_config, deepspeed="zero2")
    sft.run(one)
    launched.tell_apart(monkeypatch.setattr)
    one_grpo, two_grpo = grpo_pair(make_config, "plain", GRPO["plain"], deepspeed="zero2")
    grpo.run(one_grpo)
    trainings = (f"sft:{write(two)}", f"grpo:{write(two_grpo)}")
    with start((*TORCHRUN, "2"), SCRIPT, *trainings) as launch:
        code, written = launch.end()
    assert code == 0, written
    assert_same_training(read_jsonl, one.run.path / "sft", two.run.path / "sft")
    assert_same_training(read_jsonl, one_grpo.run.path / "grpo", two_grpo.run.path / "grpo")

    of_one = {**SFT, "per_device_batch_size": 1, "gradient_accumulation_steps": 4}
    resumed = cut_back(make_config, two, "sft", 8, sft=of_one, student={"deepspeed": "zero2"})
    with start((*TORCHRUN, "1"), "-m", "avrt", "sft", write(resumed)) as launch:
        code, written = launch.end()
    assert code == 0, written
    assert "2 parts become those of 1 processes" in written
    assert_same_training(read_jsonl, two.run.path / "sft", resumed.run.path / "sft")
    assert list(resumed.run.path.glob("**/*universal*")) == []


@pytest.mark.slow
def test_a_launch_that_cannot_train_says_so_once(make_config, start):
    program = ("-m", "avrt", "sft", write(make_config()), "student.dtype=float16")
    with start((*TORCHRUN, "2"), *program) as launch:
        code, written = launch.end()
    assert code != 0
    assert written.count("avrt: error: ") == 1
    assert "float16 holds too small a range" in written
