"""No stage is silent for long where stderr is a file: each counts what takes its time."""

from __future__ import annotations

import re
import sys
import threading

import pytest

from avrt.config import MediaConfig
from avrt.evaluate.protocol import read_files
from avrt.runs import progress
from avrt.types import Sample
from scripted_run import overrides, replies, write_dataset, write_script


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Every work says its last line, however short it was."""
    begin = progress.Ticker.__init__

    def begin_loudly(ticker: progress.Ticker, line, always: bool = False) -> None:
        begin(ticker, line, always=True)

    monkeypatch.setattr(progress.Ticker, "__init__", begin_loudly)


@pytest.fixture
def prepared(avrt, tmp_path):
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    settings = [str(override) for override in overrides(tmp_path)]
    return settings, avrt("prepare", *settings).stderr


def test_the_stages_of_a_dataset_count_files_calls_and_clips(avrt, prepared):
    settings, probing = prepared
    assert "prepare: probe: 4/4 files, " in probing
    asking = avrt("generate", *settings).stderr
    assert "vision teacher: " in asking
    assert "merger: " in asking
    exporting = avrt("export", *settings, "--to", "trl", "--with-media").stderr
    assert "export: " in exporting
    assert " clips, " in exporting


def test_many_traces_are_counted_while_their_gates_are_checked(monkeypatch, avrt, prepared):
    settings, _ = prepared
    monkeypatch.setattr("avrt.generate.judged.MIN_PARALLEL", 1)
    assert re.search(r"^gates: (\d)/\1 traces, ", avrt("generate", *settings).stderr, re.MULTILINE)


def test_the_files_of_an_evaluation_are_counted(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"content")
    sample = Sample(
        id="a", question="What?", options=("x", "y"), answer_index=0, question_type="Which",
        question_relation="both", video_id="a", video="a.mp4", image=None, audio=None, source="a:1",
    )  # fmt: skip
    read_files([sample], tmp_path, tmp_path / "cache.json", MediaConfig())
    assert "eval: digest media: 1/1 files, " in capsys.readouterr().err


def test_the_world_is_counted_as_it_is_made(avrt, tmp_path):
    made = avrt("world", "make", tmp_path / "w", "--n-train", 3, "--n-bench", 3, "--n-audio", 3)
    assert "world: " in made.stderr
    assert "files, " in made.stderr


def test_a_checkpoint_is_counted_as_it_is_written(avrt):
    written = avrt("checkpoint", "export-vllm", "world:student", "served")
    assert "write model.safetensors: 127/127 tensors, " in written.stderr


def test_a_quiet_command_says_that_it_is_at_work(monkeypatch, capsys):
    module = sys.modules["avrt.cli.main"]
    over, said = threading.Event(), threading.Event()
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    monkeypatch.setattr(progress, "_said_s", float("-inf"))
    monkeypatch.setattr("avrt.runs.say", lambda line: said.set() or print(line))
    thread = threading.Thread(target=module._say_still_here, args=(over,))
    thread.start()
    assert said.wait(60)
    over.set()
    thread.join()
    assert capsys.readouterr().out.startswith("avrt: at work for 0 s")
