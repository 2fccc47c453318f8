"""Facts about `avrt ledger`: what it tells is in the ledger, and what it marks is tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from avrt.ask.budget import Shard
from avrt.ask.ledger import open_ledger
from avrt.ask.rows import Call, Carried
from avrt.ask.show import load_call, load_stats, render_call, render_stats, retry
from avrt.cli import cli
from avrt.errors import ConfigError, MediaError
from avrt.generate import trace
from avrt.generate.records import iter_teachers
from avrt.types import Completion, Prompt, Sampling
from scripted_run import MakeConfig, overrides, replies

Ledger = Callable[..., Result]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Call `avrt ledger ...` for the run that `make_config` makes."""

    def call(*words: str) -> Result:
        return CliRunner().invoke(cli, ["ledger", *words, *overrides(tmp_path / "place")])

    return call


def test_without_a_ledger_every_command_says_so(make_config: MakeConfig, ledger: Ledger) -> None:
    config = make_config()
    for words in (["stats"], ["show", "abcd"], ["retry", "--class", "timeout"]):
        result = ledger(*words)
        assert (result.exit_code, "ledger.sqlite: not found" in result.output) == (2, True)
    assert not (config.run.path / "ledger.sqlite").exists()


def test_statistics_count_every_call_and_every_failed_attempt(
    make_config: MakeConfig, ledger: Ledger
) -> None:
    config = make_config(replies({("AUDIO", 4): None}))
    trace.run(config)
    trace.run(config)
    stats = json.loads(ledger("stats", "--json").output)
    assert stats == load_stats(config.run.path)
    rows = [(row["role"], row["status"], row["calls"], row["attempts"]) for row in stats["calls"]]
    assert sorted(rows) == [
        ("audio", "no_reply", 1, 2),
        ("audio", "ok", 6, 6),
        ("vision", "ok", 7, 7),
    ]
    (failure,) = stats["failures"]
    assert (failure["class"], failure["attempts"], failure["calls"]) == ("no_reply", 2, 1)
    text = ledger("stats").output
    assert "no_reply: 2 attempts of 1 calls, such as " + failure["example_key"][:12] in text
    assert text == render_stats(stats) + "\n"


def test_a_call_is_shown_with_its_exact_request_and_reply(
    make_config: MakeConfig, ledger: Ledger
) -> None:
    config = make_config()
    trace.run(config)
    key = dict(iter_teachers(config.run.path))["avqa-train-2"]["vision"][0].key
    shown = json.loads(ledger("show", key[:10], "--json").output)
    assert shown["key"] == key
    assert shown["request"]["text"].startswith("VISION question 2?")
    assert len(shown["request"]["frames"]) == 64
    assert shown["request"]["recipe"]["frames"]["n_frames"] == 4
    assert "\nreply\n  Visual Description: v2\n" in ledger("show", key[:10]).output


@pytest.mark.parametrize(
    ("prefix", "message"),
    [("abc", "is no key"), ("f%%%", "is no key"), ("0" * 60, "no calls have a key that starts")],
)
def test_what_is_no_key_is_refused(
    make_config: MakeConfig, ledger: Ledger, prefix: str, message: str
) -> None:
    trace.run(make_config())
    result = ledger("show", prefix)
    assert (result.exit_code, message in result.output) == (2, True)


def test_a_terminal_is_safe_from_what_models_write(tmp_path: Path) -> None:
    call = Call("trace", "s", "vision", {}, None, "why?", Sampling())
    with open_ledger(tmp_path) as ledger:
        ledger.record(
            call.key,
            call,
            Carried.by(Prompt("why?")),
            Completion("a\x1b[2Jb\x00c\u202ed\ne", "stop"),
        )
    shown = load_call(tmp_path, call.key[:8])
    assert shown["text"] == "a\x1b[2Jb\x00c\u202ed\ne"
    assert "  a\ufffd[2Jb\ufffdc\ufffdd\n  e" in render_call(shown)


def test_failures_are_retried_by_class(make_config: MakeConfig, ledger: Ledger) -> None:
    config = make_config(replies({("AUDIO", 4): None}))
    trace.run(config)
    result = ledger("retry", "--class", "timeout")
    assert (result.exit_code, "classes in the ledger: no_reply" in result.output) == (2, True)
    result = ledger("retry", "--class", "no_reply")
    assert "1 calls and 0 media that failed with class 'no_reply'" in result.output
    assert trace.run(config).counts["failed/no_reply"] == 1
    with pytest.raises(ConfigError, match="already done here with other settings"):
        trace.run(make_config(None, "media.n_frames=2"))


def test_a_file_that_could_not_be_decoded_is_read_again_after_retry(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.record_payload("file", {}, MediaError("undecodable", "x.mp4", "broken"))
        ledger.record_payload("good", {}, "digest")
    assert "0 calls and 1 media" in retry(tmp_path, "undecodable")
    with open_ledger(tmp_path) as ledger:
        assert ledger.find_payload("file", {}) is None
        assert ledger.find_payload("good", {}) == "digest"
    with pytest.raises(ConfigError, match="no call and no file failed with class 'undecodable'"):
        retry(tmp_path, "undecodable")


def test_a_call_in_several_files_counts_once_by_the_outcome_that_counts(tmp_path: Path) -> None:
    call = Call("trace", "s", "vision", {}, None, "why?", Sampling())
    failure = Completion("", "error", error_class="timeout", error="late")
    for shard, outcome in ((Shard(1, 2), failure), (None, Completion("B", "stop", 7, 3, 0.5))):
        with open_ledger(tmp_path, shard) as ledger:
            ledger.record(call.key, call, Carried.by(Prompt("why?")), outcome)
            ledger.record_payload("file", {}, "digest")
    stats = load_stats(tmp_path)
    (row,) = stats["calls"]
    assert (row["status"], row["calls"], row["attempts"]) == ("ok", 1, 2)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (7, 3)
    assert [entry["calls"] for entry in stats["failures"]] == [1]
    assert stats["payloads"] == [{"status": "ok", "payloads": 1, "example": None}]
    with pytest.raises(ConfigError, match="no call and no file failed with class 'timeout'"):
        retry(tmp_path, "timeout")
