"""The HTTP engine: vLLM, SGLang, llama.cpp, `transformers serve`, hosted models.

Frames go as base64 JPEG `image_url` parts, sound as one base64 WAV or FLAC `input_audio` part, the
text last. Media that come encoded go as they are. `concurrency` requests are in flight; each is
read and sent only when a slot is free.
Servers may silently drop parts their model does not know, so the first reply to a prompt with media
is checked: leaving the media out must cost tokens.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from avrt.config import EngineConfig, MediaConfig
from avrt.engines.base import OnCompletion, failure
from avrt.engines.checkpoints import model_identity
from avrt.errors import EngineError
from avrt.media.payloads import encode_frames, encode_sound
from avrt.types import Completion, EncodedFrames, EncodedSound, Prompt, Request

__all__ = ["OpenAIEngine", "build_body"]

_FIRST_WAIT_S = 0.5
"""Wait before the second attempt; it doubles with every further one."""
_LONGEST_WAIT_S = 60.0
_LONGEST_RETRY_AFTER_S = 600.0
_CONNECT_TIMEOUT_S = 10.0
_TOKENS_OF_MARKS = 3
"""Begin, placeholder, end: what a chat template writes for an item whose content was dropped."""
_HOPELESS = {
    401: "the server refused the key; set the environment variable {api_key_env} to a valid one",
    403: "the key in the environment variable {api_key_env} may not use this model",
    404: "no such model or address; see {base_url}/models, and check that base_url ends in /v1",
}
"""Statuses that no call of this run can escape, and what to do."""


@dataclass
class _Session:
    """What the workers of one `generate` share."""

    client: httpx.AsyncClient
    requests: Iterator[Request]
    on_completion: OnCompletion
    pull_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    check_lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class OpenAIEngine:
    """One model behind an OpenAI-compatible server."""

    def __init__(
        self, config: EngineConfig, model: str, revision: str | None, media: MediaConfig
    ) -> None:
        self._config = config
        self._model = model
        self._media = media
        self._url = config.base_url.rstrip("/") + "/chat/completions"
        self._reached = False
        self._media_checked = False
        recipe = {
            "frames": f"jpeg-{media.jpeg_quality}",
            "audio": f"{media.audio_format}-pcm16",
        }
        self.identity = {**model_identity(model, revision), **recipe}

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; see `Engine.generate`."""
        asyncio.run(self._generate(iter(requests), on_completion))

    def close(self) -> None:
        """Nothing to free: connections live only inside `generate`."""

    async def _generate(self, requests: Iterator[Request], on_completion: OnCompletion) -> None:
        timeout = httpx.Timeout(None, connect=min(_CONNECT_TIMEOUT_S, self._config.timeout_s))
        limits = httpx.Limits(max_connections=self._config.concurrency)
        async with httpx.AsyncClient(
            headers=self._headers(), timeout=timeout, limits=limits
        ) as client:
            session = _Session(client, requests, on_completion)
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self._config.concurrency):
                        workers.create_task(self._work(session))
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

    async def _work(self, session: _Session) -> None:
        while True:
            async with session.pull_lock:
                request = await asyncio.to_thread(next, session.requests, None)
            if request is None:
                return
            completion = await self._complete(session.client, request)
            if completion.finish_reason != "error":
                await self._check_media(session, request, completion)
            session.on_completion(request, completion)

    async def _complete(self, client: httpx.AsyncClient, request: Request) -> Completion:
        """Send one request until it succeeds, fails for good, or has used its attempts."""
        body = await asyncio.to_thread(self._encode, request)
        completion, wait_s = await self._attempt(client, body)
        for retry in range(self._config.max_attempts - 1):
            if wait_s is None:
                break
            backoff_s = min(_FIRST_WAIT_S * 2**retry, _LONGEST_WAIT_S) * random.uniform(0.5, 1.5)
            await asyncio.sleep(max(wait_s, backoff_s))
            completion, wait_s = await self._attempt(client, body)
        if not self._reached:
            raise EngineError(
                f"{self._config.base_url}: no server answers ({completion.error}); "
                f"start one that serves {self._model!r}, or set engine.base_url to its address"
            )
        return completion

    async def _attempt(
        self, client: httpx.AsyncClient, body: bytes
    ) -> tuple[Completion, float | None]:
        """One try: the completion, and the shortest wait before another (None: none is due)."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._config.timeout_s):
                response = await client.post(self._url, content=body)
        except TimeoutError:
            self._reached = True
            return failure("timeout", f"no reply within {self._config.timeout_s:g} s"), 0.0
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return failure("connection", f"{type(error).__name__}: {error}"), 0.0
        except httpx.TransportError as error:
            self._reached = True
            return failure("connection", f"{type(error).__name__}: {error}"), 0.0
        self._reached = True
        latency_s = time.monotonic() - started
        if response.status_code == 200:
            return _read_reply(response, latency_s), None
        return self._refusal(response, latency_s)

    def _refusal(
        self, response: httpx.Response, latency_s: float
    ) -> tuple[Completion, float | None]:
        status, reason = response.status_code, self._reason(response)
        if status in _HOPELESS:
            remedy = _HOPELESS[status].format(**self._config.model_dump())
            raise EngineError(
                f"{self._url}: HTTP {status} for model {self._model!r}: {reason}; {remedy}"
            )
        completion = failure(f"http_{status}", reason, latency_s)
        can_pass = status == 429 or status >= 500
        return completion, _retry_after_s(response) if can_pass else None

    def _reason(self, response: httpx.Response) -> str:
        """The server's own words, short and without the key in case the server repeats it."""
        text = " ".join(response.text.split())
        key = os.environ.get(self._config.api_key_env)
        return (text.replace(key, "***") if key else text)[:500]

    async def _check_media(
        self, session: _Session, request: Request, completion: Completion
    ) -> None:
        """Once per engine: each modality must have cost prompt tokens, else it was dropped."""
        prompt = request.prompt
        n_items = {
            "frames": 0 if prompt.frames is None else len(prompt.frames),
            "audio": 0 if prompt.audio is None else 1,
        }
        present = [name for name, n in n_items.items() if n]
        async with session.check_lock:
            if self._media_checked or not present or not completion.n_prompt_tokens:
                return
            for name in present:
                without = replace(prompt, **{name: None})
                sampling = replace(request.sampling, max_new_tokens=1)
                twin = await self._complete(session.client, Request(request.key, without, sampling))
                n_with, n_without = completion.n_prompt_tokens, twin.n_prompt_tokens
                n_marks = _TOKENS_OF_MARKS * n_items[name]
                if twin.finish_reason != "error" and n_with - n_without <= n_marks:
                    raise EngineError(
                        f"{self._url}: model {self._model!r} got no {name}: the prompt has "
                        f"{n_with} tokens with {name} and {n_without} without; serve a model that "
                        f"takes {name}, with a server that hands it over"
                    )
            self._media_checked = True

    def _encode(self, request: Request) -> bytes:
        return json.dumps(build_body(request, self._model, self._media)).encode()

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self._config.api_key_env)
        return {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }


def build_body(request: Request, model: str, media: MediaConfig) -> dict[str, Any]:
    """The JSON body of one chat completion request."""
    prompt, sampling = request.prompt, request.sampling
    messages: list[dict[str, Any]] = []
    if prompt.system is not None:
        messages.append({"role": "system", "content": prompt.system})
    parts = _media_parts(prompt, media)
    content = [*parts, {"type": "text", "text": prompt.text}] if parts else prompt.text
    messages.append({"role": "user", "content": content})
    return {
        "model": model,
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
    }


def _media_parts(prompt: Prompt, media: MediaConfig) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    frames, audio = prompt.frames, prompt.audio
    if frames is not None:
        encoded = frames if isinstance(frames, EncodedFrames) else encode_frames(frames, media)
        for jpeg in encoded.jpegs:
            url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
            parts.append({"type": "image_url", "image_url": {"url": url}})
    if audio is not None:
        sound = audio if isinstance(audio, EncodedSound) else encode_sound(audio, media)
        data = {"data": base64.b64encode(sound.data).decode(), "format": sound.format}
        parts.append({"type": "input_audio", "input_audio": data})
    return parts


def _read_reply(response: httpx.Response, latency_s: float) -> Completion:
    """The completion in a reply that came with status 200."""
    try:
        reply = response.json()
        choice = reply["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        usage = reply.get("usage") or {}
        if not isinstance(text, str):
            raise TypeError(f"content is {type(text).__name__}, not text")
        if choice.get("finish_reason") not in ("stop", "length"):
            raise ValueError(f"finish_reason is {choice.get('finish_reason')!r}")
        return Completion(
            _whole_text(reasoning, text, choice["finish_reason"]),
            choice["finish_reason"],
            n_prompt_tokens=int(usage.get("prompt_tokens") or 0),
            n_completion_tokens=int(usage.get("completion_tokens") or 0),
            latency_s=latency_s,
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error} in {response.text[:200]!r}"
        return failure("bad_reply", problem, latency_s)


def _whole_text(reasoning: str | None, text: str, finish_reason: str) -> str:
    """What the model wrote: reasoning that the server split off is put back inside its tags."""
    if not reasoning:
        return text
    cut_inside = finish_reason == "length" and not text
    return f"<think>{reasoning}" if cut_inside else f"<think>{reasoning}</think>{text}"


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds that a Retry-After header asks for (a number or a date); 0 without one."""
    value = response.headers.get("Retry-After", "")
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(wait_s, 0.0), _LONGEST_RETRY_AFTER_S)
