from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from avrt.engines.encode import encode
from avrt.train import towers
from avrt.train.checkpoint import freeze_towers, load_student
from avrt.train.shared_prefix import group_inputs, n_prompt_of, share_attention
from avrt.train.towers import has_frozen_layers, states_given, tower_states
from avrt.types import Frames, Prompt, Waveform
from omni3 import write_thinker3
from rollouts import by_completion, generate, prepared, rollouts

COMPLETIONS = [torch.tensor([40, 41, 42]), torch.tensor([50, 51])]


@pytest.fixture(scope="session")
def thinker3_folder(tmp_path_factory):
    return write_thinker3(tmp_path_factory.mktemp("towers3"))


@pytest.fixture(params=["qwen2.5-omni", "qwen3-omni"])
def policy(request, student_folder):
    """A student as GRPO trains it, and the multiple of its pictures' sides."""
    folder = student_folder
    if request.param == "qwen3-omni":
        folder = request.getfixturevalue("thinker3_folder")
    model, processor = load_student(str(folder))
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    share_attention(model)
    return model.train(), processor, 32 if request.param == "qwen3-omni" else 28


@pytest.fixture
def encoded(policy):
    """Frames with sound, a picture with sound, sound alone, and frames alone."""
    _, processor, side = policy
    random = np.random.default_rng(0)

    def picture(n, height, width):
        pixels = random.integers(0, 255, (n, height * side, width * side, 3), dtype=np.uint8)
        return Frames(pixels, tuple(0.25 * i for i in range(n)), 4.0, still=n == 1)

    def sound(seconds):
        samples = random.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)
        return Waveform(samples, start_s=0.0)

    clips = [
        (picture(4, 2, 3), sound(1.0)),
        (picture(1, 3, 2), sound(0.5)),
        (None, sound(1.3)),
        (picture(2, 2, 2), None),
    ]
    prompts = [Prompt("What is it?", None, frames, audio) for frames, audio in clips]
    return [encode(processor, prompt, compact=True) for prompt in prompts]


def logprobs_of(model, encoded):
    prompts, media = [row.input_ids for row in encoded], [row.media for row in encoded]
    inputs = group_inputs(model, prompts, [COMPLETIONS] * len(encoded), media)
    return model(**inputs, fused_lm_head=True).log_probs[:, n_prompt_of(inputs) :]


def gradients_of(model, logprobs):
    model.zero_grad()
    (logprobs * torch.linspace(-1, 1, logprobs.shape[1])).sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("train_projections", [False, True])
def test_given_states_change_neither_logprobs_nor_gradients(policy, encoded, train_projections):
    model, _, _ = policy
    freeze_towers(model, train_projections)
    assert has_frozen_layers(model)
    for module in model.modules():
        if hasattr(module, "top_k"):  # rounding would change the choice among random experts
            module.top_k = module.num_experts
    states = [tower_states(model, row.media) for row in encoded]
    assert [len(of_row) for of_row in states] == [2, 2, 1, 1]
    for row, of_row in zip(encoded, states, strict=True):
        expected = logprobs_of(model, [row])
        wanted = gradients_of(model, expected)
        with states_given(model, [of_row]):
            found = logprobs_of(model, [row])
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        gradients = gradients_of(model, found)
        has_picture = bool(row.media.keys() & {"video_grid_thw", "image_grid_thw"})
        trains_merger = any("merger" in name for name in gradients)
        assert trains_merger == (train_projections and has_picture)
        assert gradients.keys() == wanted.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[name], atol=1e-6, rtol=1e-5)

    expected = logprobs_of(model, encoded)
    with states_given(model, states):
        found = logprobs_of(model, encoded)
    # A tower rounds otherwise when it computes one prompt than when it computes four.
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logprobs_of(model, encoded), expected, atol=1e-6, rtol=0)


def test_a_step_computes_each_prompt_in_the_towers_once(make_config, student):
    model, _ = student
    calls = Counter()
    for tower, layers, *_ in {towers.KINDS["pixel_values"], towers.KINDS["input_features"]}:
        last = getattr(getattr(model.base_model, tower), layers)[-1]
        last.register_forward_hook(lambda *_, tower=tower: calls.update([tower]))
    config = make_config(grpo={"beta": 0.1})
    _, trainer = prepared(config, student)
    assert trainer.ref_model is not None
    batch = trainer._generate_and_score_completions(rollouts(trainer, ["s0", "s1"], 2))
    assert calls == {"visual": 2, "audio_tower": 2}
    assert "ref_per_token_logps" in batch
    assert all(len(states) == 2 for states in by_completion(batch)["states"])
    trainer.current_gradient_accumulation_steps = 1
    trainer._compute_loss(trainer.model, batch)
    assert calls == {"visual": 2, "audio_tower": 2}, "reference, policy or rollout computed again"
    assert not trainer._states_of, "the states of a step outlive it"


def test_towers_that_train_are_computed_in_every_pass(make_config, student):
    model, _ = student
    _, trainer = prepared(make_config(), student)
    model.base_model.visual.blocks.requires_grad_(True)
    assert not has_frozen_layers(model)
    batch = generate(trainer, ["s0", "s1"])
    assert batch["states"] == [{}] * len(batch["media"])


def test_the_states_of_a_prompt_alone_are_its_part_of_a_batch(policy, encoded):
    model, _, _ = policy
    row = encoded[0]
    twice = replace(row, media={k: torch.cat([v, v]) for k, v in row.media.items()})
    one, two = (tower_states(model, each.media) for each in (row, twice))
    for kind, states in one.items():
        torch.testing.assert_close(two[kind], torch.cat([states, states], 1), atol=1e-5, rtol=1e-5)
