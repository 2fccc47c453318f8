"""Facts about memory: no stage holds the texts of all samples."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterable
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
from avrt.types import Prompt, Request
from scripted_run import overrides, right, write_dataset, write_script

SMALL, LARGE = 60, 300
TEXT = 8_000
"""Characters of every reply."""
MOST = 4_000
"""Bytes that a sample may take, for ids, keys and numbers; its texts take 24,000."""
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


def peaks(root: Path, n_questions: int) -> dict[str, int]:
    """The most bytes that each stage holds in Python."""
    root.mkdir()
    write_dataset(root, n_questions)
    write_script(root, {})
    settings = (*overrides(root), "judges.reader.votes=1", "generate.leak_retries=1")
    config: Config = load_config(None, (*settings, 'build.gates=["bad_format"]'))
    prepare.run(config)
    held: dict[str, int] = {}
    stages = {"trace": trace, "merge": merge, "judge": judge, "build": build, "stats": stats}
    for name, stage in stages.items():
        tracemalloc.start()
        stage.run(config)
        held[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return held


def generate(_: LazyEngine, requests: Iterable[Request], on_completion: OnCompletion) -> None:
    ScriptedEngine(answer, {}).generate(requests, on_completion)


def test_memory_grows_by_ids_and_numbers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avrt.runs.parquet, "_BATCH_ROWS", 20)
    for module in (trace, merge, judge, judged):
        monkeypatch.setattr(module, "BATCH", 20)
    monkeypatch.setattr(calls, "_BATCH", 20)
    monkeypatch.setattr(LazyEngine, "generate", generate)
    small = peaks(tmp_path / "small", SMALL)
    large = peaks(tmp_path / "large", LARGE)
    growth = {name: (large[name] - small[name]) / (LARGE - SMALL) for name in small}
    assert {name: n for name, n in growth.items() if n > MOST} == {}
