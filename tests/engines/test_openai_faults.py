"""The HTTP engine against servers that refuse, hang, drop and die."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import limiter, make_engine
from avrt.errors import EngineError
from avrt.types import Prompt
from chat_server import Reply, Server, chat


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(limiter, "_FIRST_WAIT_S", 0.005)
    monkeypatch.setattr(limiter, "_LONGEST_WAIT_S", 0.1)


@pytest.fixture
def dead_url() -> str:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        return f"http://127.0.0.1:{unused.server_port}/v1"


def engine_for(*urls: str, **settings):
    return make_engine(EngineConfig(base_url=urls, **settings), "m", None, MediaConfig())


@contextmanager
def hanging() -> Iterator[Callable[[], Reply]]:
    """An answer that does not come before the block ends."""
    over = threading.Event()

    def hang() -> Reply:
        over.wait(30)
        return None

    try:
        yield hang
    finally:
        over.set()


class Crowded:
    """Takes `limit` calls at once, as long as they last, and refuses the others."""

    def __init__(self, limit: int, refusal: Reply, wait_s: float = 0.005) -> None:
        self.limit, self.refusal, self.wait_s = limit, refusal, wait_s
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.n_inside = 0
        self.most_sent = 0
        self.n_sent = 0

    def __call__(self, _body: dict, _n: int) -> Reply:
        with self.lock:
            self.n_sent += 1
            self.most_sent = max(self.most_sent, self.n_sent)
            if refused := self.n_inside >= self.limit:
                self.counts["refused"] += 1
            else:
                self.n_inside += 1
        if not refused:
            threading.Event().wait(self.wait_s)
        with self.lock:
            self.n_sent -= 1
            self.n_inside -= not refused
        return self.refusal if refused else chat("fine")


REFUSALS = {
    "429": (429, {}, b""),
    "429 with a wait": (429, {"Retry-After": "0.02"}, b""),
    "503 with a wait": (503, {"Retry-After": "0.02"}, b""),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_calls_that_a_crowded_server_refuses_are_all_answered_in_the_end(
    server, make_request, collect, refusal
):
    server.answer = crowd = Crowded(3, refusal)
    requests = [make_request(f"k{i}", "hi") for i in range(200)]
    done = collect(engine_for(server.url, concurrency=32, max_attempts=10), requests)
    assert {completion.text for completion in done.values()} == {"fine"}
    assert len(done) == 200
    assert crowd.counts["refused"] < 40
    assert crowd.most_sent <= 32


def test_a_thousand_calls_come_through_one_reply_each_never_more_in_flight_than_allowed(
    server, make_request
):
    faults: dict[int, Reply] = {
        10: (503, {}, b""),
        11: None,
        12: [b"HTTP/1.1 200 OK\r\nContent-Le"],
    }
    crowd = Crowded(1000, None, wait_s=0.002)
    server.answer = lambda body, n: faults[n % 50] if n % 50 in faults else crowd(body, n)
    counts: Counter[str] = Counter()
    requests = (make_request(f"k{i}", "hi") for i in range(1000))
    engine_for(server.url, concurrency=24, max_attempts=8).generate(
        requests, lambda request, done: counts.update([f"{request.key}: {done.text}"])
    )
    assert counts == Counter({f"k{i}: fine": 1 for i in range(1000)})
    assert crowd.most_sent <= 24


def test_a_burst_of_503_passes(server, make_request, collect):
    server.answer = lambda _body, n: (503, {}, b"busy") if 20 < n <= 40 else chat("fine")
    requests = [make_request(f"k{i}", "hi") for i in range(100)]
    done = collect(engine_for(server.url, concurrency=8, max_attempts=12), requests)
    assert [completion.text for completion in done.values()] == ["fine"] * 100


@pytest.mark.parametrize("status", [408, 425])
def test_early_and_late_are_tried_again(server, make_request, collect, status):
    server.answer = lambda _body, n: (status, {}, b"") if n == 1 else chat("fine")
    assert collect(engine_for(server.url), [make_request("k", "hi")])["k"].text == "fine"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_cannot_pass_is_sent_once(server, make_request, collect, status):
    server.answer = lambda _body, _n: (status, {"Retry-After": "0"}, b"no")
    done = collect(engine_for(server.url), [make_request(f"k{i}", "hi") for i in range(5)])
    assert {completion.error_class for completion in done.values()} == {f"http_{status}"}
    assert len(server.bodies) == 5


def test_a_call_that_hangs_is_given_up_and_made_again_while_others_go_on(
    server, make_request, collect
):
    with hanging() as hang:
        server.answer = lambda _body, n: hang() if n <= 2 else chat("fine")
        requests = [make_request(f"k{i}", "hi") for i in range(20)]
        done = collect(engine_for(server.url, timeout_s=0.5, concurrency=4), requests)
    assert [completion.text for completion in done.values()] == ["fine"] * 20
    assert len(server.bodies) >= 22


def test_a_reply_that_does_not_end_is_a_timeout_however_slowly_it_drips(
    server, make_request, collect
):
    with hanging() as hang:

        def drip(_body: dict, _n: int) -> Reply:
            def pieces() -> Iterator[bytes]:
                yield b"HTTP/1.1 200 OK\r\nContent-"
                hang()

            return pieces()

        server.answer = drip
        done = collect(
            engine_for(server.url, timeout_s=0.5, max_attempts=2), [make_request("k", "hi")]
        )["k"]
    assert done.error_class == "timeout"
    assert server.bodies


CUTS = {
    "before it": None,
    "in the headers": [b"HTTP/1.1 200 OK\r\nContent-"],
    "in the body": [b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": '],
    "no HTTP": [b"220 mail.example ESMTP\r\n"],
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_reply_that_breaks_off_is_asked_for_again(server, make_request, collect, cut):
    server.answer = lambda _body, n: cut if n <= 2 else chat("fine")
    assert collect(engine_for(server.url), [make_request("k", "hi")])["k"].text == "fine"
    assert len(server.bodies) == 3


def test_the_key_is_in_no_failure_whatever_a_server_sends_back(
    server, make_request, collect, monkeypatch
):
    monkeypatch.setenv("AVRT_TEST_KEY", "sk-secret")
    replies = [(200, {}, b"you sent sk-secret"), (400, {}, b"sk-secret?"), (500, {}, b"sk-secret")]
    server.answer = lambda _body, n: replies[min(n, 3) - 1]
    engine = engine_for(server.url, api_key_env="AVRT_TEST_KEY", concurrency=1, max_attempts=2)
    done = collect(engine, [make_request(f"k{i}", "hi") for i in range(3)])
    assert [one.error_class for one in done.values()] == ["bad_reply", "http_400", "http_500"]
    assert "sk-secret" not in repr(done)
    assert repr(done).count("***") == 3


def test_a_server_that_wants_a_flag_says_so_in_an_error(server, make_request, make_frames):
    words = b"Per-request media_io_kwargs are disabled. Start with --trust-request-mm-kwargs"
    server.answer = lambda _body, _n: (400, {}, words)
    engine = engine_for(server.url, frames_as="video")
    request = make_request("k", Prompt("?", frames=make_frames(0)))
    with pytest.raises(EngineError, match=r"start it with --trust-request-mm-kwargs, or"):
        engine.generate([request], lambda *_: None)
    assert len(server.bodies) == 1


def test_servers_share_the_calls_and_a_dead_one_costs_none(server, make_request, collect, dead_url):
    with Server() as other:
        for one in (server, other):
            one.answer = Crowded(100, None, wait_s=0.01)
        engine = engine_for(dead_url, server.url, other.url, concurrency=8)
        done = collect(engine, [make_request(f"k{i}", "hi") for i in range(60)])
        assert [completion.text for completion in done.values()] == ["fine"] * 60
        assert min(len(server.bodies), len(other.bodies)) > 10


def test_a_server_that_comes_back_is_used_again(server, make_request, collect):
    place = server.http.server_address
    server.http.shutdown()  # a thread that waits at a closed socket would fail
    server.http.server_close()
    started: list[ThreadingHTTPServer] = []

    def answer(_body: dict, n: int) -> Reply:
        if n == 5:
            back = ThreadingHTTPServer(place, server.http.RequestHandlerClass)
            threading.Thread(target=back.serve_forever, args=(0.01,)).start()
            started.append(back)
        threading.Event().wait(0.01)
        return chat("fine")

    with Server() as other:
        other.answer = answer
        server.answer = lambda _body, _n: chat("back")
        engine = engine_for(server.url, other.url, concurrency=4)
        done = collect(engine, (make_request(f"k{i}", "hi") for i in range(400)))
    for back in started:
        back.shutdown()
        back.server_close()
    assert Counter(completion.text for completion in done.values())["back"] > 10
    assert len(done) == 400
    assert {completion.finish_reason for completion in done.values()} == {"stop"}


def test_when_no_server_is_left_the_run_stops_and_keeps_what_was_answered(make_request, dead_url):
    done: list[str] = []
    with Server() as server:

        def last_words(_body: dict, n: int) -> Reply:
            if n == 3:
                server.http.shutdown()
                server.http.socket.close()
            return chat("fine")

        server.answer = last_words
        engine = engine_for(dead_url, server.url, concurrency=2, max_attempts=3)
        with pytest.raises(EngineError, match=rf"{dead_url}, .*no server answers"):
            engine.generate(
                (make_request(f"k{i}", "hi") for i in range(50)),
                lambda _request, completion: done.append(completion.finish_reason),
            )
    assert 3 <= len(done) <= 4
    assert set(done) == {"stop"}


def test_every_server_is_asked_whether_media_reach_its_model(
    server, make_request, make_frames, collect
):
    """One of two servers drops frames."""

    def sees(body: dict, _n: int) -> Reply:
        content = body["messages"][-1]["content"]
        return chat("fine", n_prompt_tokens=1 if isinstance(content, str) else 500)

    server.answer = sees
    prompt = Prompt("?", frames=make_frames(0))
    with Server() as blind:
        blind.answer = lambda _body, _n: chat("fine", n_prompt_tokens=9)
        engine = engine_for(server.url, blind.url, concurrency=4)
        with pytest.raises(EngineError, match=f"{blind.url}: model 'm' got no frames"):
            collect(engine, [make_request(f"k{i}", prompt) for i in range(20)])


def grouped(server: Server, make_request, collect, answer, n_prompts: int = 2, k: int = 3):
    server.answer = answer
    requests = [
        make_request(f"p{p} k{i}", f"p{p}", temperature=0.7, seed=10 * p + i)
        for p in range(n_prompts)
        for i in range(k)
    ]
    return collect(engine_for(server.url, concurrency=1, n_per_request=True), requests)


def several(body: dict, n: int, at_most: int = 99) -> Reply:
    n_choices = min(body.get("n", 1), at_most)
    text = body["messages"][0]["content"]
    status, headers, _ = chat("")
    choices = [
        f'{{"message": {{"content": "{text} #{i}"}}, "finish_reason": "stop"}}'
        for i in range(n_choices)
    ]
    usage = f'{{"prompt_tokens": 7, "completion_tokens": {10 * n_choices + 1}}}'
    return status, headers, f'{{"choices": [{", ".join(choices)}], "usage": {usage}}}'.encode()


def test_answers_to_one_prompt_are_asked_for_in_one_request(server, make_request, collect):
    done = grouped(server, make_request, collect, several)
    assert [(body["n"], body["seed"]) for body in server.bodies] == [(3, 0), (3, 10)]
    assert [done[f"p1 k{i}"].text for i in range(3)] == ["p1 #0", "p1 #1", "p1 #2"]
    assert [done[f"p1 k{i}"].n_completion_tokens for i in range(3)] == [11, 10, 10]
    assert [done[f"p1 k{i}"].n_prompt_tokens for i in range(3)] == [7, 0, 0]  # it is read once


TEXTS = ["one two three four five", "one two", "one two three four five six seven eight"]
USAGES = {
    "all answers": ({"completion_tokens": 75}, {}, [26, 8, 41]),
    "the first, as timings say": ({"completion_tokens": 24}, {"predicted_n": 24}, [24, 8, 40]),
    "the first, by the length": ({"completion_tokens": 5}, {}, [5, 2, 8]),
    "nothing": ({}, {}, [0, 0, 0]),
}


@pytest.mark.parametrize(("usage", "timings", "counts"), USAGES.values(), ids=USAGES)
def test_tokens_of_several_answers_are_counted_once_whatever_the_server_counts(
    server, make_request, collect, usage, timings, counts
):
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in TEXTS]
    reply = {"choices": choices, "usage": {"prompt_tokens": 900, **usage}, "timings": timings}
    answer = (200, {}, json.dumps(reply).encode())
    done = grouped(server, make_request, collect, lambda _body, _n: answer, n_prompts=1)
    assert [done[f"p0 k{i}"].n_completion_tokens for i in range(3)] == counts
    assert [done[f"p0 k{i}"].n_prompt_tokens for i in range(3)] == [900, 0, 0]
    assert len(server.bodies) == 1


def test_of_several_answers_only_those_that_failed_are_asked_for_again(
    server, make_request, collect
):
    def answer(body: dict, n: int) -> Reply:
        status, headers, content = several(body, n)
        reply = json.loads(content)
        if n == 1:
            reply["choices"][1] = {"message": {"content": None}, "error": {"message": "gone"}}
        return status, headers, json.dumps(reply).encode()

    done = grouped(server, make_request, collect, answer, n_prompts=1)
    assert [done[f"p0 k{i}"].text for i in range(3)] == ["p0 #0", "p0 #2", "p0 #0"]
    assert [body.get("n", 1) for body in server.bodies] == [3, 1]


def test_a_server_that_gives_fewer_answers_is_asked_one_by_one(server, make_request, collect):
    done = grouped(server, make_request, collect, lambda body, n: several(body, n, at_most=1))
    assert len(done) == 6
    assert {completion.finish_reason for completion in done.values()} == {"stop"}
    assert [body.get("n", 1) for body in server.bodies] == [3, 1, 1, 1, 1, 1]
    assert [body["seed"] for body in server.bodies] == [0, 1, 2, 10, 11, 12]


def test_each_answer_is_handed_over_before_the_next_is_asked_for(server, make_request):
    done, n_done = [], []

    def generate(engine, requests) -> dict:
        engine.generate(requests, lambda request, _: done.append(request))
        return {}

    def answer(body: dict, n: int) -> Reply:
        n_done.append(len(done))
        return several(body, n, at_most=1)

    grouped(server, make_request, generate, answer, n_prompts=1)
    assert n_done == [0, 1, 2]


def test_a_server_that_knows_no_n_is_asked_one_by_one(server, make_request, collect):
    done = grouped(
        server,
        make_request,
        collect,
        lambda body, _n: (400, {}, b"n must be 1") if "n" in body else chat("fine"),
    )
    assert [completion.text for completion in done.values()] == ["fine"] * 6
    assert [body.get("n", 1) for body in server.bodies] == [3, 1, 1, 1, 1, 1, 1]


def test_a_group_that_fails_fails_under_every_key(server, make_request, collect):
    done = grouped(server, make_request, collect, lambda _body, _n: (422, {}, b"no"))
    assert [completion.error_class for completion in done.values()] == ["http_422"] * 6
    assert len(server.bodies) == 2
