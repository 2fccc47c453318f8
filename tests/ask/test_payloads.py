"""Facts about reading media for calls: in processes, each file once, kept for servers; no file can
stop a run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import reading_tasks
from avrt.ask import payloads
from avrt.ask.ledger import read_ledger
from avrt.config import Config
from avrt.generate import trace
from avrt.generate.records import teachers_path
from chat_server import Reply, Server, chat
from scripted_run import MakeConfig, overrides

N_CLIP1 = 3
"""Questions about clip1."""

TRACE = """
import sys
import reading_tasks
from avrt.config import load_config
from avrt.ask import payloads
from avrt.generate import trace

if __name__ == "__main__":
    payloads.read_sources = reading_tasks.hang
    trace.run(load_config(None, tuple(sys.argv[1:])))
"""


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the readers note."""
    path = tmp_path / "read.log"
    monkeypatch.setenv("AVRT_TEST_LOG", str(path))
    return path


@pytest.fixture
def make_config(make_config: MakeConfig) -> MakeConfig:
    """As everywhere, with a process that reads media."""
    return lambda script=None, *changes: make_config(script, "media.workers=1", *changes)


@pytest.fixture
def server() -> Iterator[Server]:
    """A chat server that answers B and counts ten tokens for every media part."""

    def answer(body: dict[str, Any], _n: int) -> Reply:
        content = body["messages"][-1]["content"]
        n_parts = 0 if isinstance(content, str) else len(content) - 1
        return chat("Answer: (B)", n_prompt_tokens=1 + 10 * n_parts)

    with Server() as server:
        server.answer = answer
        yield server


def served(server: Server) -> tuple[str, ...]:
    """Settings that put both teachers on the server."""
    engine = f'{{"kind": "openai", "base_url": "{server.url}"}}'
    return f"teachers.vision.engine={engine}", f"teachers.audio.engine={engine}"


def use(monkeypatch: pytest.MonkeyPatch, reader: object) -> None:
    monkeypatch.setattr(payloads, "read_sources", reader)


def calls_in(bodies: list[dict[str, Any]]) -> list[str]:
    """Without the engine's one-token questions about whichever prompt was answered first."""
    return sorted(str(body) for body in bodies if body["max_tokens"] > 1)


def forget_calls(config: Config) -> None:
    run = config.run.path
    manifest, traces = run / "manifests" / "trace.json", run / "traces" / "teachers.parquet"
    for path in [*run.glob("ledger.*"), manifest, traces]:
        path.unlink()


def test_a_file_that_hangs_fails_its_samples_and_is_tried_again(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(None, "media.timeout_s=1")
    use(monkeypatch, reading_tasks.hang)
    counts = trace.run(config).counts
    assert (counts["failed/timeout"], counts["kept"]) == (N_CLIP1, 7 - N_CLIP1)
    use(monkeypatch, reading_tasks.count)
    assert trace.run(config).counts["kept"] == 7


@pytest.mark.parametrize("how", ["killed", "terminated", "permission", "unreadable", "missing"])
def test_what_says_nothing_about_a_file_is_named_and_mended_by_the_same_command(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, log: Path, how: str
) -> None:
    config = make_config()
    monkeypatch.setenv("AVRT_TEST_HOW", how)
    use(monkeypatch, reading_tasks.fail)
    lost = trace.run(config)
    error_class = "killed" if how == "terminated" else how
    assert (lost.counts[f"failed/{error_class}"], lost.counts["kept"]) == (N_CLIP1, 7 - N_CLIP1)
    assert f"trace: {2 * N_CLIP1} questions were not asked" in lost.fault
    assert f"({2 * N_CLIP1} {error_class}; the first: " in lost.fault
    attempts = log.read_text().splitlines()
    assert len(set(attempts)) == len(attempts) == 4, "each of two teachers' readers, twice"
    with read_ledger(config.run.path) as ledger:
        assert not ledger.query("SELECT * FROM payloads WHERE error_class IS NOT NULL")
    use(monkeypatch, reading_tasks.count)
    mended = trace.run(config)
    assert (mended.counts["kept"], mended.fault) == (7, "")


@pytest.mark.parametrize("how", ["killed", "permission"])
def test_what_fails_once_costs_nothing(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, log: Path, how: str
) -> None:
    config = make_config()
    monkeypatch.setenv("AVRT_TEST_HOW", how)
    use(monkeypatch, reading_tasks.fail_once)
    result = trace.run(config)
    assert (result.counts["kept"], result.fault) == (7, "")


def test_a_file_that_kills_its_reader_fails_its_samples_for_good(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    config = make_config()
    use(monkeypatch, reading_tasks.crash)
    counts = trace.run(config).counts
    assert (counts["failed/undecodable"], counts["kept"]) == (N_CLIP1, 7 - N_CLIP1)
    use(monkeypatch, reading_tasks.count)
    assert trace.run(config).counts["failed/undecodable"] == N_CLIP1
    assert not log.exists()


def test_a_file_that_was_exchanged_is_missing_and_its_calls_are_not_made(
    make_config: MakeConfig, server: Server
) -> None:
    config = make_config(None, *served(server))
    videos = config.data.root / "videos"
    original = (videos / "clip1_000001.mp4").read_bytes()
    shutil.copy(videos / "clip2_000001.mp4", videos / "clip1_000001.mp4")
    assert trace.run(config).counts["failed/missing"] == N_CLIP1
    (videos / "clip1_000001.mp4").write_bytes(original)
    assert trace.run(config).counts["kept"] == 7


def test_every_file_is_read_once_for_each_teacher(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    use(monkeypatch, reading_tasks.count)
    trace.run(make_config())
    notes = Counter(line.rpartition(" ")[0] for line in log.read_text().splitlines())
    wanted = [f"read {kind} clip{n}_000001.mp4" for kind in ("audio", "frames") for n in range(3)]
    assert notes == dict.fromkeys(wanted, 1)
    pids = {line.rpartition(" ")[2] for line in log.read_text().splitlines()}
    assert str(os.getpid()) not in pids


def test_settings_that_admit_more_files_are_not_answered_from_memory(
    make_config: MakeConfig,
) -> None:
    strict = make_config(None, "media.max_source_pixels=100")
    assert trace.run(strict).counts["failed/too_large"] == 7
    (strict.run.path / "manifests" / "trace.json").unlink()
    assert trace.run(make_config()).counts["kept"] == 7


def test_what_a_server_gets_is_kept_and_spares_every_later_reading(
    make_config: MakeConfig, server: Server
) -> None:
    config = make_config(None, *served(server))
    assert trace.run(config).counts["kept"] == 7
    before, sent = teachers_path(config.run.path).read_bytes(), server.bodies[:]
    endings = Counter(path.suffix for path in (config.run.path / "payloads").rglob("*.*"))
    assert set(endings) == {".jpg", ".wav", ".json"}
    assert (endings[".wav"], endings[".json"]) == (3, 6)

    forget_calls(config)
    shutil.rmtree(config.data.root / "videos")
    trace.run(config)
    again = server.bodies[len(sent) :]
    assert calls_in(again) == calls_in(sent)
    assert teachers_path(config.run.path).read_bytes() == before


def test_payloads_that_are_gone_or_edited_are_made_again_with_the_same_keys(
    make_config: MakeConfig, server: Server
) -> None:
    config = make_config(None, *served(server))
    trace.run(config)
    before = teachers_path(config.run.path).read_bytes()
    payloads = config.run.path / "payloads"
    contents = {path: path.read_bytes() for path in payloads.rglob("*.*")}
    for path in contents:
        if path.suffix == ".jpg":
            path.write_bytes(path.read_bytes()[:-1])
        else:
            path.unlink()
    forget_calls(config)
    trace.run(config)
    assert {path: path.read_bytes() for path in payloads.rglob("*.*")} == contents
    assert teachers_path(config.run.path).read_bytes() == before

    shutil.rmtree(payloads)
    assert "nothing to do" in trace.run(config).summary


def test_sound_is_sent_in_the_form_that_is_asked_for(
    make_config: MakeConfig, server: Server
) -> None:
    trace.run(make_config(None, "media.audio_format=flac", *served(server)))
    forms = Counter(
        part["input_audio"]["format"]
        for body in server.bodies
        if not isinstance(content := body["messages"][-1]["content"], str)
        for part in content
        if part["type"] == "input_audio"
    )
    assert forms == {"flac": 7}


@pytest.mark.parametrize("kind", ["scripted", "openai"])
def test_an_interrupt_ends_the_run_and_its_readers_at_once(
    make_config: MakeConfig, server: Server, log: Path, tmp_path: Path, kind: str
) -> None:
    """As Ctrl-C in a terminal, which reaches the whole process group."""
    make_config()
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            TRACE,
            *overrides(tmp_path / "place"),
            "media.workers=1",
            *(served(server) if kind == "openai" else ()),
        ],
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            while not (log.exists() and "clip1" in log.read_text()):
                assert process.poll() is None
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    readers = {line.rpartition(" ")[2] for line in log.read_text().splitlines()}
    assert not [pid for pid in readers if Path(f"/proc/{pid}").exists()]
