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
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from avrt.config import EngineConfig, MediaConfig
from avrt.engines.base import OnCompletion, failure
from avrt.engines.limiter import Replica, Replicas, Slot, wait_before_retry_s
from avrt.engines.loops import run_async
from avrt.engines.messages import build_body, wire_identity
from avrt.engines.puller import Puller
from avrt.errors import ConfigError, EngineError
from avrt.types import Completion, Request

__all__ = ["OpenAIEngine"]

_LONGEST_RETRY_AFTER_S = 600.0
_CONNECT_TIMEOUT_S = 10.0
_TOKENS_OF_MARKS = 3
"""Begin, placeholder, end: a chat template writes them even for an item that was dropped."""
_HOPELESS = {
    401: "the server refused the key; set the environment variable {api_key_env} to a valid one",
    403: "the key in the environment variable {api_key_env} may not use this model",
    404: "no such model or address; see {url}/models, and check that engine.base_url ends in /v1",
}
"""Statuses that every call of this run would get, and their remedies."""
_TRUST_FLAG = "--trust-request-mm-kwargs"


@dataclass
class _Session:
    """The shared objects of the workers of a `generate`."""

    puller: Puller[tuple[list[Request], bytes] | None]
    on_completion: OnCompletion
    replicas: Replicas
    client: aiohttp.ClientSession
    proxies: dict[str, str | None]
    """The proxy of each server, by its address."""


@dataclass(frozen=True)
class _Response:
    """The response of a server."""

    status: int
    body: bytes
    retry_after_s: float


class OpenAIEngine:
    """A model behind an OpenAI-compatible server, or behind several equal servers."""

    takes_encoded = True

    def __init__(
        self, config: EngineConfig, model: str, revision: str | None, media: MediaConfig
    ) -> None:
        self._config = config
        self._model = model
        self._media = media
        self._checked: set[str] = set()
        """Servers that pass media on to the model."""
        self._takes_n = config.n_per_request
        self.identity = wire_identity(config, model, revision, media)
        if config.n_per_request:  # a group has one seed, so its other answers are other draws
            self.identity["n_per_request"] = True

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; see `Engine.generate`."""
        run_async(self._generate(iter(requests), on_completion))

    def close(self) -> None:
        """Nothing to free: connections live only inside `generate`."""

    async def _generate(self, requests: Iterator[Request], on_completion: OnCompletion) -> None:
        config, groups = self._config, self._groups(requests)
        async with self._new_client() as client:
            with Puller(partial(self._pull, groups)) as puller:
                session = _Session(
                    puller,
                    on_completion,
                    Replicas(config.base_urls, config.concurrency, config.timeout_s),
                    client,
                    {url: _proxy_of(url) for url in config.base_urls},
                )
                try:
                    async with asyncio.TaskGroup() as workers:
                        for _ in range(config.concurrency):
                            workers.create_task(self._work(session))
                except BaseExceptionGroup as group:
                    raise group.exceptions[0] from None

    def _new_client(self) -> aiohttp.ClientSession:
        name = self._config.api_key_env
        key = os.environ.get(name, "")
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                f"the environment variable {name} holds characters that no key has, such as a line "
                "break; set it to the key alone"
            )
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(_CONNECT_TIMEOUT_S, self._config.timeout_s)
        )
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {key}"} if key else {}),
            },
            timeout=timeout,
        )

    async def _work(self, session: _Session) -> None:
        while (pulled := await session.puller.next()) is not None:
            group, body = pulled
            completions = await self._complete(session, group[0], body)
            if len(group) > 1:
                completions = await self._fill(session, group, completions)
            for request, completion in zip(group, completions, strict=False):
                session.on_completion(request, completion)

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

    async def _fill(
        self, session: _Session, group: list[Request], completions: list[Completion]
    ) -> list[Completion]:
        """Complete the requests that the call for the whole group did not answer, one by one."""
        if len(completions) == 1 and completions[0].finish_reason == "error":
            if completions[0].error_class != "http_400":
                return completions * len(group)
            completions = []
        alone = [
            (await self._complete(session, request, self._encode(request)))[0]
            for request in group[len(completions) :]
        ]
        if any(completion.finish_reason != "error" for completion in alone):
            self._takes_n = False
        return completions + alone

    async def _complete(self, session: _Session, request: Request, body: bytes) -> list[Completion]:
        """Send a request until it succeeds, fails for good, or has used its attempts."""
        completions, wait_s = await self._attempt(session, request, body)
        for n_failures in range(1, self._config.max_attempts):
            if wait_s is None:
                break
            await asyncio.sleep(max(wait_s, wait_before_retry_s(n_failures)))
            completions, wait_s = await self._attempt(session, request, body)
        if completions[0].finish_reason == "error":
            self._check_reachable(session.replicas, completions[0])
        return completions

    async def _attempt(
        self, session: _Session, request: Request, body: bytes
    ) -> tuple[list[Completion], float | None]:
        """Try once: the completions, and the least wait before another try (None: no other try)."""
        replicas = session.replicas
        while True:
            replica, slot = await replicas.take()
            try:
                started = time.monotonic()
                response = await self._post(session, replica, body)
                latency_s = time.monotonic() - started
                self._learn(replicas, replica, slot, response, latency_s)
                if isinstance(response, Completion):
                    if replica.down and not replicas.all_down:
                        continue  # another server can answer: do not count this try
                    return [response], 0.0
                if response.status != 200:
                    return self._refusal(response, replica, latency_s)
                completions = self._read_reply(response, latency_s)
                if completions[0].finish_reason != "error":
                    await self._check_media(session, replica, request, completions[0])
                return completions, None
            finally:
                replicas.give_back(replica)

    async def _post(
        self, session: _Session, replica: Replica, body: bytes
    ) -> _Response | Completion:
        """Send a request, and give the response, or the failure of a call without a response."""
        url, proxy = f"{replica.url}/chat/completions", session.proxies[replica.url]
        data = io.BytesIO(body)  # aiohttp warns of large bodies in plain bytes
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                session.client.post(url, data=data, proxy=proxy, allow_redirects=False) as reply,
            ):
                wait_s = _retry_after_s(reply.headers.get("Retry-After", ""))
                response = _Response(reply.status, await reply.read(), wait_s)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            replica.down = True
            return failure("connection", f"{type(error).__name__}: {error}")
        except TimeoutError:
            response = failure("timeout", f"no reply within {self._config.timeout_s:g} s")
        except aiohttp.ClientError as error:
            response = failure("connection", f"{type(error).__name__}: {error}")
        replica.down = False
        return response

    def _learn(
        self,
        replicas: Replicas,
        replica: Replica,
        slot: Slot,
        response: _Response | Completion,
        latency_s: float,
    ) -> None:
        """Report a call's result to the server's limit; rest a server that does not recover."""
        limit, wait_s = replica.limit, 0.0
        if isinstance(response, Completion):
            cut = limit.stop(slot) if replica.down else limit.fail(slot)
        elif not _can_pass(response.status):
            limit.succeed(slot, latency_s)
            return
        else:
            wait_s = response.retry_after_s
            refused = response.status == 429 or (response.status == 503 and wait_s > 0)
            cut = limit.refuse(slot) if refused else limit.fail(slot)
        if cut and (replica.down or (slot.level == 1 and limit.cuts_in_row > 1)):
            replicas.rest(replica, wait_s)
        if cut and replica.down and limit.cuts_in_row >= self._config.max_attempts:
            assert isinstance(response, Completion)
            self._check_reachable(replicas, response)

    def _check_reachable(self, replicas: Replicas, last: Completion) -> None:
        if replicas.all_down:
            urls = ", ".join(replica.url for replica in replicas.all)
            raise EngineError(
                f"{urls}: no server answers ({last.error}); start a server for {self._model!r}, or "
                "set engine.base_url to its address"
            )

    def _refusal(
        self, response: _Response, replica: Replica, latency_s: float
    ) -> tuple[list[Completion], float | None]:
        status, reason = response.status, self._words(response)[:500]
        remedy = _HOPELESS.get(status, "").format(
            url=replica.url, api_key_env=self._config.api_key_env
        )
        if status == 400 and _TRUST_FLAG in reason:
            remedy = (
                f"start it with {_TRUST_FLAG}, or remove engine.frames_as = 'video', and "
                "mm_processor_kwargs and media_io_kwargs in engine.extra_body"
            )
        if remedy:
            raise EngineError(
                f"{replica.url}: HTTP {status} for model {self._model!r}: {reason}; {remedy}"
            )
        completion = failure(f"http_{status}", reason, latency_s)
        return [completion], response.retry_after_s if _can_pass(status) else None

    def _read_reply(self, response: _Response, latency_s: float) -> list[Completion]:
        """Read the completions in a reply with status 200."""
        try:
            reply = json.loads(response.body)
            choices, usage = reply["choices"], reply.get("usage") or {}
            n_prompt, n_new = (
                int(usage.get(f"{name}_tokens") or 0) for name in ("prompt", "completion")
            )
            # A server counts the tokens of several answers together: each gets an equal share.
            shares = [n_new // len(choices)] * len(choices)
            shares[0] += n_new - sum(shares)
            return [
                _read_choice(choice, n_prompt, share, latency_s)
                for choice, share in zip(choices, shares, strict=True)
            ]
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            problem = f"{type(error).__name__}: {error} in {self._words(response)[:200]!r}"
            return [failure("bad_reply", self._hide_key(problem), latency_s)]

    def _words(self, response: _Response) -> str:
        return self._hide_key(" ".join(response.body.decode(errors="replace").split()))

    def _hide_key(self, text: str) -> str:
        """Remove the key from a text, in case a server repeats it."""
        key = os.environ.get(self._config.api_key_env)
        return text.replace(key, "***") if key else text

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
        if replica.url in self._checked or not present or not completion.n_prompt_tokens:
            return
        async with replica.media_lock:
            if replica.url in self._checked:
                return
            for name in present:
                sampling = replace(request.sampling, max_new_tokens=1)
                without = Request(request.key, replace(prompt, **{name: None}), sampling)
                response = await self._post(session, replica, self._encode(without))
                if isinstance(response, Completion) or response.status != 200:
                    return  # the next reply is checked instead
                n_with = completion.n_prompt_tokens
                n_without = self._read_reply(response, 0.0)[0].n_prompt_tokens
                if n_with - n_without <= _TOKENS_OF_MARKS * n_items[name]:
                    raise EngineError(
                        f"{replica.url}: model {self._model!r} got no {name}: the prompt has "
                        f"{n_with} tokens with {name} and {n_without} without; serve a model that "
                        f"takes {name}, with a server that passes it on"
                    )
            self._checked.add(replica.url)

    def _encode(self, request: Request, n: int = 1) -> bytes:
        body = build_body(request, self._model, self._config, self._media, n)
        return json.dumps(body).encode()


def _read_choice(
    choice: dict[str, Any], n_prompt_tokens: int, n_completion_tokens: int, latency_s: float
) -> Completion:
    message, finish_reason = choice["message"], choice.get("finish_reason")
    text = message.get("content") or ""
    if not isinstance(text, str):
        raise TypeError(f"content is {type(text).__name__}, not text")
    if finish_reason not in ("stop", "length"):
        raise ValueError(f"finish_reason is {finish_reason!r}")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    return Completion(
        _whole_text(reasoning, text, finish_reason),
        finish_reason,
        n_prompt_tokens=n_prompt_tokens,
        n_completion_tokens=n_completion_tokens,
        latency_s=latency_s,
    )


def _whole_text(reasoning: str | None, text: str, finish_reason: str) -> str:
    """Join the model's text; reasoning that the server split off goes back inside its tags."""
    if not reasoning:
        return text
    cut_inside = finish_reason == "length" and not text
    return f"<think>{reasoning}" if cut_inside else f"<think>{reasoning}</think>{text}"


def _can_pass(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _retry_after_s(value: str) -> float:
    """Read the seconds in a Retry-After header (a number or a date); 0 without the header."""
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(0.0, wait_s), _LONGEST_RETRY_AFTER_S)  # in this order, also for nan


def _proxy_of(url: str) -> str | None:
    """Look up HTTP_PROXY, HTTPS_PROXY and NO_PROXY once; the client would at every call."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _differ_in_seed(first: Request, second: Request) -> bool:
    a, b = first.prompt, second.prompt
    return (
        (a.text, a.system) == (b.text, b.system)
        and a.frames is b.frames
        and a.audio is b.audio
        and replace(first.sampling, seed=0) == replace(second.sampling, seed=0)
    )
