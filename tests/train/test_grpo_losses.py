"""Every setting of the loss against its formula, on completions of different lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from avrt.config import GrpoConfig
from avrt.train import grpo
from avrt.train.log import TrainingLog
from avrt.train.omni_grpo import by_completion
from rollouts import generate, prepared, rollouts, single_logprobs, trainer_logprobs

N_NEW = 6
"""`max_new_tokens` of the configuration."""
LENGTHS = (6, 2, 5, 3, 1, 6, 4, 6)


def ragged(trainer, lengths=LENGTHS):
    """A batch of two groups of four: ragged completions, an old policy, a reference, advantages."""
    draw = np.random.default_rng(0)
    end = trainer.eos_token_ids[0]

    def scripted(prompt_ids, *_args, **_kwargs):
        words = [draw.integers(30, 500, n).tolist() for n in lengths]
        # Those of the full length are cut, the others end.
        return [w if len(w) == N_NEW else [*w[:-1], end] for w in words], None

    trainer._generate_single_turn = scripted
    batch = generate(trainer, ["s0", "s3"], group_size=4)
    assert batch["completion_ids"].shape == (8, N_NEW)
    new = trainer_logprobs(trainer, batch).double().numpy()
    old = new + draw.uniform(-0.6, 0.6, new.shape)
    advantages = draw.standard_normal(8)
    batch["old_per_token_logps"] = torch.tensor(old, dtype=torch.float32)
    batch["advantages"] = torch.tensor(advantages, dtype=torch.float32)
    return batch, np.exp(new - old), advantages[:, None]


def loss_of(trainer, batch):
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._by_group(batch) if trainer._share_prompts else batch
    return trainer.compute_loss(trainer.model, batch).item()


def trainer_with(make_config, student, **settings):
    shape = {"group_size": 4, "prompts_per_step": 2, "per_device_batch_size": 8, "beta": 0.0}
    return prepared(make_config(grpo={**shape, **settings}), student)[1]


def clipped(ratio, advantage, low=0.2, high=0.2):
    return -np.minimum(ratio * advantage, np.clip(ratio, 1 - low, 1 + high) * advantage)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo"])
def test_each_loss_type_sums_up_tokens_as_its_formula(make_config, student, loss_type):
    trainer = trainer_with(make_config, student, loss_type=loss_type)
    batch, ratio, advantage = ragged(trainer)
    mask = batch["completion_mask"].numpy()
    assert tuple(mask.sum(1)) == LENGTHS
    tokens = clipped(ratio, advantage) * mask
    expected = {
        "grpo": (tokens.sum(1) / mask.sum(1)).mean(),
        "dapo": tokens.sum() / mask.sum(),
        "dr_grpo": tokens.sum() / (len(mask) * N_NEW),
        "bnpo": tokens.sum() / mask.sum(),  # one pass holds all here
    }
    assert loss_of(trainer, batch) == pytest.approx(expected[loss_type], abs=1e-5)
    others = {value for name, value in expected.items() if name != loss_type}
    assert all(abs(expected[loss_type] - v) > 1e-3 for v in others - {expected[loss_type]})


@pytest.mark.parametrize("loss_type", ["dapo", "bnpo"])
def test_passes_weigh_by_their_tokens_in_dapo_and_all_alike_in_bnpo(
    make_config, student, loss_type
):
    trainer = trainer_with(make_config, student, loss_type=loss_type, per_device_batch_size=4)
    batch, ratio, advantage = ragged(trainer)
    mask = batch["completion_mask"].numpy()
    tokens = clipped(ratio, advantage) * mask
    trainer.current_gradient_accumulation_steps = 2
    trainer._generate_and_score_completions = lambda _: trainer._by_group(batch)
    total = 0.0
    for step in range(2):
        trainer._step = step
        part = trainer._prepare_inputs(rollouts(trainer, ["s0", "s3"], 4))
        total += trainer.compute_loss(trainer.model, part).item()
    halves = [(tokens[i : i + 4].sum(), mask[i : i + 4].sum()) for i in (0, 4)]
    expected = {
        "dapo": tokens.sum() / mask.sum(),
        "bnpo": sum(loss / n for loss, n in halves) / 2,
    }
    assert abs(expected["dapo"] - expected["bnpo"]) > 1e-3
    assert total == pytest.approx(expected[loss_type], abs=1e-5)


def test_the_upper_range_clips_what_the_lower_does_not(make_config, student):
    trainer = trainer_with(make_config, student, epsilon=0.1, epsilon_high=0.4)
    batch, ratio, advantage = ragged(trainer)
    mask = batch["completion_mask"].numpy()
    tokens = clipped(ratio, advantage, 0.1, 0.4)
    expected = ((tokens * mask).sum(1) / mask.sum(1)).mean()
    assert loss_of(trainer, batch) == pytest.approx(expected, abs=1e-5)
    other = clipped(ratio, advantage, 0.1, 0.1)
    assert abs(((other * mask).sum(1) / mask.sum(1)).mean() - expected) > 1e-3


def test_a_ratio_of_the_sequence_is_the_geometric_mean_of_its_tokens(make_config, student):
    trainer = trainer_with(make_config, student, importance_sampling_level="sequence", epsilon=0.05)
    batch, ratio, advantage = ragged(trainer)
    mask = batch["completion_mask"].numpy()
    of_sequence = np.exp((np.log(ratio) * mask).sum(1) / mask.sum(1))[:, None]
    expected = clipped(of_sequence, advantage, 0.05, 0.05).mean()
    assert loss_of(trainer, batch) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_scaled_by_group_by_batch_or_not(make_config, student, scale):
    trainer = trainer_with(make_config, student, scale_rewards=scale)
    paid = np.array([[0, 1, 1, 4], [2, 2, 2, 3]], float)
    trainer.reward_funcs = [lambda **_: paid.ravel().tolist(), lambda **_: [0.0] * 8]
    centred = paid - paid.mean(1, keepdims=True)
    spread = {
        "group": paid.std(1, ddof=1, keepdims=True) + 1e-4,
        "batch": paid.std(ddof=1) + 1e-4,
        "none": 1,
    }
    advantages = generate(trainer, ["s0", "s3"], group_size=4)["advantages"].numpy()
    np.testing.assert_allclose(advantages, (centred / spread[scale]).ravel(), atol=1e-5)


@pytest.mark.parametrize("share_prompts", [True, False])
def test_truncated_completions_have_no_part_in_the_loss(make_config, student, share_prompts):
    settings = {"mask_truncated_completions": True, "share_prompts": share_prompts}
    trainer = trainer_with(make_config, student, **settings)
    batch, ratio, advantage = ragged(trainer)
    mask = batch["completion_mask"].numpy()
    assert tuple(mask.sum(1)) == tuple(length * (length < N_NEW) for length in LENGTHS)
    tokens = clipped(ratio, advantage) * mask
    expected = (tokens.sum(1) / np.maximum(mask.sum(1), 1)).mean()
    assert loss_of(trainer, batch) == pytest.approx(expected, abs=1e-5)

    batch, _, _ = ragged(trainer, [N_NEW] * 8)
    assert not batch["completion_mask"].any()
    assert loss_of(trainer, batch) == 0.0


def test_the_loss_is_taken_on_the_tokens_of_highest_entropy(make_config, student):
    trainer = trainer_with(make_config, student, top_entropy_quantile=0.3)
    batch, ratio, advantage = ragged(trainer)
    mask = batch["completion_mask"].numpy()
    trainer._media, trainer._states = batch["media"], batch["states"]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attended = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        _, entropies, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, attended, N_NEW, compute_entropy=True
        )
    entropies = entropies.numpy()
    high = (entropies >= np.quantile(entropies[mask == 1], 0.7)) * mask
    assert 0.2 < high.sum() / mask.sum() < 0.4
    expected = ((clipped(ratio, advantage) * high).sum(1) / mask.sum(1)).mean()
    assert loss_of(trainer, batch) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("share_prompts", [True, False])
def test_later_updates_compare_with_the_policy_of_the_rollout(make_config, student, share_prompts):
    settings = {"steps_per_rollout": 2, "save_steps": 2, "share_prompts": share_prompts}
    config = make_config(grpo={"prompts_per_step": 2, "beta": 0.0, **settings})
    encoded, trainer = prepared(config, student)
    trainer.reward_funcs = [lambda completions, **_: list(range(len(completions)))] * 2
    by_prompt = {tuple(row.input_ids.tolist()): row for row in encoded.values()}
    trainer.current_gradient_accumulation_steps = 1

    def logprobs(batch):
        """Those of the model as it is now, by single passes, and which are of tokens."""
        rows = np.zeros(batch["completion_ids"].shape)
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        columns = (batch[name] for name in names)
        for row, ids, mask, answer, valid in zip(rows, *columns, strict=True):
            prompt = by_prompt[tuple(ids[mask.bool()].tolist())]
            row[: valid.sum()] = single_logprobs(trainer.model, prompt, answer[valid.bool()])
        return rows, batch["completion_mask"].numpy()

    names = ["s0", "s1", "s2", "s3"]
    batches = []
    for step in range(2):
        trainer._step = step
        batches.append(trainer._prepare_inputs(rollouts(trainer, names)))
    olds = []
    for batch in batches:
        rows = by_completion(batch) if share_prompts else batch
        old, mask = logprobs(rows)
        stored = rows["old_per_token_logps"].numpy() * mask
        np.testing.assert_allclose(stored, old, atol=1e-4)
        olds.append(old)
    with torch.no_grad():  # as an update of the first step would
        for parameter in trainer.model.model.language_model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    for batch, old in zip(batches, olds, strict=True):
        rows = by_completion(batch) if share_prompts else batch
        new, mask = logprobs(rows)
        tokens = clipped(np.exp(new - old), rows["advantages"].numpy()[:, None])
        expected = ((tokens * mask).sum(1) / mask.sum(1)).mean()
        loss = trainer.compute_loss(trainer.model, batch).item()
        assert loss == pytest.approx(expected, abs=1e-4)


def test_reused_rollouts_are_clipped_and_resume_exactly(make_config, monkeypatch, read_numbers):
    monkeypatch.setitem(grpo.REWARDS, "format", lambda completion, *_: float(len(completion) % 5))
    settings = {
        "prompts_per_step": 2,
        "steps_per_rollout": 2,
        "num_iterations": 2,
        "max_steps": 8,
        "save_steps": 4,
        "epsilon": 0.01,
    }
    straight = make_config(run={"name": "straight"}, grpo=settings)
    grpo.run(straight)
    config = make_config(grpo=settings)
    with monkeypatch.context() as patch:
        on_log = TrainingLog.on_log

        def stop_at_step_6(self, args, state, control, **kwargs):
            on_log(self, args, state, control, **kwargs)
            if state.global_step == 6:
                raise KeyboardInterrupt

        patch.setattr(TrainingLog, "on_log", stop_at_step_6)
        with pytest.raises(KeyboardInterrupt):
            grpo.run(config)
    grpo.run(config)
    logs = [read_numbers(run.run.path / "grpo" / "log.jsonl") for run in (straight, config)]
    assert logs[0] == logs[1]
    fractions = [row["clip_fraction"] for row in logs[0]]
    assert [fraction > 0 for fraction in fractions] == [False, True, True, True] * 2
    assert logs[0][0]["entropy"] > 1


def test_checkpoints_in_the_midst_of_a_rollout_are_refused_with_the_remedy():
    with pytest.raises(ValidationError, match=r"save_steps = 50 would save in .*save_steps=54"):
        GrpoConfig(num_iterations=3, steps_per_rollout=2)


def test_settings_that_came_later_do_not_invalidate_earlier_trainings():
    assert not {*grpo.ADDED} & {*grpo._settings(GrpoConfig())}
    assert {name: getattr(GrpoConfig(), name) for name in grpo.ADDED} == grpo.ADDED
    assert grpo._settings(GrpoConfig(loss_type="dapo"))["loss_type"] == "dapo"
