"""Asking by workers: the rules of one machine hold, and dead workers cost what they held."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from avrt.ask import distant
from avrt.ask.budget import Budget
from avrt.ask.ledger import read_ledger
from avrt.config import Config, RayConfig
from avrt.engines.limiter import Replicas
from avrt.errors import AvrtError
from avrt.generate import merge, trace
from avrt.scale.worker import Broken, MakeServer
from avrt.scale.workers import Died, Hand
from chat_server import Server, chat
from scripted_run import MakeConfig, replies

ON_RAY = ("run.on=ray", "ray.cpus_per_worker=1", "media.workers=1")


class Here:
    """Workers in this process; the first `n_deaths` die as soon as they hold something."""

    n_deaths = 0
    most_held = 0

    def __init__(self, _: RayConfig, make: MakeServer, *__: object) -> None:
        self._make, self._messages = make, queue.SimpleQueue[Any]()
        self._n_left = type(self).n_deaths
        self._servers: list[Any] = []
        self._begin()

    n_ready = 1

    def _begin(self) -> None:
        self._hand = Hand(None, "worker", "id", is_ready=True)
        hand = self._hand
        self._servers.append(self._make(lambda message: self._messages.put((hand, message))))

    def with_room(self, most: int) -> Hand | None:
        return self._hand if self._hand.weight < most else None

    def give(self, hand: Hand, piece: Any, weight: int = 0) -> None:
        hand.outbox.append(piece)
        hand.weight += weight
        Here.most_held = max(Here.most_held, hand.weight)

    def messages(self) -> Iterator[tuple[Hand, Any]]:
        outbox, self._hand.outbox = self._hand.outbox, []
        if self._n_left and outbox:
            self._n_left -= 1
            dead = self._hand
            self._begin()
            yield dead, Died("killed by the test")
            return
        for piece in outbox:
            self._servers[-1].take(piece)
        hand, message = self._messages.get(timeout=20)
        if isinstance(message, Broken):
            raise message.error
        if hand is self._hand:
            yield hand, message

    def close(self) -> None:
        for server in self._servers:
            server._pool.close()


@pytest.fixture
def here(monkeypatch) -> type[Here]:
    monkeypatch.setattr(distant, "Workers", Here)
    monkeypatch.setattr(Here, "n_deaths", 0)
    monkeypatch.setattr(Here, "most_held", 0)
    return Here


def traced(config: Config) -> list[bytes]:
    """The files of both stages, made anew."""
    for stage in (trace, merge):
        stage.run(config)
    names = ("teachers.parquet", "merged.parquet")
    return [(config.run.path / "traces" / name).read_bytes() for name in names]


def forget(config: Config) -> None:
    """Delete what was asked, and all that came of it."""
    for path in config.run.path.glob("ledger*"):
        path.unlink()
    for name in ("traces", "manifests"):
        shutil.rmtree(config.run.path / name)


def n_calls(config: Config) -> int:
    with read_ledger(config.run.path) as ledger:
        return ledger.query("SELECT COUNT(*) FROM attempts")[0][0]


@pytest.mark.parametrize("n_deaths", [0, 1, 2])
def test_workers_give_the_bytes_of_one_process(
    make_config: MakeConfig, here: type[Here], n_deaths: int
) -> None:
    script = replies({("AUDIO", 4): None})
    alone = make_config(script)
    expected, n_alone = traced(alone), n_calls(alone)
    forget(alone)
    here.n_deaths = n_deaths
    config = make_config(script, *ON_RAY)
    assert traced(config) == expected
    assert n_calls(config) == n_alone
    assert traced(config) == expected
    assert n_calls(config) == n_alone + 1  # the failed one


def test_a_question_over_which_workers_die_again_and_again_is_a_failure(
    make_config: MakeConfig, here: type[Here]
) -> None:
    config = make_config(replies(), *ON_RAY)
    here.n_deaths = 3
    result = trace.run(config)
    assert "killed" in result.fault
    assert "3 workers died over it" in result.fault
    assert result.counts["failed/killed"] > 0
    here.n_deaths = 0
    result = trace.run(config)
    assert (result.fault, result.counts["failed/killed"]) == ("", 0)


def test_a_budget_stops_workers_too(make_config: MakeConfig, here: type[Here]) -> None:
    config = make_config(replies(), *ON_RAY)
    budget = Budget(calls=5)
    result = trace.run(config, budget)
    assert "stopped by the budget of 5 calls" in result.summary
    assert (n_calls(config), budget.n_calls) == (5, 5)


def test_a_model_that_cannot_be_used_ends_the_command_with_its_message(
    make_config: MakeConfig, here: type[Here], tmp_path: Path
) -> None:
    engine = '{"kind": "transformers", "device": "cpu"}'
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    roles = [f"teachers.vision.{name}" for name in ("engine", "model")]
    settings = (f"{roles[0]}={engine}", f"{roles[1]}={model}")
    with pytest.raises(AvrtError, match="model"):
        trace.run(make_config(replies(), *ON_RAY, *settings))


def test_a_server_is_asked_through_the_shared_limits(
    make_config: MakeConfig, here: type[Here], server: Server, monkeypatch
) -> None:
    class Limits:
        def open_servers(self, urls, most, timeout_s):
            opened.append((list(urls), most))
            return Replicas(urls, most, timeout_s)

        def forget(self, holder):
            opened.append(holder)

    opened: list[Any] = []
    monkeypatch.setattr(distant, "share_limits", lambda *_: nullcontext(Limits()))
    server.answer = lambda *_: chat("Description.\nAnswer: (A)")
    engine = f'{{"base_url": "{server.url}", "concurrency": 3, "check_media": false}}'
    here.n_deaths = 1
    config = make_config(replies(), *ON_RAY, f"teachers.audio.engine={engine}")
    trace.run(config)
    assert "id" in opened
    assert ([f"{server.url}/chat/completions"], 3) in opened
    assert len(server.bodies) == 7
