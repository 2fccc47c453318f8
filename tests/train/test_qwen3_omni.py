"""Qwen3-Omni's thinker, tiny and random: loaded, trained and exported like Qwen2.5-Omni's."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from trl.trainer.utils import add_fused_lm_head

from avrt.engines.encode import collate, encode, merge_media, suppress_token_ids
from avrt.errors import ConfigError, EngineError
from avrt.runs import kept_checkpoints
from avrt.train import grpo, room, sft
from avrt.train.checkpoint import build_student, count_parameters, freeze_towers, load_student
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.held_out import answer_greedily
from avrt.train.rollout import Sampler, sample_groups
from avrt.train.shared_prefix import group_inputs, n_prompt_of, prompt_positions, share_attention
from avrt.types import Prompt
from clips import encode_clip, tone
from omni3 import write_thinker3

MEDIA = {"n_frames": 4, "max_pixels": 64 * 96, "max_audio_s": 1.0, "size_factor": 32}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_thinker3(tmp_path_factory.mktemp("thinker3"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of 64 x 96 pixels, in place of the smaller ones."""
    root = tmp_path_factory.mktemp("clips3")
    for number, name in enumerate(("red-high", "blue-high", "red-low", "short")):
        seconds = 0.6 if name == "short" else 1.0
        sound = tone(seconds, 300.0 * (number + 1))
        n_frames = round(8 * seconds)
        encode_clip(root / f"{name}.mp4", n_frames=n_frames, size=(64, 96), sound=sound, fps=8)
    return root


@pytest.fixture
def make(make_config, folder):
    def make(rows=None, **sections):
        student = {"model": str(folder), **sections.pop("student", {})}
        media = {**MEDIA, **sections.pop("media", {})}
        return make_config(rows, student=student, media=media, **sections)

    return make


@pytest.fixture
def policy(folder):
    return load_student(str(folder))


@pytest.fixture
def encoded(make, make_row, policy):
    """Prompts of two lengths."""
    rows = [
        make_row("long", "red-high", question="What is it, and where does it stand?"),
        make_row("short", "short"),
    ]
    config = make(rows)
    encoder = PromptEncoder(policy[1], config.data.root, config.media, config.student.prompt)
    return [encoder(e.sample) for e in read_examples(split_path(config.run.path, "train"))]


def test_the_towers_are_frozen_and_all_projections_train_on_demand(folder):
    model, _ = load_student(str(folder))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any("visual" in name or "audio_tower" in name for name in trained)
    assert any("experts" in name for name in trained)
    n_language = count_parameters(model)["trainable"]
    freeze_towers(model, train_projections=True)
    parts = (model.model.visual.merger, model.model.visual.merger_list)
    parts += (model.model.audio_tower.proj1, model.model.audio_tower.proj2)
    n_projections = sum(p.numel() for part in parts for p in part.parameters())
    assert count_parameters(model)["trainable"] == n_language + n_projections


def test_frames_sound_and_tokens_are_those_of_its_own_processor(encoded, policy):
    row = encoded[0]
    tokenizer = policy[1].tokenizer
    assert row.media["video_grid_thw"].tolist() == [[2, 4, 6]]
    assert int((row.input_ids == tokenizer.video_token_id).sum()) == 2 * 2 * 3
    # 100 mel frames a second: 13 tokens.
    assert row.media["input_features"].shape[-1] == 100
    assert int((row.input_ids == tokenizer.audio_token_id).sum()) == 13
    tokens = set(tokenizer.convert_ids_to_tokens(suppress_token_ids(policy[1])))
    assert {"<|AUDIO|>", "<|VIDEO|>", "<|audio_bos|>", "<|vision_eos|>"} <= tokens


def test_frames_for_patches_of_14_pixels_are_refused_with_the_setting(make, make_row, policy):
    config = make([make_row("a", "red-high")], media={"size_factor": 28, "max_pixels": 56 * 56})
    encoder = PromptEncoder(policy[1], config.data.root, config.media, config.student.prompt)
    with pytest.raises(EngineError, match=r"multiples of 32; set media\.size_factor to 32"):
        encoder(read_examples(split_path(config.run.path, "train"))[0].sample)


def test_shared_prompts_give_the_logprobs_positions_and_rollouts_of_rows_of_their_own(
    encoded, policy
):
    model, processor = policy
    for module in model.modules():
        if hasattr(module, "top_k"):  # rounding would change the choice among random experts
            module.top_k = module.num_experts
    texts = answer_greedily(model, processor, encoded, 10)
    completions = [[torch.tensor([40, 41, 42]), torch.tensor([50])] for _ in encoded]
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    model.eval()
    expected = []
    with torch.no_grad():
        for row, group in zip(encoded, completions, strict=True):
            for completion in group:
                ids = torch.cat([row.input_ids, completion])[None]
                media = merge_media([row.media])
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **media).logits
                scores = logits[0, -len(completion) - 1 : -1].log_softmax(-1)
                expected.append(scores.gather(-1, completion[:, None])[:, 0])
        share_attention(model)
        prompts, media = [row.input_ids for row in encoded], [row.media for row in encoded]
        inputs = group_inputs(model, prompts, completions, media)
        found = model(**inputs, fused_lm_head=True).log_probs[:, n_prompt_of(inputs) :]
    for row, scores in zip(found.reshape(4, -1), expected, strict=True):
        # Large random weights and their router make much of rounding; a wrong position makes more.
        torch.testing.assert_close(row[: len(scores)], scores, atol=0, rtol=1e-3)
    positions = prompt_positions(model, encoded[0].input_ids, encoded[0].media)
    assert (positions % 1 != 0).any(), "times between whole numbers are kept"
    ends = (processor.tokenizer.eos_token_id,)
    sampler = Sampler(10, 0.0, ends, tuple(suppress_token_ids(processor)))
    for rows in (encoded, encoded[:1]):
        prompts, media = [row.input_ids for row in rows], [row.media for row in rows]
        written = sample_groups(model, prompts, media, 2, sampler)
        shown = processor.tokenizer.batch_decode(written[::2], skip_special_tokens=True)
        assert shown == texts[: len(rows)]


@pytest.mark.parametrize("key", ["pixel_values_videos", "input_features"])
def test_logprobs_change_with_one_modality(encoded, policy, key):
    model, _ = policy
    share_attention(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))

    def scores():
        prompts, media = [row.input_ids for row in encoded], [row.media for row in encoded]
        inputs = group_inputs(model, prompts, [[torch.tensor([40, 41])]] * 2, media)
        return model(**inputs, fused_lm_head=True).log_probs[:, n_prompt_of(inputs) :]

    with torch.no_grad():
        before = scores()
        encoded[0].media[key] = -encoded[0].media[key]
        after = scores()
    assert (after[0] - before[0]).abs().max() > 1e-5
    assert after[1].equal(before[1])


@pytest.mark.parametrize("interleaved", [False, True])
def test_sft_and_grpo_train_it_resume_and_keep_checkpoints(
    make, read_numbers, folder, monkeypatch, interleaved
):
    rewards = {**grpo.REWARDS, "format": lambda completion, *_: float(len(completion) % 5)}
    monkeypatch.setattr(grpo, "REWARDS", rewards)
    config = make(
        student={"use_audio_in_video": interleaved},
        sft={"keep_checkpoints": "all", "save_steps": 1, "eval_samples": 1},
        grpo={"init": "sft", "max_steps": 2},
        eval={"max_new_tokens": 4},
    )
    assert sft.run(config).counts["steps"] == 2
    losses = [
        row["loss"] for row in read_numbers(config.run.path / "sft/log.jsonl") if "loss" in row
    ]
    assert losses[1] < losses[0]
    assert list(kept_checkpoints(config.run.path / "sft")) == [1, 2]
    assert grpo.run(config).counts["steps"] == 2
    rows = read_numbers(config.run.path / "grpo" / "log.jsonl")
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert rows[1]["kl"] > 0
    before, after = (
        load_file(path / "model.safetensors") for path in (folder, config.run.path / "grpo/model")
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert not any(name.startswith(("visual.", "audio_tower.")) for name in changed)
    assert any(".mlp.experts." in name for name in changed)
    load_student(str(config.run.path / "grpo" / "model"))


def test_adapters_go_to_its_attention_and_experts_are_named_as_what_has_none(make, folder):
    pytest.importorskip("peft")
    with pytest.raises(ConfigError, match=r"no linear layer down_proj.*experts of a mixture"):
        sft.run(make(student={"lora": {"rank": 4}}))
    targets = {"lora": {"rank": 4, "targets": ["q_proj", "v_proj"]}}
    config = make(student=targets)
    sft.run(config)
    before, after = (
        load_file(path / "model.safetensors") for path in (folder, config.run.path / "sft/model")
    )
    changed = {name for name in before if not before[name].equal(after[name])}
    assert len(changed) == 2 * 3


def test_sound_goes_between_its_frames_by_the_clock(make, make_row, policy):
    config = make([make_row("a", "red-high")], student={"use_audio_in_video": True})
    encoder = PromptEncoder(
        policy[1], config.data.root, config.media, config.student.prompt, interleaved=True
    )
    row = encoder(read_examples(split_path(config.run.path, "train"))[0].sample)
    tokenizer = policy[1].tokenizer
    is_video = row.input_ids == tokenizer.video_token_id
    is_sound = row.input_ids == tokenizer.audio_token_id
    positions = prompt_positions(policy[0], row.input_ids, row.media)[0]
    start = positions[is_sound][0]
    assert (positions[is_sound] - start).tolist() == list(range(13))
    seconds = float(row.media["video_second_per_grid"][0])
    expected = [13 * seconds * grid for grid in range(2) for _ in range(6)]
    assert (positions[is_video] - start).tolist() == pytest.approx(expected)
    order = positions[is_video | is_sound]
    assert (order.diff() >= 0).all()
    assert collate([row, row], 0, "right")["use_audio_in_video"]
    assert encode(policy[1], Prompt("what?")).media == {}


def test_a_dry_run_has_the_table_with_the_adapters_that_this_model_takes(make):
    text = sft.plan(make())
    assert "SFT, LoRA" in text
    assert "GRPO, LoRA" in text


def test_a_refusal_names_adapters_that_this_model_takes(make, folder, monkeypatch):
    config = make()
    monkeypatch.setattr(room, "free_bytes", lambda _: 0)
    model = build_student(str(folder), config.student)
    *_, (text, _, student) = room._smaller(config.sft, config.student, model)
    assert text.endswith("student.lora.targets=[q_proj,k_proj,v_proj,o_proj]")
    build_student(str(folder), student)
    with pytest.raises(ConfigError, match="no other settings fit"):
        room.require_room(str(folder), config.sft, config.student, config.media)
