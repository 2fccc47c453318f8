"""A failure that can pass passes: the same command asks again, in every stage that asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from avrt.ask.ledger import read_ledger
from avrt.cli import cli
from chat_server import Reply, Server, chat
from scripted_run import overrides, right, write_dataset

FAILURES: dict[str, tuple[Reply, str]] = {
    "an error at status 200": ((200, {}, b'{"error": {"message": "busy", "code": 502}}'), "502"),
    "no choices": ((200, {}, b'{"choices": [], "usage": {}}'), "server_error"),
    "null content": (chat(None), "server_error"),
    "a detail": ((200, {}, b'{"detail": "Engine is dead"}'), "server_error"),
}
STAGES = ("trace", "merge", "judge", "eval")


def answer(body: dict[str, Any]) -> Reply:
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    if body["model"] == "judge":
        return chat("none")
    letter = right(int(text.split("question ")[1].split("?")[0]))
    return chat(f"<think>I see it.</think>\n<answer>{letter}</answer> Answer: {letter}")


def settings_of(root: Path, server: Server) -> list[str]:
    engine = {"base_url": server.url, "max_attempts": 1, "check_media": False, "concurrency": 1}
    roles = ("teachers.vision", "teachers.audio", "merger")
    judge = {"model": "judge", "engine": engine, "votes": 3, "temperature": 0.5}
    bench = {"format": "avqa", "root": str(root / "data"), "split": "train"}
    return [
        *overrides(root),
        *(f"{role}.engine={json.dumps(engine | {'kind': 'openai'})}" for role in roles),
        "generate.max_failure_rate=1",
        "build.gates=[]",
        f"judges={json.dumps({'strict': judge})}",
        f"eval.benchmarks={json.dumps({'bench': bench})}",
        f"eval.models={json.dumps({'served': {'model': 'm', 'engine': engine}})}",
    ]


@pytest.mark.parametrize(("failure", "error_class"), FAILURES.values(), ids=FAILURES)
def test_every_stage_asks_again_for_what_failed_and_for_nothing_else(
    server: Server, tmp_path: Path, failure: Reply, error_class: str
) -> None:
    write_dataset(tmp_path)
    settings, run = settings_of(tmp_path, server), tmp_path / "runs" / "test"

    def call(command: str) -> tuple[int, dict[str, int]]:
        """The requests that a command sends, and the failed calls after it, by class."""
        before = len(server.bodies)
        result = CliRunner().invoke(cli, [command, *settings])
        assert result.exit_code == 0, result.output
        with read_ledger(run) as ledger:
            query = "SELECT error_class, error FROM calls WHERE finish_reason = 'error'"
            failed = [tuple(row) for row in ledger.query(query)]
        assert not any("KeyError" in error for _, error in failed)
        return len(server.bodies) - before, {name: 1 for name, _ in failed}

    server.answer = lambda body, _n: answer(body)
    assert CliRunner().invoke(cli, ["prepare", *settings]).exit_code == 0
    for stage in STAGES:
        failing = {len(server.bodies) + n for n in (2, 5)}
        server.answer = lambda body, n, failing=failing: failure if n in failing else answer(body)
        n_all, failed = call(stage)
        assert n_all > 5
        assert [name for name in failed if error_class in name]
        n_again, failed = call(stage)
        assert (n_again, failed) == (2, {}), stage
        assert call(stage) == (0, {}), stage
