"""`avrt serve`: the servers of a configuration, and real processes that are started and ended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_server import Server
from running import is_running, wait_for

SERVED = Path(__file__).parents[1] / "served.py"
ROLES = {"vision": "v/model", "audio": "a/model"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def settings() -> Callable[..., list[str]]:
    """Two teachers with servers of their own, and the ways in which they behave."""
    ports = {name: free_port() for name in ROLES}

    def make(**how: str) -> list[str]:
        given = ["merger.engine.kind=scripted", "run.name=mine"]
        for name, model in ROLES.items():
            port, way = ports[name], how.get(name, "")
            served = f"{sys.executable} {SERVED} {how.get(f'{name}_as', model)} {port} '{way}'"
            engine = {"base_url": f"http://127.0.0.1:{port}/v1", "serve": served}
            given += [f"teachers.{name}.model={model}"]
            given += [f"teachers.{name}.engine={json.dumps(engine)}"]
        return given

    make.ports = ports  # pyright: ignore[reportFunctionMemberAccess]
    return make


def children(folder: Path) -> list[int]:
    """What the servers started, as far as they said so before they were ended."""
    logs = sorted((folder / "runs" / "mine" / "serve").glob("*.log"))
    assert [log.stem.rpartition("-")[0] for log in logs] == ["audio", "vision"]
    found = (re.findall(r"child (\d+)", log.read_text()) for log in logs)
    return [int(child) for children in found for child in children]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_servers_are_started_waited_for_and_ended_with_all_they_started(settings, tmp_path, number):
    command = [sys.executable, "-m", "avrt", "serve", *settings(), "--start", "--gpus", "4,6"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        while not lines or "all 2 servers answer" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        started = children(tmp_path)
        assert len(started) == 2
        assert all(map(is_running, started))
        process.send_signal(number)
        process.send_signal(number)  # someone cannot wait
        output, errors = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert {line.split(" after ")[0] for line in lines if "answers after" in line} == {
        "vision: answers",
        "audio: answers",
    }
    assert f"teachers.vision: v/model at http://127.0.0.1:{settings.ports['vision']}/v1, GPU 4" in (
        output
    )
    assert "CUDA_VISIBLE_DEVICES=6 " in output
    assert "Traceback" not in errors
    assert "ending 2 servers, by force after 30 s" in errors
    wait_for(lambda: not any(map(is_running, started)))


@pytest.mark.parametrize(
    ("how", "complaints"),
    [
        (
            {"audio": "dies"},
            ["audio: ended after", "exit code 3", "put it on another GPU", "  torch.OutOfMemory"],
        ),
        ({"audio": "dies later"}, ["audio: ended after", "read its whole log"]),
        ({"vision": "silent"}, ["vision: no answer from", "within 1 s; raise --timeout"]),
        (
            {"vision_as": "another"},
            ["vision: serves another and not v/model; add --served-model-name v/model"],
        ),
    ],
)
def test_when_one_fails_all_are_ended_and_its_log_is_shown(
    avrt, settings, tmp_path, how, complaints
):
    limit_s = 1 if "silent" in how.values() else 60
    result = avrt("serve", *settings(**how), "--start", "--gpus", "0,1", "--timeout", limit_s)
    assert result.exit_code == 1
    for complaint in complaints:
        assert complaint in result.output
    wait_for(lambda: not any(map(is_running, children(tmp_path))))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", settings.ports["audio"])) != 0


def test_a_port_that_is_taken_is_refused_before_anything_starts(avrt, settings, tmp_path):
    with Server() as other:
        settings.ports["audio"] = other.http.server_port
        result = avrt("serve", *settings(), "--start", "--gpus", "0,1")
    assert result.exit_code == 2
    assert f"port {settings.ports['audio']}, of teachers.audio, is taken" in result.output
    assert "another program listens there" in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            "{folder}/vllm serve m --port 8123",
            "its command listens at port 8123, but its address is http://127",
        ),
        ("{folder}/vllm serve m", "its command listens at port 8000, but its address is"),
        ("CUDA_VISIBLE_DEVICES=1 vllm serve m", "runs without a shell: give GPUs with --gpus"),
    ],
)
def test_a_command_of_ones_own_that_could_not_answer_is_refused(
    avrt, settings, tmp_path, command, complaint
):
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    own = f"teachers.vision.engine.serve={command.format(folder=tmp_path)}"
    result = avrt("serve", *settings(), own, "--start", "--gpus", "0,1")
    assert result.exit_code == 2
    assert complaint in result.output
    assert not (tmp_path / "runs").exists()


def test_a_server_that_is_there_already_is_named_by_its_model(avrt, settings):
    process = subprocess.Popen(
        [sys.executable, SERVED, "v/model", str(settings.ports["vision"])],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with socket.socket() as probe:
            wait_for(lambda: probe.connect_ex(("127.0.0.1", settings.ports["vision"])) == 0)
        result = avrt("serve", *settings(), "--start", "--gpus", "0,1")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert "is taken: it serves v/model; end that program" in result.output


def test_a_program_or_a_merged_model_that_is_missing_is_named_with_the_way_to_it(avrt, tmp_path):
    preset = "teachers.audio.preset=audio-flamingo-3-think"
    address = f"teachers.audio.engine.base_url=http://127.0.0.1:{free_port()}/v1"
    others = ("teachers.vision.engine.kind=scripted", "merger.engine.kind=scripted")
    start = ("serve", preset, address, *others, "--start", "--gpus", "0")
    result = avrt(*start, "--vllm", "/nowhere/vllm")
    assert result.exit_code == 2
    assert "/nowhere/vllm: not found, and teachers.audio needs it" in result.output
    result = avrt(*start, "--vllm", sys.executable)
    assert result.exit_code == 2
    assert "models/audio-flamingo-3-think: not found; teachers.audio needs it" in result.output
    assert "\n  avrt checkpoint merge-adapter " in result.output


def test_too_few_gpus_are_refused_with_the_ways_out(avrt, settings):
    result = avrt("serve", *settings(), "--start", "--gpus", "3")
    assert result.exit_code == 2
    assert "2 servers need 2 GPUs of their own, and 1 are there" in result.output
    assert avrt("serve", *settings(), "--gpus", "3,x").exit_code == 2


def test_the_gpus_of_a_job_are_those_that_are_shared_out(avrt, settings, monkeypatch):
    """As a scheduler gives them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert "2 servers need 2 GPUs of their own, and 1 are there" in (
        avrt("serve", *settings(), "--start").output
    )
