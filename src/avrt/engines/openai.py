"""The HTTP engine: vLLM, SGLang, llama.cpp, `transformers serve`, hosted models.

At most `concurrency` requests are held; `limiter.py` decides how many are in flight, and at which
server. Failures that may pass are tried again, others are not. Servers may silently drop parts that
their model does not know, so each server's first reply to a prompt with media is checked: the same
prompt without the media must have fewer tokens.

The decision to question: aiohttp, which parses in C. A call costs a fifth of the CPU time it costs
with httpx, and with hundreds in flight the client's single core limits a run.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import aiohttp

from avrt.config import EngineConfig, MediaConfig
from avrt.config.engine import chat_url
from avrt.config.secrets import hide, mask
from avrt.engines.base import OnCompletion, can_pass, failure
from avrt.engines.limiter import (
    Replica,
    Replicas,
    Report,
    Servers,
    wait_before_retry_s,
)
from avrt.engines.loops import run_async
from avrt.engines.messages import build_body, wire_identity
from avrt.engines.puller import Puller
from avrt.engines.replies import (
    FailedReplyError,
    count_prompt_tokens,
    read_reply,
    remedy_of,
    server_words,
)
from avrt.engines.transport import (
    Response,
    UnreadableError,
    new_client,
    proxy_of,
    read_body,
    retry_after_s,
)
from avrt.errors import EngineError
from avrt.types import Completion, Request

__all__ = ["OpenAIEngine"]

_TOKENS_OF_MARKS = 3
"""Begin, placeholder, end: a chat template writes them even for an item that was dropped."""
_MOST_CHECKS = 3
"""Tries to find out whether media reach a server's model."""
_HOPELESS = {
    401: "the server refused the key; set the environment variable {api_key_env} to a valid one",
    402: "the account of the key in the environment variable {api_key_env} has no credit left",
    403: "the key in the environment variable {api_key_env} may not use this model",
    404: "no such model or address; see {url}/models, and check that engine.base_url ends in /v1",
}
"""Statuses that every call of this run would get, and their remedies."""
_MOST_WORDS = 500
"""Characters of a server's words that are kept."""
_TRUST_FLAG = "--trust-request-mm-kwargs"


OpenServers: TypeAlias = Callable[[Sequence[str], int, float], Servers]
"""Makes the limits of servers from their addresses, the most calls and the longest wait."""


@dataclass(frozen=True)
class _Unreached:
    """There is no response: nothing listens at the address."""

    words: str


@dataclass
class _Session:
    """The shared objects of the workers of a `generate`."""

    puller: Puller[tuple[list[Request], bytes] | None]
    on_completion: OnCompletion
    servers: Servers
    client: aiohttp.ClientSession
    proxies: dict[str, str | None]
    """The proxy of each server, by its address."""
    all_down: bool = False
    """No server answered its latest call."""


class OpenAIEngine:
    """A model behind an OpenAI-compatible server, or behind several equal servers."""

    takes_encoded = True

    def __init__(
        self,
        config: EngineConfig,
        model: str,
        revision: str | None,
        media: MediaConfig,
        open_servers: OpenServers = Replicas,
    ) -> None:
        """`open_servers`: other limits than those of this process alone."""
        self._config = config
        self._open_servers = open_servers
        self._model = model
        self._media = media
        self._checked: set[tuple[str, str]] = set()
        """Servers that pass media on to the model."""
        self._n_unclear: Counter[str] = Counter()
        """Checks of each server that said nothing."""
        self._takes_n = config.n_per_request
        self._secrets = config.secrets()
        self.identity = wire_identity(config, model, revision, media)
        if config.n_per_request:  # a group has one seed, so its other answers are other draws
            self.identity["n_per_request"] = True
        if config.omit:
            self.identity["omit"] = sorted(config.omit)
        if config.max_tokens_as != "max_tokens":
            self.identity["max_tokens_as"] = config.max_tokens_as

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; see `Engine.generate`."""
        run_async(self._generate(iter(requests), on_completion))

    def close(self) -> None:
        """Nothing to free: connections live only inside `generate`."""

    async def _generate(self, requests: Iterator[Request], on_completion: OnCompletion) -> None:
        config, groups = self._config, self._groups(requests)
        self._secrets = config.secrets()  # the environment may have changed
        urls = [chat_url(url) for url in config.base_urls]
        async with new_client(config) as client:
            with Puller(partial(self._pull, groups)) as puller:
                session = _Session(
                    puller,
                    on_completion,
                    self._open_servers(urls, config.concurrency, config.timeout_s),
                    client,
                    {url: proxy_of(url) for url in urls},
                )
                try:
                    async with asyncio.TaskGroup() as workers:
                        for _ in range(config.concurrency):
                            workers.create_task(self._work(session))
                except BaseExceptionGroup as group:
                    raise group.exceptions[0] from None

    async def _work(self, session: _Session) -> None:
        while (pulled := await session.puller.next()) is not None:
            group, body = pulled
            completions = await self._complete(session, group[0], body, len(group))
            if len(group) > 1 and completions[0].finish_reason == "error":
                # With 400 the server may refuse `n`; else each would fail in the same way.
                refused = completions[0].error_class == "http_400"
                completions = [] if refused else completions * len(group)
            for request, completion in zip(group, completions, strict=False):
                session.on_completion(request, completion)
            await self._ask_alone(session, group[len(completions) :], len(completions))

    def _groups(self, requests: Iterator[Request]) -> Iterator[list[Request]]:
        """Group requests that a single call can answer: those in a row that differ only in seed."""
        group: list[Request] = []
        for request in requests:
            if group and not (self._takes_n and _differ_in_seed(group[0], request)):
                yield group
                group = []
            group.append(request)
            if not self._takes_n:
                yield group
                group = []
        if group:
            yield group

    def _pull(self, groups: Iterator[list[Request]]) -> tuple[list[Request], bytes] | None:
        group = next(groups, None)
        return None if group is None else (group, self._encode(group[0], len(group)))

    async def _ask_alone(self, session: _Session, rest: list[Request], n_given: int) -> None:
        """Complete the requests that the call for the whole group, which gave `n_given`, left."""
        failures = 0
        for request in rest:
            completion = (await self._complete(session, request, self._encode(request)))[0]
            failures += completion.finish_reason == "error"
            session.on_completion(request, completion)
        if n_given < 2 and failures < len(rest):
            self._takes_n = False  # it ignores or refuses `n`

    async def _complete(
        self, session: _Session, request: Request, body: bytes, n: int = 1
    ) -> list[Completion]:
        """Send a request until it succeeds, fails for good, or has used its attempts."""
        completions, wait_s = await self._attempt(session, request, body, n)
        for n_failures in range(1, self._config.max_attempts):
            if wait_s is None:
                break
            await asyncio.sleep(max(wait_s, wait_before_retry_s(n_failures)))
            completions, wait_s = await self._attempt(session, request, body, n)
        if session.all_down and completions[0].finish_reason == "error":
            raise self._unreachable(completions[0])
        return completions

    async def _attempt(
        self, session: _Session, request: Request, body: bytes, n: int
    ) -> tuple[list[Completion], float | None]:
        """Try once: the completions, and the least wait before another try (None: no other try)."""
        servers = session.servers
        while True:
            replica, slot = await servers.take()
            try:
                response = await self._post(session, replica, body)
                completions = self._read(response, replica, n, request.sampling.max_new_tokens)
                report = _report(response, completions[0])
                standing = await servers.report(replica, slot, report)
                session.all_down = standing.all_down
                if standing.all_down and standing.n_cuts >= self._config.max_attempts:
                    raise self._unreachable(completions[0])
                error_class = completions[0].error_class
                if error_class is None:
                    await self._check_media(session, replica, request, completions[0])
                    return completions, None
                if standing.is_down and not standing.all_down:
                    continue  # another server can answer: do not count this try
                return completions, report.wait_s if can_pass(error_class) else None
            finally:
                servers.give_back(replica)

    async def _post(
        self, session: _Session, replica: Replica, body: bytes
    ) -> Response | Completion | _Unreached:
        """Send a request, and give the response, or the failure of a call without a response."""
        proxy, started = session.proxies[replica.url], time.monotonic()
        data = io.BytesIO(body)  # aiohttp warns of large bodies in plain bytes
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                session.client.post(
                    replica.url, data=data, proxy=proxy, allow_redirects=False
                ) as reply,
            ):
                wait_s = retry_after_s(reply.headers.get("Retry-After", ""))
                content = await read_body(reply, self._config.max_reply_mb << 20)
                latency_s = time.monotonic() - started
                return Response(reply.status, content, wait_s, latency_s)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return _Unreached(self._show(f"{type(error).__name__}: {error}"))
        except TimeoutError:
            return failure("timeout", f"no reply within {self._config.timeout_s:g} s")
        except UnreadableError as error:
            return failure("bad_reply", str(error))
        except (aiohttp.ClientError, ValueError) as error:  # ValueError: headers of a broken reply
            return failure("connection", self._show(f"{type(error).__name__}: {error}"))

    def _read(
        self,
        response: Response | Completion | _Unreached,
        replica: Replica,
        n: int,
        max_tokens: int,
    ) -> list[Completion]:
        """Read the completions in a response, or its failure."""
        if isinstance(response, _Unreached):
            return [failure("connection", response.words)]
        if isinstance(response, Completion):
            return [response]
        if not 200 <= response.status < 300:
            return [self._refusal(response, replica)]
        try:
            reply = read_reply(response.body, n, max_tokens)
        except FailedReplyError as error:
            words = self._show(str(error)) + remedy_of(str(error), self._config)
            return [failure(error.error_class, words, response.latency_s)]
        return [
            replace(one, text=hide(one.text, self._secrets))
            for one in reply.completions(response.latency_s)
        ]

    def _unreachable(self, last: Completion) -> EngineError:
        urls = ", ".join(mask(url) for url in self._config.base_urls)
        return EngineError(
            f"{urls}: no server answers ({last.error}); start a server for {self._model!r} "
            "(`avrt serve CONFIG` prints the command), or set engine.base_url to its address"
        )

    def _refusal(self, response: Response, replica: Replica) -> Completion:
        status, words = response.status, server_words(response.body)
        reason = self._show(words)
        hopeless = _HOPELESS.get(status, "").format(
            url=_shown(replica), api_key_env=self._config.api_key_env
        )
        if status == 400 and _TRUST_FLAG in reason:
            hopeless = (
                f"start it with {_TRUST_FLAG}, or remove engine.frames_as = 'video', and "
                "mm_processor_kwargs and media_io_kwargs in engine.extra_body"
            )
        if hopeless:
            raise EngineError(
                f"{_shown(replica)}: HTTP {status} for model {self._model!r}: {reason}; {hopeless}"
            )
        remedy = "" if can_pass(f"http_{status}") else remedy_of(words, self._config)
        return failure(f"http_{status}", reason + remedy, response.latency_s)

    def _show(self, words: str) -> str:
        """Give a server's words on one line, without secrets, not too long."""
        words = hide(" ".join(words.split()), self._secrets).rstrip(".")
        return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"

    async def _check_media(
        self, session: _Session, replica: Replica, request: Request, completion: Completion
    ) -> None:
        """Check once per server that each modality costs prompt tokens, else it was dropped."""
        prompt = request.prompt
        n_items = {
            "frames": 0 if prompt.frames is None else len(prompt.frames),
            "audio": 0 if prompt.audio is None else 1,
        }
        present = [name for name, n in n_items.items() if n]
        present = [name for name in present if (replica.url, name) not in self._checked]
        if not present:
            return
        if not self._config.check_media:
            self._note(replica, present, "engine.check_media is off")
            return
        if not completion.n_prompt_tokens:
            self._note(replica, present, "its replies have no usage")
            return
        async with replica.media_lock:
            for name in present:
                if (replica.url, name) in self._checked:
                    continue
                sampling = replace(request.sampling, max_new_tokens=1)
                without = Request(request.key, replace(prompt, **{name: None}), sampling)
                response = await self._post(session, replica, self._encode(without))
                body = response.body if isinstance(response, Response) else b""
                n_with, n_without = completion.n_prompt_tokens, count_prompt_tokens(body)
                if not n_without:  # the next reply is checked instead, a few times
                    self._n_unclear[replica.url] += 1
                    if self._n_unclear[replica.url] == _MOST_CHECKS:
                        words = self._show(server_words(body)) or "no words of the server"
                        reason = f"it gives no reply to a prompt without {name} ({words})"
                        self._note(replica, present, reason)
                    return
                if n_with - n_without <= _TOKENS_OF_MARKS * n_items[name]:
                    raise EngineError(
                        f"{_shown(replica)}: model {self._model!r} got no {name}: the prompt has "
                        f"{n_with} tokens with {name} and {n_without} without; serve a model that "
                        f"takes {name}, with a server that passes it on; if the server counts text "
                        "alone in `usage`, set engine.check_media=false"
                    )
                self._checked.add((replica.url, name))

    def _note(self, replica: Replica, present: list[str], reason: str) -> None:
        """Say once per server that nobody knows whether media reach its model."""
        self._checked |= {(replica.url, name) for name in present}
        print(
            f"{_shown(replica)}: not checked that {' and '.join(present)} reach model "
            f"{self._model!r}: {reason}",
            file=sys.stderr,
        )

    def _encode(self, request: Request, n: int = 1) -> bytes:
        body = build_body(request, self._model, self._config, self._media, n)
        return json.dumps(body).encode()


def _report(response: Response | Completion | _Unreached, completion: Completion) -> Report:
    """The result of a call, as the limit of its server counts it."""
    if isinstance(response, _Unreached):
        return Report("down")
    error_class = completion.error_class
    wait_s = response.retry_after_s if isinstance(response, Response) else 0.0
    if error_class is None or not can_pass(error_class):
        return Report("good", completion.latency_s, wait_s)
    is_full = error_class == "http_429" or (error_class == "http_503" and wait_s > 0)
    return Report("refused" if is_full else "fault", completion.latency_s, wait_s)


def _shown(replica: Replica) -> str:
    return mask(replica.url).replace("/chat/completions", "", 1)


def _differ_in_seed(first: Request, second: Request) -> bool:
    a, b = first.prompt, second.prompt
    return (
        (a.text, a.system) == (b.text, b.system)
        and a.frames is b.frames
        and a.audio is b.audio
        and replace(first.sampling, seed=0) == replace(second.sampling, seed=0)
    )
