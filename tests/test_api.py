"""`import avrt`: what a notebook needs is there, comes at its first use, and runs beside a loop."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

import avrt
from avrt.config import EngineConfig, TeacherRole
from avrt.engines.loops import run_async
from chat_server import Server, chat
from scripted_run import MakeConfig

HEAVY = ("numpy", "pyarrow", "aiohttp", "pydantic", "PIL", "av", "torch", "avrt.config")


def in_new_process(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_avrt_imports_nothing_heavy() -> None:
    code = "import avrt, sys, json; print(json.dumps([dir(avrt), list(sys.modules)]))"
    names, modules = json.loads(in_new_process(code))
    assert set(avrt.__all__) <= set(names)
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize("name", avrt.__all__)
def test_every_name_is_that_of_its_module(name: str) -> None:
    if name in ("sft", "grpo"):
        pytest.importorskip("torch")
    value = getattr(avrt, name)
    if isinstance(value, ModuleType):
        assert callable(value.run)
        assert value.__name__.rpartition(".")[2] == name
    else:
        assert getattr(importlib.import_module(value.__module__), name) is value


def test_the_names_for_type_checkers_are_the_names_that_there_are(repository: Path) -> None:
    tree = ast.parse((repository / "src/avrt/__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = [
        name.asname or name.name
        for node in block.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    ]
    assert sorted(imported) == sorted(avrt.__all__)


@pytest.mark.parametrize("name", ["config2", "Trace", "run", "_STAGE", "world_", "__wrapped__"])
def test_other_names_are_no_attributes(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
        getattr(avrt, name)
    assert not hasattr(avrt, name)


# A running event loop


def served(server: Server) -> dict[str, TeacherRole]:
    engine = EngineConfig(base_url=server.url, max_attempts=1)
    return {
        "vision": TeacherRole(model="m", prompt="vision", modality="v", engine=engine),
        "audio": TeacherRole(model="m", prompt="audio", modality="a", engine=engine),
    }


def answer(body: dict, _n: int) -> object:
    with_media = isinstance(body["messages"][-1]["content"], list)
    return chat("Answer: (A)", n_prompt_tokens=900 if with_media else 9)


@pytest.mark.parametrize("beside", [True, False])
def test_a_stage_runs_beside_a_running_loop_as_without_one(
    make_config: MakeConfig, beside: bool
) -> None:
    with Server() as server:
        server.answer = answer
        config = make_config(None).model_copy(update={"teachers": served(server)})

        async def in_notebook() -> avrt.Result:
            assert asyncio.get_running_loop().is_running()
            return avrt.trace.run(config)

        result = asyncio.run(in_notebook()) if beside else avrt.trace.run(config)
        assert result.counts["kept"] > 0
        again = avrt.trace.run(config)
    assert again.counts == result.counts
    assert "avrt-loop" not in {thread.name for thread in threading.enumerate()}


def test_what_fails_beside_a_running_loop_is_raised_there() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise avrt.EngineError("no server")

    async def in_notebook() -> None:
        run_async(fails())

    with pytest.raises(avrt.EngineError, match="no server"):
        asyncio.run(in_notebook())


def test_the_loop_of_a_notebook_is_the_same_afterwards() -> None:
    async def work() -> int:
        return 7

    async def in_notebook() -> None:
        before = asyncio.get_running_loop()
        assert [run_async(work()) for _ in range(3)] == [7, 7, 7]
        assert asyncio.get_running_loop() is before is asyncio.get_event_loop()
        await asyncio.sleep(0)

    asyncio.run(in_notebook())


def test_an_interrupt_of_a_notebook_ends_the_work() -> None:
    ended = threading.Event()

    async def endless() -> None:
        main = threading.main_thread().ident
        assert main is not None
        try:
            asyncio.get_running_loop().call_soon(signal.pthread_kill, main, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.set()

    def in_cell() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_async(endless())

    async def in_notebook() -> None:
        in_cell()

    # As in a kernel, which keeps the handler that raises KeyboardInterrupt.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(in_notebook())
    finally:
        loop.close()
    assert ended.is_set()
