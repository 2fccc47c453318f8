from __future__ import annotations

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from avrt.engines.encode import merge_media, suppress_token_ids
from avrt.errors import EngineError
from avrt.train.checkpoint import freeze_towers
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.shared_prefix import group_inputs, prompt_positions, share_attention


@pytest.fixture
def policy(student):
    """A student as GRPO trains it: towers frozen, TRL's fused head."""
    model, processor = student
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    freeze_towers(model)
    model.train()
    return model, processor


@pytest.fixture
def groups(make_config, make_row, policy):
    """Prompts of two lengths with their media, and three completions of each, all ragged."""
    rows = [
        make_row("long", "red-high", question="What is it, and where does it stand?"),
        make_row("short", "short"),
    ]
    config = make_config(rows)
    encoder = PromptEncoder(policy[1], config.data.root, config.media, config.student.prompt)
    encoded = [encoder(e.sample) for e in read_examples(split_path(config.run.path, "train"))]
    assert len({len(row.input_ids) for row in encoded}) == 2
    generator = torch.Generator().manual_seed(0)
    forbidden = set(suppress_token_ids(policy[1]))
    allowed = torch.tensor([i for i in range(20, 400) if i not in forbidden])
    completions = [
        [allowed[torch.randint(len(allowed), (length,), generator=generator)] for length in lengths]
        for lengths in ((7, 1, 4), (2, 9, 5))
    ]
    return encoded, completions


def alone(model, row, completion):
    """Log-probabilities (T,) of one completion after its own copy of the prompt."""
    ids = torch.cat([row.input_ids, completion])[None]
    logits = model(
        input_ids=ids, attention_mask=torch.ones_like(ids), **merge_media([row.media])
    ).logits
    logprobs = logits[0, -len(completion) - 1 : -1].log_softmax(-1)
    return logprobs.gather(-1, completion[:, None])[:, 0]


def shared(model, encoded, completions):
    """The same of all completions, prompts computed once."""
    inputs = group_inputs(
        model, [row.input_ids for row in encoded], completions, [row.media for row in encoded]
    )
    n_prompt = inputs["attention_mask"]["full_attention"].n_prompt
    output = model(**inputs, fused_lm_head=True).log_probs[:, n_prompt:]
    rows = output.reshape(sum(len(group) for group in completions), -1)
    flat = [completion for group in completions for completion in group]
    return [row[: len(completion)] for row, completion in zip(rows, flat, strict=True)]


def gradient(model, logprobs):
    """Gradient of a weighted sum of the log-probabilities, as one vector."""
    model.zero_grad()
    weights = torch.linspace(-1, 1, sum(map(len, logprobs)))
    (torch.cat(logprobs) * weights).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double()


@pytest.mark.parametrize("recompute", [False, True])
def test_logprobs_and_gradients_equal_those_of_separate_rows(policy, groups, recompute):
    model, _ = policy
    encoded, completions = groups
    expected = [
        alone(model, row, completion)
        for row, group in zip(encoded, completions, strict=True)
        for completion in group
    ]
    expected_gradient = gradient(model, expected)

    share_attention(model)
    if recompute:
        model.activation_checkpointing_enable()
    found = shared(model, encoded, completions)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    found_gradient = gradient(model, found)
    assert torch.cosine_similarity(found_gradient, expected_gradient, dim=0) > 0.999999
    torch.testing.assert_close(found_gradient, expected_gradient, atol=1e-4, rtol=1e-4)


def test_positions_are_the_models_own_on_all_three_axes(policy, groups):
    model, _ = policy
    encoded, completions = groups
    inputs = group_inputs(
        model, [row.input_ids for row in encoded], completions, [row.media for row in encoded]
    )
    n_prompt, n_segments = inputs["attention_mask"]["full_attention"].n_prompt, 3
    positions = inputs["position_ids"]
    for number, (row, group) in enumerate(zip(encoded, completions, strict=True)):
        for segment, completion in enumerate(group):
            ids = torch.cat([row.input_ids, completion])
            own = prompt_positions(model, ids, row.media)
            assert len(own.unique(dim=0)) == 3, "time, height and width are alike in this prompt"
            of_prompt = positions[:, number, : len(row.input_ids) - 1]
            assert of_prompt.equal(own[:, : len(row.input_ids) - 1])
            start = n_prompt + segment * ((positions.shape[2] - n_prompt) // n_segments)
            of_segment = positions[:, number, start : start + len(completion)]
            assert of_segment.equal(own[:, len(row.input_ids) - 1 : -1])


def test_a_completion_sees_neither_its_neighbours_nor_another_prompt(policy, groups):
    model, _ = policy
    encoded, completions = groups
    share_attention(model)
    with torch.no_grad():
        before = shared(model, encoded, completions)
        changed = [[completions[0][0], completions[0][1] + 1, completions[0][2]], completions[1]]
        after = shared(model, encoded, changed)
    assert not after[1].equal(before[1])
    for index in (0, 2, 3, 4, 5):
        torch.testing.assert_close(after[index], before[index], atol=0, rtol=0)


@pytest.mark.parametrize("key", ["pixel_values_videos", "input_features"])
def test_logprobs_change_with_one_modality(policy, groups, key):
    model, _ = policy
    encoded, completions = groups
    share_attention(model)
    with torch.no_grad():
        before = shared(model, encoded, completions)
        encoded[0].media[key] = encoded[0].media[key].flip(0, -1)
        after = shared(model, encoded, completions)
    assert all((a - b).abs().max() > 1e-5 for a, b in zip(after[:3], before[:3], strict=True))
    assert all(a.equal(b) for a, b in zip(after[3:], before[3:], strict=True))


def test_grouped_query_heads_are_shared_too(groups):
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    from avrt.world.networks import new_student

    config = new_student()[0].config
    config.text_config.num_key_value_heads = 1
    torch.manual_seed(0)
    model = Qwen2_5OmniThinkerForConditionalGeneration(config).eval()
    add_fused_lm_head(model)
    encoded, completions = groups
    with torch.no_grad():
        expected = alone(model, encoded[1], completions[1][1])
        share_attention(model)
        found = shared(model, encoded, completions)[4]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_prompts_without_media_and_uneven_groups_are_refused(policy, groups):
    model, _ = policy
    encoded, completions = groups
    prompts = [row.input_ids for row in encoded]
    with pytest.raises(EngineError, match="1 with media: every group needs the same number"):
        group_inputs(model, prompts, completions, [encoded[0].media, {}])
    uneven = [completions[0], completions[1][:2]]
    with pytest.raises(EngineError, match=r"\[3, 2\] completions"):
        group_inputs(model, prompts, uneven, [row.media for row in encoded])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_attn_implementation": "eager"}, "attention 'eager'; load the model with sdpa"),
        (
            {"layer_types": ["sliding_attention"] * 4},
            "sliding-window attention; set grpo.share_prompts",
        ),
    ],
)
def test_models_whose_prompts_cannot_be_shared_are_refused(student, change, message):
    model, _ = student
    for name, value in change.items():
        setattr(model.model.language_model.config, name, value)
    with pytest.raises(EngineError, match=message):
        share_attention(model)
