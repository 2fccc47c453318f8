"""Settings of engines: how a model is reached, and what goes with each request.

As in `avrt.config.data`, the text below a field is its documentation. Whatever dumps these settings
gets them without their secrets (`secrets.py`).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from avrt.config.secrets import MASK, find_secrets, hidden_forms, is_secret, is_secret_header, mask
from avrt.config.section import Section

__all__ = ["EngineConfig", "chat_url"]

_REQUEST_KEYS = ("model", "messages", "temperature", "top_p", "max_tokens", "seed", "n", "stream")
"""Keys of a request that AVRT sets itself."""
_OWN_HEADERS = ("content-type", "content-length", "host", "accept-encoding", "transfer-encoding")
_CHAT = "/chat/completions"


class EngineConfig(Section):
    kind: Literal["openai", "vllm", "transformers", "scripted"] = "openai"
    """An OpenAI-compatible server, vLLM or transformers in this process, or scripted answers."""
    base_url: str | tuple[str, ...] = "http://127.0.0.1:8000/v1"
    """Address of a server, or a list: servers of one model that share the calls (openai). The path
    may end before or after `/chat/completions`; a query (`?api-version=…`) is kept.
    """
    serve: str | None = None
    """Command that starts the server, for `avrt serve`, with port and name of the model as in
    `base_url` and `model`; null: that of the model's preset, else `vllm serve` with limits that
    suffice for this configuration (openai).
    """
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key, if it needs one; empty: no `Authorization`
    is sent (openai). The key itself is never written.
    """
    headers: dict[str, str] = Field(default={})
    """Further headers of every request; `$NAME` in a value stands for the environment variable
    NAME, and secrets must be given so: {api-key: $AZURE_KEY} (openai).
    """
    concurrency: int = Field(default=16, ge=1)
    """Most requests in flight, at all servers together; their number rises while the servers take
    them and falls when they refuse (openai).
    """
    timeout_s: float = Field(default=300.0, gt=0)
    """Longest wait for one reply (openai)."""
    max_attempts: int = Field(default=4, ge=1)
    """Tries of one request when the failure can pass: timeout, connection, 408, 425, 429, 5xx, a
    reply without content (openai).
    """
    max_reply_mb: int = Field(default=64, ge=1)
    """Longest reply, in MiB as sent and as decompressed; a longer one fails as `bad_reply`
    (openai).
    """
    n_per_request: bool = False
    """Ask for several answers to one prompt in one request, of which only the first has a seed of
    its own (openai).
    """
    frames_as: Literal["images", "video"] = "images"
    """Each frame as an image part, or all as one video part, a form that only vLLM takes (openai).
    In process (vllm): `images` sends JPEGs, as to a server; `video` gives an Omni model the frames,
    their rate and the sound exactly as the student gets them in training.
    """
    audio_as: Literal["input_audio", "audio_url"] = "input_audio"
    """Part that carries the sound (openai, vllm)."""
    check_media: bool = True
    """Check once per server that pictures and sound cost prompt tokens, so that none are dropped;
    switch it off for a server that counts text alone in `usage` (openai).
    """
    omit: tuple[Literal["temperature", "top_p", "max_tokens", "seed"], ...] = ()
    """Keys that are left out of every request, for servers that refuse them; part of every call's
    key (openai).
    """
    max_tokens_as: str = Field(default="max_tokens", pattern=r"^[A-Za-z_]+$")
    """Name under which the longest completion is sent, such as max_completion_tokens; part of every
    call's key (openai).
    """
    extra_body: dict[str, Any] = Field(default={})
    """Further fields of every request, such as mm_processor_kwargs, chat_template_kwargs or
    structured_outputs; null takes a field out; part of every call's key (openai, vllm).
    """
    batch_size: int = Field(default=32, ge=1)
    """Prompts answered at a time (transformers), or handed over together (vllm)."""
    batch_tokens: int = Field(default=131_072, ge=1)
    """Tokens of prompts answered at a time, each counted as long as the longest of them: of long
    prompts there are fewer than `batch_size`, and one at least (transformers).
    """
    vllm_args: dict[str, Any] = Field(default={})
    """Arguments of vLLM's `LLM`, such as tensor_parallel_size or max_model_len (vllm)."""
    device: str = "auto"
    """Device (transformers): auto, cpu, cuda, cuda:1, ..."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights (transformers; vllm with frames_as: video)."""
    use_audio_in_video: bool = False
    """Put the sound of a video between its frames, for Omni models (transformers)."""
    script: Path | None = None
    """JSON Lines file of {"match": text in the prompt, "reply": text} (scripted)."""

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of `base_url`, at least one."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @property
    def takes_encoded(self) -> bool:
        """Whether media go to this engine as JPEG, WAV or FLAC, not as pixels and samples."""
        return self.kind == "openai" or (self.kind == "vllm" and self.frames_as == "images")

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of `extra_body` that are sent."""
        return {name: value for name, value in self.extra_body.items() if value is not None}

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that hold secrets of this engine."""
        texts = map(Template, self.headers.values())
        return (self.api_key_env, *(name for text in texts for name in text.get_identifiers()))

    def secrets(self) -> tuple[str, ...]:
        """The secrets of these settings and of the environment, in every form to be hidden."""
        held = (os.environ.get(name, "").strip() for name in self.variables)
        return hidden_forms([*held, *find_secrets(vars(self))])

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not self.base_urls:
            raise ValueError("base_url is an empty list; name at least one address")
        for url in self.base_urls:
            chat_url(url)
        if is_secret("api_key_env", self.api_key_env):
            raise ValueError(
                "api_key_env takes the name of an environment variable, such as OPENAI_API_KEY; "
                "put the key into that variable"
            )
        for name, value in self.headers.items():
            _check_header(name, value)
        self._check_body()
        self._check_serve()
        if twice := sorted({"model", "revision"} & self.vllm_args.keys()):
            raise ValueError(f"vllm_args may not hold {', '.join(twice)}: the role's settings do")
        if self.use_audio_in_video and self.kind != "transformers":
            raise ValueError(
                f"use_audio_in_video goes with kind: transformers; {self.kind} gets pictures and "
                "sound apart"
            )
        unused = sorted({"mm_processor_kwargs", "chat_template_kwargs"} & self.extra_body.keys())
        if self.kind == "vllm" and self.frames_as == "video" and unused:
            raise ValueError(
                f"extra_body.{unused[0]} has no effect with kind: vllm and frames_as: video, which "
                "gives vLLM the student's own inputs; take it out"
            )
        return self

    def _check_serve(self) -> None:
        """Refuse a command that is none, or that holds a key."""
        try:
            words = shlex.split(self.serve or "vllm")
        except ValueError as error:  # a quotation mark without its other half
            raise ValueError(f"serve: {error} in {self.serve!r}") from error
        if not words:
            raise ValueError("serve is empty; write the command, or null for that of the preset")
        if any(word.partition("=")[0] == "--api-key" for word in words):
            raise ValueError(
                "serve: --api-key would be written into files; put the key into the environment "
                "variable VLLM_API_KEY, and its name into api_key_env"
            )

    def _check_body(self) -> None:
        """Refuse fields that other settings send, and secrets that were replaced by `***`."""
        own = {*_REQUEST_KEYS, self.max_tokens_as}
        own |= {"media_io_kwargs"} if self.frames_as == "video" else set()
        left_out = {name for name, value in self.extra_body.items() if value is None}
        if sent := sorted(left_out & {"temperature", "top_p", "max_tokens", "seed"}):
            raise ValueError(f"extra_body.{sent[0]}: null; to leave it out, set omit: {sent}")
        if twice := sorted(own & self.extra_body.keys()):
            raise ValueError(f"extra_body may not hold {', '.join(twice)}: other settings say that")
        if self.max_tokens_as in {*_REQUEST_KEYS} - {"max_tokens"}:
            raise ValueError(f"max_tokens_as: {self.max_tokens_as} is sent for something else")
        if MASK in (*find_secrets(self.extra_body), *find_secrets(self.vllm_args)):
            raise ValueError(
                f"{MASK} stands where AVRT took a key out of a configuration that it wrote; give "
                "the key again"
            )

    @model_serializer(mode="wrap")
    def _without_secrets(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return mask(dump(self))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show no secret in tracebacks either."""
        return mask(dict(super().__repr_args__())).items()


def chat_url(url: str) -> str:
    """The address of chat completions at a server, whose path may be given with or without its end.

    Raises:
        ValueError: no address of a server, or one with a user, a fragment or a `***` in it.
    """
    shown = mask(url, "base_url")
    if re.match(r"(https?\+)?unix:|/|\.", url):
        raise ValueError(
            f"base_url: {shown!r} is a Unix socket; AVRT asks over TCP: start the server with "
            "--host and --port"
        )
    if re.search(r"[\s\x00-\x1f]", url) or not url:
        raise ValueError(
            f"base_url: {shown!r} is empty or holds a blank; write http://HOST:PORT/v1"
        )
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or brackets that do not close
        parts, is_address = urlsplit(""), False
    if "@" in parts.netloc or ("@" in url and not is_address):
        raise ValueError(
            f"base_url: {shown!r} holds a user or password, which would be written into files; "
            "put the key into the environment variable that api_key_env names, or set headers: "
            '{Authorization: "Basic $NAME"}'
        )
    if not is_address:
        raise ValueError(
            f"base_url: {shown!r} is no address of a server; write http://HOST:PORT/v1 or "
            "https://…, with an IPv6 address in brackets"
        )
    if parts.fragment or MASK in url:
        found = f"{MASK}, for a key that AVRT took out; give the key again"
        found = found if MASK in url else "a #; remove it"
        raise ValueError(f"base_url: {shown!r} holds {found}")
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_CHAT) else path + _CHAT).geturl()


def _check_header(name: str, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or name.lower() in _OWN_HEADERS:
        raise ValueError(f"headers: {name!r} is no header that can be set")
    if not Template(value).is_valid():
        raise ValueError(f"headers.{name}: write $NAME for a variable, and $$ for a dollar sign")
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"headers.{name}: holds characters that no header has")
    if is_secret_header(name, value):
        raise ValueError(
            f"headers.{name}: holds a key, which would be written into files; put it into an "
            f"environment variable and write {name}: $NAME"
        )
