"""Groups whose completions all earn the same make way for others."""

from __future__ import annotations

import pytest
import torch

from avrt.train import grpo
from avrt.train.log import TrainingLog
from rollouts import generate, prepared, single_logprobs, trainer_logprobs


def resampler(make_config, student, differing, **settings):
    """A trainer whose rewards differ for the prompts in `differing` alone."""
    settings = {"drop_zero_spread": True, "beta": 0.0, **settings}
    encoded, trainer = prepared(make_config(grpo=settings), student)

    def reward(prompts, **_):
        return [float(place % 2 and name in differing) for place, name in enumerate(prompts)]

    trainer.reward_funcs = [reward, lambda prompts, **_: [0.0] * len(prompts)]
    return encoded, trainer


@pytest.mark.parametrize("share_prompts", [True, False])
def test_groups_without_spread_are_replaced_with_their_media(make_config, student, share_prompts):
    differing = {"s1", "s3", "s6", "s7"}
    encoded, trainer = resampler(make_config, student, differing, share_prompts=share_prompts)
    batch = generate(trainer, ["s0", "s1", "s2", "s3"])
    names = list(trainer._logs["prompt"])[::2]
    assert set(names) == differing
    assert (names[1], names[3]) == ("s1", "s3"), "those with spread keep their places"
    assert (batch["advantages"] != 0).all()
    assert trainer._metrics["train"]["frac_reward_zero_std"] == [0.0]
    assert 2 <= trainer._metrics["train"]["dropped_groups"][0] <= 4
    logprobs = trainer_logprobs(trainer, batch)
    for index, name in enumerate(name for name in names for _ in range(2)):
        completion = batch["completion_ids"][index][batch["completion_mask"][index].bool()]
        expected = single_logprobs(trainer.model, encoded[name], completion)
        torch.testing.assert_close(logprobs[index, : len(completion)], expected, atol=1e-4, rtol=0)


def test_the_bound_ends_the_search_and_what_is_left_is_kept(make_config, student):
    names = ["s0", "s1", "s2", "s3"]
    _, trainer = resampler(make_config, student, {"s3"}, resampling_rounds=1)
    n_tokens = []
    for rounds in (1, 5):
        trainer._resampling_rounds = rounds
        trainer._metrics["train"].clear()
        before = trainer.state.num_input_tokens_seen
        generate(trainer, names)
        n_tokens.append(trainer.state.num_input_tokens_seen - before)
        assert list(trainer._logs["prompt"])[::2] == names
        # Three are asked for; then one more is all that the eight prompts have left.
        assert trainer._metrics["train"]["dropped_groups"] == [3 if rounds == 1 else 4]
        assert trainer._metrics["train"]["frac_reward_zero_std"] == [0.75]
    assert n_tokens[0] < n_tokens[1], "tokens of dropped groups went through the model too"


def test_resampled_trainings_resume_exactly(make_config, monkeypatch, read_numbers):
    rewards = {"s0": 0, "s3": 0, "s5": 0}  # the others are paid by their length
    monkeypatch.setitem(
        grpo.REWARDS,
        "format",
        lambda completion, sample, _: float(rewards.get(sample.id, len(completion) % 5)),
    )
    settings = {"drop_zero_spread": True, "max_steps": 4, "save_steps": 2}
    straight = make_config(run={"name": "straight"}, grpo=settings)
    grpo.run(straight)
    config = make_config(grpo=settings)
    with monkeypatch.context() as patch:
        on_log = TrainingLog.on_log

        def stop_at_step_3(self, args, state, control, **kwargs):
            on_log(self, args, state, control, **kwargs)
            if state.global_step == 3:
                raise KeyboardInterrupt

        patch.setattr(TrainingLog, "on_log", stop_at_step_3)
        with pytest.raises(KeyboardInterrupt):
            grpo.run(config)
    grpo.run(config)
    logs = [read_numbers(run.run.path / "grpo" / "log.jsonl") for run in (straight, config)]
    assert logs[0] == logs[1]
    assert sum(row["dropped_groups"] for row in logs[0]) >= 3


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_the_kl_to_the_start_is_measured_without_being_paid_for(make_config, lora, read_numbers):
    if lora:
        pytest.importorskip("peft")
    logs = {}
    for name, settings in {
        "unmeasured": {"beta": 0.0},
        "measured": {"beta": 0.0, "kl_steps": 2},
        "paid": {"beta": 1e-12},
    }.items():
        student = {"lora": lora} if lora else {}
        config = make_config(run={"name": name}, grpo={"max_steps": 3, **settings}, student=student)
        grpo.run(config)
        logs[name] = read_numbers(config.run.path / "grpo" / "log.jsonl")
    assert ["kl" in row for row in logs["measured"]] == [True, False, True]
    assert logs["measured"][2]["kl"] > 0.01
    for row, paid in zip(logs["measured"], logs["paid"], strict=True):
        # A price of 1e-12 moves weights by their last bit, and so the KL of later steps.
        assert row.get("kl", paid["kl"]) == pytest.approx(paid["kl"], rel=1e-5, abs=1e-7)
    without = [{k: v for k, v in row.items() if k != "kl"} for row in logs["measured"]]
    assert without == logs["unmeasured"]


def test_pass_at_g_is_the_share_of_groups_with_a_right_completion(make_config, make_row, student):
    config = make_config([make_row(f"s{i}", "short", answer=1) for i in range(4)])
    _, trainer = prepared(config, student)
    logged = {}
    answers = ["A", "B", "B", "B", "C", "nothing", "D", "A"]
    texts = [f"<think>x</think><answer>{answer}</answer>" for answer in answers]
    names = [name for name in ("s0", "s1", "s2", "s3") for _ in range(2)]
    for reward in trainer.reward_funcs:
        reward(prompts=names, completions=texts, log_metric=logged.__setitem__)
    assert logged == {"parsed": 7 / 8, "pass_at_g": 0.5}
