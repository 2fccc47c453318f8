"""The cost of a cluster: calls per second, memory, and calls that are repeated when parts die.

    python benchmarks/scale.py rate [--workers 1 2 4] [--calls 4000]
    python benchmarks/scale.py memory [--calls 1000 10000 100000]
    python benchmarks/scale.py kills [--kills 30] [--questions 300] [--seed 0]

A real Ray cluster of several nodes on this machine. `rate` and `memory` ask a scripted model
without media, so that what is measured is AVRT and Ray; `here` is the same without a cluster.
`kills` traces and merges questions about real files with a server on loopback, while a worker, a
node or the driver is killed at random moments, until every question is answered: it counts the
requests that the server got more than once, and compares the files with those of one process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from avrt.ask.budget import Budget
from avrt.ask.calls import Draft, Drafts, call_all
from avrt.ask.distant import engine_on
from avrt.ask.ledger import open_ledger
from avrt.config import EngineConfig, MediaConfig, RayConfig
from avrt.datasets import write_samples
from avrt.types import LETTERS, Sample, Sampling
from probing import encode
from ray_cluster import Cluster, cluster_of, descendants, with_signal

LATENCY_S = 0.1
CONCURRENCY = 16
N_FILES = 3


def ask(folder: Path, cluster: RayConfig | None, n: int) -> dict[str, Any]:
    """Ask a scripted model `n` questions about nothing; seconds and memory."""
    script = folder / "script.jsonl"
    script.write_text(json.dumps({"match": "", "reply": "because. " * 250 + "Answer: (A)"}))
    engine = EngineConfig(kind="scripted", script=script)
    peaks = {"driver MB": 0, "worker MB": 0}
    each = (Draft(i, "trace", f"s{i}", "vision", f"Question {i}?", Sampling()) for i in range(n))
    run, started_s = folder / f"run{n}-{cluster and cluster.workers}", 0.0

    def noted() -> Iterator[Draft]:
        nonlocal started_s
        for number, draft in enumerate(each):
            if number == n // 10:
                started_s = time.monotonic()
            if number % 500 == 0:
                note_peaks(peaks)
            yield draft

    with (
        open_ledger(run) as ledger,
        closing(engine_on(cluster, engine, "scripted", None, MediaConfig())) as model,
    ):
        call_all(ledger, model, Drafts("", n, noted(), MediaConfig()), Budget())
        seconds = time.monotonic() - started_s
        note_peaks(peaks)
    return {"calls": n, "calls/s": round(0.9 * n / seconds), **peaks}


def note_peaks(peaks: dict[str, int]) -> None:
    """The memory that is no file's, in MB, of this process and of the largest worker."""
    peaks["driver MB"] = max(peaks["driver MB"], anonymous_mb(os.getpid()))
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if "ray::Worker" in path.read_text():
                peaks["worker MB"] = max(peaks["worker MB"], anonymous_mb(int(path.parent.name)))


def anonymous_mb(pid: int) -> int:
    with suppress(OSError, AttributeError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"RssAnon:\s*(\d+)", status)[1]) >> 10
    return 0


class Questions:
    """A server that answers every role, and counts how often it was asked each question."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                role, number = re.findall(r"(VISION|AUDIO|MERGE) question (\d+)\?", body)[-1]
                server.asked[f"{role} {number}"] += 1
                time.sleep(LATENCY_S * random.uniform(0.5, 1.5))
                letter = LETTERS[int(number) % 4]
                text = f"Description.\nAnswer: ({letter})"
                if role == "MERGE":
                    text = f"<think>joined</think>\n<answer>{letter}</answer>"
                choice = {"message": {"content": text}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 7, "completion_tokens": 3}
                content = json.dumps({"choices": [choice], "usage": usage}).encode()
                with suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def write_data(folder: Path, n: int) -> None:
    """Questions about clips, ten about each, and prompts."""
    (folder / "data").mkdir()
    for clip in range(-(-n // 10)):
        path = folder / "data" / f"{clip}.mp4"
        if clip < N_FILES:
            encode(path, seed=clip)
        else:
            os.link(path.with_name(f"{clip % N_FILES}.mp4"), path)
    options = ("dog", "cat", "car", "rain")
    samples = [
        Sample(
            id=str(i), question=f"question {i}?", options=options, answer_index=i % 4,
            question_type="Which", question_relation="both", video_id=str(i // 10),
            video=f"{i // 10}.mp4", source="made",
        )
        for i in range(n)
    ]  # fmt: skip
    write_samples(folder / "data" / "train.parquet", samples)
    for role in ("vision", "audio", "merge"):
        fields = "{question}\n{options}"
        fields += "\n{answer}\n{audio_analysis}\n{visual_analysis}" if role == "merge" else ""
        (folder / f"{role}.txt").write_text(f"{role.upper()} {fields}")


def settings(url: str, name: str, *more: str) -> list[str]:
    engine = json.dumps({"base_url": url, "concurrency": CONCURRENCY, "check_media": False})
    roles = {"teachers.vision": "vision", "teachers.audio": "audio", "merger": "merge"}
    each = [
        setting
        for role, prompt in roles.items()
        for setting in (
            f"{role}.model=served", f"{role}.prompt={prompt}.txt", f"{role}.engine={engine}",
        )
    ]  # fmt: skip
    return [f"run.name={name}", "data.format=parquet", "media.n_frames=4", *each, *more]


def kill_until_done(folder: Path, n: int, n_kills: int, seed: int) -> dict[str, Any]:
    """Generate on a cluster that loses a part again and again; see the module."""
    write_data(folder, n)
    alone, torn = Questions(), Questions()
    chance, killed = random.Random(seed), Counter[str]()
    with cluster_of("127.0.0.2", "127.0.0.3") as cluster:
        for stage in ("prepare", "generate"):
            finish(command(cluster, folder, stage, settings(alone.url, "alone")), folder)
        on_ray = ["run.on=ray", f"ray.address={cluster.address}", "ray.cpus_per_worker=1"]
        of_torn = settings(torn.url, "torn", *on_ray)
        finish(command(cluster, folder, "prepare", of_torn), folder)
        process = command(cluster, folder, "generate", of_torn)
        while process.poll() is None or killed.total() < n_kills:
            if process.poll() is not None:
                if process.returncode != -signal.SIGKILL:
                    break
                process = command(cluster, folder, "generate", of_torn)
            n_before = torn.asked.total()
            wait_s, started_s = chance.uniform(0.2, 4), time.monotonic()
            while process.poll() is None and (
                torn.asked.total() < n_before + 3 or time.monotonic() < started_s + wait_s
            ):
                time.sleep(0.02)
            if process.poll() is None and killed.total() < n_kills:
                part = chance.choices(("worker", "node", "driver"), (5, 2, 3))[0]
                killed[part] += kill(cluster, process, part, chance)
                print(f"{killed.total()} kills, {torn.asked.total()} requests", file=sys.stderr)
        finish(command(cluster, folder, "generate", of_torn), folder)
    files = ("traces/teachers.parquet", "traces/merged.parquet", "dataset/train.parquet")
    same = all(
        (folder / "runs" / "torn" / f).read_bytes() == (folder / "runs" / "alone" / f).read_bytes()
        for f in files
    )
    repeated = torn.asked.total() - len(torn.asked)
    return {
        "questions": n, "kills": dict(killed), "calls": len(alone.asked),
        "lost": len(set(alone.asked) - set(torn.asked)), "repeated": repeated,
        "repeated per kill": round(repeated / max(1, killed.total()), 1),
        "most in flight": CONCURRENCY, "same bytes": same,
    }  # fmt: skip


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.communicate()
    if process.returncode:
        sys.exit((folder / "log.txt").read_text()[-2000:])


def kill(
    cluster: Cluster, process: subprocess.Popen[bytes], part: str, chance: random.Random
) -> int:
    """Kill a part, and bring a node back; 1 when there was one."""
    ip = chance.choice(("127.0.0.2", "127.0.0.3"))
    if part == "driver":
        process.kill()
    elif part == "node":
        cluster.kill(ip)
        cluster.add(ip)
    else:
        workers = [pid for pid in descendants(cluster.nodes[ip].pid) if is_worker(pid)]
        if not workers:
            return 0
        with_signal(chance.choice(workers), signal.SIGKILL)
    return 1


def is_worker(pid: int) -> bool:
    with suppress(OSError):
        return "ray::Worker" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def command(
    cluster: Cluster, folder: Path, stage: str, arguments: list[str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "avrt", stage, *arguments], cwd=folder, env=cluster.environment,
        stdout=subprocess.DEVNULL, stderr=(folder / "log.txt").open("ab"),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("rate", "memory", "kills"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--calls", type=int, nargs="+", default=None)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "kills":
            n, n_kills = options.questions, options.kills
            rows.append(kill_until_done(folder, n, n_kills, options.seed))
        else:
            with cluster_of("127.0.0.2", "127.0.0.3", n_cpus=2) as cluster:
                os.environ.update(cluster.environment)
                n_workers = options.workers if options.what == "rate" else options.workers[-1:]
                for n in options.calls or ([4000] if options.what == "rate" else [1000, 10_000]):
                    rows.append({"workers": "here", **ask(folder, None, n)})
                    for workers in n_workers:
                        at = RayConfig(address=cluster.address, workers=workers, cpus_per_worker=1)
                        rows.append({"workers": workers, **ask(folder, at, n)})
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
