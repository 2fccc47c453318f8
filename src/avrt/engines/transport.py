"""The way to a chat server: headers, proxies, and bodies that are read up to a cap.

The decision to question: bodies are unpacked here and not by aiohttp. A reply of one megabyte can
unpack to a thousand, so that no compression is asked for; a server that packs all the same is read
up to the same cap.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from string import Template
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from avrt.config import EngineConfig
from avrt.errors import ConfigError

__all__ = [
    "Response",
    "UnreadableError",
    "new_client",
    "proxy_of",
    "read_body",
    "retry_after_s",
]

_LONGEST_RETRY_AFTER_S = 600.0
_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Response:
    """The response of a server."""

    status: int
    body: bytes
    retry_after_s: float
    latency_s: float


class UnreadableError(Exception):
    """A body that is too long, or packed in a way that was not asked for."""


def new_client(config: EngineConfig) -> aiohttp.ClientSession:
    """The client of all requests, with their headers.

    Raises:
        ConfigError: an environment variable is missing, or holds what no header takes.
    """
    key = _variable(config.api_key_env)
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        **({"Authorization": f"Bearer {key}"} if key else {}),
        **{name: _fill(name, text) for name, text in config.headers.items()},
    }
    connect_s = min(_CONNECT_TIMEOUT_S, config.timeout_s)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        auto_decompress=False,
    )


async def read_body(reply: aiohttp.ClientResponse, most: int) -> bytes:
    """Read a body in pieces; of a longer one than `most` bytes that says an error, the beginning.

    Raises:
        UnreadableError: a reply that is longer, also when unpacked, or packed in another way than
            gzip.
    """
    if 300 <= reply.status < 400 and (there := reply.headers.get("Location")):
        return f"moved to {there}; set engine.base_url to where it is".encode()
    pieces: list[bytes] = []
    size = 0
    async for piece in reply.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            reply.close()
            break
    body = b"".join(pieces)
    coding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if coding in ("gzip", "x-gzip", "deflate"):
        unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib
        try:
            body = unpack.decompress(body, most + 1)
        except zlib.error as error:
            raise UnreadableError(f"a reply that is no {coding}: {error}") from None
    elif coding not in ("", "identity"):
        raise UnreadableError(f"a reply packed as {coding!r}, though none was asked for")
    if len(body) > most and reply.ok:
        raise UnreadableError(
            f"a reply of over {most >> 20} MiB; raise engine.max_reply_mb if it is meant"
        )
    return body[:most]


def retry_after_s(value: str) -> float:
    """Read the seconds in a Retry-After header (a number or a date); 0 without the header."""
    if not value:  # of every reply but refusals
        return 0.0
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(0.0, wait_s), _LONGEST_RETRY_AFTER_S)  # in this order, also for nan


def proxy_of(url: str) -> str | None:
    """Look up HTTP_PROXY, HTTPS_PROXY and NO_PROXY once; the client would at every call."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _variable(name: str) -> str:
    """Give the value of an environment variable that holds a key."""
    value = os.environ.get(name, "")
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"the environment variable {name} holds characters that no key has, such as a line "
            "break; set it to the key alone"
        )
    return value


def _fill(header: str, text: str) -> str:
    """Put the values of environment variables into a header."""
    template = Template(text)
    values = {name: _variable(name) for name in template.get_identifiers()}
    if missing := [name for name, value in values.items() if not value]:
        raise ConfigError(
            f"engine.headers.{header} needs the environment variable {missing[0]}; it is not set"
        )
    return template.substitute(values)
