"""Facts about making calls: equal ones once, files once, progress said, memory left alone."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from avrt.ask.budget import Budget
from avrt.ask.calls import Draft, Drafts, call_all, sampling_of
from avrt.ask.forecast import Forecast
from avrt.ask.ledger import Ledger, open_ledger
from avrt.ask.progress import Progress
from avrt.config import EngineConfig, MediaConfig, ModelRole
from avrt.engines import engine_of_role
from avrt.generate import merge, trace
from avrt.types import Completion
from chat_server import Reply, Server, chat
from scripted_run import MakeConfig, replies, wrong

N_JOBS, N_DISTINCT, N_IN_FLIGHT = 1000, 600, 64


def drafts_of(role: ModelRole, texts: list[str]) -> Drafts:
    """A draft per text, under ids of their own; equal texts become equal calls."""
    sampling = sampling_of(role, 0, "the same")
    each = (Draft(f"s{n}", "trace", f"s{n}", "t", text, sampling) for n, text in enumerate(texts))
    return Drafts("t", len(texts), each, MediaConfig())


def test_equal_requests_in_flight_or_finished_are_sent_once(tmp_path: Path) -> None:
    texts = [f"question {n % N_DISTINCT}" for n in range(N_JOBS)]
    random.Random(0).shuffle(texts)
    now, most, lock = 0, 0, threading.Lock()

    def answer(body: dict[str, Any], _n: int) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return chat(f"to {body['messages'][-1]['content']}")

    with Server() as server, open_ledger(tmp_path) as ledger:
        server.answer = answer
        engine = EngineConfig(base_url=server.url, concurrency=N_IN_FLIGHT)
        role = ModelRole(model="m", prompt="vision", engine=engine)
        with closing(engine_of_role(role, MediaConfig())) as client:
            outcomes = call_all(ledger, client, drafts_of(role, texts), Budget())
        sent = Counter(body["messages"][-1]["content"] for body in server.bodies)
        replies = ledger.find_all([outcome.key or "" for outcome in outcomes.values()])
    assert len(sent) == sent.total() == N_DISTINCT
    assert most > 1
    assert len(outcomes) == N_JOBS
    for number, text in enumerate(texts):
        assert replies[outcomes[f"s{number}"].key or ""].text == f"to {text}"


def test_equal_requests_are_sent_once_with_all_slots_taken(tmp_path: Path, role: ModelRole) -> None:
    """As above, with as many threads that all have a call before any of them hands one back."""
    texts = [f"question {n % N_DISTINCT}" for n in range(N_JOBS)]
    random.Random(1).shuffle(texts)
    sent: list[str] = []

    class Threads(Late):
        def generate(self, requests: Any, on_completion: Any) -> None:
            pulling, calling = threading.Lock(), threading.Lock()
            full = threading.Barrier(N_IN_FLIGHT)

            def work() -> None:
                is_first = True
                while True:
                    with pulling:
                        request = next(requests, None)
                    if request is None:
                        return
                    sent.append(request.key)
                    if is_first:
                        full.wait(20)
                        is_first = False
                    with calling:
                        on_completion(request, Completion(request.prompt.text, "stop"))

            with ThreadPoolExecutor(N_IN_FLIGHT) as pool:
                for done in [pool.submit(work) for _ in range(N_IN_FLIGHT)]:
                    done.result()

    with open_ledger(tmp_path) as ledger:
        outcomes = call_all(ledger, Threads(), drafts_of(role, texts), Budget())
    assert len(sent) == len(set(sent)) == N_DISTINCT
    assert len(outcomes) == N_JOBS


class Late:
    """An engine that hands back only when it has taken all requests, the last one first."""

    identity: ClassVar = {"model": "m"}
    takes_encoded = False

    def generate(self, requests: Any, on_completion: Any) -> None:
        for request in reversed([*requests]):
            on_completion(request, Completion(request.prompt.text, "stop", 2, 3))

    def close(self) -> None:
        pass


class Unusable(Late):
    """An engine that nobody may ask."""

    def generate(self, *_: Any) -> None:
        raise AssertionError("asked")


@pytest.fixture
def role() -> ModelRole:
    return ModelRole(model="m", prompt="vision")


def test_twins_of_a_failed_call_share_the_failure_and_are_tried_again(
    tmp_path: Path, role: ModelRole
) -> None:
    class Failing(Late):
        def generate(self, requests: Any, on_completion: Any) -> None:
            for request in [*requests]:
                on_completion(request, Completion("", "error", error_class="timeout"))

    budget = Budget()
    with open_ledger(tmp_path) as ledger:
        outcomes = call_all(ledger, Failing(), drafts_of(role, ["a", "a", "b"]), budget)
        assert [outcome.status for outcome in outcomes.values()] == ["timeout"] * 3
        assert budget.n_calls == 2
    with open_ledger(tmp_path) as ledger:
        outcomes = call_all(ledger, Late(), drafts_of(role, ["a", "a", "b"]), budget)
    assert [outcome.status for outcome in outcomes.values()] == ["ok"] * 3
    assert (budget.n_calls, budget.n_tokens) == (4, 10)


def test_jobs_are_made_one_by_one_and_looked_up_together(
    tmp_path: Path, role: ModelRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"question {n}" for n in range(2000)]
    with open_ledger(tmp_path) as ledger:
        call_all(ledger, Late(), drafts_of(role, texts), Budget())
        n_look_ups, finished = 0, Ledger.finished

        def counted(self: Ledger, keys: Any) -> set[str]:
            nonlocal n_look_ups
            n_look_ups += 1
            return finished(self, keys)

        monkeypatch.setattr(Ledger, "finished", counted)
        call_all(ledger, Unusable(), drafts_of(role, texts), Budget())
    assert n_look_ups == 4


def test_progress_is_silent_without_calls_and_forecasts_once(
    tmp_path: Path, role: ModelRole, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"question {n}" for n in range(80)]
    with open_ledger(tmp_path) as ledger:
        call_all(ledger, Late(), drafts_of(role, texts), Budget())
        forecast, last = capsys.readouterr().err.splitlines()
        call_all(ledger, Late(), drafts_of(role, texts), Budget())
        assert capsys.readouterr().err == ""
    assert forecast == "t: forecast from the first 50 samples: 80 calls, 400 tokens"
    assert last.startswith("t: 80/80, ")
    assert last.endswith("0 in flight")


def test_the_share_of_replies_that_can_be_kept_is_shown(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """A teacher's right answers; merged traces in form with the right letter."""
    one_wrong = {("VISION", 1): f"Answer: ({wrong(1)})", ("VISION", 2): "Answer: none of these"}
    unformed = {("MERGE", 3): "no tags", ("MERGE", 4): "<think>So.</think>\n<answer>B</answer>"}
    config = make_config(replies({**one_wrong, **unformed}))
    trace.run(config)
    merge.run(config)
    lines = capsys.readouterr().err.splitlines()
    shares = {line.split(":")[0]: line.split(", ")[1] for line in lines}
    assert shares == {
        "vision teacher": "71% right",
        "audio teacher": "100% right",
        "merger": "60% kept",
    }


def test_the_line_counts_calls_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress("t", 3)
    shown.start()
    shown.start()
    shown.finish(Completion("B", "stop", 5, 2), ["a"], [True])
    shown.finish(Completion("", "error", error_class="timeout"), ["b"], [False])
    shown.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("t: 2/3, 50% kept, ")
    assert line.endswith(", 0 in flight, 1 timeout")


@pytest.mark.parametrize(
    ("range_s", "n_later", "words"),
    [
        ((158, 159), 0, ", 2 min 39 s left"),
        ((100, 140), 0, ", 1 min 40 s to 2 min 20 s left"),
        ((100, 100), 6, ", 1 min 40 s left, 6 min 40 s with the 6 that follow"),
    ],
)
def test_the_time_left_is_a_range_only_where_its_ends_differ(
    range_s: tuple[float, float],
    n_later: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Forecast, "remaining_s", lambda *_: range_s)
    shown = Progress("t", 3, n_later=n_later)
    shown.start()
    shown.finish(Completion("B", "stop", 5, 2), ["a"], [True])
    shown.close()
    assert capsys.readouterr().err.endswith(f"{words}\n")
