"""A chat server for `http_engine.py`: cheap, in a process of its own, with faults on demand.

A protocol and not streams, which cost three times as much: what is measured is the client.

Prints its port, then reads one JSON object per line from its standard input: `limit` (calls at
once; further ones get a 429), `latency_s`, and shares of calls that fail otherwise: `share_503`,
`share_hang` (no answer ever) and `share_drop` (the connection ends inside the reply). An empty
object asks for the counts so far: every line is answered with them, and with `cpu_ms`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

REPLY = json.dumps(
    {
        "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 700, "completion_tokens": 3},
    }
).encode()


def response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


GOOD = response("200 OK", REPLY)
REFUSED = response("429 Too Many Requests", b"{}")
FAULT = response("503 Service Unavailable", b"{}")


@dataclass
class Server:
    settings: dict[str, Any] = field(default_factory=lambda: {"limit": 1_000_000, "latency_s": 0.3})
    counts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    draws: random.Random = field(default_factory=lambda: random.Random(0))

    def fate(self) -> str:
        draw = self.draws.random()
        for name in ("503", "hang", "drop"):
            draw -= self.settings.get(f"share_{name}", 0.0)
            if draw < 0:
                return name
        return "good"


class Connection(asyncio.Protocol):
    """One client's connection: its requests, one after the other."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = bytearray()
        self.is_inside = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower() + b"\r\n"
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self.buffer) >= end + 4 + length:
            self.buffer.clear()
            self.answer()

    def answer(self) -> None:
        server = self.server
        if server.in_flight >= server.settings["limit"]:
            server.counts["refused"] += 1
            self.transport.write(REFUSED)
            return
        server.in_flight += 1
        server.counts["most"] = max(server.counts["most"], server.in_flight)
        self.is_inside = True
        fate = server.fate()
        server.counts[fate] += 1
        if fate != "hang":  # that lasts until the client gives up
            asyncio.get_running_loop().call_later(server.settings["latency_s"], self.finish, fate)

    def finish(self, fate: str) -> None:
        if not self.is_inside:
            return
        self.leave()
        if fate == "drop":
            self.transport.write(GOOD[: len(GOOD) // 2])
            self.transport.close()
        else:
            self.transport.write(FAULT if fate == "503" else GOOD)

    def connection_lost(self, _error: Exception | None) -> None:
        self.leave()

    def leave(self) -> None:
        self.server.in_flight -= self.is_inside
        self.is_inside = False


async def main() -> None:
    server = Server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=2048)
    print(listener.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        server.settings |= json.loads(line)
        server.counts["cpu_ms"] = round(1000 * time.process_time())
        print(json.dumps(server.counts), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
