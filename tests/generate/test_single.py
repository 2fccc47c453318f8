"""Facts about `generate.traces_of`: the traces of one teacher in the place of merged ones."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from avrt.answers import split_trace
from avrt.ask.replay import replay
from avrt.config import Config
from avrt.errors import ConfigError
from avrt.generate import build, judge, merge, stats, trace
from avrt.generate.findings import FINDINGS
from avrt.generate.single import reasoning_of
from avrt.runs import read_parquet
from avrt.types import Prompt
from scripted_run import Answer, MakeConfig, replies, right, wrong

PRIVATE = "◁think▷Hm, is it a dog or a cat?◁/think▷\n"


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("Description: Bark.\nReasoning: A dog.\nAnswer: (A) dog",
         "Description: Bark.\nReasoning: A dog."),
        (f"{PRIVATE}Visual Description: Fur.\n\n**Answer:** (B) cat", "Visual Description: Fur."),
        (f"{PRIVATE}Answer: (B)", "Hm, is it a dog or a cat?"),
        ("<think>It barks.</think><answer>A</answer>", "It barks."),
        ("The answer is not clear.\nIt barks.\nSo the answer is (A).",
         "The answer is not clear.\nIt barks."),
        ("Answer: (A)\nBecause it barks.", "Answer: (A)\nBecause it barks."),
        ("Answer: (A)", ""),
    ],
)  # fmt: skip
def test_the_reasoning_is_the_text_without_thought_tags_and_answer(
    text: str, reasoning: str
) -> None:
    assert reasoning_of(text) == reasoning


@pytest.fixture
def make(make_config: MakeConfig) -> Callable[..., Config]:
    """Runs in which the teachers think, and are wrong or silent here and there."""
    script = {
        ("AUDIO", 1): f"{PRIVATE}It barks.\nAnswer: ({right(1)})",
        ("AUDIO", 2): f"It barks.\nAnswer: ({wrong(2)})",
        ("VISION", 3): f"It runs.\nAnswer: ({wrong(3)})",
    }
    return lambda *changes: make_config(replies(script), *changes)


def generate(config: Config) -> None:
    for stage in (trace, merge, judge, build):
        stage.run(config)


@pytest.mark.parametrize(
    ("teacher", "text"), [("audio", "It barks."), ("vision", "Visual Description: v1")]
)
def test_a_teachers_own_traces_become_the_dataset_without_a_call_of_a_merger(
    make: Callable[..., Config], teacher: str, text: str
) -> None:
    config = make(f"generate.traces_of={teacher}", "merger.engine.script=absent.jsonl",
                  "build.validation_fraction=0")  # fmt: skip
    generate(config)
    rows = {row["id"]: row for row in read_parquet(config.run.path / "dataset" / "train.parquet")}
    assert sorted(rows) == [f"avqa-train-{n}" for n in (1, 4, 5, 6, 7)]
    assert split_trace(rows["avqa-train-1"]["av_reasoning"]) == (text, right(1))
    assert "# Call 2 of 2: trace, audio" in replay(
        config.run.path, "avqa-train-1", {"": config.data.root}
    )
    card = (config.run.path / "dataset" / "README.md").read_text()
    assert f"the text of the teacher `{teacher}` alone" in card
    assert "| merger |" not in card
    stats.run(config)


def test_the_questions_are_those_of_the_merged_dataset(make: Callable[..., Config]) -> None:
    generate(merged := make("run.name=test"))
    ids = [row["id"] for row in read_parquet(merged.run.path / "dataset" / "train.parquet")]
    alone = make("generate.traces_of=audio")
    with pytest.raises(ConfigError, match=r"other settings \(merger, traces_of\)"):
        merge.run(alone)
    (merged.run.path / "manifests" / "merge.json").unlink()
    generate(alone)
    assert [row["id"] for row in read_parquet(alone.run.path / "dataset" / "train.parquet")] == ids


def test_wrong_and_missing_traces_of_the_teacher_are_counted(make: Callable[..., Config]) -> None:
    config = make("generate.traces_of=audio", "build.view=vision_first")
    generate(config)
    rejected = read_parquet(config.run.path / "dataset" / "rejected.parquet")
    reasons = {row["id"]: (row["stage"], row["reason"]) for row in rejected}
    assert reasons["avqa-train-2"] == ("gate", "dropped/wrong_letter")
    assert reasons["avqa-train-3"] == ("view", "dropped/one_teacher_wrong")


def test_letters_follow_balanced_options(make: Callable[..., Config]) -> None:
    config = make("generate.traces_of=audio", "build.balance_letters=true")
    generate(config)
    for row in read_parquet(config.run.path / "dataset" / "train.parquet"):
        parts = split_trace(row["av_reasoning"])
        assert parts is not None
        assert parts[1] == row["answer_letter"]


def test_judges_read_the_teachers_trace_and_the_dataset_holds_it(
    make: Callable[..., Config], use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    config = make("generate.traces_of=audio", "judges.reader.votes=1")
    script = {f"{role} question {n}?": text for (role, n), text in replies().items()}
    verdict = json.dumps({name: {"found": False, "quote": ""} for name in FINDINGS})
    seen = use_answers(lambda prompt: script.get(prompt.text.split("\n")[0], verdict))
    generate(config)
    assert sum("<think>Audio Description: a1</think>" in prompt.text for prompt in seen) == 1
    rows = read_parquet(config.run.path / "dataset" / "train.parquet")
    assert all(row["think"].startswith("Audio Description: a") for row in rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("generate.traces_of=audoi",), "no teacher with media of this name; known: vision, audio"),
        (("generate.traces_of=audio", "generate.leak_retries=1"), "set one of them only"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_at_once(
    make: Callable[..., Config], changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(*changes)
