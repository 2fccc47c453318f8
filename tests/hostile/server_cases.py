"""What servers that call themselves OpenAI-compatible really answer, and what is right."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chat_server import Reply, chat

WHOLE = "<think>A train.</think><answer>A</answer>"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
Answer = Callable[[dict[str, Any], int], Reply]


@dataclass(frozen=True)
class ServerCase:
    """One behaviour of a server towards calls that are all alike."""

    name: str
    answer: Answer
    text: str | None = None
    """The whole reply; None: the call fails."""
    finish: str = "stop"
    error_class: str | None = None
    words: str = ""
    """A pattern that the reason of the failure has."""
    n_requests: int = 1
    """Requests for one call; three at most are made."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the engine."""


def always(reply: Reply) -> Answer:
    return lambda _body, _n: reply


def body(**fields: Any) -> Reply:
    return 200, {}, json.dumps(fields).encode()


def choice(message: Any = None, finish: Any = "stop", **more: Any) -> Reply:
    """A reply with one choice."""
    return body(choices=[{"message": message, "finish_reason": finish, **more}], usage=USAGE)


def raw(text: str | bytes, **headers: str) -> Reply:
    return 200, headers, text.encode() if isinstance(text, str) else text


def endless(_body: dict[str, Any], _n: int) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    while True:
        yield b" " * 100_000


def without(*keys: str) -> Answer:
    """A server that refuses these keys of a request, one after another."""

    def answer(request: dict[str, Any], _n: int) -> Reply:
        for key in keys:
            if key in request:
                message = f"Unsupported parameter: '{key}' is not supported with this model."
                error = {"message": message, "param": key, "code": "unsupported_parameter"}
                return 400, {}, json.dumps({"error": error}).encode()
        return chat(WHOLE)

    return answer


def renamed(request: dict[str, Any], _n: int) -> Reply:
    if "max_tokens" not in request:
        assert request["max_completion_tokens"] == 12
        return chat(WHOLE)
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    return 400, {}, json.dumps({"error": {"message": message, "param": "max_tokens"}}).encode()


def no_seed(request: dict[str, Any], _n: int) -> Reply:
    if "seed" not in request:
        return chat(WHOLE)
    detail = [{"type": "extra_forbidden", "loc": ["body", "seed"]}]
    return 422, {}, json.dumps({"detail": detail}).encode()


def good(name: str, reply: Reply | Answer, **changes: Any) -> ServerCase:
    answer = reply if callable(reply) else always(reply)
    return ServerCase(name, answer, **{"text": WHOLE, **changes})


def bad(name: str, reply: Reply | Answer, error_class: str, words: str = "", n: int = 1,
        **changes: Any) -> ServerCase:  # fmt: skip
    answer = reply if callable(reply) else always(reply)
    return ServerCase(name, answer, None, "", error_class, words, n, **changes)


def passing(name: str, reply: Reply, error_class: str, words: str) -> list[ServerCase]:
    """A failure that passes at the third try, and one that stays."""
    return [
        good(f"{name}, at first", lambda _b, n: reply if n < 3 else chat(WHOLE), n_requests=3),
        bad(f"{name}, always", reply, error_class, words, n=3),
    ]


def all_cases() -> list[ServerCase]:
    cases = [
        *_errors(),
        *_refusals(),
        *_contents(),
        *_ends(),
        *_shapes(),
        *_numbers(),
    ]
    assert len({case.name for case in cases}) == len(cases)
    return cases


BOTH = b'{"error": {"message": "`temperature` and `top_p` cannot both be specified."}}'
OVERLOADED = "Upstream error: service temporarily overloaded"


def _errors() -> list[ServerCase]:
    """Status 200 with an error instead of a reply, which is what its code says."""
    error = {"message": OVERLOADED, "code": 502}
    return [
        *passing("error with a code", body(id="g", error=error), "http_502", OVERLOADED),
        *passing("error with a code as text", body(error={**error, "code": "503"}), "http_503", ""),
        *passing("error that is a text", body(error=OVERLOADED), "server_error", OVERLOADED),
        *passing("error of old vLLM", body(object="error", message="busy", code=500), "http_500",
                 "busy"),
        *passing("detail", body(detail="Engine is dead"), "server_error", "^Engine is dead$"),
        *passing("error in a choice", choice({"content": ""}, "error", error=error), "http_502",
                 OVERLOADED),
        *passing("finish error", choice({"content": ""}, "error"), "server_error", "'error'"),
        *passing("no choices", body(id="g", choices=[], usage=USAGE), "server_error",
                 "without choices"),
        *passing("choices null", body(choices=None), "server_error", "without choices"),
        *passing("an empty object", body(), "server_error", "without choices"),
        *passing("null content", choice({"role": "assistant", "content": None}), "server_error",
                 "without content"),
        *passing("no message", choice(None), "server_error", "without a message"),
        *passing("an empty body", raw(""), "server_error", "empty"),
        *passing("rate limit by name", body(error={"type": "rate_limit_error", "message": "slow"}),
                 "http_429", "slow"),
        *passing("resources gone", choice({"content": ""}, "insufficient_system_resource"),
                 "server_error", "insufficient"),
        *passing("code and message at the top", body(code=50501, message="System busy", data=None),
                 "server_error", "System busy"),
        *passing("error in a list", body(error=[{"message": "cold"}]), "server_error", "cold"),
    ]  # fmt: skip


def _refusals() -> list[ServerCase]:
    long = {"message": "maximum context length is 4096 tokens", "code": 400}
    return [
        bad("refusal with a code", body(error=long), "http_400", "maximum context length"),
        bad("refusal by name", body(error={"code": "context_length_exceeded", "message": "long"}),
            "http_400", "^long$"),
        bad("refusal by type", body(error={"type": "invalid_request_error", "message": "no"}),
            "http_400", "^no$"),
        bad("flagged input", body(error={"code": 403, "message": "flagged"}), "http_403",
            "flagged"),
        bad("413 in HTML", (413, {}, b"<title>413 Too Large</title><style>x{}</style>"),
            "http_413", "^413 Too Large$"),
        bad("content filter", choice({"content": "It is"}, "content_filter"), "content_filter",
            "held the answer back"),
        bad("safety", choice({"content": None}, "SAFETY"), "content_filter", "SAFETY"),
        bad("a tool is called", choice({"content": None, "tool_calls": [{"id": "x"}]}), "bad_reply",
            "calls a tool"),
        bad("max_tokens refused", renamed, "http_400",
            "; set engine.max_tokens_as=max_completion_tokens$"),
        good("max_tokens renamed", renamed, settings={"max_tokens_as": "max_completion_tokens"}),
        bad("seed refused", no_seed, "http_422", r"; set engine.omit=\[seed\]$"),
        good("seed left out", no_seed, settings={"omit": ["seed"]}),
        bad("a fault in something else, with our request",
            (422, {}, json.dumps({"detail": [{"type": "missing", "loc": ["body", "stream"], "msg":
             "Field required instead", "input": {"seed": 1, "top_p": 1}}]}).encode()), "http_422",
            "^body.stream: Field required instead$"),
        bad("a parameter beside the message", (400, {}, json.dumps({"error": {"message":
            "This parameter is not supported", "param": "top_p"}}).encode()), "http_400",
            r"^This parameter is not supported \(top_p\); set engine.omit=\[top_p\]$"),
        bad("two keys that exclude each other", (400, {}, BOTH), "http_400",
            r"; set engine.omit=\[top_p\]$"),
        bad("temperature refused", without("temperature"), "http_400",
            r"; set engine.omit=\[temperature\]$"),
        bad("a second key refused", without("temperature", "top_p"), "http_400",
            r"; set engine.omit=\[temperature, top_p\]$", settings={"omit": ["temperature"]}),
        bad("own field refused", without("top_k"), "http_400",
            "; take top_k out of engine.extra_body$", settings={"extra_body": {"top_k": 5}}),
        good("all keys left out", without("temperature", "top_p", "seed", "max_tokens"),
             settings={"omit": ["temperature", "top_p", "seed", "max_tokens"]}),
        bad("too long, which no setting helps",
            (400, {}, b'{"error": {"message": "max_tokens is too large: 4096"}}'), "http_400",
            "too large: 4096$"),
    ]  # fmt: skip


def _contents() -> list[ServerCase]:
    text = {"type": "text", "text": "<answer>A</answer>"}
    thought = [{"type": "text", "text": "A train."}]
    return [
        good("content", choice({"content": WHOLE})),
        good("parts with thinking", choice({"content": [{"type": "thinking", "thinking": thought},
                                                        text]})),
        good("parts with reasoning", choice({"content": [{"type": "reasoning", "text": "A train."},
                                                         text]})),
        good("parts that are texts", choice({"content": [WHOLE[:9], WHOLE[9:]]})),
        good("parts of output", choice({"content": [{"type": "output_text", "text": WHOLE}]})),
        good("one part", choice({"content": {"type": "text", "text": WHOLE}})),
        *(
            good(f"reasoning as {name}", choice({"content": text["text"], name: value}))
            for name, value in {
                "reasoning_content": "A train.",
                "reasoning": "A train.",
                "thinking": "A train.",
                "reasoning_details": [{"type": "reasoning.text", "text": "A train."}],
            }.items()
        ),
        good("reasoning twice", choice({"content": WHOLE, "reasoning": "A train."})),
        good("a choice with a text", body(choices=[{"text": WHOLE, "finish_reason": "stop"}])),
        good("an empty error beside", body(error=None, **json.loads(chat(WHOLE)[2]))),
        good("an error of zeros beside", body(error={"code": 0, "message": ""},
                                              **json.loads(chat(WHOLE)[2]))),
        good("a refusal of the model", choice({"content": None, "refusal": "I may not."}),
             text="I may not."),
        good("nothing said", choice({"content": ""}), text=""),
        good("a box of a model's own", choice({"content": "<|begin_of_box|>A<|end_of_box|>"}),
             text="<|begin_of_box|>A<|end_of_box|>"),
        good("an answer that does not close", choice({"content": "<answer>A"}), text="<answer>A"),
        good("half a surrogate pair", raw(json.dumps(json.loads(chat("\ud83dA")[2]))),
             text="\ufffdA"),
        good("a NUL", choice({"content": "\0A"}), text="\ufffdA"),
        good("control characters", choice({"content": "\x1b[2JA"}), text="\x1b[2JA"),
        bad("content that is a number", choice({"content": 5}), "bad_reply", "content is 5"),
        bad("content that is a picture", choice({"content": [{"type": "image_url"}]}), "bad_reply",
            "image_url"),
    ]  # fmt: skip


def _ends() -> list[ServerCase]:
    names = [
        *("stop", "eos", "eos_token", "end_turn", "COMPLETE", "stop_sequence", "STOP", "", None),
        *("FinishReason.STOP", "end-of-turn", {"type": "eos"}),
    ]
    cut = ["length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens"]
    return [
        *(good(f"finish {name}", choice({"content": WHOLE}, name)) for name in names),
        *(good(f"cut by {n}", choice({"content": WHOLE}, n), finish="length") for n in cut),
        good("no finish at all", body(choices=[{"message": {"content": WHOLE}}])),
        good("cut while thinking", choice({"content": None, "reasoning": "A tr"}, "length"),
             text="<think>A tr", finish="length"),
        good("cut before a word", choice({"content": None}, "length"), text="", finish="length"),
        bad("an end unheard of", choice({"content": WHOLE}, "whatever"), "bad_reply", "'whatever'"),
        bad("an end that is a number", choice({"content": WHOLE}, 7), "bad_reply", "reason is 7"),
        good("null at the limit", body(choices=[{"message": {"content": WHOLE}}],
             usage={"prompt_tokens": 7, "completion_tokens": 12}), finish="length"),
        bad("null and empty", choice({"content": ""}, None), "server_error", "without content", 3),
    ]  # fmt: skip


def stream(end: bytes, finish: str = "stop") -> bytes:
    """The events of a reply that was not to be streamed."""
    deltas: list[Any] = [{"role": "assistant", "content": ""}, {"reasoning_content": "A "}]
    deltas += [{"reasoning_content": "train.", "content": None}, {"content": "<answer>"}]
    deltas += [{"content": "A</answer>"}]
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({"choices": [], "usage": USAGE})
    events = [f"data: {json.dumps(chunk)}".encode() for chunk in chunks]
    return end.join([*events, b"data: [DONE]", b""])


def _shapes() -> list[ServerCase]:
    whole = chat(WHOLE)[2]
    chunk = b'data: {"choices": [{"delta": {"content": "A"}, "finish_reason": null}]}\n\n'
    small = {"max_reply_mb": 1}
    bomb = gzip.compress(b" " * (64 << 20))
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"
    return [
        good("a mark before", raw(b"\xef\xbb\xbf" + whole)),
        good("bytes that are no UTF-8", raw(whole.replace(b"A train", b"\xff\xfe")),
             text=WHOLE.replace("A train", "\ufffd\ufffd")),
        good("another status", (201, {}, whole)),
        good("a list around", raw(b"[" + whole + b"]")),
        good("gzip", raw(gzip.compress(whole), **{"Content-Encoding": "gzip"})),
        good("deflate", raw(zlib.compress(whole), **{"Content-Encoding": "deflate"})),
        good("a key twice", raw(whole[:-1] + b', "id": 1, "id": 2}')),
        good("more choices than asked for", body(choices=json.loads(whole)["choices"] * 9)),
        bad("gzip that is none", raw(whole, **{"Content-Encoding": "gzip"}), "bad_reply", "gzip"),
        bad("a packing unheard of", raw(whole, **{"Content-Encoding": "br"}), "bad_reply", "'br'"),
        bad("a bomb", raw(bomb, **{"Content-Encoding": "gzip"}), "bad_reply",
            "over 1 MiB; raise engine.max_reply_mb", settings=small),
        bad("a reply without end", endless, "bad_reply", "over 1 MiB", settings=small),
        bad("a long refusal", (400, {}, b"no " * 1_000_000), "http_400", "^no no", settings=small),
        good("an event stream", raw(stream(b"\n\n"))),
        good("an event stream with other ends of lines", raw(b": ping\r\n\r\n" + stream(b"\r\n"))),
        good("an event stream that only says [DONE]", raw(chunk + b"data: [DONE]\n"), text="A"),
        good("an event stream that ends at a limit", raw(stream(b"\n", "length")), finish="length"),
        *passing("an event stream that breaks off", raw(chunk), "server_error", "breaks off"),
        *passing("an event stream that fails", raw(chunk + b'data: {"error": "cold"}\n'),
                 "server_error", "^cold$"),
        *(
            bad(f"an event stream with {part[:20]}", raw(chunk + f"data: {part}\n".encode()),
                "bad_reply", "stream that is broken")
            for part in ('{"choices": [7]}', '{"choices": [{"index": 1e999}]}', "[]", '{"cho',
                         '{"choices": [{"delta": "A"}]}', '{"choices": 1}')
        ),
        bad("a page", raw("<html><body>Sign <b>in</b></body></html>"), "bad_reply", "Sign in"),
        bad("half of it", raw(whole[:40]), "bad_reply", "not JSON"),
        bad("a text", raw('"fine"'), "bad_reply", '"fine"'),
        bad("a list", raw("[]"), "bad_reply", "no JSON object"),
        bad("null", raw("null"), "bad_reply", "null"),
        bad("choices that are an object", body(choices={"0": {}}), "bad_reply", "no list"),
        bad("a choice that is a text", body(choices=["A"]), "bad_reply", '"A"'),
        bad("a message that is a text", choice("A"), "bad_reply", '"A"'),
        bad("deep JSON", raw("[" * 100_000), "bad_reply", "deep"),
        bad("a deep error", raw('{"error":' * 3000 + "1" + "}" * 3000), "bad_reply", "deep"),
        bad("bytes of chance", raw(bytes(range(256)) * 20), "bad_reply", "not JSON"),
        bad("half a chunk", lambda _b, _n: [chunked], "connection", "", 3),
        bad("words that steer a terminal", (400, {}, b"\x1b[2Jno\x07 \xff"), "http_400",
            r"^\\x1b\[2Jno\\x07"),
        bad("words with half a pair", (400, {}, b'{"error": "\\ud800 no"}'), "http_400", "no$"),
        bad("a redirect", (302, {"Location": "http://elsewhere.invalid/"}, b""), "http_302",
            "^moved to http://elsewhere.invalid/; set engine.base_url to where it is$"),
    ]  # fmt: skip


def _numbers() -> list[ServerCase]:
    """Counts that cannot be are taken as not reported."""
    usages = {
        "none": None,
        "negative": {"prompt_tokens": -1, "completion_tokens": -5},
        "huge": {"prompt_tokens": 2**31, "completion_tokens": 10**30},
        "NaN": {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
        "texts": {"prompt_tokens": "many", "completion_tokens": "²"},
        "lists": {"prompt_tokens": [], "completion_tokens": {}},
        "true": {"prompt_tokens": True, "completion_tokens": None},
        "a text": "free",
        "a list": [1, 2],
    }
    choices = json.loads(chat(WHOLE)[2])["choices"]
    digits = b"9" * 5000
    return [
        *(good(f"usage: {name}", body(choices=choices, usage=u)) for name, u in usages.items()),
        bad("a number of 5,000 digits", raw(chat(WHOLE)[2][:-1] + b', "n": ' + digits + b"}"),
            "bad_reply", "not JSON"),
        good("a number without bounds", raw(chat(WHOLE)[2][:-1] + b', "n": 1e999}')),
    ]  # fmt: skip
