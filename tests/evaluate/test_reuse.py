"""Facts about `run.calls_from` in evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from avrt.config import Config
from avrt.evaluate import Choice, plan, run
from avrt.evaluate.logs import log_path
from chat_server import Server, chat


@pytest.fixture
def served(config: Config, server: Server) -> Callable[..., Config]:
    """Runs that evaluate one served model on the clips."""
    server.answer = lambda _body, _n: chat("<answer>B</answer>")
    engine = {"kind": "openai", "base_url": server.url, "check_media": False}
    model = {"model": "served", "engine": engine}

    def make(name: str, calls_from: str | None = None, **changes: object) -> Config:
        tree = json.loads(config.model_dump_json())
        tree["run"] |= {"name": name, "calls_from": calls_from}
        tree["eval"] |= {"models": {"mine": model | changes}}
        return Config.model_validate(tree)

    return make


def lines(config: Config) -> bytes:
    return Path(log_path(config.run.path, "clips", "mine", "av")).read_bytes()


def test_a_model_that_another_run_evaluated_is_not_asked_again(
    served: Callable[..., Config], server: Server
) -> None:
    first, second = served("first"), served("second", "first")
    run(first)
    n_asked = len(server.bodies)
    assert n_asked == 16
    assert "16 are answered by" in plan(second)
    summary = run(second).summary
    assert len(server.bodies) == n_asked
    assert f"eval: 16 of 16 replies were taken from {first.run.path} (run.calls_from)" in summary
    assert lines(second) == lines(first)


def test_another_sampling_is_asked_and_named_in_the_plan(
    served: Callable[..., Config], server: Server
) -> None:
    run(served("first"), Choice(modalities=("av",)))
    other = served("second", "first", max_new_tokens=77)
    text = plan(other, Choice(modalities=("av",)))
    assert "5 are left to make; the first: 'q0' is asked with other sampling.max_new_tokens" in text
    server.bodies.clear()
    run(other, Choice(modalities=("av",)))
    assert len(server.bodies) == 5
