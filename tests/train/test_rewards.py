from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from avrt.config import DataConfig, GrpoConfig
from avrt.datasets import read_samples, write_samples
from avrt.errors import DataError
from avrt.train.rewards import REWARDS, reward_weights
from avrt.types import LETTERS, Sample
from benchmark_sets import write_set

GRPO = GrpoConfig()


def sample(options=("bell", "drum", "flute", "horn"), answer_index=1):
    return Sample(
        id="s0",
        question="What is it?",
        options=options,
        answer_index=answer_index,
        question_type="Which",
        question_relation="both",
        video_id="clip",
        video="clip.mp4",
        image=None,
        audio=None,
        source="train.parquet:1",
    )


def pay(name, completion, item=None, **settings):
    """What one reward pays."""
    return REWARDS[name](completion, item or sample(), GrpoConfig.model_validate(settings))


def thought(n_words, letter="B"):
    """A well-formed completion with so many words of thought."""
    return f"<think>{'word ' * n_words}</think><answer>{letter}</answer>"


@pytest.mark.parametrize(
    ("completion", "format_reward", "accuracy_reward"),
    [
        ("<think>It rings.</think><answer>B</answer>", 1.0, 1.0),
        ("<think>It rings.</think>\n<answer>B</answer>\n", 1.0, 1.0),
        ("<think>It rings.</think><answer>A</answer>", 1.0, 0.0),
        ("<think>It rings.</think><answer>E</answer>", 0.0, 0.0),
        ("<think></think><answer>B</answer>", 0.0, 1.0),
        ("<think>It rings.<answer>B</answer>", 0.0, 0.0),
        ("<think>It rings.</think><answer>B</answer> B", 0.0, 1.0),
        ("The answer is B.", 0.0, 1.0),
        ("A drum is louder than a bell.", 0.0, 0.0),
        ("<think>It is B.", 0.0, 0.0),
        ("Well. <think>It rings.</think><answer>B</answer>", 0.0, 1.0),
        ("<think>It rings.</think><think>So.</think><answer>B</answer>", 0.0, 1.0),
        ("<think>It rings.</think><answer>A</answer><answer>B</answer>", 0.0, 1.0),
        ("<think>It rings.</think> So: <answer>B</answer>", 0.0, 1.0),
        ("<think>It rings.</think><answer>B drum</answer>", 0.0, 1.0),
        ("", 0.0, 0.0),
    ],
)
def test_rewards_of_completions(completion, format_reward, accuracy_reward):
    assert pay("format", completion) == format_reward
    assert pay("accuracy", completion) == accuracy_reward


def test_the_length_reward_equals_the_formula():
    settings = {
        "length_mean": 90.0,
        "length_std": 15.0,
        "length_window": [80, 130],
        "length_bonus": 0.3,
    }
    n_words = np.arange(1, 260)
    paid = [pay("length", thought(n), **settings) for n in n_words]
    inside = (n_words >= 80) & (n_words <= 130)
    expected = np.minimum(1.0, np.exp(-((n_words - 90.0) ** 2) / (2 * 15.0**2)) + 0.3 * inside)
    np.testing.assert_allclose(paid, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("n_words", "expected"), [(100, 1.0), (80, np.exp(-0.5)), (99, np.exp(-1 / 800)), (200, 0.5)]
)
def test_the_published_length_reward(n_words, expected):
    assert pay("length", thought(n_words)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("completion", ["", "word " * 100, "<think>" + "word " * 100, "x " * 5000])
def test_a_completion_that_is_no_trace_earns_nothing_for_its_length(completion):
    assert pay("length", completion, length_bonus=1.0) == 0.0


def test_only_rewards_with_a_weight_count():
    assert reward_weights(GRPO) == {"format": 1.0, "accuracy": 1.0}
    changed = GrpoConfig(format_weight=0, length_weight=0.5)
    assert reward_weights(changed) == {"accuracy": 1.0, "length": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_weight": 0, "accuracy_weight": 0}, "no completion would earn anything"),
        ({"length_window": [200, 100]}, r"length_window = \[200, 100\]"),
        ({"length_std": 0}, "length_std"),
        ({"length_bonus": 2}, "length_bonus"),
    ],
)
def test_impossible_rewards_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        GrpoConfig(**changes)


@pytest.mark.parametrize("index", range(8))
def test_every_target_can_earn_every_reward(index):
    item = sample(tuple(f"thing {letter}" for letter in LETTERS), index)
    assert {name: pay(name, thought(100, item.target), item) for name in REWARDS} == dict.fromkeys(
        REWARDS, 1.0
    )


def write_avqa(root):
    """AVQA's own format: gold on the first and on the last option."""
    row = {
        "id": 1,
        "video_name": "-abc_000001",
        "video_id": 101,
        "question_text": "What makes the sound?",
        "multi_choice": ["a dog", "a cat", "a car", "rain"],
        "answer": 0,
        "question_relation": "Both",
        "question_type": "Which",
    }
    rows = [row, {**row, "id": 2, "answer": 3}]
    (root / "train_qa.json").write_text(json.dumps(rows))


def write_parquet(root):
    """AVRT's own format: gold on the last of two options."""
    write_samples(root / "train.parquet", [sample(("yes", "no"), 1)])


FIXTURES = {"avqa": write_avqa, "parquet": write_parquet}


@pytest.mark.parametrize("name", get_args(DataConfig.model_fields["format"].annotation))
def test_every_reader_s_gold_earns_every_reward(tmp_path, name):
    data = DataConfig(format=name, root=tmp_path)
    if name in FIXTURES:
        FIXTURES[name](tmp_path)
    else:
        data = write_set(tmp_path, name)
    items = list(read_samples(data))
    assert items
    for item in items:
        gold = thought(100, item.target)
        assert [pay(reward, gold, item) for reward in REWARDS] == [1.0] * len(REWARDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("bell", "drum", "drum"), "several options read 'drum'"),
        (("bell", " "), "text of the target .B. is empty"),
    ],
)
def test_bad_target_raises_instead_of_paying_nothing(options, message):
    with pytest.raises(DataError, match=rf"train\.parquet:1.*{message}"):
        pay("accuracy", "<think>x</think><answer>B</answer>", sample(options))
