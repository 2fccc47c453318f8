"""A real Ray cluster of several nodes on this machine: each node is a `ray start` of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RAY = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
SMALL = ["--object-store-memory", str(80 << 20)]
SRC = Path(__file__).parents[1] / "src"


class Cluster:
    """A head without CPUs for workers, and nodes that come and go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Only this folder's environment: another cluster of the machine stays out of it.
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": str(folder),
            "PYTHONPATH": str(SRC),
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "3",
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._start("127.0.0.1", ["--head", f"--port={port}", "--include-dashboard=false"], 0)

    def add(self, ip: str, n_cpus: int = 1) -> None:
        """Let a node join, with an address of its own."""
        self._start(ip, [f"--address={self.address}"], n_cpus)

    def kill(self, ip: str) -> None:
        """End a node as a power cut does: with all of its processes, at once."""
        process = self.nodes.pop(ip)
        for pid in [*reversed(descendants(process.pid)), process.pid]:
            with_signal(pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for ip in list(self.nodes):
            self.kill(ip)

    def _start(self, ip: str, arguments: list[str], n_cpus: int) -> None:
        command = [*RAY, *SMALL, f"--node-ip-address={ip}", f"--num-cpus={n_cpus}", *arguments]
        with (self._folder / f"{ip}.log").open("wb") as log:
            self.nodes[ip] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):  # nodes that start at the same time may take each other's ports
            text = (self._folder / f"{ip}.log").read_text()
            if "Ray runtime started" in text:
                return
            if self.nodes[ip].poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(text)


@contextmanager
def cluster_of(*ips: str, n_cpus: int = 1) -> Iterator[Cluster]:
    """A cluster with a node at each of these addresses of loopback."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets need a short path
    cluster = Cluster(folder)
    try:
        for ip in ips:
            cluster.add(ip, n_cpus)
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def descendants(pid: int) -> list[int]:
    """The processes below a process, parents first."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found = list(children.get(pid, []))
    for each in found:
        found += children.get(each, [])
    return found


def with_signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
