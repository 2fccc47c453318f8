"""The examples in docs/engines.md are real."""

from __future__ import annotations

from pathlib import Path

import pytest

from avrt.config import load_config
from avrt.engines.scripted import read_script
from avrt.prompts import load_prompt

DOCS = Path(__file__).parents[2] / "docs" / "engines.md"


@pytest.fixture
def block():
    text = DOCS.read_text(encoding="utf-8")

    def get(language: str, n: int = 0) -> str:
        return text.split(f"```{language}\n")[n + 1].split("```")[0]

    return get


def test_the_configuration_in_the_docs_is_valid(tmp_path, block):
    path = tmp_path / "config.yaml"
    path.write_text(block("yaml"))
    config = load_config(path)
    assert (config.teachers["vision"].engine.concurrency, config.merger.engine.batch_size) == (
        32,
        64,
    )
    load_prompt(config.teachers["vision"].prompt)
    load_prompt(config.merger.prompt)


def test_the_servers_in_the_docs_are_valid(tmp_path, block):
    path = tmp_path / "config.yaml"
    path.write_text(block("yaml", 1))
    assert len(load_config(path).teachers["vision"].engine.base_urls) == 2


def test_the_script_in_the_docs_is_valid(tmp_path, block, make_request, collect):
    path = tmp_path / "script.jsonl"
    path.write_text(block("json"))
    done = collect(read_script(path, "m"), [make_request("k", "What is heard in the video?")])
    assert done["k"].text.startswith("Audio Description")
