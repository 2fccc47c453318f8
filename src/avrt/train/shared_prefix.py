"""One prompt, computed once for all completions of its group.

In GRPO a prompt (hundreds of tokens of picture and sound) is far longer than a completion, and all
G completions of a group have the same one. A row holds a whole group:

    [prompt without its last token] [segment 1] ... [segment G]

A segment is the prompt's last token and the completion without its last one, so that each of its
positions predicts one token of the completion. Attention lets a segment see the prompt and itself;
its positions go on from the prompt's on all three axes of M-RoPE. Towers, prompt and their backward
pass are computed once per group, and log-probabilities and gradients are those of G separate rows.

Rollouts write the completions of a group next to each other, behind their prompt's keys and values:
a group is then one row of queries, and no key is copied, neither for a completion nor for a head.

Shapes: N groups, G completions of one, P longest prompt less one token, R longest completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from avrt.engines.encode import INTERLEAVED, media_inputs
from avrt.errors import EngineError

__all__ = [
    "Media",
    "NextTokens",
    "group_inputs",
    "mask_argument",
    "n_prompt_of",
    "prompt_positions",
    "share_attention",
    "thinker_of",
]

Media = Mapping[str, Tensor]
"""The media tensors of one prompt, as `encode` returns them."""

ATTENTION = "avrt_shared_prefix"
"""Name of the attention below in the registry of transformers."""


class Groups(Tensor):
    """Replaces the attention mask of rows that hold a prompt and its segments.

    (N, 1, R, P + R), bool: the tokens of prompt and segment that a segment's queries see. It is a
    tensor because language models hand on a mask of four axes as it is.
    """

    n_prompt: int
    """P."""
    n_segments: int
    """G."""

    @classmethod
    def of(cls, visible: Tensor, n_prompt: int, n_segments: int) -> Groups:
        """Add the lengths to `visible`; results of operations on it do not have them."""
        groups = visible.as_subclass(cls)
        groups.n_prompt, groups.n_segments = n_prompt, n_segments
        return groups


class NextTokens(Tensor):
    """The attention mask of groups whose completions each write one more token: what each of them
    sees, (N, 1, G x queries per key, keys), bool.
    """


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """Scaled dot-product attention; the prompt attends to itself, each segment to both.

    query (N, heads, P + G R, D); returns (N, P + G R, heads, D). Without `Groups` it is SDPA.
    """
    if isinstance(attention_mask, NextTokens):
        return _attend_once(query, key, value, attention_mask, options["scaling"]), None
    if not isinstance(attention_mask, Groups):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    n_prompt, n_groups = attention_mask.n_prompt, len(query)

    def segments(states: Tensor) -> Tensor:
        parts = states[:, :, n_prompt:].unflatten(2, (attention_mask.n_segments, -1))
        return parts.transpose(1, 2).flatten(0, 1)

    def with_prompt(states: Tensor) -> Tensor:
        prompt = states[:, :, :n_prompt].repeat_interleave(attention_mask.n_segments, 0)
        return torch.cat([prompt, segments(states)], 2)

    of_prompt = (states[:, :, :n_prompt] for states in (query, key, value))
    prompt, _ = sdpa_attention_forward(module, *of_prompt, attention_mask=None, **options)
    visible = attention_mask.as_subclass(Tensor)
    if n_groups > 1:
        visible = visible.repeat_interleave(attention_mask.n_segments, 0)
    completions, _ = sdpa_attention_forward(
        module, segments(query), with_prompt(key), with_prompt(value), visible, **options
    )
    completions = completions.unflatten(0, (n_groups, -1)).flatten(1, 2)
    return torch.cat([prompt, completions], 1), None


def _attend_once(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scaling: float
) -> Tensor:
    """Attention of queries (N G, heads, 1, D) to their group's keys (N, key heads, T, D).

    The queries of a group that share a head of keys form one matrix, so that keys are read once.
    Returns (N G, 1, heads, D).
    """
    (n_groups, n_key_heads), (n_rows, n_heads) = key.shape[:2], query.shape[:2]
    n_completions = n_rows // n_groups
    mask = visible.as_subclass(Tensor)
    rows = query.view(n_groups, n_completions, n_key_heads, n_heads // n_key_heads, -1)
    outputs = torch.nn.functional.scaled_dot_product_attention(
        rows.transpose(1, 2).flatten(2, 3), key, value, attn_mask=mask, scale=scaling
    )
    outputs = outputs.unflatten(2, (n_completions, -1)).transpose(1, 2)
    return outputs.reshape(n_rows, 1, n_heads, -1)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def thinker_of(model: Any) -> Any:
    """Give the thinker inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def share_attention(model: Any) -> None:
    """Let the language model of a thinker take `Groups` as its attention mask.

    Raises:
        EngineError: replacing the model's attention would change its results.
    """
    config = thinker_of(model).base_model.language_model.config
    if config._attn_implementation not in ("sdpa", ATTENTION):
        raise EngineError(
            f"prompts cannot be shared with attention {config._attn_implementation!r}; load the "
            "model with sdpa, or set grpo.share_prompts to false"
        )
    if {*getattr(config, "layer_types", ())} - {"full_attention"}:
        raise EngineError(
            "prompts cannot be shared by a model with sliding-window attention; set "
            "grpo.share_prompts to false"
        )
    config._attn_implementation = ATTENTION
    if hasattr(config, "output_router_logits"):
        config.output_router_logits = False  # the head would count them over a mask of two axes


def mask_argument(model: Any, mask: Tensor | None) -> Any:
    """Give the argument `attention_mask` of a thinker for a mask that its layers get as it is.

    Qwen2.5-Omni's layers have types, and a mask for each type; Qwen3-Omni's have one mask.
    """
    config = thinker_of(model).base_model.language_model.config
    return {"full_attention": mask} if hasattr(config, "layer_types") else mask


def prompt_positions(model: Any, input_ids: Tensor, media: Media) -> Tensor:
    """Compute the M-RoPE positions (3, T) of a prompt (T,): time, height and width."""
    lengths = media.get("feature_attention_mask")
    _require_flag(thinker_of(model).config, input_ids, media)
    positions, _ = thinker_of(model).get_rope_index(
        input_ids[None].cpu(),
        image_grid_thw=_on_cpu(media.get("image_grid_thw")),
        video_grid_thw=_on_cpu(media.get("video_grid_thw")),
        attention_mask=torch.ones_like(input_ids[None], device="cpu"),
        use_audio_in_video=INTERLEAVED in media,
        audio_seqlens=None if lengths is None else lengths.sum(-1).cpu(),
        second_per_grids=_on_cpu(media.get("video_second_per_grid")),
    )
    return positions[:, 0]  # whole numbers; in Qwen3-Omni those of frames lie between them


def n_prompt_of(inputs: Mapping[str, Any]) -> int:
    """Give P of the inputs that `group_inputs` built."""
    mask = inputs["attention_mask"]
    return (mask["full_attention"] if isinstance(mask, dict) else mask).n_prompt


def _require_flag(config: Any, input_ids: Tensor, media: Media) -> None:
    """Refuse a video with its sound inside without the flag that says so; the model would not."""
    starts = input_ids[:-1] == config.vision_start_token_id
    inside = bool((starts & (input_ids[1:] == config.audio_start_token_id)).any())
    if inside != (INTERLEAVED in media):
        raise EngineError(
            f"the sound is {'inside' if inside else 'beside'} the video, but the media are "
            f"{'not ' * inside}marked with {INTERLEAVED}"
        )


def group_inputs(
    model: Any,
    prompts: Sequence[Tensor],
    completions: Sequence[Sequence[Tensor]],
    media: Sequence[Media],
) -> dict[str, Any]:
    """Build the inputs with which `model` scores N prompts (T,) of G completions each.

    They are for a model with TRL's fused head. Its `log_probs` (N, P + G R) hold, from P on, those
    of each completion's tokens.

    Raises:
        EngineError: a prompt has no media, or groups differ in size.
    """
    if len({len(group) for group in completions}) != 1 or not all(media):
        raise EngineError(
            f"{len(prompts)} prompts with {[len(group) for group in completions]} completions and "
            f"{sum(map(bool, media))} with media: "
            "every group needs the same number of completions, and every prompt its media"
        )
    n_groups, n_segments, device = len(prompts), len(completions[0]), prompts[0].device
    flat = [completion for group in completions for completion in group]
    n_prompt = max(len(prompt) for prompt in prompts) - 1
    # At least the place of the prompt's last token, although nothing follows it.
    n_completion = max(1, *(len(completion) for completion in flat))

    # (N, P), then (N G, R): every segment begins with its prompt's last token.
    ids = pad_sequence([prompt[:-1] for prompt in prompts], batch_first=True)
    last = [prompt[-1:] for prompt in prompts for _ in range(n_segments)]
    segments = pad_sequence(
        [torch.cat([start, completion[:-1]]) for start, completion in zip(last, flat, strict=True)],
        batch_first=True,
    )
    targets = pad_sequence(flat, batch_first=True, padding_value=-100)
    targets = torch.nn.functional.pad(targets, (0, n_completion - targets.shape[1]), value=-100)
    lengths = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
    within = torch.arange(n_prompt, device=device) < lengths[:, None]
    own = torch.ones(n_completion, n_completion, dtype=torch.bool, device=device).tril()
    visible = torch.cat(
        [
            within[:, None].expand(n_groups, n_completion, n_prompt),
            own.expand(n_groups, n_completion, n_completion),
        ],
        2,
    )
    rows = [
        prompt_positions(model, prompt, of_prompt)
        for prompt, of_prompt in zip(prompts, media, strict=True)
    ]
    steps = torch.arange(n_completion)
    positions = torch.stack(
        [
            torch.cat(
                [
                    torch.nn.functional.pad(row[:, :-1], (0, n_prompt + 1 - row.shape[1])),
                    (row[:, -1:] + steps).repeat(1, n_segments),
                ],
                1,
            )
            for row in rows
        ],
        1,
    )
    return {
        "input_ids": torch.cat([ids, segments.view(n_groups, -1)], 1),
        "shift_labels": torch.cat([torch.full_like(ids, -100), targets.view(n_groups, -1)], 1),
        "position_ids": positions.to(device),
        "attention_mask": mask_argument(model, Groups.of(visible[:, None], n_prompt, n_segments)),
        **media_inputs(media, device),
    }


def _on_cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()
