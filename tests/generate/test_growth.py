"""Facts about memory: no stage holds the texts of all samples."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

import avrt.runs.parquet
from avrt.ask import calls
from avrt.config import Config, load_config
from avrt.datasets import prepare
from avrt.engines import LazyEngine, OnCompletion
from avrt.engines.scripted import ScriptedEngine
from avrt.generate import build, judge, judged, merge, stats, trace
from avrt.generate.findings import FINDINGS
from avrt.report import items
from avrt.report.item import roles_of
from avrt.report.items import ItemSources, write_items
from avrt.types import Prompt, Request
from scripted_run import overrides, right, write_dataset, write_script

SMALL, LARGE = 60, 300
TEXT = 4_000
"""Characters of every reply."""
MOST = 4_000
"""Bytes that a sample may take, for ids, keys and numbers; its texts take 12,000."""
CLEAN = {name: {"found": False, "quote": ""} for name in FINDINGS}


def answer(prompt: Prompt) -> str | None:
    """All models are right, at length, and leak every other time before they are asked again."""
    if "The trace to check:" in prompt.text:
        leaks = "a leak here" in prompt.text
        found = {"leak": {"found": True, "quote": "a leak here"}} if leaks else {}
        return json.dumps(CLEAN | found)
    number = int(re.findall(r"question (\d+)", prompt.text)[0])
    words = f"at moment {number} " * (TEXT // 15)
    if not prompt.text.startswith("MERGE"):
        return f"{words}\nAnswer: ({right(number)})"
    is_first = "An earlier version of your reasoning" not in prompt.text
    leak = "a leak here" if is_first and number % 2 else ""
    return f"<think>{words} {leak}</think>\n<answer>{right(number)}</answer>"


def prepared(root: Path, n_questions: int) -> Config:
    root.mkdir()
    write_dataset(root, n_questions)
    write_script(root, {})
    settings = (*overrides(root), "judges.reader.votes=1", "generate.leak_retries=1")
    config = load_config(None, (*settings, 'build.gates=["bad_format"]'))
    prepare.run(config)
    return config


def peak(work: Callable[[], object]) -> int:
    """The most bytes that it holds in Python."""
    tracemalloc.start()
    work()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held


def write_page_items(config: Config) -> None:
    run = config.run.path
    roles = roles_of(run, config.teachers, config.merger)
    sources = ItemSources(run, config.data.root, config.media, config.eval, roles)
    write_items(sources, [], run / "report", n_media=0)


def generate(_: LazyEngine, requests: Iterable[Request], on_completion: OnCompletion) -> None:
    ScriptedEngine(answer, {}).generate(requests, on_completion)


def test_memory_grows_by_ids_and_numbers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avrt.runs.parquet, "_BATCH_ROWS", 20)
    for module in (trace, merge, judge, judged):
        monkeypatch.setattr(module, "BATCH", 20)
    monkeypatch.setattr(calls, "_BATCH", 20)
    monkeypatch.setattr(items, "CHUNK", 20)
    monkeypatch.setattr(LazyEngine, "generate", generate)
    small, large = prepared(tmp_path / "small", SMALL), prepared(tmp_path / "large", LARGE)
    stages = {"trace": trace, "merge": merge, "judge": judge, "build": build, "stats": stats}
    works = {name: stage.run for name, stage in stages.items()} | {"items": write_page_items}
    growth: dict[str, float] = {}
    for name, work in works.items():
        held = [peak(partial(work, config)) for config in (small, large)]
        growth[name] = (held[1] - held[0]) / (LARGE - SMALL)
    assert {name: n for name, n in growth.items() if n > MOST} == {}
    n_written = sum(1 for _ in (large.run.path / "report" / "data").glob("items-*.js"))
    assert n_written == 15, "every item was written"
