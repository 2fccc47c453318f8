"""Facts about the ledger: what a key is, what is kept, and that it has one writer."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avrt.errors import ConfigError, DataError, MediaError
from avrt.generate.ledger import Call, count_finished, open_ledger
from avrt.types import Completion, Sampling

CALL = Call(
    stage="trace",
    sample_id="s1",
    role="vision",
    engine={"model": "m", "revision": "1"},
    system=None,
    text="What is it?",
    sampling=Sampling(seed=7),
    frames="f0",
    recipe={"n_frames": 8},
)
REPLY = Completion("Answer: (B)", "stop", 10, 4, 0.5)
FAILURE = Completion("", "error", error_class="timeout", error="no reply within 3 s")


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "merge"},
        {"engine": {"model": "m", "revision": "2"}},
        {"system": ""},
        {"text": "What is it? "},
        {"sampling": Sampling(seed=8)},
        {"sampling": Sampling(seed=7, temperature=0.1)},
        {"frames": "f1"},
        {"frames": None, "audio": "f0"},
        {"recipe": {"n_frames": 9}},
        {"k": 1},
    ],
)
def test_any_content_that_changes_changes_the_key(change: dict[str, Any]) -> None:
    assert replace(CALL, **change).key != CALL.key


def test_the_key_is_stable_across_processes_and_versions() -> None:
    assert CALL.key == "af01817531ac38bd4b591fe874d0ea0a02688e9515d271af20ff9c7b6a7c40cb"


def test_what_it_is_called_for_is_not_in_the_key() -> None:
    assert replace(CALL, sample_id="s2", role="audio").key == CALL.key


def test_a_reply_survives_closing(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record(CALL.key, CALL, REPLY)
    with open_ledger(tmp_path) as ledger:
        assert ledger.find(CALL.key) == REPLY
        assert ledger.find("other") is None
    assert count_finished(tmp_path, "trace") == 1


def test_a_failure_is_kept_and_replaced_by_a_later_reply_but_never_the_reverse(
    tmp_path: Path,
) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record(CALL.key, CALL, FAILURE)
        assert ledger.find(CALL.key) == FAILURE
        assert count_finished(tmp_path, "trace") == 0
        ledger.record(CALL.key, CALL, REPLY)
        ledger.record(CALL.key, CALL, FAILURE)
        assert ledger.find(CALL.key) == REPLY
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        attempts = connection.execute("SELECT attempt, finish_reason FROM attempts").fetchall()
    connection.close()
    assert attempts == [(1, "error"), (2, "stop"), (3, "error")]


def test_a_payload_is_known_by_file_and_recipe(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record_payload("file", {"n_frames": 8}, "digest")
        assert ledger.find_payload("file", {"n_frames": 8}) == "digest"
        assert ledger.find_payload("file", {"n_frames": 9}) is None
        assert ledger.find_payload("other", {"n_frames": 8}) is None


def test_a_file_that_cannot_be_decoded_is_remembered_but_a_missing_one_is_not(
    tmp_path: Path,
) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record_payload("bad", {}, MediaError("undecodable", "x.mp4", "broken"))
        ledger.record_payload("gone", {}, MediaError("missing", "x.mp4", "no such file"))
        with pytest.raises(MediaError, match="broken"):
            ledger.find_payload("bad", {})
        assert ledger.find_payload("gone", {}) is None


def test_a_second_process_is_refused_and_told_which_one_holds_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from avrt.generate.ledger import open_ledger\n"
        "with open_ledger(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError, match=f"in use by process {other.pid}; "):
            open_ledger(tmp_path).__enter__()
        other.kill()
    with open_ledger(tmp_path):
        pass


def test_a_file_that_is_no_ledger_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database, but long enough to be one" * 100)
    with pytest.raises(DataError, match=r"ledger\.sqlite: not a readable ledger"):
        open_ledger(tmp_path).__enter__()


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(DataError, match="version 99"):
        open_ledger(tmp_path).__enter__()
