from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from avrt.datasets import dataset_row_to_sample, prepare, write_samples
from avrt.engines.encode import suppress_token_ids
from avrt.errors import ConfigError, DataError, EngineError
from avrt.train import grpo, held_out
from avrt.train.log import TrainingLog, read_log
from avrt.train.omni_grpo import OmniGRPOTrainer, WithMedia, by_completion, check_hooks
from rollouts import generate, prepared, rollouts, single_logprobs, trainer_logprobs


@pytest.mark.parametrize("share_prompts", [True, False])
def test_logprobs_equal_single_sample_forwards_through_shuffle_split_and_chunks(
    make_config, student, share_prompts
):
    encoded, trainer = prepared(make_config(grpo={"share_prompts": share_prompts}), student)
    by_prompt = {tuple(row.input_ids.tolist()): row for row in encoded.values()}
    assert len(by_prompt) == len(encoded)
    slices = []
    for step in range(2):
        trainer._step = step
        batch = trainer._prepare_inputs(rollouts(trainer, ["s0", "s1", "s2", "s3"]))
        slices.append(by_completion(batch) if share_prompts else batch)
    assert any((batch["prompt_mask"] == 0).any() for batch in slices), (
        "no left padding in this batch"
    )

    for batch in slices:
        for chunk in (None, 2) if share_prompts else (None, 1, 3):
            logprobs = trainer_logprobs(trainer, batch, chunk)
            for index, row in enumerate(logprobs):
                prompt = batch["prompt_ids"][index][batch["prompt_mask"][index].bool()]
                completion = batch["completion_ids"][index][batch["completion_mask"][index].bool()]
                expected = single_logprobs(
                    trainer.model, by_prompt[tuple(prompt.tolist())], completion
                )
                torch.testing.assert_close(row[: len(completion)], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("other", ["blue-high", "red-low"])
def test_rollouts_and_logprobs_change_when_only_one_modality_changes(
    make_config, make_row, student, other
):
    rows = [
        make_row("first", "red-high"),
        make_row("second", other),
        *(make_row(f"s{i}", "short") for i in range(2)),
    ]
    encoded, trainer = prepared(make_config(rows), student)
    assert encoded["first"].input_ids.equal(encoded["second"].input_ids)

    logits = []  # the rollout's logits; the log-probabilities do not call the head as a module
    hook = trainer.model.lm_head.register_forward_hook(
        lambda _module, _inputs, output: logits.append(output)
    )
    batch = generate(trainer, ["first", "second"])
    hook.remove()
    first_token = logits[0]
    assert (first_token[0] - first_token[1]).abs().max() > 1e-4
    for index, name in enumerate(("first", "second")):
        ids = encoded[name].input_ids[None]
        with torch.no_grad():
            alone = trainer.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), **encoded[name].media
            ).logits
        torch.testing.assert_close(first_token[index], alone[0, -1], atol=1e-4, rtol=0)

    media = [encoded["second"].media] * 2 + [encoded["first"].media] * 2
    swapped = {**batch, "media": media, "states": [{}] * 4}
    mask = batch["completion_mask"].bool()
    change = (trainer_logprobs(trainer, batch) - trainer_logprobs(trainer, swapped)).abs()
    assert all(row[valid].max() > 1e-4 for row, valid in zip(change, mask, strict=True))


def test_reference_equals_policy_at_the_first_step(make_config, student):
    _, trainer = prepared(make_config(), student)
    batch = generate(trainer, ["s0", "s3"])
    mask = batch["completion_mask"].bool()
    torch.testing.assert_close(
        batch["ref_per_token_logps"][mask],
        trainer_logprobs(trainer, batch)[mask],
        atol=1e-5,
        rtol=0,
    )


def test_advantage_and_loss_equal_the_formula(make_config, student):
    config = make_config(
        grpo={"group_size": 4, "prompts_per_step": 2, "beta": 0.3, "accuracy_weight": 2.0}
    )
    _, trainer = prepared(config, student)
    paid = np.random.default_rng(0).integers(0, 3, (2, 8)).astype(float)
    trainer.reward_funcs = [lambda values=row, **_: values.tolist() for row in paid]
    with torch.no_grad():
        for parameter in trainer.model.model.language_model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    batch = generate(trainer, ["s0", "s3"], group_size=4)

    rewards_P_G = (paid[0] + 2.0 * paid[1]).reshape(2, 4)
    spread = rewards_P_G.std(1, ddof=1, keepdims=True)
    advantages = ((rewards_P_G - rewards_P_G.mean(1, keepdims=True)) / (spread + 1e-4)).reshape(-1)
    np.testing.assert_allclose(batch["advantages"].numpy(), advantages, atol=1e-5)

    delta = (batch["ref_per_token_logps"] - trainer_logprobs(trainer, batch)).numpy()
    mask = batch["completion_mask"].numpy()
    kl = np.exp(delta) - delta - 1
    assert (kl * mask).max() > 1e-3
    per_token = -advantages[:, None] + 0.3 * kl
    expected = ((per_token * mask).sum(1) / mask.sum(1)).mean()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.compute_loss(trainer.model, trainer._by_group(batch))
    np.testing.assert_allclose(loss.item(), expected, atol=1e-4)


def test_ratio_and_clip_equal_the_formula(make_config, student):
    config = make_config(grpo={"group_size": 4, "prompts_per_step": 2, "beta": 0.0})
    _, trainer = prepared(config, student)
    batch = generate(trainer, ["s0", "s3"], group_size=4)
    new = trainer_logprobs(trainer, batch).double().numpy()
    mask = batch["completion_mask"].double().numpy()
    draw = np.random.default_rng(0)
    old = new + draw.uniform(-0.5, 0.5, new.shape)
    advantages = draw.standard_normal(len(new))
    batch["old_per_token_logps"] = torch.tensor(old, dtype=torch.float32)
    batch["advantages"] = torch.tensor(advantages, dtype=torch.float32)

    ratio, advantage = np.exp(new - old), advantages[:, None]
    clipped = np.clip(ratio, 1 - 0.2, 1 + 0.2)
    per_token = np.minimum(ratio * advantage, clipped * advantage)
    expected = -((per_token * mask).sum(1) / mask.sum(1)).mean()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.compute_loss(trainer.model, trainer._by_group(batch))
    np.testing.assert_allclose(loss.item(), expected, atol=1e-5)

    acts = ((ratio > 1.2) & (advantage > 0)) | ((ratio < 0.8) & (advantage < 0))
    share = (acts * mask).sum() / mask.sum()
    assert 0.1 < share < 0.9
    (logged,) = trainer._metrics["train"]["clip_ratio/region_mean"]
    assert logged == pytest.approx(share, abs=1e-6)
    unclipped = -((ratio * advantage * mask).sum(1) / mask.sum(1)).mean()
    assert abs(expected - unclipped) > 1e-3, "here the clip makes a difference"


def test_media_tokens_are_never_sampled(make_config, student):
    config = make_config(grpo={"max_new_tokens": 24, "temperature": 5.0})
    _, trainer = prepared(config, student)
    batch = generate(trainer, ["s0", "s1", "s2", "s3"])
    forbidden = suppress_token_ids(student[1])
    assert len(forbidden) == 7
    assert not set(forbidden) & set(batch["completion_ids"].flatten().tolist())


def test_run_resumes_and_leaves_the_towers_alone(
    make_config, student_folder, monkeypatch, read_numbers
):
    monkeypatch.setitem(grpo.REWARDS, "format", lambda completion, *_: float(len(completion) % 5))
    straight = make_config(run={"name": "straight"}, grpo={"max_steps": 3, "logged_groups": 4})
    grpo.run(straight)
    config = make_config(grpo={"max_steps": 3, "logged_groups": 4})
    with monkeypatch.context() as patch:
        on_log = TrainingLog.on_log

        def stop_at_step_2(self, args, state, control, **kwargs):
            on_log(self, args, state, control, **kwargs)
            if state.global_step == 2:
                raise KeyboardInterrupt

        patch.setattr(TrainingLog, "on_log", stop_at_step_2)
        with pytest.raises(KeyboardInterrupt):
            grpo.run(config)
    assert grpo.run(config).counts["steps"] == 3
    logs = [read_numbers(run.run.path / "grpo" / "log.jsonl") for run in (straight, config)]
    assert [row["step"] for row in logs[1]] == [1, 2, 3]
    absent = {"tokens_per_s", "step_time_s", "waiting", "memory_gib", *held_out.FIELDS}
    absent |= {"reward_length", "reward_judge", "judge_failed", "dropped_groups"}
    absent |= {"server_difference", "server_difference_max", "importance_ratio"}
    assert set(logs[1][0]) == {"step", *grpo.LOG_FIELDS.values()} - absent
    assert logs[0] == logs[1]
    assert logs[0][0]["kl"] == pytest.approx(0.0, abs=1e-6)
    written = [read_log(run.run.path / "grpo" / "completions.jsonl") for run in (straight, config)]
    assert [group["step"] for group in written[1]] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert written[0] == written[1]
    paid = [reward for group in written[0][:4] for reward in group["rewards"]["format"]]
    assert len(paid) == 8
    assert np.mean(paid) == pytest.approx(logs[0][0]["reward_format"])

    after = load_file(config.run.path / "grpo" / "model" / "model.safetensors")
    before = load_file(student_folder / "model.safetensors")
    towers = {name for name in before if name.startswith(("visual", "audio_tower"))}
    assert {name for name in before if before[name].equal(after[name])} == towers
    assert "already done" in grpo.run(config).summary
    shutil.rmtree(config.run.path / "grpo" / "model")
    assert "already done" not in grpo.run(config).summary
    again = load_file(config.run.path / "grpo" / "model" / "model.safetensors")
    assert all(again[name].equal(after[name]) for name in after)


def test_rows_without_traces_are_prompts(make_config, make_row):
    rows = [make_row(f"s{index}", "short", av_reasoning=None) for index in range(4)]
    config = make_config(rows, grpo={"max_steps": 1})
    assert "4 samples" in grpo.plan(config)
    assert grpo.run(config).counts["kept"] == 4


def test_every_sample_that_prepare_finds_usable_can_be_a_prompt(
    make_config, make_row, clips, tmp_path
):
    root = tmp_path / "data"
    shutil.copytree(clips, root)
    (root / "cut.mp4").write_bytes((root / "short.mp4").read_bytes()[:200])
    names = ["red-high", "blue-high", "red-low", "short", "cut"]
    samples = [
        dataset_row_to_sample(make_row(f"q{index}", name, question=f"Question {index}?"), "test")
        for index, name in enumerate(names)
    ]
    write_samples(root / "train.parquet", samples)
    data = {"root": root, "format": "parquet"}
    config = make_config(
        data=data,
        build={"validation_fraction": 0},
        grpo={"data": "samples", "prompts_per_step": 2, "max_steps": 1},
    )
    assert "`avrt prepare` writes it" in grpo.plan(config)
    with pytest.raises(DataError, match=r"samples\.parquet: not found; run `avrt prepare` first"):
        grpo.run(config)
    prepare.run(config)
    assert f"{len(names) - 1} samples" in grpo.plan(config)
    assert grpo.run(config).counts["kept"] == len(names) - 1
    with pytest.raises(ConfigError, match=r"other settings \(grpo, held_out\)"):
        grpo.run(make_config(data=data, grpo={"prompts_per_step": 2, "max_steps": 1}))


def test_a_policy_that_was_moved_is_the_same_policy(make_config, student_folder, tmp_path):
    folders = [tmp_path / "here", tmp_path / "there"]
    shutil.copytree(student_folder, folders[0])
    assert "2 steps" in grpo.run(make_config(grpo={"init": str(folders[0])})).summary
    folders[0].rename(folders[1])
    config = make_config(grpo={"init": str(folders[1])})
    assert "already done" in grpo.run(config).summary
    manifest = (config.run.path / "manifests" / "grpo.json").read_text()
    assert str(tmp_path) not in manifest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["bell", "drum", "drum", "horn"], "several options read 'drum'"),
        (["bell", " ", "flute", "horn"], "text of the target .B. is empty"),
    ],
)
def test_a_bad_target_is_refused_before_the_model_is_loaded(
    make_config, make_row, monkeypatch, options, message
):
    def load(_: str) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(grpo, "load_student", load)
    rows = [make_row(f"s{index}", "short") for index in range(4)]
    rows[3]["choices"] = options
    with pytest.raises(DataError, match=rf"train\.parquet:4: sample 's3': .*{message}"):
        grpo.run(make_config(rows))


def test_too_few_prompts_and_untrained_policy_are_refused(make_config, make_row, student):
    with pytest.raises(ConfigError, match=r"grpo\.prompts_per_step = 4, but .* only 1 usable"):
        grpo.run(make_config([make_row("s0", "short")]))
    with pytest.raises(ConfigError, match="run `avrt sft` for this run first"):
        grpo.run(make_config(grpo={"init": "sft"}))


def test_prompts_that_leave_no_room_are_refused(make_config):
    with pytest.raises(DataError, match=r"grpo: none of the 8 samples.*tokens, at most 6"):
        grpo.run(make_config(grpo={"max_new_tokens": 4090}))


def test_rows_without_media_are_refused():
    model = WithMedia(lambda **inputs: inputs, [{"input_features": torch.zeros(1, 2)}, {}])
    model(torch.zeros(1, 3))
    with pytest.raises(EngineError, match=r"media of every completion.*1 of them empty"):
        model(torch.zeros(1, 3))
    with pytest.raises(EngineError, match="1 completions have 0 rows of media"):
        model(torch.zeros(1, 3))


def test_changed_hooks_of_trl_are_refused():
    class Changed(OmniGRPOTrainer):
        def _compute_loss(self, model, batch, num_items):
            raise NotImplementedError

    class Renamed:
        pass

    with pytest.raises(EngineError, match=r"TRL 1\.16.*_compute_loss must be .*batch"):
        check_hooks(Changed)
    with pytest.raises(EngineError, match=r"_tokenize_prompts must be .*the method is gone"):
        check_hooks(Renamed)


def test_plan_tells_the_rollouts_and_writes_nothing(make_config):
    config = make_config()
    before = sorted(config.run.path.rglob("*"))
    text = grpo.plan(config)
    assert "2 steps of 4 prompts x 2 completions" in text
    assert "tokens per prompt: mean" in text
    assert "over the limit of 4090 tokens: 0 of 8" in text
    assert ", reference 0." in text
    assert sorted(config.run.path.rglob("*")) == before
    assert "run `avrt sft` for this run first" in grpo.plan(make_config(grpo={"init": "sft"}))
