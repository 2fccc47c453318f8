from __future__ import annotations

import pytest

from avrt.errors import DataError
from avrt.train.rewards import REWARDS
from avrt.types import LETTERS, Sample


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
        ("", 0.0, 0.0),
    ],
)
def test_rewards_of_completions(completion, format_reward, accuracy_reward):
    assert REWARDS["format"](completion, sample()) == format_reward
    assert REWARDS["accuracy"](completion, sample()) == accuracy_reward


@pytest.mark.parametrize("index", range(8))
def test_every_target_can_earn_both_rewards(index):
    options = tuple(f"thing {letter}" for letter in LETTERS)
    item = sample(options, index)
    completion = f"<think>Seen and heard.</think><answer>{item.target}</answer>"
    assert [reward(completion, item) for reward in REWARDS.values()] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("bell", "drum", "drum"), "several options read 'drum'"),
        (("bell", " "), "text of the target .B. is empty"),
    ],
)
def test_bad_target_raises_instead_of_paying_nothing(options, message):
    with pytest.raises(DataError, match=rf"train\.parquet:1.*{message}"):
        REWARDS["accuracy"]("<think>x</think><answer>B</answer>", sample(options))
