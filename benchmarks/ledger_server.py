"""A chat server for `benchmarks/ledger.py`: logs the digest of every request and replies with it.

    python benchmarks/ledger_server.py LOG

Prints its address. A reply takes 30 ms, more or less, and names the right letter, which it finds in
the question's number. What the engine sends to check that media arrive is not logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import sys
from typing import Any

LATENCY_S = 0.03


def reply_to(body: dict[str, Any], digest: str) -> dict[str, Any]:
    """A chat completion that holds the request's digest between two #."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    n_parts = 0 if isinstance(content, str) else len(content) - 1
    found = re.search(r"the (\d+)th time", text)
    letter = "ABCD"[int(found[1]) % 4] if found else "A"
    is_merge = not n_parts
    reply = f"<think>seen #{digest}#</think>\n<answer>{letter}</answer>"
    return {
        "choices": [
            {
                "message": {"content": reply if is_merge else f"#{digest}#\nAnswer: ({letter})"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10 + 100 * n_parts, "completion_tokens": 3},
    }


async def main() -> None:
    """Serve until killed."""
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                n_bytes = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
                data = await reader.readexactly(n_bytes)
                body, digest = json.loads(data), hashlib.sha256(data).hexdigest()[:32]
                if body["max_tokens"] > 1:
                    os.write(log, f"{digest}\n".encode())
                    await asyncio.sleep(LATENCY_S * random.uniform(0.5, 1.5))
                content = json.dumps(reply_to(body, digest)).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
