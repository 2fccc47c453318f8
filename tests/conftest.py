"""Fixtures of all tests. Helpers that are no fixtures: clips.py (clips), scripted_run.py (runs)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from avrt.cli import demo
from avrt.config import Config, load_config
from avrt.datasets import prepare
from avrt.engines import LazyEngine, OnCompletion, limiter
from avrt.engines.scripted import ScriptedEngine
from avrt.types import Prompt, Request
from chat_server import Server
from scripted_run import Answer, MakeConfig, overrides, replies, write_dataset, write_script

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the hub; read when its library is imported
REPOSITORY = Path(__file__).parents[1]
DEMO = REPOSITORY / "configs" / "demo.yaml"
# How long a machine takes is no property of the code.
settings.register_profile("avrt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("avrt")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let files with slow tests come first where several processes divide the files, so that none
    of them is left alone with one at the end (`--dist loadfile --no-loadscope-reorder`).
    """
    if not hasattr(config, "workerinput"):  # one process, in the order of the files
        return
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])


@pytest.fixture(autouse=True)
def own_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs in this process sets the log level for the next tests, too."""
    monkeypatch.setenv("AVRT_LOG", "warning")  # so that the end of the test takes away what is set
    monkeypatch.delenv("AVRT_LOG")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real clips and annotations; they are no part of the repository."""
    folder = Path(os.environ.get("AVRT_REAL_DATA", REPOSITORY.parent / "shared" / "real"))
    if not (folder / "avqa" / "val_qa.json").is_file():
        pytest.skip("no real clips here; set AVRT_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/` and the prepared run `runs/test/`; see scripted_run.py."""
    root = tmp_path_factory.mktemp("prepared")
    write_dataset(root)
    prepare.run(load_config(None, overrides(root)))
    return root


def make_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that `make` fills: in one process of the tests, of which the others get copies."""
    own = tmp_path_factory.mktemp(name)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(own)
        return own
    made = tmp_path_factory.getbasetemp().parent / name
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            fresh = made.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)  # of a process that failed in it
            fresh.mkdir()
            make(fresh)
            fresh.rename(made)
        shutil.copytree(made, own, symlinks=True, dirs_exist_ok=True)
    return own


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `avrt demo --quick` was run, for tests that go there; and its last words.
    Tests leave the run as it is.
    """

    def make(folder: Path) -> None:
        with contextlib.chdir(folder):
            (folder / "summary.txt").write_text(demo.run([DEMO], demo.QUICK).summary)

    folder = make_once(tmp_path_factory, "demo", make)
    return folder, (folder / "summary.txt").read_text()


@pytest.fixture
def make_config(prepared: Path, tmp_path: Path) -> MakeConfig:
    """A configuration of a fresh copy of the prepared run, with a script of replies."""
    root = tmp_path / "place"
    shutil.copytree(prepared, root)

    def make(script: Mapping[tuple[str, int], str] | None = None, *changes: str) -> Config:
        write_script(root, replies() if script is None else script)
        return load_config(None, (*overrides(root), *changes))

    return make


@pytest.fixture
def use_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[Prompt]]:
    """Let a function answer for all models, whatever they are; returns the prompts it gets."""

    def use(answer: Answer) -> list[Prompt]:
        seen: list[Prompt] = []

        def remembering(prompt: Prompt) -> str | None:
            seen.append(prompt)
            return answer(prompt)

        def generate(
            _: LazyEngine, requests: Iterable[Request], on_completion: OnCompletion
        ) -> None:
            ScriptedEngine(remembering, {}).generate(requests, on_completion)

        monkeypatch.setattr(LazyEngine, "generate", generate)
        return seen

    return use


@pytest.fixture
def server() -> Iterator[Server]:
    """A chat server on loopback; `server.answer` may be set."""
    with Server() as server:
        yield server


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client of a server that fails wait for milliseconds."""
    monkeypatch.setattr(limiter, "_FIRST_WAIT_S", 0.005)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no model may be loaded or called."""

    def generate(self: LazyEngine, *_: object) -> None:
        raise AssertionError(f"{self.identity} was called")

    return lambda: monkeypatch.setattr(LazyEngine, "generate", generate)
