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
from avrt.errors import AvrtError, DataError
from avrt.evaluate.statistics import wilson
from avrt.generate import build, merge, stats, strata, trace
from avrt.generate.views import VIEWS
from scripted_run import MakeConfig, replies, right, wrong


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
    config = make_config(dict.fromkeys(replies(), "?"))
    for stage in (trace, merge):
        stage.run(config)
    with pytest.raises(AvrtError, match="the dataset is empty"):
        build.run(config)
    stats.run(config)
    stored = json.loads((config.run.path / "dataset" / "statistics.json").read_text())
    table = stats.run(config).summary
    assert row(table, "samples")[1:3] == ["0", "0"]
    assert row(table, "this set")[1:] == ["0.000", "–", "no"]
    assert stored["train"]["think length"] is None


def test_tokens_are_counted_when_the_student_lies_here(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table, _ = described(make_config(None, f"student.model={tmp_path}"))
    assert row(table, "think length, student tokens")[1] == "2.0 ± 0.0"


def with_blind(make_config: MakeConfig, k: int = 1) -> Config:
    """Vision wrong on 1, audio on 2; blind right on 3 and 4, without a reply on 5."""
    root = make_config().data.root.parent
    (root / "blind.txt").write_text("BLIND {question}\n{options}")
    engine = {"kind": "scripted", "script": str(root / "script.jsonl")}
    role = {"model": "scripted-blind", "prompt": str(root / "blind.txt"), "engine": engine}
    blind = {**role, "modality": "none", "k": k, "temperature": 1.0}
    changes: dict[tuple[str, int], str | None] = {
        ("BLIND", number): f"Answer: ({(right if number in (3, 4) else wrong)(number)})"
        for number in range(1, 8)
        if number != 5
    }
    changes |= {
        ("VISION", 1): f"Answer: ({wrong(1)})",
        ("AUDIO", 2): f"Answer: ({wrong(2)})",
        ("MERGE", 6): "no format",
        ("MERGE", 7): f"<think>x</think><answer>{wrong(7)}</answer>",
    }
    return make_config(
        replies(changes),
        f"teachers.blind={json.dumps(blind)}",
        "build.views.none=vision_right < 0",
        "generate.max_failure_rate=0.5",
    )


def entry(stored: dict[str, Any], *names: str) -> dict[str, Any]:
    keys = ("question_type", "blind", "stratum")
    (found,) = (one for one in stored["strata"] if tuple(one[key] for key in keys) == names)
    return found


def test_strata_are_counted_with_intervals_over_kept_and_rejected(make_config: MakeConfig) -> None:
    text, stored = described(with_blind(make_config))
    found = entry(stored, "all", "not right", "both")
    assert (found["n"], found["of"]) == (2, 7)
    assert (found["low"], found["high"]) == pytest.approx(wilson(2, 7))
    assert entry(stored, "all", "right", "both")["n"] == 2
    assert entry(stored, "all", "no answer", "both")["n"] == 1
    assert entry(stored, "all", "not right", "audio_only")["n"] == 1
    assert entry(stored, "all", "not right", "vision_only")["n"] == 1
    assert entry(stored, "Which", "right", "both")["n"] == 1
    for name in ("all", "Which", "Where"):
        of_type = [one for one in stored["strata"] if one["question_type"] == name]
        assert sum(one["n"] for one in of_type) == of_type[0]["of"]
    low, high = (100 * bound for bound in wilson(2, 7))
    assert f"| all | right | 7 | 2 (28.6 [{low:.1f}, {high:.1f}]) |" in text


def test_without_a_blind_teacher_there_is_no_column_for_it(make_config: MakeConfig) -> None:
    text, stored = described(make_config())
    assert "| type | answered | both | vision only | audio only | none |" in text
    assert {one["blind"] for one in stored["strata"]} == {"no answer"}


def test_a_blind_teacher_is_right_when_most_of_its_answers_are() -> None:
    def row(n_right: int) -> dict[str, Any]:
        teacher = {"modality": "none", "k": 4, "answered": 4, "right": n_right}
        return {"id": str(n_right), "question_type": "x", "stratum": "both", "teachers": [teacher]}

    losses = strata.Losses()
    for n_right in range(5):
        losses.add(row(n_right) | {"gates": None})
    table = losses.strata()
    both = {one["blind"]: one["n"] for one in table if one["question_type"] == "all" and one["n"]}
    assert both == {"not right": 3, "right": 2}


def test_gates_losses_and_views_are_counted(make_config: MakeConfig) -> None:
    config = with_blind(make_config)
    text, stored = described(config)
    assert stored["gates"]["bad_format"] == {
        "looked_at": 5, "found": 1, "rejects": True, "rejected": 1,
    }  # fmt: skip
    assert stored["gates"]["leak"]["rejects"] is False
    assert stored["losses"] == {
        "view: dropped/one_teacher_wrong": 2,
        "gate: dropped/bad_format": 1,
        "gate: dropped/wrong_letter": 1,
        "prepare: failed/no_audio": 1,
    }
    views = stored["views"]
    assert views["paper"] == 5
    assert views["either"] == 7
    assert views["none"] == 0
    assert set(views) == {*VIEWS, "none"}
    assert "| prepare: failed/no_audio | 1 |" in text
    assert "| none | own | 0 |" in text


def test_a_view_over_teachers_that_were_not_asked_has_no_size(make_config: MakeConfig) -> None:
    text, stored = described(make_config())
    assert stored["views"]["av_hard"] is None
    assert f"| av_hard | `{VIEWS['av_hard']}` | needs teachers that were not asked |" in text


def test_the_set_stands_among_the_published_ones(make_config: MakeConfig) -> None:
    text, _ = described(make_config())
    assert "| MUSIC-AVQA | 45.9 | A + V | no |" in text
    assert "| this set | 0.007 | A + V | yes |" in text
    assert row(text, "type all others")[1:] == ["0.0", "0.0", "0.2", "0.3"]


def test_without_probed_media_lengths_are_dashes(make_config: MakeConfig) -> None:
    config = make_config()
    described(config)
    (config.run.path / "media.parquet").unlink()
    (config.run.path / "traces" / "teachers.parquet").unlink()
    text = stats.run(config).summary
    assert row(text, "duration")[1:3] == ["–", "–"]
    assert "Views, before any gate" not in text
