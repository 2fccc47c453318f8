"""Facts about budgets: they stop a stage between calls, keep what came, and change nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from avrt.ask.budget import Budget
from avrt.ask.ledger import count_finished, read_ledger
from avrt.cli import cli
from avrt.config import Config
from avrt.generate import build, merge, trace
from avrt.generate.records import teachers_path
from chat_server import Reply, Server, chat
from scripted_run import MakeConfig, overrides, replies, write_dataset, write_script


def manifest(config: Config, stage: str) -> Path:
    return config.run.path / "manifests" / f"{stage}.json"


@pytest.mark.parametrize(
    ("limits", "reason", "n_calls"),
    [
        (Budget(calls=5), "the budget of 5 calls", 5),
        (Budget(calls=9), "the budget of 9 calls", 9),
        (Budget(calls=0), "the budget of 0 calls", 0),
        (Budget(samples=3), "the limit of 3 of 7 samples", 6),
    ],
)
def test_a_limit_stops_between_calls_and_the_same_command_goes_on(
    make_config: MakeConfig, limits: Budget, reason: str, n_calls: int
) -> None:
    config = make_config()
    assert f"stopped by {reason}, after {n_calls} calls" in trace.run(config, limits).summary
    assert count_finished(config.run.path, "trace") == n_calls
    assert not teachers_path(config.run.path).exists()
    assert not manifest(config, "trace").exists()
    rest = Budget(calls=14)
    assert trace.run(config, rest).counts["kept"] == 7
    assert (rest.n_calls, rest.stopped_by) == (14 - n_calls, None)


def test_a_budget_that_is_just_enough_stops_nothing(make_config: MakeConfig) -> None:
    config = make_config()
    assert trace.run(config, Budget(calls=14, samples=7)).counts["kept"] == 7
    assert "stopped by the budget of 2 calls" in merge.run(config, Budget(calls=2)).summary
    assert not manifest(config, "merge").exists()
    assert merge.run(config, Budget(calls=5)).counts["kept"] == 7


def test_limits_are_no_part_of_what_is_made(make_config: MakeConfig) -> None:
    config = make_config()
    trace.run(config)
    before = manifest(config, "trace").read_bytes(), teachers_path(config.run.path).read_bytes()
    traces = teachers_path(config.run.path)
    for path in (config.run.path / "ledger.sqlite", manifest(config, "trace"), traces):
        path.unlink()
    trace.run(config, Budget(calls=3, tokens=10**6, samples=2))
    trace.run(config, Budget(calls=100, tokens=10**6))
    after = manifest(config, "trace").read_bytes(), teachers_path(config.run.path).read_bytes()
    assert after == before


def test_a_small_dataset_is_finished_with_the_setting_that_a_limit_names(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    settings = (*overrides(tmp_path), "data.limit=3")
    for command in ("prepare", "generate"):
        result = CliRunner().invoke(cli, [command, *settings])
        assert result.exit_code == 0, result.output
    assert "build: 3 samples" in result.output


@pytest.fixture
def server() -> Iterator[Server]:
    """A chat server that answers B; every call costs ten tokens, and three."""

    def answer(body: dict[str, Any], _n: int) -> Reply:
        content = body["messages"][-1]["content"]
        n_parts = 0 if isinstance(content, str) else len(content) - 1
        return chat("Answer: (B)", n_prompt_tokens=10 * n_parts)

    with Server() as server:
        server.answer = answer
        yield server


def test_calls_in_flight_when_the_tokens_are_spent_are_finished_and_stored(
    make_config: MakeConfig, server: Server
) -> None:
    engine = f'{{"kind": "openai", "base_url": "{server.url}", "concurrency": 2}}'
    config = make_config(None, f"teachers.vision.engine={engine}")
    limits = Budget(tokens=100)  # a call with four frames costs 43
    assert "stopped by the budget of 100 tokens" in trace.run(config, limits).summary
    n_finished = count_finished(config.run.path, "trace")
    assert n_finished == limits.n_calls == limits.n_tokens // 43
    assert 3 <= n_finished <= 4


def test_generate_stops_after_the_stage_that_a_limit_stopped(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config()
    settings = overrides(tmp_path / "place")
    result = CliRunner().invoke(cli, ["generate", *settings, "--budget-calls", "16"])
    assert result.exit_code == 0, result.output
    assert "merge: stopped by the budget of 16 calls, after 16 calls" in result.output
    assert "the same command goes on" in result.output
    assert "build:" not in result.output
    result = CliRunner().invoke(cli, ["generate", *settings, "--limit", "2"])
    assert "the same command with a higher limit goes on" in result.output
    assert "for a small run that finishes, set data.limit" in result.output
    result = CliRunner().invoke(cli, ["generate", *settings])
    assert "build: 8 samples" in result.output
    assert all((config.run.path / "dataset" / name).is_file() for name in build.FILES)


def test_calls_that_failed_do_not_use_up_a_budget_again_and_again(make_config: MakeConfig) -> None:
    config = make_config(replies({("VISION", number): None for number in range(1, 8)}))
    for n_tried in (3, 6):
        said = trace.run(config, Budget(calls=3)).summary
        assert "after 3 calls with 0 tokens, of which 3 failed; all replies are stored" in said
        with read_ledger(config.run.path) as ledger:
            assert ledger.failed_calls("no_reply") == {"trace": n_tried}
