"""How close the HTTP engine comes to what a server can do; one command, one table.

Part one: a server takes 4 calls at once, then 64, then 8, and refuses the others; some calls also
fail with a 503, hang, or lose their connection. The engine is told none of it. Its good replies per
second in each phase are compared with those of the best fixed number of calls, which a bare loop
finds with the same server. Part two: 256 calls in flight at a server that needs 300 ms, against
256 / 0.3, and against the same loop.

Needs AVRT alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.engines.messages import build_body
from avrt.types import Completion, EncodedFrames, Prompt, Request, Sampling

PHASES = (4, 64, 8)
FAULTS = {"share_503": 0.02, "share_hang": 0.005, "share_drop": 0.01}
NO_FAULTS = dict.fromkeys(FAULTS, 0.0)
TIMEOUT_S = 2.0
FRAMES = EncodedFrames((bytes(1000),) * 8, tuple(range(8)), 1.0, False, None, "")


class Server:
    """The server's process."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("http_server.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def set(self, **settings: float) -> Counter[str]:
        """Change settings; what the server has counted so far."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(settings), file=self.process.stdin, flush=True)
        return Counter(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def requests(until: threading.Event, n: int | float = math.inf) -> Iterator[Request]:
    prompt = Prompt("What is seen?", frames=FRAMES)
    i = 0
    while not until.is_set() and i < n:
        yield Request(str(i), prompt, Sampling(seed=i))
        i += 1


def engine_config(url: str, concurrency: int, timeout_s: float) -> EngineConfig:
    # Whether media arrive would be asked once, in an extra call; here nobody looks at them.
    return EngineConfig(
        base_url=url,
        concurrency=concurrency,
        timeout_s=timeout_s,
        max_attempts=8,
        check_media=False,
    )


def run_engine(
    config: EngineConfig, pending: Iterator[Request], done: list[tuple[float, Completion]]
) -> None:
    engine = make_engine(config, "m", None, MediaConfig())
    engine.generate(pending, lambda _, completion: done.append((time.monotonic(), completion)))


async def run_fixed(url: str, n_in_flight: int, seconds: float, timeout_s: float) -> float:
    """Good replies per second of a bare loop that always has as many calls in flight."""
    n_good = 0
    request = next(requests(threading.Event()))
    body = json.dumps(build_body(request, "m", EngineConfig(), MediaConfig())).encode()
    started = time.monotonic()

    async def work(client: aiohttp.ClientSession) -> None:
        nonlocal n_good
        while time.monotonic() < started + seconds:
            try:
                async with (
                    asyncio.timeout(timeout_s),
                    client.post(f"{url}/chat/completions", data=body) as response,
                ):
                    reply = await response.read()
            except (TimeoutError, aiohttp.ClientError):
                continue
            if response.status == 200 and json.loads(reply)["choices"]:
                n_good += time.monotonic() < started + seconds
            elif response.status == 429:
                await asyncio.sleep(0.05)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        await asyncio.gather(*(work(client) for _ in range(n_in_flight)))
    return n_good / seconds


def measure_changing(server: Server, phase_s: float, latency_s: float) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    best: dict[int, float] = {}
    for limit in PHASES:
        server.set(limit=limit, latency_s=latency_s, **FAULTS)
        rates = {
            n: asyncio.run(run_fixed(server.url, n, phase_s / 4, TIMEOUT_S))
            for n in (limit // 2, limit, 2 * limit)
        }
        best[limit] = max(rates.values())
        print(f"fixed, limit {limit}: " + ", ".join(f"{n}: {r:.1f}/s" for n, r in rates.items()))
    done: list[tuple[float, Completion]] = []
    until = threading.Event()
    before = server.set(limit=PHASES[0])
    config = engine_config(server.url, 256, TIMEOUT_S)
    thread = threading.Thread(target=run_engine, args=(config, requests(until), done))
    edges = [time.monotonic()]
    counts = [before]
    thread.start()
    for limit in PHASES:
        server.set(limit=limit)
        time.sleep(phase_s)
        edges.append(time.monotonic())
        counts.append(server.set())
    until.set()
    thread.join()
    for i, limit in enumerate(PHASES):
        good = sum(
            edges[i] <= at < edges[i + 1] and one.finish_reason != "error" for at, one in done
        )
        rate = good / (edges[i + 1] - edges[i])
        rows.append((f"limit {limit}: engine / best fixed", rate / best[limit], ">= 0.90"))
    counted = server.set() - before
    n_calls = sum(counted[name] for name in ("refused", "good", "503", "hang", "drop"))
    n_lost = sum(one.finish_reason == "error" for _, one in done)
    refused = ", ".join(str((b - a)["refused"]) for a, b in pairwise(counts))
    print(f"engine: {n_calls} calls, {counted['refused']} refused (by phase: {refused})")
    n_faults = n_calls - counted["good"] - counted["refused"]
    rows.append(("refused or lost / all calls", counted["refused"] / n_calls, "<= 0.01"))
    rows.append(("(faults the server made / all calls)", n_faults / n_calls, ""))
    rows.append(("requests without a reply", float(n_lost), "0"))
    return rows


def measure_many(server: Server, n: int, n_in_flight: int = 256) -> list[tuple[Any, ...]]:
    latency_s = 0.3
    server.set(limit=1_000_000, latency_s=latency_s, **NO_FAULTS)
    ideal = n_in_flight / latency_s
    cpu = time.process_time()
    bare = asyncio.run(run_fixed(server.url, n_in_flight, n / ideal, 60.0))
    bare_cpu = (time.process_time() - cpu) / (bare * n / ideal)
    done: list[tuple[float, Completion]] = []
    config = engine_config(server.url, n_in_flight, 60.0)
    served, cpu, load = server.set(), time.process_time(), os.getloadavg()[0]
    run_engine(config, requests(threading.Event(), n), done)
    cpu = (time.process_time() - cpu) / n
    server_cpu_ms = (server.set() - served)["cpu_ms"] / n
    # Without the first and last tenth, in which the calls in flight grow and end.
    times = sorted(at for at, _ in done)
    first, last = n // 10 + n_in_flight, n - n // 10 - n_in_flight
    rate = (last - first) / (times[last] - times[first])
    return [
        (f"256 in flight, 300 ms: calls/s of {ideal:.0f}", rate, ""),
        ("  of 256 / 0.3 s", rate / ideal, ">= 0.95"),
        ("  bare aiohttp loop: calls/s", bare, ""),
        ("  CPU ms per call", 1000 * cpu, ""),
        ("  bare aiohttp loop: CPU ms per call", 1000 * bare_cpu, ""),
        ("  client's own limit: calls/s", 1 / cpu, ""),
        ("  server: CPU ms per call", server_cpu_ms, ""),
        ("  load of the machine", load, ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phase-s", type=float, default=60.0, help="length of each phase")
    parser.add_argument("--latency-s", type=float, default=0.2, help="of the changing server")
    parser.add_argument("--calls", type=int, default=10_000, help="of part two")
    parser.add_argument("--part", choices=("changing", "many"), help="only one of the two")
    arguments = parser.parse_args()
    rows: list[tuple[Any, ...]] = []
    server = Server()
    try:
        if arguments.part != "changing":
            rows += measure_many(server, arguments.calls)
        if arguments.part != "many":
            rows += measure_changing(server, arguments.phase_s, arguments.latency_s)
    finally:
        server.close()
    for name, value, bar in rows:
        print(f"{name:42} {value:10.3f}   {bar}")


if __name__ == "__main__":
    main()
