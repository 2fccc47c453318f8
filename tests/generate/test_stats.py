"""Facts about the stage `stats`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from avrt.config import Config
from avrt.errors import DataError
from avrt.generate import build, merge, stats, trace
from scripted_run import MakeConfig, replies


def described(config: Config) -> tuple[str, dict[str, Any]]:
    for stage in (trace, merge, build):
        stage.run(config)
    result = stats.run(config)
    return result.summary, json.loads(
        (config.run.path / "dataset" / "statistics.json").read_text(encoding="utf-8")
    )


def row(table: str, name: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_run_without_a_dataset_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(DataError, match=r"train\.parquet: not found"):
        stats.run(make_config())


def test_the_table_stands_beside_the_published_one(make_config: MakeConfig) -> None:
    table, stored = described(make_config(None, "build.validation_fraction=0"))
    assert row(table, "samples") == ["samples", "7", "0", "18,279", "945"]
    assert row(table, "format") == ["format compliance, %", "100.0", "–", "100.0", "100.0"]
    assert row(table, "think length, words") == [
        "think length, words (published: tokens)",
        "2.0 ± 0.0",
        "–",
        "165.5 ± 33.9",
        "163.4 ± 32.5",
    ]
    assert row(table, "primary resolution")[1] == "56×56 (100 %)"
    assert row(table, "duration")[1] == "0.4 ± 0.0"
    assert row(table, "type Which")[1:] == ["57.1", "–", "45.2", "45.7"]
    assert row(table, "gold B")[1] == "28.6"
    assert row(table, "relation both")[1] == "100.0"
    assert stored["train"]["samples"] == "7"
    assert stored["length_unit"] == "words"


def test_an_empty_dataset_has_no_values_and_no_error(make_config: MakeConfig) -> None:
    table, stored = described(make_config(dict.fromkeys(replies(), "?")))
    assert row(table, "samples")[1:3] == ["0", "0"]
    assert stored["train"]["think length"] is None


def test_tokens_are_counted_when_the_student_lies_here(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table, _ = described(make_config(None, f"student.model={tmp_path}"))
    assert row(table, "think length, student tokens")[1] == "2.0 ± 0.0"
