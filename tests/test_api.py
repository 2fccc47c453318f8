"""`import avrt`: what a notebook needs is there, comes at its first use, and runs beside a loop."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import avrt
from avrt.config import EngineConfig, TeacherRole
from avrt.engines.loops import run_async
from avrt.evaluate.logs import Line, Settings
from avrt.evaluate.results import ModelResult
from avrt.evaluate.scoring import Status
from chat_server import Server, chat
from scripted_run import MakeConfig, right, write_dataset
from test_docs import blocks

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


# The page


def test_the_examples_of_the_page_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path)
    (tmp_path / "data").rename(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    with Server() as server:
        server.answer = answer
        model = "model: qwen2.5-omni-3b"
        settings = blocks("docs/start.md", "yaml")[0]
        assert settings.count(model) == 3
        engine = f'{model}, engine: {{base_url: "{server.url}"}}'
        Path("first.yaml").write_text(settings.replace(model, engine))
        names: dict[str, Any] = {}
        for example in blocks("docs/api.md", "python"):
            exec(compile(example, "docs/api.md", "exec"), names)
    assert names["result"].counts["kept"] == 7
    assert names["result"].counts["validation"] > 0
    assert names["reply"].finish_reason == "stop"
    assert {outcome.status for outcome in names["outcomes"].values()} == {"ok"}
    assert (names["letter"], names["verdict"].answer) == ("B", "B")
    assert names["table"].num_rows == len(names["results"]) == 0
    assert len(list(avrt.read_samples(names["config"].data))) == 8
    own = avrt.load_config(None, ["data.format=parquet", "data.root=own"])
    assert list(avrt.read_samples(own.data)) == names["samples"]
    assert "trace: 7 samples" in capsys.readouterr().out


def line_of(name: str, status: Status, correct: bool = False) -> Line:
    return Line(name, "text", "A", "A", correct, status, None, "", "stop", None, "")


def test_results_are_a_table() -> None:
    lines = [line_of("a", "scored", correct=True), line_of("b", "scored"), line_of("c", "failed")]
    result = ModelResult("bench", "base", "av", lines, 4, Settings({}, {"prompt": "student"}))
    (row,) = avrt.results_table([result]).to_pylist()
    assert row["accuracy"] == pytest.approx(1 / 3)
    assert 0 < row["low"] < row["accuracy"] < row["high"] < 1
    counted = {name: row[name] for name in ("n_items", "scored", "failed", "n_left")}
    assert counted == {"n_items": 4, "scored": 2, "failed": 1, "n_left": 1}
    assert (row["official"], row["protocol"]) == (None, result.protocol_id)
    if importlib.util.find_spec("pandas"):
        assert avrt.results_table([result]).to_pandas().accuracy[0] == row["accuracy"]
    assert avrt.results_table([]).schema == avrt.results_table([result]).schema


# A running event loop


def served(server: Server) -> dict[str, TeacherRole]:
    engine = EngineConfig(base_url=server.url, max_attempts=1)
    return {
        "vision": TeacherRole(model="m", prompt="vision", modality="v", engine=engine),
        "audio": TeacherRole(model="m", prompt="audio", modality="a", engine=engine),
    }


def answer(body: dict, _n: int) -> object:
    """Answer rightly whatever is asked about the little dataset."""
    content = body["messages"][-1]["content"]
    with_media = isinstance(content, list)
    text = content[-1]["text"] if with_media else content
    numbers = re.findall(r"question (\d)\?", text)
    letter = right(int(numbers[-1])) if numbers else "A"
    if with_media:
        return chat(f"It is heard and seen. Answer: ({letter})", n_prompt_tokens=900)
    return chat(f"<think>Both agree.</think>\n<answer>{letter}</answer>", n_prompt_tokens=90)


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
