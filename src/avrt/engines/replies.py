"""Read the replies of chat servers: the completions in them, or the server's words about a failure.

Servers that call themselves OpenAI-compatible agree on little but the happy case. Content comes as
a text or as a list of parts, reasoning under four names, the end of a reply under thirty; errors
come with status 200, at the top or inside a choice. Whatever is left over is a failure with a name,
and never another exception.

The decision to question: a count of tokens that cannot be (negative, NaN, beyond 2**31) is taken as
not reported: the reply itself was paid for, and is whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from avrt.config import EngineConfig
from avrt.texts import printable
from avrt.types import Completion

__all__ = [
    "FailedReplyError",
    "Reply",
    "count_prompt_tokens",
    "read_reply",
    "remedy_of",
    "server_words",
]

_FINISHED = {
    *("", "stop", "stop_sequence", "stop_token", "eos", "eos_token", "eot", "end", "end_turn"),
    *("end_of_turn", "end_of_text", "complete", "completed", "done", "finish", "finished"),
    *("success", "normal"),
}
"""Ends of whole replies, in small letters; none at all is one, too."""
_CUT = {
    *("length", "max_tokens", "max_length", "max_new_tokens", "max_output_tokens", "token_limit"),
    *("max_completion_tokens", "model_length", "model_context_window_exceeded"),
}
_FILTERED = {
    *("content_filter", "content_filtered", "filtered", "safety", "image_safety", "refusal"),
    *("recitation", "blocklist", "prohibited_content", "spii", "sensitive", "moderation"),
    *("guardrail_intervened", "error_toxic"),
}
_BROKEN = {
    *("error", "failed", "failure", "abort", "aborted", "cancel", "cancelled", "canceled"),
    *("timeout", "overloaded", "network_error", "insufficient_system_resource"),
}
"""Ends that another try may change."""
_PROMPT = ("prompt_tokens", "input_tokens")
_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_REFUSED = re.compile(
    r"invalid|bad.?request|not.?found|unsupported|unprocessable|context.?length|too.?l(ong|arge)"
    r"|authenti|authori|permission|forbidden|billing|policy|filter|safety|moderation",
    re.IGNORECASE,
)
"""In the code or type of an error: another try would not help."""
_BUSY = re.compile(r"rate.?limit|too.?many|exhausted|quota", re.IGNORECASE)
_NOT_TAKEN = re.compile(
    r"un(supported|known|recogni[sz]ed|expected)|not (be )?(supported|permitted|allowed|accepted)"
    r"|does ?n[o']t support|extra|forbidden|deprecated|cannot both|both|instead|mutually exclusive",
    re.IGNORECASE,
)
"""In the words of a server that takes a request without one of its keys."""
_TAG = re.compile(r"(?is)<(script|style)\b.*?</\1>|<[^<>]*>")
_MOST_WORDS = 4_000
"""Characters of a server's words that are looked at."""
_CHARACTERS_OF_TOKEN = 8
"""More than tokens have on average, in any language."""


class FailedReplyError(Exception):
    """A reply that holds no completion; its text is what the server says."""

    def __init__(self, error_class: str, words: str) -> None:
        super().__init__(words)
        self.error_class = error_class
        """As in `Completion`."""


@dataclass(frozen=True)
class Reply:
    """The answers in a reply, and what they cost together."""

    texts: list[tuple[str, Literal["stop", "length"]]]
    """Each answer and how it ended."""
    n_prompt_tokens: int
    """0: not reported."""
    n_completion_tokens: list[int]
    """Of each answer."""

    def completions(self, latency_s: float) -> list[Completion]:
        """The answers; the prompt, which the server read once, counts for the first."""
        return [
            Completion(
                text,
                finish,
                n_prompt_tokens=0 if number else self.n_prompt_tokens,
                n_completion_tokens=n_tokens,
                latency_s=latency_s,
            )
            for number, ((text, finish), n_tokens) in enumerate(
                zip(self.texts, self.n_completion_tokens, strict=True)
            )
        ]


def read_reply(body: bytes, n: int = 1, max_tokens: int | None = None) -> Reply:
    """Read up to `n` answers; of several, those that failed are left out.

    An answer that does not say how it ended is whole unless it has `max_tokens` tokens.

    Raises:
        FailedReplyError: there is no answer. Its class is `http_CODE` for an error object with a
            code, `server_error` for an error without one, no choices or no content, else
            `content_filter` or `bad_reply`.
    """
    try:
        return _read(_parse(body), n, max_tokens)
    except RecursionError:
        raise FailedReplyError("bad_reply", "JSON that is nested too deeply") from None


def server_words(body: bytes) -> str:
    """Give what a server says of a failure: the message of its error object, or a page's text."""
    try:
        words = _message(json.loads(body))
    except (ValueError, RecursionError):
        words = _TAG.sub(" ", body[:_MOST_WORDS].decode(errors="replace"))
    return _one_line(words)


def remedy_of(words: str, config: EngineConfig) -> str:
    """Name the setting that helps when a server does not take a key of the request, if one does.

    `words` are the server's.
    """
    if not _NOT_TAKEN.search(words):
        return ""

    def names(key: str) -> bool:
        return re.search(rf"(?<![A-Za-z_]){re.escape(key)}(?![A-Za-z_])", words) is not None

    if extra := [name for name in config.fields if names(name)]:
        return f"; take {', '.join(extra)} out of engine.extra_body"
    is_sent = "max_tokens" not in config.omit
    if is_sent and config.max_tokens_as == "max_tokens" and names("max_completion_tokens"):
        return "; set engine.max_tokens_as=max_completion_tokens"
    keys = {key: key for key in ("top_p", "temperature", "seed")}
    keys["max_tokens"] = config.max_tokens_as
    left = [key for key, sent in keys.items() if key not in config.omit and names(sent)]
    if not left:
        return ""
    return f"; set engine.omit=[{', '.join([*config.omit, left[0]])}]"  # of two, one may stay


def count_prompt_tokens(body: bytes) -> int:
    """Give the prompt tokens that a reply reports, whatever else is in it; 0: none."""
    try:
        reply = _parse(body)
    except (FailedReplyError, RecursionError):
        return 0
    usage = reply.get("usage") if isinstance(reply, dict) else None
    return _count(usage, _PROMPT) if isinstance(usage, dict) else 0


def _parse(body: bytes) -> Any:
    text = body.decode("utf-8-sig", errors="replace")
    try:
        return json.loads(text)
    except ValueError:  # also a number of over 4,300 digits
        start = text.lstrip()[:6]
        if not start:
            raise FailedReplyError("server_error", "an empty reply") from None
        if start.startswith(("data:", "event:", "id:", ":")):
            return _joined(text)
        raise FailedReplyError("bad_reply", f"not JSON: {server_words(body)}") from None


def _joined(stream: str) -> Any:
    """Make a reply of the chunks of an event stream, which some servers send unasked."""
    reply: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    lines = [line.strip() for line in stream.replace("\r", "\n").split("\n")]
    events = [line[5:].strip() for line in lines if line.startswith("data:")]
    try:
        for event in events:
            chunk = json.loads(event) if event not in ("", "[DONE]") else {}
            reply.update((key, value) for key, value in chunk.items() if value)
            for part in chunk.get("choices") or []:
                choice = choices.setdefault(int(part.get("index") or 0), {"message": {}})
                ends = ("finish_reason", "error")
                choice.update((key, part[key]) for key in ends if part.get(key))
                for key, value in (part.get("delta") or part.get("message") or {}).items():
                    pieces = value if isinstance(value, list) else [value]
                    choice["message"].setdefault(key, []).extend(pieces)
    except (ValueError, TypeError, AttributeError, OverflowError):
        words = f"an event stream that is broken: {server_words(stream.encode())}"
        raise FailedReplyError("bad_reply", words) from None
    has_ended = "[DONE]" in events or any("finish_reason" in one for one in choices.values())
    if choices and not has_ended and not reply.get("error"):
        raise FailedReplyError("server_error", "an event stream that breaks off")
    for choice in choices.values():
        choice["message"] = {key: _whole(parts) for key, parts in choice["message"].items()}
    return reply | {"choices": [choices[index] for index in sorted(choices)]}


def _whole(pieces: list[Any]) -> Any:
    """What a field of a message is whose pieces came one by one."""
    pieces = [piece for piece in pieces if piece is not None]
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces) if pieces else None
    return pieces


def _read(reply: Any, n: int, max_tokens: int | None) -> Reply:
    if isinstance(reply, list) and len(reply) == 1:  # some gateways wrap their errors
        reply = reply[0]
    if not isinstance(reply, dict):
        raise FailedReplyError("bad_reply", f"no JSON object but {_dump(reply)}")
    if _says_error(reply.get("error")):
        raise _error(reply["error"], reply)
    choices = reply.get("choices")
    if not choices:
        raise _error(reply, reply)
    if not isinstance(choices, list):
        raise FailedReplyError("bad_reply", f"choices are no list but {_dump(choices)}")
    texts: list[tuple[str, Literal["stop", "length"]]] = []
    failure: FailedReplyError | None = None
    for choice in choices[:n]:
        try:
            texts.append(_read_choice(choice))
        except FailedReplyError as error:
            failure = failure or error
    if failure is not None and not texts:
        raise failure
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    n_new = _count(usage, ("completion_tokens", "output_tokens"))
    if (
        len(choices) == 1
        and not choices[0].get("finish_reason")
        and n_new >= (max_tokens or n_new + 1)
    ):
        texts = [(text, "length") for text, _ in texts]
    return Reply(
        texts,
        _count(usage, _PROMPT),
        [n_new] if len(texts) == 1 else _shares(n_new, reply, [text for text, _ in texts]),
    )


def _shares(n_tokens: int, reply: Mapping[str, Any], texts: list[str]) -> list[int]:
    """Share the tokens of several answers by their length.

    vLLM, SGLang and OpenAI count all of them together. llama.cpp counts the first alone, which
    its `timings` show, or the length of the texts: then the others cost as much by length.
    """
    lengths = [len(text) + 1 for text in texts]
    timings = reply.get("timings")
    of_first = isinstance(timings, dict) and timings.get("predicted_n") == n_tokens > 0
    if of_first or n_tokens * _CHARACTERS_OF_TOKEN < sum(lengths):
        return [round(n_tokens * length / lengths[0]) for length in lengths]
    shares = [n_tokens * length // sum(lengths) for length in lengths]
    shares[0] += n_tokens - sum(shares)
    return shares


def _read_choice(choice: Any) -> tuple[str, Literal["stop", "length"]]:
    if not isinstance(choice, dict):
        raise FailedReplyError("bad_reply", f"a choice is no object but {_dump(choice)}")
    message = choice.get("message")
    if message is None and isinstance(choice.get("text"), str):
        message = {"content": choice["text"]}
    if _says_error(choice.get("error")):
        raise _error(choice["error"], choice)
    finish = _finish(choice.get("finish_reason"))
    if message is None:
        raise FailedReplyError("server_error", "a choice without a message")
    if not isinstance(message, dict):
        raise FailedReplyError("bad_reply", f"a message is no object but {_dump(message)}")
    content = message.get("content")
    thought, text = _read_parts(content)
    if content is None and isinstance(message.get("refusal"), str):
        text = message["refusal"]  # the model's own words
    thought = thought or next((_plain(message[key]) for key in _REASONING if message.get(key)), "")
    if not text and not thought and finish != "length":
        if message.get("tool_calls") or message.get("function_call"):
            raise FailedReplyError("bad_reply", "the model calls a tool instead of answering")
        if content is None or not choice.get("finish_reason"):
            raise FailedReplyError("server_error", "a reply without content")
    return _whole_text(thought, text, finish), finish


def _finish(reason: Any) -> Literal["stop", "length"]:
    """How a reply ended, by any of the names for it."""
    if isinstance(reason, dict):
        reason = reason.get("type", reason.get("reason"))
    if not isinstance(reason, str | None):
        raise FailedReplyError("bad_reply", f"finish_reason is {_dump(reason)}")
    name = (reason or "").rpartition(".")[2].strip().lower().replace("-", "_")
    if name in _FINISHED:
        return "stop"
    if name in _CUT:
        return "length"
    words = f"finish_reason is {reason!r}"
    if name in _FILTERED:
        raise FailedReplyError("content_filter", f"{words}: the server held the answer back")
    raise FailedReplyError("server_error" if name in _BROKEN else "bad_reply", printable(words))


def _read_parts(content: Any) -> tuple[str, str]:
    """The reasoning and the text of a message's content."""
    if content is None or isinstance(content, str):
        return "", content or ""
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise FailedReplyError("bad_reply", f"content is {_dump(content)}, not text")
    thought, text = "", ""
    for part in parts:
        kind = "text" if isinstance(part, str) else ""
        if isinstance(part, dict):
            kind = str(part.get("type") or "text").lower()
        if "think" in kind or "reason" in kind:
            thought += _plain(part)
        elif "text" in kind or kind == "refusal":
            text += _plain(part)
        else:
            raise FailedReplyError("bad_reply", f"content holds {_dump(part)}, not text")
    return thought, text


def _plain(part: Any) -> str:
    """The text of a part, or of a list of parts."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "".join(map(_plain, part))
    if isinstance(part, dict):
        keys = ("text", "thinking", "reasoning", "content", "summary", "refusal")
        return next((_plain(part[key]) for key in keys if part.get(key)), "")
    return ""


def _whole_text(thought: str, text: str, finish: str) -> str:
    """Join the model's text; reasoning that the server split off goes back inside its tags."""
    if not thought or ("</think>" in text and thought.strip() in text):
        return text
    cut_inside = finish == "length" and not text
    return f"<think>{thought}" if cut_inside else f"<think>{thought}</think>{text}"


def _says_error(error: Any) -> bool:
    """Some gateways send an empty error beside every good reply."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _error(error: Any, around: Mapping[str, Any]) -> FailedReplyError:
    """The failure that an error object stands for, by its code, or by the name of its type."""
    names = [
        part[key]
        for part in (error, around)
        if isinstance(part, dict)
        for key in ("code", "status_code", "status", "type")
        if isinstance(part.get(key), int | float | str)
    ]
    words = _one_line(_message(error) if _says_error(error) else "") or "a reply without choices"
    for name in map(str, names):
        if re.fullmatch(r"[45]\d\d(\.0)?", name):
            return FailedReplyError(f"http_{name[:3]}", words)
    kinds = " ".join(name for name in names if isinstance(name, str))
    if _BUSY.search(kinds):
        return FailedReplyError("http_429", words)
    return FailedReplyError("http_400" if _REFUSED.search(kinds) else "server_error", words)


def _message(error: Any) -> str:
    """The words in an error object, wherever they stand."""
    if isinstance(error, str):
        return error
    if isinstance(error, list) and error:
        return "; ".join(map(_message, error[:5]))
    if isinstance(error, dict) and isinstance(
        error.get("loc"), list
    ):  # FastAPI; its `input` is ours
        place = ".".join(map(str, error["loc"]))
        return f"{place}: {error.get('msg') or error.get('type')}"
    if isinstance(error, dict):
        keys = ("error", "errors", "detail", "message", "msg", "error_message", "error_msg")
        for key in (*keys, "status_msg", "reason", "base_resp"):
            if error.get(key):
                words, parameter = _message(error[key]), error.get("param")
                is_new = isinstance(parameter, str) and parameter not in words
                return f"{words} ({parameter})" if is_new else words
        if "choices" in error:
            return ""
    return json.dumps(error, ensure_ascii=False)


def _one_line(words: str) -> str:
    return printable(" ".join(words[:_MOST_WORDS].split()))


def _count(usage: Mapping[str, Any], names: Iterable[str]) -> int:
    for name in names:
        n = usage.get(name)
        if isinstance(n, str) and n.isascii() and n.isdigit() and len(n) < 11:
            n = int(n)
        if isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < 2**31:
            return int(n)
    return 0


def _dump(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False))[:200]
