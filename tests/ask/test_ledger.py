"""Facts about the ledger: what a key is, what is kept, and that it has one writer."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avrt.ask.budget import Shard
from avrt.ask.ledger import (
    Call,
    count_finished,
    ledger_shards,
    open_ledger,
    read_ledger,
)
from avrt.ask.locks import check_free
from avrt.errors import AvrtError, ConfigError, DataError, MediaError
from avrt.types import Completion, Prompt, Sampling, Waveform

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
PROMPT = Prompt("What is it?")
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
    assert CALL.key == "cc7973b1095f2f43402d251afd407c93ccb029ed3bb57975434d57c552456685"


def test_what_it_is_called_for_is_not_in_the_key() -> None:
    assert replace(CALL, sample_id="s2", role="audio").key == CALL.key


def test_a_reply_survives_closing(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record(CALL.key, CALL, PROMPT, REPLY)
    with open_ledger(tmp_path) as ledger:
        assert ledger.find(CALL.key) == REPLY
        assert ledger.find("other") is None
    assert count_finished(tmp_path, "trace") == 1


def test_a_failure_is_kept_and_replaced_by_a_later_reply_but_never_the_reverse(
    tmp_path: Path,
) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record(CALL.key, CALL, PROMPT, FAILURE)
        assert ledger.find(CALL.key) == FAILURE
        assert count_finished(tmp_path, "trace") == 0
        ledger.record(CALL.key, CALL, PROMPT, REPLY)
        ledger.record(CALL.key, CALL, PROMPT, FAILURE)
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
        with read_ledger(tmp_path) as ledger:
            assert ledger.query("SELECT COUNT(*) FROM calls")[0][0] == 0
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


def test_shards_write_files_of_their_own_that_are_read_as_one(tmp_path: Path) -> None:
    first, second = Shard(1, 2), Shard(2, 2)
    other = replace(CALL, text="Another?")
    with open_ledger(tmp_path, first) as one, open_ledger(tmp_path, second) as two:
        one.record(CALL.key, CALL, PROMPT, FAILURE)
        two.record(CALL.key, CALL, PROMPT, REPLY)
        two.record(other.key, other, PROMPT, REPLY)
        with pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} .*process"):
            open_ledger(tmp_path).__enter__()
        with pytest.raises(ConfigError, match="in use by process"):
            open_ledger(tmp_path, second).__enter__()
    with open_ledger(tmp_path) as ledger:
        assert ledger.find_all([CALL.key, other.key]) == {CALL.key: REPLY, other.key: REPLY}
        assert ledger.failed_calls("timeout") == {}
    assert ledger_shards(tmp_path) == [None, first, second]
    assert count_finished(tmp_path, "trace") == 2


def test_a_call_is_stored_with_its_files_and_the_size_of_its_media(tmp_path: Path) -> None:
    call = replace(CALL, dataset="bench", files={"audio": ("sound/a.wav", "ab12")})
    sound = Waveform(np.zeros(8_000, np.float32))
    reply = replace(REPLY, n_audio_tokens=12, n_frame_tokens=0)
    with open_ledger(tmp_path) as ledger:
        ledger.record(call.key, call, Prompt("What is it?", audio=sound), reply)
        stored = ledger.find_calls([call.key])[call.key]
    assert (stored.dataset, stored.files) == ("bench", {"audio": ("sound/a.wav", "ab12")})
    assert (stored.n_frames, stored.audio_s) == (0, 0.5)
    assert (stored.request, stored.completion) == (call.request, reply)


def test_two_scopes_write_one_file_at_the_same_time_and_lose_nothing(tmp_path: Path) -> None:
    n_calls = 150

    def write(scope: str) -> list[str]:
        calls = [replace(CALL, stage="eval", text=f"{scope} {n}") for n in range(n_calls)]
        with open_ledger(tmp_path, scope=scope) as ledger:
            both_open.wait(20)
            for call in calls:
                ledger.record(call.key, call, PROMPT, REPLY)
        return [call.key for call in calls]

    both_open = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        keys = [key for own in pool.map(write, ["eval-a", "eval-b"]) for key in own]
    with read_ledger(tmp_path) as ledger:
        assert ledger.finished(keys) == {*keys}
    assert count_finished(tmp_path, "eval") == 2 * n_calls


def test_a_scope_has_a_single_writer(tmp_path: Path) -> None:
    with open_ledger(tmp_path, scope="eval-a"), open_ledger(tmp_path, scope="eval-b"):
        with pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} .*--shard"):
            open_ledger(tmp_path, scope="eval-a").__enter__()
        with pytest.raises(ConfigError, match="in use by process"):
            check_free(tmp_path, scope="eval-b")
        check_free(tmp_path)


def test_shards_of_another_count_are_refused_while_some_work(tmp_path: Path) -> None:
    with (
        open_ledger(tmp_path, Shard(1, 2)),
        pytest.raises(ConfigError, match=r"shards of 2 are at work, .* use --shard PART/2"),
    ):
        open_ledger(tmp_path, Shard(1, 3)).__enter__()
    with open_ledger(tmp_path, Shard(1, 3)), open_ledger(tmp_path, Shard(2, 3)):
        pass


def test_a_damaged_file_is_named_and_no_other(tmp_path: Path) -> None:
    for shard in (Shard(1, 2), Shard(2, 2)):
        with open_ledger(tmp_path, shard) as ledger:
            ledger.record(CALL.key, CALL, PROMPT, REPLY)
    damaged = tmp_path / "ledger.1of2.sqlite"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        pytest.raises(DataError, match=r"ledger\.1of2\.sqlite: not a readable ledger"),
        read_ledger(tmp_path) as ledger,
    ):
        ledger.find(CALL.key)


def test_a_file_that_another_process_is_just_making_holds_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "ledger.2of2.sqlite").touch()
    with open_ledger(tmp_path, Shard(1, 2)) as ledger:
        ledger.record(CALL.key, CALL, PROMPT, REPLY)
        assert ledger.finished([CALL.key]) == {CALL.key}
    with read_ledger(tmp_path) as reader:
        assert reader.find(CALL.key) == REPLY


def test_a_full_disk_is_a_message_and_loses_no_earlier_reply(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record(CALL.key, CALL, PROMPT, REPLY)
        (n_pages,) = ledger._own.execute("PRAGMA page_count").fetchone()
        ledger._own.execute(f"PRAGMA max_page_count={n_pages}")
        other = replace(CALL, text="long " * 5_000)
        with pytest.raises(AvrtError, match=r"ledger\.sqlite: cannot write: database or disk is"):
            ledger.record(other.key, other, PROMPT, REPLY)
    with read_ledger(tmp_path) as reader:
        assert reader.finished([CALL.key, other.key]) == {CALL.key}
