"""A whole run with planted secrets, at a server that repeats them: no file and no line has one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avrt.cli import cli
from chat_server import Reply, Server, chat
from scripted_run import N_QUESTIONS, overrides, right, write_dataset

PLANTED = {
    "AVRT_TEST_KEY": "planted-in-the-environment",
    "AVRT_TEST_ORG": "planted-org/with a+sign",
    "body": "planted-in-the-body",
    "nested": "planted-in-a-list",
    "query": "planted-in-the-address",
}
STAGES = ("prepare", "trace", "merge", "judge", "build", "eval", "report")
STUBBORN = {2: 400, 3: 200, 4: 500, 5: 200}
"""Questions to which the vision teacher's server fails, and how."""


def echo(server: Server) -> str:
    """All that the last request held, as careless servers repeat it."""
    return json.dumps([server.headers[-1], server.bodies[-1]["settings"]])


def answer(server: Server, body: dict[str, Any]) -> Reply:
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    number = int(text.split("question ")[1].split("?")[0])
    if text.startswith("VISION") and number in STUBBORN:
        error = {"error": {"message": f"I got {echo(server)}", "code": 422}}
        content = json.dumps(error) if number == 3 else echo(server)
        return STUBBORN[number], {}, content.encode()
    if "judge" in text[:200].lower():
        return chat(echo(server))
    letter = right(number)
    reply = f"<think>{echo(server)}</think>\n<answer>{letter}</answer>"
    return chat(reply if not text.startswith(("VISION", "AUDIO")) else f"{reply} Answer: {letter}",
                reasoning=echo(server))  # fmt: skip


def settings_of(root: Path, server: Server) -> list[str]:
    engine = {
        "kind": "openai",
        "base_url": f"{server.url}?api-version=1&api-key={PLANTED['query']}",
        "api_key_env": "AVRT_TEST_KEY",
        "headers": {"X-Api-Key": "$AVRT_TEST_ORG", "X-Title": "a title"},
        "extra_body": {
            "settings": {"api_key": PLANTED["body"], "keys": [{"password": PLANTED["nested"]}]}
        },
        "max_attempts": 2,
        "check_media": False,
    }
    given = json.dumps(engine)
    roles = ("teachers.vision", "teachers.audio", "merger")
    bench = {"format": "avqa", "root": str(root / "data"), "split": "train"}
    return [
        *overrides(root),
        *(f"{role}.engine={given}" for role in roles),
        "generate.max_failure_rate=1",
        "build.gates=[]",
        f"judges={json.dumps({'strict': {'model': 'judge', 'engine': engine}})}",
        f"eval.benchmarks={json.dumps({'bench': bench})}",
        f"eval.models={json.dumps({'served': {'model': 'm', 'engine': engine}})}",
    ]


def texts_of(path: Path) -> Iterator[str]:
    """All that a file says: bytes, and what they hold unpacked."""
    yield path.read_bytes().decode(errors="replace")
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield repr(table.to_pylist()) + repr(table.schema.metadata)
    if path.suffix == ".sqlite":
        with sqlite3.connect(path) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
            for name in names:
                if not name.startswith("sqlite_"):
                    yield repr(connection.execute(f"SELECT * FROM {name}").fetchall())


@pytest.mark.usefixtures("short_waits")
def test_no_secret_is_in_any_file_or_line_of_a_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    write_dataset(tmp_path)
    (tmp_path / "script.jsonl").touch()
    server.answer = lambda body, _n: answer(server, body)
    settings, run = settings_of(tmp_path, server), tmp_path / "runs" / "test"
    said: list[str] = []

    def call(*words: str) -> str:
        result = CliRunner().invoke(cli, [*words, *settings])
        assert result.exit_code == 0, result.output
        said.append(result.output)
        return result.output

    for stage in STAGES:
        call(stage, "--dry-run")
        call(stage)
    sent = json.dumps(server.headers[-1]) + json.dumps(server.bodies[-1])
    assert all(json.dumps(value)[1:-1] in sent for value in PLANTED.values()), "all are sent"
    call("ledger", "stats")
    call("replay", "--row", "avqa-train-1")
    call("replay", "--row", "avqa-train-1", "--send")
    n_calls = len(server.bodies)

    written = {path: "\n".join(texts_of(path)) for path in run.rglob("*") if path.is_file()}
    assert {"config.yaml", "ledger.sqlite", "index.html", "train.parquet", "trace.json"} <= {
        path.name for path in written
    }
    for path, text in written.items():
        assert "planted" not in text, path
    assert "planted" not in "\n".join(said)
    assert "***" in written[run / "ledger.sqlite"]
    assert "***" in written[run / "config.yaml"]

    # The same command finds its calls again, with another key too.
    monkeypatch.setenv("AVRT_TEST_KEY", "planted-anew")
    settings = [text.replace(PLANTED["body"], "planted-anew") for text in settings]
    said = []
    assert "nothing to do" in call("merge")
    assert "nothing to do" in call("build")
    call("eval")
    assert len(server.bodies) == n_calls
    call("trace")  # asks for its failures again, and for nothing else
    assert len(server.bodies) <= n_calls + 2 * len(STUBBORN)
    assert len(STUBBORN) < N_QUESTIONS
