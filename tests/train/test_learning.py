"""GRPO learns from what it sees and hears, and from nothing else.

Two questions with the same words about two clips. The policy is paid for beginning its answer to
one with "I" and to the other without; its loss can only tell them apart if it gets the clips.
"""

from __future__ import annotations

import pytest

from avrt.train import grpo
from avrt.train.omni_grpo import OmniGRPOTrainer

pytestmark = pytest.mark.slow


@pytest.fixture
def train(make_config, make_row, monkeypatch, read_jsonl):
    """Train so many steps; their mean rewards."""

    def pays(completion, sample, _settings):
        return float(completion.startswith("I") == (sample.target == "A"))

    def run(n_steps):
        monkeypatch.setitem(grpo.REWARDS, "format", pays)
        config = make_config(
            [make_row("one", "red-high", 0), make_row("other", "blue-high", 1)],
            run={"seed": 2},  # seven of eight seeds do; seed 1 takes one answer for both
            student={"model": "world:student"},
            grpo={
                "max_steps": n_steps,
                "group_size": 8,
                "prompts_per_step": 2,
                "per_device_batch_size": 16,
                "learning_rate": 1e-4,
                "temperature": 1.5,
                "beta": 0.0,
                "accuracy_weight": 0.0,
                "max_new_tokens": 3,
                "save_steps": 1000,
            },
        )
        grpo.run(config)
        return [row["reward"] for row in read_jsonl(config.run.path / "grpo" / "log.jsonl")]

    return run


def test_sixty_steps_raise_the_reward(train):
    rewards = train(60)
    assert rewards[0] < 0.7
    assert sum(rewards[-10:]) / 10 > 0.95


def test_without_media_in_the_loss_it_stays_below(train, monkeypatch):
    whole = OmniGRPOTrainer._get_per_token_logps_and_entropies

    def blind(self, *args, **options):
        """The loss gets a black picture and silence; the rollouts get the clips."""
        hidden = ("pixel_values_videos", "input_features")
        self._media = [
            {key: 0 * value if key in hidden else value for key, value in row.items()}
            for row in self._media
        ]
        self._states = [{} for _ in self._media]
        return whole(self, *args, **options)

    monkeypatch.setattr(OmniGRPOTrainer, "_get_per_token_logps_and_entropies", blind)
    rewards = train(30)
    # One tendency for both clips takes it part of the way, since they never were equally likely.
    assert sum(rewards[-10:]) / 10 < 0.9
