"""Facts about the ledger: what a key is, what is kept, and that it has one writer."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrt.ask import database
from avrt.ask.budget import Shard
from avrt.ask.ledger import count_finished, ledger_shards, open_ledger, read_ledger
from avrt.ask.locks import check_free
from avrt.ask.rows import Call, Carried
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
        ledger.record(CALL.key, CALL, Carried.by(PROMPT), REPLY)
    with open_ledger(tmp_path) as ledger:
        assert ledger.find(CALL.key) == REPLY
        assert ledger.find("other") is None
    assert count_finished(tmp_path, "trace") == 1


def test_a_failure_is_kept_and_replaced_by_a_later_reply_but_never_the_reverse(
    tmp_path: Path,
) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record(CALL.key, CALL, Carried.by(PROMPT), FAILURE)
        assert ledger.find(CALL.key) == FAILURE
        assert count_finished(tmp_path, "trace") == 0
        ledger.record(CALL.key, CALL, Carried.by(PROMPT), REPLY)
        ledger.record(CALL.key, CALL, Carried.by(PROMPT), FAILURE)
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
        one.record(CALL.key, CALL, Carried.by(PROMPT), FAILURE)
        two.record(CALL.key, CALL, Carried.by(PROMPT), REPLY)
        two.record(other.key, other, Carried.by(PROMPT), REPLY)
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
        ledger.record(call.key, call, Carried.by(Prompt("What is it?", audio=sound)), reply)
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
                ledger.record(call.key, call, Carried.by(PROMPT), REPLY)
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
            ledger.record(CALL.key, CALL, Carried.by(PROMPT), REPLY)
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
        ledger.record(CALL.key, CALL, Carried.by(PROMPT), REPLY)
        assert ledger.finished([CALL.key]) == {CALL.key}
    with read_ledger(tmp_path) as reader:
        assert reader.find(CALL.key) == REPLY


def test_a_full_disk_is_a_message_and_loses_no_earlier_reply(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record(CALL.key, CALL, Carried.by(PROMPT), REPLY)
        (n_pages,) = ledger._own.execute("PRAGMA page_count").fetchone()
        ledger._own.execute(f"PRAGMA max_page_count={n_pages}")
        other = replace(CALL, text="long " * 5_000)
        with pytest.raises(AvrtError, match=r"ledger\.sqlite: cannot write: database or disk is"):
            ledger.record(other.key, other, Carried.by(PROMPT), REPLY)
    with read_ledger(tmp_path) as reader:
        assert reader.finished([CALL.key, other.key]) == {CALL.key}


def fill(run: Path, n: int = 3) -> list[str]:
    """Calls in a ledger, and the file of a stage that names them."""
    calls = [replace(CALL, text=f"call {number}") for number in range(n)]
    with open_ledger(run) as ledger:
        for call in calls:
            ledger.record(call.key, call, Carried.by(PROMPT), replace(REPLY, text="long " * 2_000))
    rows = [{"key": call.key, "status": "ok"} for call in calls]
    (run / "traces").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), run / "traces" / "teachers.parquet")
    return [call.key for call in calls]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_valid_but_empty(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("VACUUM")


def delete_calls(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM calls WHERE rowid > 1")


@pytest.mark.parametrize("lose", [empty, make_valid_but_empty, delete_calls, Path.unlink])
def test_a_ledger_that_lacks_named_replies_asks_nothing_again(tmp_path: Path, lose: Any) -> None:
    fill(tmp_path)
    path = tmp_path / "ledger.sqlite"
    lose(path)
    before = path.read_bytes() if path.exists() else None
    message = (
        r"[23] of the 3 replies that .*teachers\.parquet names are not in the ledger: .* delete"
    )
    with pytest.raises(DataError, match=message):
        open_ledger(tmp_path).__enter__()
    assert (path.read_bytes() if path.exists() else None) == before
    (tmp_path / "traces" / "teachers.parquet").unlink()
    with open_ledger(tmp_path):
        pass


def test_a_ledger_whose_wal_file_was_lost_is_named(tmp_path: Path) -> None:
    program = (
        "import os, sys; sys.path.append(sys.argv[2]); from pathlib import Path\n"
        "import ask.test_ledger as t; from avrt.ask.ledger import open_ledger\n"
        "with open_ledger(Path(sys.argv[1])) as ledger:\n"
        "    ledger.record(t.CALL.key, t.CALL, t.Carried.by(t.PROMPT), t.REPLY); os._exit(0)"
    )
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    subprocess.run([sys.executable, "-c", program, tmp_path, tests], check=True, env=environment)
    (tmp_path / "traces").mkdir()
    named = pa.Table.from_pylist([{"key": CALL.key, "status": "ok"}])
    pq.write_table(named, tmp_path / "traces" / "teachers.parquet")
    (tmp_path / "ledger.sqlite-wal").unlink()
    with pytest.raises(DataError, match=r"1 of the 1 replies .* lost its -wal"):
        open_ledger(tmp_path).__enter__()


def test_a_scope_is_compared_with_its_own_files(tmp_path: Path) -> None:
    log = tmp_path / "eval" / "set" / "m" / "av.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({"key": "gone", "error_class": None}) + "\n")
    failed = json.dumps({"key": "failed", "error_class": "timeout"})
    (log.parent / "a.jsonl").write_text(
        failed + "\n" + json.dumps({"key": None, "error_class": None})
    )
    for scope in ("", "eval-n", "rubric"):
        with open_ledger(tmp_path, scope=scope):
            pass
    with pytest.raises(DataError, match=r"1 of the 1 replies that .*av\.jsonl"):
        open_ledger(tmp_path, scope="eval-m").__enter__()


def damage_page(content: bytes) -> bytes:
    middle = len(content) // 4096 // 2 * 4096
    return content[:middle] + b"\xa5" * 4096 + content[middle + 4096 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_page, "not a readable ledger: .*damaged"),
        (lambda content: content[: len(content) // 2], "not a readable ledger: .*damaged"),
        (lambda _: b"no database " * 1000, "file is not a database; .*restore it"),
        (lambda content: b"\0" * len(content), "not a readable ledger|are not in the ledger"),
    ],
)
def test_nothing_is_written_into_a_damaged_file(tmp_path: Path, damage: Any, message: str) -> None:
    fill(tmp_path, 20)
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(DataError, match=message):
        open_ledger(tmp_path).__enter__()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("PRAGMA user_version=2", "a ledger of version 2, this AVRT writes version 1"),
        ("ALTER TABLE calls DROP COLUMN n_audio_tokens", "version 1 with other columns"),
        ("ALTER TABLE calls ADD COLUMN more TEXT", "version 1 with other columns"),
        ("PRAGMA user_version=0", "another program's, or damaged; restore it"),
    ],
)
def test_another_schema_is_refused_by_readers_and_writers(
    tmp_path: Path, change: str, message: str
) -> None:
    fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        connection.execute(change)
    for open_it in (open_ledger, read_ledger):
        with pytest.raises(DataError, match=message):
            open_it(tmp_path).__enter__()


def test_without_shared_memory_replies_are_stored_in_a_slower_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect = sqlite3.connect

    def with_dotfiles(path: Any, **options: Any) -> sqlite3.Connection:
        """SQLite's own file system for machines without locks; it has no WAL."""
        uri = str(path) if options.get("uri") else Path(path).absolute().as_uri() + "?mode=rwc"
        options["uri"] = True
        return connect(path if path == ":memory:" else f"{uri}&vfs=unix-dotfile", **options)

    monkeypatch.setattr(sqlite3, "connect", with_dotfiles)
    (key, *_) = fill(tmp_path)
    assert "no memory that processes share" in capsys.readouterr().err
    assert not (tmp_path / "ledger.sqlite-wal").exists()
    with read_ledger(tmp_path) as ledger:
        assert ledger.finished([key]) == {key}


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("SQLITE_FULL", "free space"),
        ("SQLITE_IOERR_WRITE", "free space"),
        ("SQLITE_IOERR_LOCK", "a file system with locks"),
        ("SQLITE_IOERR_SHMMAP", "a file system with locks"),
        ("SQLITE_PROTOCOL", "a file system with locks"),
        ("SQLITE_BUSY", "end the other program"),
        ("SQLITE_CANTOPEN", "ulimit -n"),
        ("SQLITE_READONLY_DIRECTORY", "permit writing"),
        ("SQLITE_CORRUPT", "restore it from a copy; nothing is written"),
    ],
)
def test_every_fault_of_sqlite_has_a_remedy(name: str, remedy: str) -> None:
    error = sqlite3.OperationalError("text")
    error.sqlite_errorname = name
    assert remedy in database.remedy(error)


def test_a_folder_in_the_place_of_the_ledger_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    for open_it in (open_ledger, read_ledger):
        with pytest.raises(DataError, match=r"ledger\.sqlite: no file.*; move it away"):
            open_it(tmp_path).__enter__()
