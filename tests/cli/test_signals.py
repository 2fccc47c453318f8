"""Signals and faults of the machine: one message, the right exit code, no traceback."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from avrt.ask.ledger import read_ledger
from avrt.cli import cli
from avrt.config import load_config
from avrt.datasets import prepare
from chat_server import Server, chat
from running import children_of, is_running, wait_for
from scripted_run import overrides, write_dataset

AT_WORK = """
import asyncio, signal, sys
from avrt.cli.main import main
from avrt.datasets import prepare
from avrt.runs import Result

def work(config):
    print("at work", flush=True)
    sys.stdin.readline()
    return Result("done", {})

async def wait():
    print("at work", flush=True)
    await asyncio.sleep(60)

if "no-sigint" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
prepare.run = (lambda config: asyncio.run(wait())) if "asyncio" in sys.argv else work
prepare.refuse_faults = lambda *_: None
sys.argv = ["avrt", "prepare"]
main()
"""


def at_work(*how):
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize("how", [[], ["no-sigint"], ["asyncio"], ["asyncio", "no-sigint"]])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_as_an_interrupt_does(how, number, code):
    process = at_work(*how)
    process.send_signal(number)
    process.send_signal(number)  # as `timeout` and schedulers send it, to the group too
    _, errors = process.communicate()
    assert process.returncode == code
    message = f"stopped by {signal.Signals(number).name}; the same command goes on or starts this"
    assert errors == f"avrt: error: {message} stage again\n"


def test_an_interrupt_keeps_its_exit_code():
    process = at_work()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.startswith("avrt: error: interrupted; ")


def test_under_nohup_a_closed_terminal_ends_nothing():
    process = at_work("nohup")
    process.send_signal(signal.SIGHUP)
    output, errors = process.communicate("\n")
    assert (process.returncode, output, errors) == (0, "done\n", "")


@pytest.fixture(scope="module")
def many_clips(tmp_path_factory) -> Path:
    """A prepared run of which each question is about a clip of its own."""
    place = tmp_path_factory.mktemp("many")
    write_dataset(place, 40)
    annotations = place / "data" / "train_qa.json"
    rows = json.loads(annotations.read_text())
    videos = place / "data" / "videos"
    for row in rows:
        row["video_name"] = f"own{row['id']}_000001"
        shutil.copy(videos / "clip0_000001.mp4", videos / f"{row['video_name']}.mp4")
    annotations.write_text(json.dumps(rows))
    prepare.run(load_config(None, overrides(place)))
    return place


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stopped_while_a_server_answers_it_keeps_every_reply_and_leaves_no_process(
    many_clips, tmp_path, number
):
    """Replies came, others are under way, and two processes read clips."""
    place = shutil.copytree(many_clips, tmp_path / "place")
    is_over = threading.Event()
    answered, held = [], []

    def answer(body, n):
        has_media = isinstance(body["messages"][-1]["content"], list)
        if n > 6:
            held.append(n)
            is_over.wait()
        elif has_media:  # else it is asked whether media reach the model
            answered.append(n)
        reply = "<think>A bell.</think><answer>A</answer>"
        return chat(reply, n_prompt_tokens=700 if has_media else 7)

    with Server() as server:
        server.answer = answer
        engine = f"{{kind: openai, base_url: '{server.url}', concurrency: 4}}"
        command = [
            *(sys.executable, "-m", "avrt", "trace", *overrides(place), "media.workers=2"),
            *(f"teachers.{role}.engine={engine}" for role in ("audio", "vision")),
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            # As many as may be under way: so those that were answered have been received too.
            wait_for(lambda: len(held) >= 4)
            children = children_of(process.pid)
            process.send_signal(number)
            _, errors = process.communicate()
        finally:
            process.kill()
            is_over.set()
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1].endswith("the same command goes on or starts this stage again")
    assert "Traceback" not in errors
    assert len(children) >= 2
    wait_for(lambda: not any(map(is_running, children)))
    with read_ledger(place / "runs" / "test") as ledger:
        (row,) = ledger.query("SELECT COUNT(*) FROM calls")
    assert row[0] == len(answered)
    assert answered


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory; raise the limit (ulimit -v"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
        (
            ImportError("libtorch.so: failed to map segment from shared object"),
            "not enough memory",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "not enough memory"),
        (OSError("ZSTD_DCtx create failed"), "not enough memory"),
        (pa.ArrowException("Unknown error: Failed to launch worker thread"), "not enough memory"),
        (OSError(errno.EMFILE, "", "a.mp4"), "a.mp4: Too many open files; raise the limit"),
        (OSError(errno.ENFILE, "", "a.mp4"), "a.mp4: Too many open files in system; close other"),
        (OSError(errno.EFBIG, "", "x"), "x: File too large; raise the limit on the size of files"),
        (OSError(errno.ENOSPC, "", "x"), "x: No space left on device; free space"),
        (OSError(errno.EDQUOT, "", "x"), "x: Disk quota exceeded; free space within"),
        (OSError(errno.EROFS, "", "x"), "x: Read-only file system; choose a folder"),
        (OSError(errno.EIO, "", "x"), "x: Input/output error; look after the disk"),
        (OSError(errno.ESTALE, "", "x"), "x: Stale file handle; the network file system lost it"),
    ],
    ids=repr,
)
def test_a_fault_of_the_machine_is_one_message_with_a_remedy(monkeypatch, error, message):
    def fail(_):
        raise error

    monkeypatch.setattr("avrt.datasets.prepare.run", fail)
    result = CliRunner().invoke(cli, ["prepare"])
    assert result.exit_code == 1
    assert result.output.startswith(f"avrt: error: {message}")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("x"), ImportError("no name y"), OSError("z")])
def test_other_errors_are_defects(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr("avrt.datasets.prepare.run", fail)
    assert CliRunner().invoke(cli, ["prepare"]).exception is error
