"""A model that refuses everything is not asked forty thousand times; one that replies is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from avrt.ask.budget import Budget
from avrt.ask.calls import Draft, Drafts, Outcome, call_all
from avrt.ask.ledger import open_ledger
from avrt.ask.refusals import MOST_FAILURES
from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.errors import EngineError
from avrt.types import Sampling
from chat_server import Reply, Server, chat

N = 400
N_IN_FLIGHT = 8


pytestmark = pytest.mark.usefixtures("short_waits")


def ask(
    folder: Path, server: Server, texts: list[str], role: str = "vision", **settings: Any
) -> dict[Any, Outcome]:
    config = EngineConfig(base_url=server.url, concurrency=N_IN_FLIGHT, **settings)
    engine = make_engine(config, "m", None, MediaConfig())
    each = [Draft(text, "trace", text, role, text, Sampling()) for text in texts]
    with open_ledger(folder) as ledger:
        return call_all(ledger, engine, Drafts(role, len(each), each, MediaConfig()), Budget())


def text_of(body: dict[str, Any]) -> str:
    return body["messages"][0]["content"]


def refuse(_body: dict[str, Any], _n: int) -> Reply:
    detail = [{"type": "extra_forbidden", "loc": ["body", "seed"]}]
    return 422, {}, json.dumps({"detail": detail}).encode()


FAILURES: dict[str, tuple[Reply, dict[str, Any], str]] = {
    "a key refused": (refuse({}, 0), {}, r"50 http_422.*extra_forbidden.*engine.omit=\[seed\]"),
    "a page": ((200, {}, b"<html>Sign in</html>"), {}, "50 bad_reply.*Sign in"),
    "an error at status 200": (
        (200, {}, b'{"error": {"code": 400, "message": "no such parameter"}}'),
        {},
        "50 http_400.*no such parameter",
    ),
    "a redirect": ((302, {"Location": "http://a.invalid"}, b""), {}, "50 http_302.*moved to http"),
    "a fault that does not pass": (
        (500, {}, b"wrong model name"),
        {"max_attempts": 1},
        "50 http_500.*wrong model name",
    ),
}


@pytest.mark.parametrize(("reply", "settings", "words"), FAILURES.values(), ids=FAILURES)
def test_a_run_without_one_reply_stops_with_the_servers_words(
    server: Server, tmp_path: Path, reply: Reply, settings: dict[str, Any], words: str
) -> None:
    server.answer = lambda _body, _n: reply
    texts = [f"question {n}" for n in range(N)]
    with pytest.raises(EngineError, match=rf"trace, vision: the first 50 calls failed \({words}"):
        ask(tmp_path, server, texts, **settings)
    assert len(server.bodies) <= MOST_FAILURES + N_IN_FLIGHT


def test_one_reply_is_enough_to_go_on(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body, n: chat("fine") if n == 20 else refuse(body, n)
    outcomes = ask(tmp_path, server, [f"question {n}" for n in range(N)])
    assert len(server.bodies) == len(outcomes) == N


def test_a_reply_of_an_earlier_command_counts_and_one_to_another_model_does_not(
    server: Server, tmp_path: Path
) -> None:
    """Else a run whose last calls are refused could never be repeated."""
    ask(tmp_path, server, ["known"])
    server.answer = refuse
    refused = [f"question {n}" for n in range(100)]
    assert len(ask(tmp_path, server, refused)) == 100
    with pytest.raises(EngineError, match="the first 50 calls failed"):
        ask(tmp_path, server, refused, role="audio")
    with pytest.raises(EngineError, match="the first 50 calls failed"):
        ask(tmp_path, server, refused, extra_body={"top_k": 1})


def test_a_repetition_gets_past_the_calls_that_are_refused(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body, n: (
        refuse(body, n) if text_of(body).startswith("long") else chat("fine")
    )
    texts = [f"long {n}" for n in range(70)] + [f"question {n}" for n in range(100)]
    with pytest.raises(EngineError, match="asks the other calls first"):
        ask(tmp_path, server, texts)
    outcomes = ask(tmp_path, server, texts)
    assert sum(outcome.failure is None for outcome in outcomes.values()) == 100
    assert len(outcomes) == 170


def test_a_setting_that_helps_makes_new_calls_of_those_that_were_refused(
    server: Server, tmp_path: Path
) -> None:
    server.answer = lambda body, n: refuse(body, n) if "seed" in body else chat("fine")
    texts = [f"question {n}" for n in range(60)]
    with pytest.raises(EngineError, match=r"engine.omit=\[seed\]"):
        ask(tmp_path, server, texts)
    outcomes = ask(tmp_path, server, texts, omit=("seed",))
    assert [outcome.failure for outcome in outcomes.values()] == [None] * 60
