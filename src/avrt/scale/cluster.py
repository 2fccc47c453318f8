"""Connect to a Ray cluster, and say how many workers it has room for."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import avrt
from avrt.config.cluster import RayConfig
from avrt.errors import ConfigError, install_command
from avrt.runs import fingerprint

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["capacity", "code_version", "connect", "describe_nodes"]


_HEAD_S = 5.0
"""Longest wait for the head of a cluster."""


def connect(settings: RayConfig) -> ModuleType:
    """Ray itself, connected to the cluster; a process connects once.

    Raises:
        ConfigError: Ray is not installed, there is no such cluster, or it runs another Ray.
    """
    if find_spec("ray") is None:
        raise ConfigError(f"run.on = ray: Ray is not installed; {install_command('ray')}")
    import ray

    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own new default
    address = settings.address
    try:
        _check_head(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        with_dashboard = False if address == "local" else None  # may not be said of another's
        with _own_signals():
            ray.init(address, logging_level=logging.ERROR, include_dashboard=with_dashboard)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ConfigError(
            f"ray.address = {address}: cannot join the cluster: {words}; start it with "
            "`ray start --head`, give HOST:PORT of its head, or set ray.address=local"
        ) from error
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does at SIGTERM, where Ray would set handlers of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # else it is none of Python's
            signal.signal(signal.SIGTERM, before)


def _check_head(address: str) -> None:
    """See at once that somebody listens at HOST:PORT; Ray itself tries for two minutes, then ends
    the process.

    Raises:
        OSError, ValueError: nobody does, or it is no such address.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "//" in address or not host or not port.isdecimal():
        raise ValueError(
            "no address of the form HOST:PORT (run the command on a node of the cluster, such as "
            "with `ray job submit`)"
        )
    socket.create_connection((host, int(port)), timeout=_HEAD_S).close()


def capacity(ray: ModuleType, n_cpus: int, n_gpus: float) -> int:
    """Workers with so many CPUs and GPUs that the living nodes have room for, others apart."""
    n = 0
    for node in _nodes(ray):
        resources = node["Resources"]
        room = int(resources.get("CPU", 0) // n_cpus)
        n += min(room, int(resources.get("GPU", 0) // n_gpus)) if n_gpus else room
    return n


def describe_nodes(ray: ModuleType) -> str:
    """The nodes of the cluster with what they have, in words."""
    nodes = [
        f"{node['NodeManagerAddress']} ({node['Resources'].get('CPU', 0):g} CPUs, "
        f"{node['Resources'].get('GPU', 0):g} GPUs)"
        for node in _nodes(ray)
    ]
    return ", ".join(nodes) or "no node"


def code_version() -> str:
    """What decides how this process reads media and asks models: equal on all nodes, or refused."""
    import av
    import numpy as np
    import soxr

    folder = Path(avrt.__file__).parent
    code = {
        str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*.py"))
    }
    libraries = ", ".join(f"{m.__name__} {m.__version__}" for m in (av, np, soxr))
    python = ".".join(map(str, sys.version_info[:2]))
    return f"avrt {avrt.__version__} ({fingerprint(code)[:8]}), Python {python}, {libraries}"


def _nodes(ray: ModuleType) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
