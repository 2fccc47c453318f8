"""Sample the completions of a group after one prefill of its prompt.

A prompt goes through towers and language model once; its keys and values are then repeated for the
G completions, which are decoded together. The distribution is not truncated; it only excludes the
tokens that may never be written. Sampling uses torch's global random state, so a resumed training
repeats it.

Shapes: N prompts, G completions of each, P longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avrt.engines.encode import media_inputs
from avrt.train.shared_prefix import Media, prompt_positions, thinker_of

__all__ = ["Sampler", "sample_groups"]

CHECK_EVERY = 8
"""Tokens between two checks whether all completions have ended; each check waits for the GPU."""


@dataclass(frozen=True)
class Sampler:
    """The rule that chooses tokens."""

    max_new_tokens: int
    temperature: float
    """0 takes the likeliest token."""
    end_ids: tuple[int, ...]
    """A completion ends with the first of these tokens, and includes it."""
    suppress_ids: tuple[int, ...] = ()
    """Tokens that are never written."""

    def choose(self, logits: Tensor) -> Tensor:
        """Choose a token (B,) for each row of logits (B, V)."""
        logits = logits.float()
        logits[:, list(self.suppress_ids)] = -torch.inf
        if self.temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial(torch.softmax(logits / self.temperature, -1), 1)[:, 0]


class _Cache:
    """Keys and values by layer: those of the prompts, repeated for each completion, then of tokens.

    The memory for all tokens is reserved at once, because a cache that grows by joining copies
    every prompt again for every token. Given a mask, transformers calls only `update` of a cache.
    """

    def __init__(self, group_size: int, room: int) -> None:
        self._group_size = group_size
        self._room = room
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.length = 0
        """Positions in use, pads of the prompts included."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any) -> tuple[Tensor, Tensor]:
        """Store (B, heads, T, D) of a layer; return all keys and values that new queries see."""
        if layer not in self._layers:
            self._layers[layer] = (self._repeated(keys), self._repeated(values))
            return keys, values
        for stored, new in zip(self._layers[layer], (keys, values), strict=True):
            stored[:, :, self.length - 1 : self.length] = new
        stored_keys, stored_values = self._layers[layer]
        return stored_keys[:, :, : self.length], stored_values[:, :, : self.length]

    def get_seq_length(self, _layer: int = 0) -> int:
        return self.length

    def _repeated(self, states: Tensor) -> Tensor:
        n_prompts, heads, n_tokens, width = states.shape
        room = n_tokens + self._room
        whole = states.new_empty(n_prompts * self._group_size, heads, room, width)
        whole[:, :, :n_tokens] = states.repeat_interleave(self._group_size, 0)
        return whole


@torch.no_grad()
def sample_groups(
    model: Any,
    prompts: Sequence[Tensor],
    media: Sequence[Media],
    group_size: int,
    sampler: Sampler,
) -> list[list[int]]:
    """Sample G completions of each of N prompts (T,), in the prompts' order, as token ids."""
    thinker = thinker_of(model)
    device = thinker.device
    last, states, positions = _prefill(thinker, prompts, media, group_size, sampler)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    lengths = lengths.repeat_interleave(group_size)
    n_prompt = int(lengths.max())
    ragged = bool((lengths < n_prompt).any())

    logits = thinker.lm_head(last).repeat_interleave(group_size, 0)
    ends = torch.tensor(sampler.end_ids, device=device)
    ended = torch.zeros(len(lengths), dtype=torch.bool, device=device)
    written: list[Tensor] = []
    for step in range(sampler.max_new_tokens):
        token = sampler.choose(logits)
        written.append(token)
        ended |= torch.isin(token, ends)
        if step + 1 == sampler.max_new_tokens or (step % CHECK_EVERY == 0 and bool(ended.all())):
            break
        states.length = n_prompt + step + 1
        indices = torch.arange(states.length, device=device)
        seen = (indices < lengths[:, None]) | (indices >= n_prompt)
        hidden = thinker.base_model(
            input_ids=token[:, None],
            position_ids=(positions + step).expand(3, -1, 1),
            attention_mask={"full_attention": seen[:, None, None] if ragged else None},
            past_key_values=states,
            use_cache=True,
        ).last_hidden_state
        logits = thinker.lm_head(hidden[:, -1])
    rows = torch.stack(written, 1).tolist()
    return [_until_end(row, sampler.end_ids) for row in rows]


def _prefill(
    thinker: Any,
    prompts: Sequence[Tensor],
    media: Sequence[Media],
    group_size: int,
    sampler: Sampler,
) -> tuple[Tensor, _Cache, Tensor]:
    """Give the last hidden states (N, width), the filled cache, and the next positions (N G, 1).

    Prompts are padded on the right, where causal attention never looks, so no mask is needed.
    """
    device = thinker.device
    rows = [
        prompt_positions(thinker, prompt, of_prompt)
        for prompt, of_prompt in zip(prompts, media, strict=True)
    ]
    states = _Cache(group_size, sampler.max_new_tokens)
    hidden = thinker.base_model(
        input_ids=pad_sequence(list(prompts), batch_first=True).to(device),
        position_ids=pad_sequence([row.T for row in rows], batch_first=True)
        .permute(2, 0, 1)
        .to(device),
        attention_mask={"full_attention": None},
        past_key_values=states,
        use_cache=True,
        **media_inputs(media, device),
    ).last_hidden_state
    ends = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
    last = hidden[torch.arange(len(prompts), device=device), ends]
    following = torch.stack([row[0, -1] + 1 for row in rows]).to(device)
    return last, states, following.repeat_interleave(group_size)[:, None]


def _until_end(row: list[int], end_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first that ends a completion, which is one of them."""
    return next((row[: i + 1] for i, token in enumerate(row) if token in end_ids), row)
