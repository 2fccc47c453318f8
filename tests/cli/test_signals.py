"""Signals and faults of the machine: one message, the right exit code, no traceback."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from avrt.cli import cli

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
