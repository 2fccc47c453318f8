"""What a cluster refuses, before anything is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avrt.ask.distant import ClusterEngine, engine_on, gpus_of
from avrt.config import EngineConfig, MediaConfig, RayConfig
from avrt.engines import LazyEngine
from avrt.errors import ConfigError, MediaError
from avrt.scale import cluster
from avrt.scale.worker import Broken, Place, Worker, broken


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"run\.on = ray: Ray is not installed; .*avrt\[ray\]"):
        cluster.connect(RayConfig())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "Connection refused; start it with `ray start --head`"),
        ("ray://127.0.0.1:10001", "no address of the form HOST:PORT .*ray job submit"),
        ("nonsense", "no address of the form HOST:PORT"),
        ("head:port", "no address of the form HOST:PORT"),
    ],
)
def test_a_cluster_that_is_not_there_is_named_at_once(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"ray\.address = {address}: .*{words}"):
        cluster.connect(RayConfig(address=address))


def test_the_address_in_the_environment_is_looked_at_too(monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"ray\.address = auto: .*refused"):
        cluster.connect(RayConfig())


def test_nodes_count_by_what_each_has_room_for() -> None:
    class Nodes:
        def nodes(self):
            return [
                {"Alive": True, "Resources": {"CPU": 7, "GPU": 1}},
                {"Alive": True, "Resources": {"CPU": 3}},
                {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}},
            ]

    assert cluster.capacity(Nodes(), 2, 0) == 3 + 1
    assert cluster.capacity(Nodes(), 2, 0.5) == 2
    assert cluster.capacity(Nodes(), 4, 1) == 1


def test_a_model_in_the_worker_takes_a_gpu_unless_it_is_said() -> None:
    on_cpu = EngineConfig(kind="transformers", device="cpu")
    assert gpus_of(EngineConfig(kind="vllm"), RayConfig()) == 1
    assert gpus_of(EngineConfig(kind="transformers"), RayConfig()) == 1
    assert gpus_of(on_cpu, RayConfig()) == gpus_of(EngineConfig(), RayConfig()) == 0
    assert gpus_of(EngineConfig(kind="vllm"), RayConfig(gpus_per_worker=0.25)) == 0.25


def test_an_engine_has_one_identity_wherever_it_is_asked() -> None:
    engine = EngineConfig(base_url="http://127.0.0.1:9/v1")
    here = engine_on(None, engine, "m", "main", MediaConfig())
    there = engine_on(RayConfig(), engine, "m", "main", MediaConfig())
    assert isinstance(here, LazyEngine)
    assert isinstance(there, ClusterEngine)
    assert here.identity == there.identity


def test_a_fault_of_a_worker_is_a_message_that_travels(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def make(_):
        raise MediaError("missing", "a.mp4", "gone")

    worker = Worker(make, Place(str(tmp_path / "absent"), {"AVRT_TEST_KEY": "secret"}))
    assert os.environ.pop("AVRT_TEST_KEY") == "secret"
    worker.take(["anything"])
    (message,) = worker.collect()
    assert isinstance(message, Broken)
    assert str(message.error) == "a.mp4: missing: gone"
    assert "in make" in message.traceback
    assert str(broken(KeyError("x")).error) == "KeyError: 'x'"
