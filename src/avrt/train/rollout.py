"""Sample the completions of a group after one prefill of its prompt.

A prompt goes through towers and language model once; its G completions are decoded together and
share its keys and values. The distribution is not truncated; it only excludes the tokens that may
never be written. A training draws each completion's tokens from random numbers that follow from
what the completion is of (`draws_of`), so neither the other rows of its batch, nor the number of
processes, nor a restart changes them.

Shapes: N prompts, G completions of each, P longest prompt, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avrt.engines.encode import media_inputs
from avrt.train.shared_prefix import (
    Media,
    NextTokens,
    mask_argument,
    prompt_positions,
    share_attention,
    thinker_of,
)

__all__ = ["Sampler", "draws_of", "sample_groups"]

CHECK_EVERY = 8
"""Tokens between two looks at which completions have ended; each look waits for the GPU."""
SMALLER = 0.75
"""The batch is made smaller when it then has at most this share of its rows: it costs a copy."""


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

    def choose(self, logits: Tensor, drawn: Tensor) -> Tensor:
        """Choose a token (B,) for each row of logits (B, V) by numbers `drawn` (B,) in [0, 1)."""
        logits = logits.float()
        logits[:, list(self.suppress_ids)] = -torch.inf
        if self.temperature == 0:
            return logits.argmax(-1)
        # In float32 a sum near 1 would swallow the unlikely tokens.
        sums = torch.softmax(logits / self.temperature, -1).cumsum(-1, dtype=torch.float64)
        wanted = drawn.to(sums)[:, None] * sums[:, -1:]
        # The first token beyond it; one of no probability adds nothing and is never that.
        return torch.searchsorted(sums, wanted, right=True)[:, 0].clamp_(max=sums.shape[1] - 1)


def draws_of(names: Sequence[str], n: int) -> Tensor:
    """Give n random numbers in [0, 1) for each name, which follow from the name alone, (B, n)."""
    rows = []
    for name in names:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.rand(n, generator=generator, dtype=torch.float64))
    return torch.stack(rows)


class _Cache:
    """Keys and values by layer: those of a prompt, then of its completions, token by token.

    A row (heads, P + R G, D) belongs to a group: behind the prompt stand the first tokens of all
    completions, then the second ones, and so on, so that what is in use is one piece. Its memory is
    reserved at once, because a cache that grows by joining copies every prompt again for every
    token. Given a mask, transformers calls only `update` of a cache; for the prefill without one,
    Qwen3-Omni asks for its sizes.
    """

    def __init__(
        self, lengths: Tensor, group_size: int, room: int, n_queries: int, fixed: bool = False
    ) -> None:
        """`lengths` (N,) of the prompts; `n_queries`: heads of queries for a head of keys.

        With `fixed`, every token reads all that is reserved, under a mask, so that no shape and no
        address changes from one token to the next.
        """
        self._lengths, self._group_size, self._room = lengths, group_size, room
        self._n_queries, self._fixed = n_queries, fixed
        self._n_prompt = int(lengths.max())
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._n_written = 0
        """Tokens of each completion."""
        self._set_views()

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any) -> tuple[Tensor, Tensor]:
        """Store the keys of prompts (N, heads, P, D), later of one token (N G, heads, 1, D).

        Returns all keys and values (N, heads, T, D) that new queries may see.
        """
        if layer not in self._layers:
            self._layers[layer] = (self._reserved(keys), self._reserved(values))
            return keys, values
        end = self._n_used
        for stored, new in zip(self._layers[layer], (keys, values), strict=True):
            of_group = new[:, :, 0].unflatten(0, (-1, self._group_size)).transpose(1, 2)
            if self._fixed:
                stored.index_copy_(2, self._places, of_group)
            else:
                stored[:, :, end - self._group_size : end] = of_group
        stored_keys, stored_values = self._layers[layer]
        if self._fixed:
            return stored_keys, stored_values
        return stored_keys[:, :, :end], stored_values[:, :, :end]

    def get_seq_length(self, _layer: int = 0) -> int:
        return self._n_used if self._layers else 0

    def get_query_offset(self, _layer: int = 0) -> int:
        """Where the queries of the prefill begin; later ones bring their mask."""
        return 0

    def get_mask_sizes(self, n_queries: int, _layer: int = 0) -> tuple[int, int]:
        return n_queries, 0

    def next_tokens(self) -> NextTokens:
        """Make room for a token of each completion; returns what its query sees."""
        self._n_written += 1
        if not self._fixed:
            return self._visible[..., : self._n_used].as_subclass(NextTokens)
        self._places.copy_(self._slots[self._n_used - self._group_size : self._n_used])
        torch.logical_and(self._visible, self._slots < self._n_used, out=self._seen)
        return self._seen.as_subclass(NextTokens)

    def keep(self, groups: Tensor, members: Tensor) -> None:
        """Keep these groups (N',) and of each these completions (N', G')."""
        start, end = self._n_prompt, self._n_used
        old_size, self._group_size = self._group_size, members.shape[1]
        self._lengths = self._lengths[groups]
        for layer, both in self._layers.items():
            kept = []
            for states in both:
                whole = self._reserved(states[groups, :, :start])
                tokens = states[groups, :, start:end].unflatten(2, (-1, old_size))
                index = members[:, None, None, :, None].expand(
                    -1, *tokens.shape[1:3], -1, tokens.shape[4]
                )
                whole[:, :, start : self._n_used] = tokens.gather(3, index).flatten(2, 3)
                kept.append(whole)
            self._layers[layer] = (kept[0], kept[1])
        self._set_views()

    @property
    def _n_used(self) -> int:
        return self._n_prompt + self._n_written * self._group_size

    def _reserved(self, prompts: Tensor) -> Tensor:
        n_groups, heads, n_tokens, width = prompts.shape
        room = n_tokens + self._room * self._group_size
        # A value under the mask counts as nothing times itself, and must be a number.
        new = prompts.new_zeros if self._fixed else prompts.new_empty
        whole = new(n_groups, heads, room, width)
        whole[:, :, :n_tokens] = prompts
        return whole

    def _set_views(self) -> None:
        self._visible = self._look()
        self._seen = torch.empty_like(self._visible)
        self._slots = torch.arange(self._visible.shape[-1], device=self._visible.device)
        self._places = self._slots[: self._group_size].clone()

    def _look(self) -> Tensor:
        """Which keys each completion sees, for all tokens to come: its prompt's and its own."""
        device, size = self._lengths.device, self._group_size
        prompt = torch.arange(self._n_prompt, device=device) < self._lengths[:, None]
        own = torch.eye(size, dtype=torch.bool, device=device).repeat(1, self._room)
        visible = torch.cat(
            [prompt[:, None].expand(-1, size, -1), own.expand(len(prompt), -1, -1)], 2
        )
        return visible.repeat_interleave(self._n_queries, 1)[:, None]


@torch.no_grad()
def sample_groups(
    model: Any,
    prompts: Sequence[Tensor],
    media: Sequence[Media],
    group_size: int,
    sampler: Sampler,
    fixed: bool = False,
    draws: Tensor | None = None,
) -> list[list[int]]:
    """Sample G completions of each of N prompts (T,), in the prompts' order, as token ids.

    Completions that have ended leave the batch. With `fixed` the pass for a next token has tensors
    of fixed shape and address, which a GPU records as a CUDA graph. `draws` (N G, max_new_tokens)
    are the numbers in [0, 1) that choose the tokens, by default of torch's global random state.

    Raises:
        EngineError: the model's attention cannot be shared.
    """
    thinker = thinker_of(model)
    share_attention(thinker)
    device = thinker.device
    last, cache, following = _prefill(thinker, prompts, media, group_size, sampler, fixed)
    write_next = partial(_logits, thinker, cache)
    record = fixed and device.type == "cuda"
    recorded: _Recorded | None = None
    rows = torch.arange(len(prompts) * group_size, device=device).view(-1, group_size)
    ended = torch.zeros_like(rows, dtype=torch.bool)
    written = torch.zeros(rows.numel(), sampler.max_new_tokens, dtype=torch.long, device=device)
    logits = thinker.lm_head(last).repeat_interleave(group_size, 0)
    ends = torch.tensor(sampler.end_ids, device=device)
    if draws is None:
        draws = torch.rand(written.shape, dtype=torch.float64)
    draws = draws.to(device)
    for step in range(sampler.max_new_tokens):
        tokens = sampler.choose(logits, draws[rows.flatten(), step]).view_as(rows)
        written[rows, step] = tokens
        ended |= torch.isin(tokens, ends)
        if step + 1 == sampler.max_new_tokens:
            break
        if step % CHECK_EVERY == 0:
            groups, members = _going_on(ended)
            if not len(groups):
                break
            if members.numel() <= SMALLER * rows.numel():
                cache.keep(groups, members)
                recorded = None  # for another shape
                rows, tokens, ended = (of[groups[:, None], members] for of in (rows, tokens, ended))
        positions = (following[rows // group_size] + step).view(-1, 1)
        inputs = (tokens.view(-1, 1), positions, cache.next_tokens())
        if record:
            recorded = recorded or _Recorded(write_next, *inputs)
            logits = recorded(*inputs[:2])
        else:
            logits = write_next(*inputs)
    return [_until_end(row, sampler.end_ids) for row in written.tolist()]


def _logits(
    thinker: Any, cache: _Cache, tokens: Tensor, positions: Tensor, mask: NextTokens
) -> Tensor:
    """Logits (B, V) of the tokens that follow `tokens` (B, 1)."""
    hidden = thinker.base_model(
        input_ids=tokens,
        position_ids=positions.expand(3, -1, 1),
        attention_mask=mask_argument(thinker, mask),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return thinker.lm_head(hidden[:, -1])


class _Recorded:
    """A pass for the next tokens as a CUDA graph: replayed, no kernel waits for Python.

    It holds addresses: of the mask and of everything in the cache, which change in place.
    """

    def __init__(self, run: Callable[..., Tensor], *inputs: Tensor) -> None:
        tokens, positions, mask = inputs
        self._inputs = tokens.clone(), positions.clone()
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            # Makes what is made once, such as autocast's copies of weights. It writes its token
            # where the replay writes the same.
            run(*self._inputs, mask)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = run(*self._inputs, mask)

    def __call__(self, tokens: Tensor, positions: Tensor) -> Tensor:
        for stored, new in zip(self._inputs, (tokens, positions), strict=True):
            stored.copy_(new)
        self._graph.replay()
        return self._logits


def _going_on(ended: Tensor) -> tuple[Tensor, Tensor]:
    """The groups (N',) in which a completion goes on, and of each as many completions (N', G') as
    go on in the group with the most; those come first.
    """
    n_left = (~ended).sum(1)
    groups = n_left.nonzero()[:, 0]
    size = int(n_left.max())
    return groups, ended[groups].long().argsort(dim=1, stable=True)[:, :size]


def _prefill(
    thinker: Any,
    prompts: Sequence[Tensor],
    media: Sequence[Media],
    group_size: int,
    sampler: Sampler,
    fixed: bool,
) -> tuple[Tensor, _Cache, Tensor]:
    """Give the last hidden states (N, width), the filled cache, and the next positions (N,).

    Prompts are padded on the right, where causal attention never looks, so no mask is needed.
    """
    device = thinker.device
    rows = [
        prompt_positions(thinker, prompt, of_prompt)
        for prompt, of_prompt in zip(prompts, media, strict=True)
    ]
    text = thinker.config.get_text_config()
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    n_queries = text.num_attention_heads // text.num_key_value_heads
    cache = _Cache(lengths, group_size, sampler.max_new_tokens - 1, n_queries, fixed)
    hidden = thinker.base_model(
        input_ids=pad_sequence(list(prompts), batch_first=True).to(device),
        position_ids=pad_sequence([row.T for row in rows], batch_first=True)
        .permute(2, 0, 1)
        .to(device),
        attention_mask=mask_argument(thinker, None),
        past_key_values=cache,
        use_cache=True,
        **media_inputs(media, device),
    ).last_hidden_state
    last = hidden[torch.arange(len(prompts), device=device), lengths - 1]
    following = torch.stack([row[0, -1] + 1 for row in rows]).to(device)
    return last, cache, following


def _until_end(row: list[int], end_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first that ends a completion, which is one of them."""
    return next((row[: i + 1] for i, token in enumerate(row) if token in end_ids), row)
