from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine, messages, transport
from avrt.errors import ConfigError, EngineError
from avrt.media.payloads import encode_frames, encode_sound
from avrt.types import Prompt
from chat_server import Reply, Server, chat


def ignore(_request, _completion) -> None:
    pass


pytestmark = pytest.mark.usefixtures("short_waits")


def engine_for(server: Server, **settings):
    return make_engine(
        EngineConfig(base_url=server.url, **settings), "the-model", "r1", MediaConfig()
    )


def faults(*replies: Reply) -> Callable[[dict, int], Reply]:
    """These replies first, then good ones."""
    return lambda _body, n: replies[n - 1] if n <= len(replies) else chat("fine")


ERROR_400 = (400, {}, b'{"error": "At most 1 audio(s) may be provided"}')
ERROR_500 = (500, {}, b"oops")


def test_a_server_that_is_not_there_is_an_engine_error_with_address_and_remedy(make_request):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        url = f"http://127.0.0.1:{unused.server_port}/v1"
    engine = make_engine(
        EngineConfig(base_url=url, max_attempts=2), "the-model", None, MediaConfig()
    )
    with pytest.raises(
        EngineError, match=rf"{url}: no server answers .* start a server for 'the-model'"
    ):
        engine.generate([make_request("k", "hi")], ignore)


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "AVRT_TEST_KEY"), (403, "AVRT_TEST_KEY"), (404, "/models")]
)
def test_statuses_that_no_call_can_escape_stop_the_run_without_showing_the_key(
    server, make_request, monkeypatch, status, remedy
):
    monkeypatch.setenv("AVRT_TEST_KEY", "sk-secret")
    server.answer = lambda _body, _n: (status, {}, b"bad key sk-secret")
    engine = engine_for(server, api_key_env="AVRT_TEST_KEY")
    with pytest.raises(EngineError, match=rf"HTTP {status}.*{remedy}") as caught:
        engine.generate([make_request("k", "hi")], ignore)
    assert "sk-secret" not in str(caught.value)
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(dict(engine.identity))
    assert len(server.bodies) == 1


def test_a_400_is_a_named_failure_and_is_never_repeated(server, make_request, collect):
    server.answer = faults(ERROR_400)
    done = collect(engine_for(server), [make_request("k", "hi")])["k"]
    assert (done.finish_reason, done.error_class) == ("error", "http_400")
    assert "At most 1 audio(s)" in (done.error or "")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("fault", [ERROR_500, (503, {}, b""), (429, {}, b""), None])
def test_failures_that_can_pass_are_tried_again(server, make_request, collect, fault):
    server.answer = faults(fault, fault)
    assert collect(engine_for(server), [make_request("k", "hi")])["k"].text == "fine"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [(ERROR_500, "http_500"), ((429, {}, b""), "http_429"), (None, "connection")],
)
def test_attempts_end_and_leave_a_named_failure(server, make_request, collect, fault, error_class):
    server.answer = lambda _body, _n: fault
    done = collect(engine_for(server, max_attempts=3), [make_request("k", "hi")])["k"]
    assert (done.finish_reason, done.error_class, len(server.bodies)) == ("error", error_class, 3)


def test_retry_after_is_honoured(server, make_request, collect):
    server.answer = faults((429, {"Retry-After": "0.4"}, b""))
    started = time.monotonic()
    assert collect(engine_for(server), [make_request("k", "hi")])["k"].text == "fine"
    assert time.monotonic() - started >= 0.4


def test_retry_after_may_be_a_number_or_a_date_and_is_bounded():
    def wait(value: str) -> float:
        return transport.retry_after_s(value)

    assert wait("3") == 3.0
    assert 25 < wait(format_datetime(datetime.now(UTC) + timedelta(seconds=30))) <= 30
    assert wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert wait("soon") == 0.0
    assert wait("999999") == transport._LONGEST_RETRY_AFTER_S


def test_a_slow_reply_is_a_timeout(server, make_request, collect):
    def slow(body: dict, n: int) -> Reply:
        time.sleep(0.5)
        return chat("late")

    server.answer = slow
    done = collect(engine_for(server, timeout_s=0.1, max_attempts=2), [make_request("k", "hi")])[
        "k"
    ]
    assert (done.error_class, len(server.bodies)) == ("timeout", 2)
    assert done.error == "no reply within 0.1 s"


@pytest.mark.parametrize(
    "content",
    [b"{not json", b"[]", b'{"choices": [{"message": {"content": 5}}]}', b"<html>Sign in</html>",
     b'{"choices": [{"message": {"content": "x"}, "finish_reason": "unheard_of"}]}'],
)  # fmt: skip
def test_a_reply_that_is_no_chat_completion_is_a_bad_reply(server, make_request, collect, content):
    server.answer = lambda _body, _n: (200, {}, content)
    done = collect(engine_for(server), [make_request("k", "hi")])["k"]
    assert (done.finish_reason, done.error_class, len(server.bodies)) == ("error", "bad_reply", 1)


def test_one_failed_prompt_does_not_touch_the_others(server, make_request, collect):
    server.answer = lambda body, _n: (
        ERROR_400 if body["messages"][0]["content"] == "bad" else chat("fine")
    )
    requests = [make_request(f"k{i}", "bad" if i == 3 else "good") for i in range(8)]
    done = collect(engine_for(server, concurrency=3), requests)
    assert {key for key, completion in done.items() if completion.finish_reason == "error"} == {
        "k3"
    }
    assert len(done) == 8


def test_length_usage_and_latency_are_reported(server, make_request, collect):
    server.answer = lambda _body, _n: chat("cut", finish="length")
    done = collect(engine_for(server), [make_request("k", "hi")])["k"]
    assert (done.text, done.finish_reason) == ("cut", "length")
    assert (done.n_prompt_tokens, done.n_completion_tokens) == (7, 3)
    assert 0 < done.latency_s < 5


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_that_the_server_split_off_is_put_back(server, make_request, collect, field):
    server.answer = lambda _body, _n: chat("<answer>B</answer>", **{field: "because"})
    done = collect(engine_for(server), [make_request("k", "hi")])["k"]
    assert done.text == "<think>because</think><answer>B</answer>"
    server.answer = lambda _body, _n: chat(None, finish="length", **{field: "because of"})
    done = collect(engine_for(server), [make_request("k", "hi")])["k"]
    assert (done.text, done.finish_reason) == ("<think>because of", "length")


def test_text_goes_as_plain_messages_with_all_sampling_settings(server, make_request, collect):
    prompt = Prompt("hi", system="be kind")
    collect(engine_for(server), [make_request("k", prompt, temperature=0.5, top_p=0.9, seed=11)])
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert "Authorization" not in server.headers[0]
    assert server.bodies[0] == {
        "model": "the-model",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 12,
        "seed": 11,
    }


def test_frames_go_as_jpegs_then_sound_as_wav_then_the_text(make_request, make_frames, make_sound):
    prompt = Prompt("what is it?", frames=make_frames(0, n_frames=3), audio=make_sound(0))
    body = messages.build_body(make_request("k", prompt), "m", EngineConfig(), MediaConfig())
    parts = body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url"] * 3 + ["input_audio", "text"]
    head, _, data = parts[0]["image_url"]["url"].partition(",")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (head, picture.format, picture.size) == ("data:image/jpeg;base64", "JPEG", (84, 56))
    assert parts[3]["input_audio"]["format"] == "wav"
    assert base64.b64decode(parts[3]["input_audio"]["data"]).startswith(b"RIFF")
    assert parts[4]["text"] == "what is it?"


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_encoded_media_go_as_they_are_and_decoded_ones_as_the_same_bytes(
    make_request, make_frames, make_sound, audio_format
):
    media = MediaConfig(jpeg_quality=50, audio_format=audio_format)
    frames, sound = make_frames(0), make_sound(0)
    ready = Prompt("?", frames=encode_frames(frames, media), audio=encode_sound(sound, media))
    sent = messages.build_body(
        make_request("k", ready), "m", EngineConfig(), MediaConfig(jpeg_quality=95)
    )
    decoded = make_request("k", Prompt("?", frames=frames, audio=sound))
    assert sent == messages.build_body(decoded, "m", EngineConfig(), media)
    assert sent["messages"][0]["content"][-2]["input_audio"]["format"] == audio_format


def count_parts(body: dict, n: int) -> Reply:
    """A server that counts one token for the text and ten for every media part."""
    content = body["messages"][-1]["content"]
    return chat("fine", n_prompt_tokens=1 if isinstance(content, str) else 10 * len(content) - 9)


@pytest.mark.parametrize("n_marks", [0, 3])
def test_a_server_that_drops_a_modality_is_an_error_not_a_reply(
    server, make_request, make_frames, make_sound, n_marks
):
    """It may still write the marks that stand around the sound."""

    def deaf(body: dict, _n: int) -> Reply:
        content = body["messages"][-1]["content"]
        types = [] if isinstance(content, str) else [part["type"] for part in content]
        n_seen, n_heard = types.count("image_url"), types.count("input_audio")
        return chat("I hear a dog", n_prompt_tokens=1 + 10 * n_seen + n_marks * n_heard)

    server.answer = deaf
    replies: list[str] = []
    prompt = Prompt("what?", frames=make_frames(0), audio=make_sound(0))
    with pytest.raises(
        EngineError, match=r"got no audio: the prompt has \d+ tokens with audio and 41"
    ):
        engine_for(server).generate(
            [make_request("k", prompt)], lambda request, _done: replies.append(request.key)
        )
    assert replies == []


@pytest.mark.parametrize("name", ["frames", "audio"])
def test_that_encoded_media_were_dropped_is_noticed_too(
    server, make_request, make_frames, make_sound, name
):
    server.answer = lambda _body, _n: chat("a dog", n_prompt_tokens=9)
    frames = encode_frames(make_frames(0), MediaConfig())
    sound = encode_sound(make_sound(0), MediaConfig())
    prompt = Prompt("what?", frames=frames) if name == "frames" else Prompt("what?", audio=sound)
    with pytest.raises(EngineError, match=f"got no {name}"):
        engine_for(server).generate([make_request("k", prompt)], ignore)


NO_USAGE = json.loads(chat("fine")[2]) | {"usage": None}


@pytest.mark.parametrize(
    ("answer", "settings", "note"),
    [
        (lambda _b, _n: (200, {}, json.dumps(NO_USAGE).encode()), {}, "its replies have no usage"),
        (lambda _b, _n: chat("fine"), {"check_media": False}, "engine.check_media is off"),
        (
            lambda body, _n: chat("fine") if body["max_tokens"] > 1 else (400, {}, b"at least 16"),
            {},
            "it gives no reply to a prompt without audio (at least 16)",
        ),
        (
            lambda body, _n: (
                chat("fine") if body["max_tokens"] > 1 else (200, {}, b'{"choices": []}')
            ),
            {},
            "it gives no reply to a prompt without audio (no words of the server)",
        ),
    ],
)
def test_a_server_that_cannot_be_checked_is_used_and_that_is_said_once(
    server, make_request, make_sound, collect, capsys, answer, settings, note
):
    server.answer = answer
    requests = [make_request(f"k{i}", Prompt("what?", audio=make_sound(0))) for i in range(5)]
    done = collect(engine_for(server, concurrency=1, **settings), requests)
    assert {completion.text for completion in done.values()} == {"fine"}
    assert len(server.bodies) == 5 + 3 * ("gives" in note)
    said = f"{server.url}: not checked that audio reach model 'the-model': {note}\n"
    assert capsys.readouterr().err == said


def test_a_server_that_counts_text_alone_is_named_with_the_setting(
    server, make_request, make_sound
):
    server.answer = lambda _body, _n: chat("fine", n_prompt_tokens=30)
    request = make_request("k", Prompt("what?", audio=make_sound(0)))
    with pytest.raises(EngineError, match=r"got no audio.*set engine.check_media=false"):
        engine_for(server).generate([request], ignore)


def test_headers_come_from_the_environment_and_compression_is_not_asked_for(
    server, make_request, collect, monkeypatch
):
    monkeypatch.setenv("AVRT_TEST_KEY", "planted-key")
    monkeypatch.setenv("AVRT_TEST_ORG", "acme")
    headers = {
        "api-key": "$AVRT_TEST_KEY",
        "X-Org": "org-${AVRT_TEST_ORG}",
        "X-Title": "a title for $$5",
        "Authorization": "Basic $AVRT_TEST_KEY",
    }
    engine = engine_for(server, headers=headers, api_key_env="AVRT_TEST_ORG")
    collect(engine, [make_request("k", "hi")])
    sent = server.headers[0]
    assert (sent["api-key"], sent["X-Org"]) == ("planted-key", "org-acme")
    assert (sent["X-Title"], sent["Authorization"]) == ("a title for $5", "Basic planted-key")
    assert sent["Accept-Encoding"] == "identity"
    monkeypatch.delenv("AVRT_TEST_KEY")
    with pytest.raises(ConfigError, match=r"headers.api-key needs .* AVRT_TEST_KEY; it is not set"):
        collect(engine, [make_request("k", "hi")])


def test_a_query_in_the_address_goes_with_every_request(server, make_request, collect):
    config = EngineConfig(base_url=f"{server.url}/chat/completions/?api-version=1&x=a%20b")
    collect(make_engine(config, "m", None, MediaConfig()), [make_request("k", "hi")])
    assert server.headers[0]["path"] == "/v1/chat/completions?api-version=1&x=a%20b"


def test_a_secret_that_a_server_repeats_is_in_no_reply(server, make_request, collect, monkeypatch):
    monkeypatch.setenv("AVRT_TEST_KEY", "planted-key")
    server.answer = lambda body, _n: chat(
        f"You sent {server.headers[-1]} and {body['secret']}", reasoning="planted-key"
    )
    extra = {"secret": "planted-secret"}
    engine = engine_for(server, api_key_env="AVRT_TEST_KEY", extra_body=extra)
    done = collect(engine, [make_request("k", "hi")])["k"]
    assert server.bodies[0]["secret"] == "planted-secret"
    assert "planted" not in done.text
    assert done.text.count("***") == 3


def test_a_placeholder_for_a_key_hides_nothing(server, make_request, collect, monkeypatch):
    monkeypatch.setenv("AVRT_TEST_KEY", "A")
    server.answer = lambda _body, _n: chat("<answer>A</answer>")
    engine = engine_for(server, api_key_env="AVRT_TEST_KEY")
    assert collect(engine, [make_request("k", "hi")])["k"].text == "<answer>A</answer>"


def test_that_media_arrive_is_checked_once_per_engine(server, make_request, make_sound, collect):
    server.answer = count_parts
    engine = engine_for(server, concurrency=4)
    requests = [make_request(f"k{i}", Prompt("what?", audio=make_sound(i))) for i in range(6)]
    assert len(collect(engine, requests)) == 6
    assert len(collect(engine, requests)) == 6
    assert len(server.bodies) == 13
    assert sum(body["max_tokens"] == 1 for body in server.bodies) == 1


def test_each_modality_is_checked_though_another_one_was_before(
    server, make_request, make_frames, make_sound, collect
):
    def deaf(body: dict, _n: int) -> Reply:
        content = body["messages"][-1]["content"]
        types = [] if isinstance(content, str) else [part["type"] for part in content]
        return chat("fine", n_prompt_tokens=1 + 10 * types.count("image_url"))

    server.answer = deaf
    engine = engine_for(server)
    frames, sound = make_frames(0), make_sound(0)
    collect(engine, [make_request("v", Prompt("what?", frames=frames))])
    with pytest.raises(EngineError, match="got no audio"):
        collect(engine, [make_request("av", Prompt("what?", frames=frames, audio=sound))])


def test_requests_are_pulled_lazily_and_replies_delivered_as_they_finish_in_this_thread(
    server, make_request
):
    pulled: list[str] = []
    delivered: list[tuple[str, int]] = []
    threads: set[int] = set()
    release_slow = threading.Event()

    def answer(body: dict, n: int) -> Reply:
        if body["messages"][0]["content"] == "k0":
            assert release_slow.wait(5)
        return chat("fine")

    def requests():
        for i in range(6):
            pulled.append(f"k{i}")
            yield make_request(f"k{i}", f"k{i}")

    def on_completion(request, done) -> None:
        threads.add(threading.get_ident())
        delivered.append((request.key, len(pulled)))
        if len(delivered) == 5:
            release_slow.set()

    server.answer = answer
    engine_for(server, concurrency=2).generate(requests(), on_completion)
    assert [key for key, _ in delivered] == ["k1", "k2", "k3", "k4", "k5", "k0"]
    assert all(n_pulled <= n_done + 2 for n_done, (_, n_pulled) in enumerate(delivered))
    assert threads == {threading.get_ident()}


def test_concurrency_is_the_number_of_requests_in_flight(server, make_request, collect):
    lock, now, most = threading.Lock(), [0], [0]

    def answer(body: dict, n: int) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.1)
        with lock:
            now[0] -= 1
        return chat("fine")

    server.answer = answer
    collect(engine_for(server, concurrency=4), [make_request(f"k{i}", "hi") for i in range(12)])
    assert most[0] == 4


def test_an_exception_of_the_caller_stops_the_work_and_comes_out_unchanged(server, make_request):
    def cannot_write(request, done) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        engine_for(server).generate((make_request(f"k{i}", "hi") for i in range(50)), cannot_write)
    assert len(server.bodies) < 50

    def broken_requests():
        yield make_request("k", "hi")
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        engine_for(server).generate(broken_requests(), ignore)


def test_no_requests_make_no_call(server, collect):
    assert collect(engine_for(server), []) == {}
    assert server.bodies == []


def test_the_identity_holds_the_recipe_but_no_address_and_no_path(server, tmp_path):
    identity = dict(engine_for(server).identity)
    assert identity == {
        "model": "the-model",
        "revision": "r1",
        "frames": "jpeg-90",
        "audio": "wav-pcm16",
    }
    elsewhere = EngineConfig(base_url="http://elsewhere:1/v1", concurrency=3)
    assert make_engine(elsewhere, "the-model", "r1", MediaConfig()).identity == identity
    media = MediaConfig(jpeg_quality=70, audio_format="flac", n_frames=2)
    recipe = {"frames": "jpeg-70", "audio": "flac-pcm16"}
    assert make_engine(elsewhere, "the-model", "r1", media).identity == {**identity, **recipe}
    absent = make_engine(EngineConfig(), str(tmp_path / "served-name"), None, MediaConfig())
    assert str(tmp_path) not in repr(absent.identity)
