"""Facts about the ledger: what a key is, what is kept, and that it has one writer."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avrt.ask.ledger import Call, check_free, count_finished, open_ledger, read_ledger
from avrt.ask.show import load_call
from avrt.errors import ConfigError, DataError, MediaError
from avrt.runs import fingerprint
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
    recipe={"frames": {"n_frames": 8}},
)
REPLY = Completion("Answer: (B)", "stop", 10, 4, 0.5)
FAILURE = Completion("half a re", "error", error_class="timeout", error="no reply within 3 s")


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
        {"recipe": {"frames": {"n_frames": 9}}},
        {"k": 1},
    ],
)
def test_any_content_that_changes_changes_the_key(change: dict[str, Any]) -> None:
    assert replace(CALL, **change).key != CALL.key


def test_the_key_is_stable_across_processes_and_versions() -> None:
    assert CALL.key == "15cf01bdc781ac71dad4dfe95a7b37dc3dd5796579349487fb54b2527f9a1cca"


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
        attempts = connection.execute(
            "SELECT attempt, text, finish_reason, error_class FROM attempts"
        ).fetchall()
    connection.close()
    assert attempts == [
        (1, "half a re", "error", "timeout"),
        (2, None, "stop", None),
        (3, "half a re", "error", "timeout"),
    ]


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
        "import sys; from pathlib import Path; from avrt.ask.ledger import open_ledger\n"
        "with open_ledger(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        holder = rf"in use by process {other.pid} on \S+ since \d{{4}}-\d\d-\d\d .* \(-c\); wait"
        with pytest.raises(ConfigError, match=holder):
            open_ledger(tmp_path).__enter__()
        with pytest.raises(ConfigError, match=holder):
            check_free(tmp_path)
        with read_ledger(tmp_path) as connection:
            assert connection.execute("SELECT COUNT(*) FROM calls").fetchone()[0] == 0
        other.kill()
    check_free(tmp_path)
    with open_ledger(tmp_path):
        pass
    check_free(tmp_path)


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


VERSION_1 = """
CREATE TABLE calls (
    key TEXT PRIMARY KEY, stage TEXT NOT NULL, sample_id TEXT NOT NULL, role TEXT NOT NULL,
    k INTEGER NOT NULL,
    request_json TEXT NOT NULL, text TEXT NOT NULL, n_prompt_tokens INTEGER NOT NULL,
    n_completion_tokens INTEGER NOT NULL, engine_json TEXT NOT NULL, finish_reason TEXT NOT NULL,
    latency_s REAL NOT NULL, error_class TEXT, error TEXT, created TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempts (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, finish_reason TEXT NOT NULL,
    latency_s REAL NOT NULL, error_class TEXT, error TEXT, created TEXT NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE payloads (
    file_sha256 TEXT NOT NULL, recipe TEXT NOT NULL, digest TEXT, error_class TEXT, error TEXT,
    PRIMARY KEY (file_sha256, recipe)
) WITHOUT ROWID;
PRAGMA user_version=1;
"""


def write_version_1(run: Path, recipe: object) -> str:
    """A ledger as version 1 wrote it, with CALL and its REPLY after a failure; returns the key."""
    recipe = {"kind": "frames", "n_frames": 8} if recipe is None else recipe
    request = {**CALL.request, "schema": 1, "recipe": recipe}
    key, text = fingerprint(request), json.dumps(request, ensure_ascii=False, sort_keys=True)
    connection = sqlite3.connect(run / "ledger.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(VERSION_1)
    connection.execute(
        "INSERT INTO calls VALUES (?, 'trace', 's1', 'vision', 0, ?, 'Answer: (B)', 10, 4, '{}',"
        " 'stop', 0.5, NULL, NULL, '2026-01-02')",
        (key, text),
    )
    connection.executemany(
        "INSERT INTO attempts VALUES (?, ?, ?, 0.5, ?, ?, ?)",
        [
            (key, 1, "error", "timeout", "no reply within 3 s", "2026-01-01"),
            (key, 2, "stop", None, None, "2026-01-02"),
        ],
    )
    connection.execute("INSERT INTO payloads VALUES ('file', 'recipe', 'digest', NULL, NULL)")
    connection.commit()
    connection.close()
    return key


def test_calls_of_version_1_keep_their_replies_under_the_keys_of_now(tmp_path: Path) -> None:
    old_key = write_version_1(tmp_path, None)
    call = replace(CALL, recipe={"frames": {"kind": "frames", "n_frames": 8}})
    assert old_key != call.key
    assert load_call(tmp_path, old_key)["text"] == "Answer: (B)"  # before anything is changed
    with open_ledger(tmp_path) as ledger:
        assert ledger.find(call.key) == REPLY
        assert ledger.find(old_key) is None
    with read_ledger(tmp_path) as connection:
        payloads = connection.execute("SELECT * FROM payloads").fetchall()
    assert [*map(tuple, payloads)] == [("file", "recipe", "digest", None, None)]
    shown = load_call(tmp_path, old_key[:12])
    assert (shown["key"], shown["request"]) == (call.key, call.request)
    outcomes = [(one["error_class"], one["n_prompt_tokens"]) for one in shown["attempts"]]
    assert outcomes == [("timeout", 0), (None, 10)]
    with open_ledger(tmp_path) as ledger:
        assert ledger.find(call.key) == REPLY


def test_a_version_1_ledger_that_cannot_be_brought_up_to_date_stays_as_it_was(
    tmp_path: Path,
) -> None:
    old_key = write_version_1(tmp_path, {"n_frames": 8})
    before = load_call(tmp_path, old_key)
    with pytest.raises(DataError, match=r"ledger\.sqlite: calls of version 1 .*kind"):
        open_ledger(tmp_path).__enter__()
    assert load_call(tmp_path, old_key) == before
