"""A chat server for `http_engine.py`: cheap, in a process of its own, with faults on demand.

Prints its port, then reads one JSON object per line from its standard input: `limit` (calls at
once; further ones get a 429), `latency_s`, and shares of calls that fail otherwise: `share_503`,
`share_hang` (no answer ever) and `share_drop` (the connection ends inside the reply). An empty
object asks for the counts so far: every line is answered with them.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
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

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.in_flight >= self.settings["limit"]:
            self.counts["refused"] += 1
            writer.write(REFUSED)
            return
        self.in_flight += 1
        self.counts["most"] = max(self.counts["most"], self.in_flight)
        try:
            await self.finish(self.fate(), reader, writer)
        finally:
            self.in_flight -= 1

    def fate(self) -> str:
        draw = self.draws.random()
        for name in ("503", "hang", "drop"):
            draw -= self.settings.get(f"share_{name}", 0.0)
            if draw < 0:
                return name
        return "good"

    async def finish(
        self, fate: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.counts[fate] += 1
        if fate == "hang":
            await reader.read(1)  # until the client gives up
            raise ConnectionError
        await asyncio.sleep(self.settings["latency_s"])
        if fate == "drop":
            writer.write(GOOD[: len(GOOD) // 2])
            raise ConnectionError
        writer.write(FAULT if fate == "503" else GOOD)


async def main() -> None:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**24, backlog=2048)
    print(listener.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        server.settings |= json.loads(line)
        print(json.dumps(server.counts), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
