"""Facts about `avrt view` and `avrt watch`: what is refused at once, and how they end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from avrt.ask.ledger import open_ledger
from avrt.cli.options import load_settings, split_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "small"
    with open_ledger(run):
        pass
    (run / "config.yaml").write_text("run: {name: old, dir: elsewhere}\n")
    return run


def write_page(run: Path) -> None:
    (run / "report").mkdir()
    (run / "report" / "index.html").write_text("<!DOCTYPE html><title>a page</title>")


@pytest.mark.parametrize("command", ["view", "watch"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs/smal", "runs/smal: no such run; did you mean runs/small?"),
        ("nowhere", "nowhere: no such run; name a run directory, such as runs/demo"),
        ("runs", "runs: holds no run"),
        ("run.name=smal", "runs/smal: no such run; did you mean runs/small?"),
        ("absent.yaml", "absent.yaml"),
    ],
)
def test_what_is_no_run_is_refused(avrt, run, command, name, message):
    result = avrt(command, name)
    assert message in result.output
    assert result.exit_code != 0


def test_without_a_run_the_usage_is_shown(avrt):
    assert avrt("view").exit_code == 2
    assert avrt("watch").exit_code == 2


def test_a_run_without_a_page_is_refused_with_the_command_that_writes_it(avrt, run):
    result = avrt("view", "runs/small")
    assert result.exit_code != 0
    assert "index.html: no page yet; write it with `avrt report runs/small`" in result.output


def test_a_busy_port_is_refused(avrt, run):
    write_page(run)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        result = avrt("view", "runs/small", "--no-browser", "--port", busy.getsockname()[1])
    assert result.exit_code != 0
    assert "name another port, or 0 for one that is free" in result.output


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "avrt", *words]
    return subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_page_is_served_until_an_interrupt_ends_it(run, tmp_path):
    write_page(run)
    process = start(tmp_path, "view", "runs/small", "--port", "0", "--no-browser", "--live")
    assert process.stdout is not None
    url, how_to_end = process.stdout.readline().strip(), process.stdout.readline()
    with urllib.request.urlopen(url, timeout=60) as reply:
        page = reply.read().decode()
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    assert "no process is at work here" in page
    with urllib.request.urlopen(url.replace("live.html", "live.css"), timeout=60) as reply:
        assert reply.headers["Content-Type"].startswith("text/css")
    with urllib.request.urlopen(url.replace("live.html", "index.html"), timeout=60) as reply:
        assert b"a page" in reply.read()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, how_to_end, out, errors) == (0, "Ctrl-C ends it\n", "", "")


def test_a_watch_repeats_its_state_until_a_signal_ends_it(run, tmp_path):
    process = start(tmp_path, "watch", "runs/small", "--every", "1")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]
    assert lines[0].startswith("small, ")
    assert "no process is at work here\n" in lines[3:]
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in out + errors, errors) == (0, False, "")


def test_one_state_is_printed(avrt, run):
    result = avrt("watch", "runs/small", "--once")
    assert result.exit_code == 0
    assert result.output.splitlines()[1] == "no process is at work here"
    assert "\x1b" not in result.output
    assert (
        avrt("watch", "run.name=small", "--once").output.splitlines()[1:]
        == result.output.splitlines()[1:]
    )


def test_a_run_directory_stands_for_its_configuration_wherever_it_lies(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(["runs/small", "run.seed=3"]).run.path == Path("runs/small")
    assert load_settings(["runs/small", "run.seed=3"]).run.seed == 3
    monkeypatch.chdir(run)
    assert load_settings(["."]).run.path == run


def test_several_run_directories_are_one_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    assert split_runs(("a", "b", str(tmp_path / "c"), "run.seed=3")) == (
        ("a", "run.seed=3"),
        ("./b", str(tmp_path / "c")),
    )
    assert split_runs(("some.yaml", "run.seed=3")) == (("some.yaml", "run.seed=3"), ())
    assert split_runs(()) == ((), ())
