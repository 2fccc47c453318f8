"""The same stages on a real cluster: equal bytes, and nothing lost when parts of it die."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chat_server import Server, chat
from ray_cluster import Cluster, cluster_of, descendants, with_signal
from scripted_run import overrides, replies, right, write_dataset, write_script

pytestmark = pytest.mark.slow
N = 48
"""Questions: some seconds of work."""
CONCURRENCY = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two workers."""
    with cluster_of("127.0.0.2", "127.0.0.3") as cluster:
        yield cluster


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_dataset(tmp_path, N)
    write_script(tmp_path, replies({("AUDIO", 4): None}, N))
    lines = [{"match": f"question {n}?", "reply": f"<answer>{right(n)}</answer>"} for n in range(N)]
    (tmp_path / "student.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


class Questions:
    """A server that answers all roles after a while, and counts how often each was asked."""

    def __init__(self, server: Server, wait_s: float = 0.15) -> None:
        self.asked: Counter[str] = Counter()
        self.most = self.now = 0
        self._lock = threading.Lock()
        self._wait_s = wait_s
        server.answer = self._answer
        engine = {"base_url": server.url, "concurrency": CONCURRENCY, "check_media": False}
        self.engine = json.dumps(engine)

    def _answer(self, body: dict, _: int):
        found = re.search(r"(VISION|AUDIO|MERGE) question (\d+)\?", json.dumps(body))
        assert found is not None
        with self._lock:
            self.asked[found[0]] += 1
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self._wait_s)
        with self._lock:
            self.now -= 1
        letter = right(int(found[2]))
        if found[1] == "MERGE":
            return chat(f"<think>joined</think>\n<answer>{letter}</answer>")
        return chat(f"Description.\nAnswer: ({letter})")

    def wait_for_more(self, n: int) -> None:
        """Until so many more questions came."""
        n_before = self.asked.total()
        wait_until(lambda: self.asked.total() >= n_before + n)

    def settings(self) -> list[str]:
        roles = ("teachers.vision", "teachers.audio", "merger")
        return [f"{role}.engine={self.engine}" for role in roles]


def command(cluster: Cluster, place: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    """A command of its own process, on the cluster."""
    on_ray = ("run.on=ray", f"ray.address={cluster.address}", "ray.cpus_per_worker=1")
    settings = [*overrides(place), f"run.name={name}", *on_ray, *arguments[1:]]
    return subprocess.Popen(
        [sys.executable, "-m", "avrt", arguments[0], *settings],
        cwd=place, env=cluster.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(2400):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("two minutes went by")


def workers_of(cluster: Cluster, ip: str) -> list[int]:
    """The processes of AVRT's workers on a node."""
    found = []
    for pid in descendants(cluster.nodes[ip].pid):
        with suppress(OSError):
            if "ray::Worker" in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


def contents(run: Path) -> dict[str, bytes]:
    names = ("samples.parquet", "media.parquet", "traces/*", "dataset/*", "eval/*/*/*.jsonl")
    return {
        str(path.relative_to(run)): path.read_bytes()
        for name in names
        for path in sorted(run.glob(name))
    }


def test_a_cluster_gives_the_bytes_of_one_process(cluster: Cluster, place: Path) -> None:
    student = {"kind": "scripted", "script": str(place / "student.jsonl")}
    settings = (
        'eval.benchmarks={"own": {"root": "data"}}',
        f'eval.models={{"base": {{"model": "student", "engine": {json.dumps(student)}}}}}',
        'eval.modalities=["av", "a"]',
    )
    for stage in ("prepare", "generate", "eval"):
        here = command(cluster, place, "here", stage, *settings, "run.on=local")
        finish(here)
        finish(command(cluster, place, "there", stage, *settings))
    here, there = (contents(place / "runs" / name) for name in ("here", "there"))
    assert len(here) == 11
    assert here == there


def test_what_dies_costs_at_most_the_calls_in_flight_on_it(
    cluster: Cluster, place: Path, server: Server
) -> None:
    asked = Questions(server)
    finish(command(cluster, place, "test", "prepare"))
    process = command(cluster, place, "test", "generate", *asked.settings())
    wait_until(lambda: asked.asked.total() >= 8)
    with_signal(workers_of(cluster, "127.0.0.2")[0], signal.SIGKILL)
    asked.wait_for_more(12)
    cluster.kill("127.0.0.3")
    asked.wait_for_more(12)
    process.kill()
    output = finish(process, -signal.SIGKILL)
    assert output.count("its questions go to others") >= 2
    finish(command(cluster, place, "test", "generate", *asked.settings()))
    finish(command(cluster, place, "test", "generate", *asked.settings()))  # asks nothing
    assert len(asked.asked) == 3 * (N - 1)  # the clip of one has no sound
    assert asked.asked.total() - len(asked.asked) <= 3 * CONCURRENCY


def test_a_node_that_joins_late_is_used(cluster: Cluster, place: Path, server: Server) -> None:
    asked = Questions(server)
    finish(command(cluster, place, "late", "prepare"))
    process = command(cluster, place, "late", "trace", *asked.settings())
    wait_until(lambda: asked.asked.total() >= 4)
    cluster.add("127.0.0.4")
    wait_until(lambda: bool(workers_of(cluster, "127.0.0.4")))
    finish(process)
