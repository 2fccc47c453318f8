"""Decode rows that come and go: the next prompts take the places of rows that have ended.

Prompts are admitted together: their towers and their language model run once, and their keys and
values join those of the rows under way. All rows end at the same token, so that what a row has is
one piece, and the batch is as long as its longest row. A row that ends stays, unread, until others
are admitted or a quarter of the rows are such, because to leave costs a copy of all keys.

The decision to question: only rows of keys and values can join. A model that keeps other states
(linear attention) begins a batch when the last one has ended.

Shapes: B rows, T tokens of the longest one, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from avrt.engines.encode import Encoded, collate, media_inputs, suppress_token_ids
from avrt.engines.sampling import choose_tokens
from avrt.engines.weights import Loaded
from avrt.types import Request

__all__ = ["Batch", "Row"]

_ROOM = 64
"""Tokens for which a cache has room; then it is copied."""
_SMALLER = 0.75
"""Ended rows leave when at most this share of the rows go on."""


@dataclass(eq=False)
class Row:
    """A request and its completion."""

    request: Request
    encoded: Encoded
    tokens: list[int] = field(default_factory=list)
    """Those written; the last one is not in the cache yet."""
    started_s: float = 0.0
    """When it was admitted."""

    @property
    def n_cached(self) -> int:
        """Its tokens that are in the cache."""
        return len(self.encoded.input_ids) + len(self.tokens) - 1


class _Layer(DynamicLayer):
    """Keys and values (B, heads, T, D) with room behind them: joining them to those of the next
    token would copy them all, for every token.
    """

    keys: Any
    values: Any
    _stored: tuple[Tensor, Tensor]

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = self._stored = key_states, value_states
            return key_states, value_states
        end = self.keys.shape[2] + key_states.shape[2]
        if end > self._stored[0].shape[2]:
            self.join(slice(None), self.keys.shape[2])
        for stored, new in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, end - new.shape[2] : end] = new
        self._set_length(end)
        return self.keys, self.values

    def join(self, kept: Any, n_tokens: int, others: Sequence[_Layer] = ()) -> None:
        """Keep these rows and add those of other layers; all end at token `n_tokens`."""
        keys = [self.keys[kept], *(other.keys for other in others)]
        values = [self.values[kept], *(other.values for other in others)]
        self._stored = _join(keys, n_tokens), _join(values, n_tokens)
        self._set_length(n_tokens)

    def _set_length(self, n_tokens: int) -> None:
        self.keys, self.values = (stored[:, :, :n_tokens] for stored in self._stored)


def _join(parts: Sequence[Tensor], n_tokens: int) -> Tensor:
    """Put rows (., heads, ., D) below each other, all ending at one token, with room behind it."""
    first = parts[0]
    n_rows = sum(map(len, parts))
    # What the mask hides counts as nothing times itself, and must be a number.
    whole = first.new_zeros(n_rows, first.shape[1], n_tokens + _ROOM, first.shape[3])
    for part, rows in zip(parts, whole.split([len(part) for part in parts]), strict=True):
        length = min(part.shape[2], n_tokens)
        rows[:, :, n_tokens - length : n_tokens] = part[:, :, part.shape[2] - length :]
    return whole


class Batch:
    """The rows that a model decodes now."""

    def __init__(self, loaded: Loaded) -> None:
        self._model, tokenizer = loaded.model, loaded.tokenizer
        saved = self._model.generation_config.eos_token_id
        ends = saved if saved is not None else tokenizer.eos_token_id
        self.ends: list[int] = [ends] if isinstance(ends, int) else list(ends)
        pad = tokenizer.pad_token_id
        self._pad: int = pad if pad is not None else self.ends[0]
        self._suppressed = suppress_token_ids(loaded.processor)
        self._rows: list[Row | None] = []
        """None: has ended."""
        self._cache: Any = None
        self._positions = torch.empty(0)
        """Of the next token of each row (..., B, 1); before the rows, axes of M-RoPE."""

    @property
    def n_running(self) -> int:
        return sum(row is not None for row in self._rows)

    @property
    def n_longest(self) -> int:
        """Tokens of the longest row."""
        return max((row.n_cached for row in self._rows if row is not None), default=0)

    def n_free(self, size: int) -> int:
        """Prompts to admit now to a batch of this size. Some at a time: to join costs a copy."""
        n_free = size - self.n_running
        is_time = n_free >= max(1, size // 8) if self._can_join else n_free == size
        return n_free if is_time else 0

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> list[Row]:
        """Begin rows whose prompts have the same kinds of media; give those that have ended."""
        started_s = time.monotonic()
        model, encoded = self._model, [row.encoded for row in rows]
        inputs = self._inputs(encoded)
        positions = model._prepare_position_ids_for_generation(inputs["input_ids"], inputs)
        cache = (
            Cache(layer_class_to_replicate=_Layer)
            if self._can_join
            else DynamicCache(config=model.config)
        )
        n_tokens = [len(each.input_ids) for each in encoded]
        if min(n_tokens) == max(n_tokens):  # without a mask, attention is faster
            inputs["attention_mask"] = None
        with _last_token_only(model):
            logits = self._logits(cache, positions, is_first_iteration=True, **inputs)
        ended = self._write(rows, logits)
        for row in rows:
            row.started_s = started_s
        self._join([None if row in ended else row for row in rows], cache, positions[..., -1:] + 1)
        return ended

    def count_positions(self, encoded: Encoded) -> int:
        """The positions of a prompt: with M-RoPE, those of a picture lie side by side, and those of
        a video go with the time, so that there are fewer of them than tokens.
        """
        inputs = self._inputs([encoded])
        positions = self._model._prepare_position_ids_for_generation(inputs["input_ids"], inputs)
        if positions.dim() == 3:  # time, height and width; before them, plain ones for the mask
            positions = positions[-3:]
        return int(positions.max()) + 1

    def _inputs(self, encoded: Sequence[Encoded]) -> dict[str, Any]:
        """Padded tokens and media, on the model's device."""
        bare = [Encoded(each.input_ids, token_types=each.token_types) for each in encoded]
        collated = collate(bare, self._pad, "left")
        return {
            **{name: tensor.to(self._model.device) for name, tensor in collated.items()},
            **media_inputs([each.media for each in encoded], self._model.device),
        }

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Write a token in every row; give the rows that have ended."""
        if self._can_join and self.n_running <= _SMALLER * len(self._rows):
            self._join([], None, self._positions[..., :0, :])
        device, cache = self._model.device, self._cache
        tokens = [self._pad if row is None else row.tokens[-1] for row in self._rows]
        n_cached = cache.get_seq_length() + 1
        # A row that has ended sees what it saw.
        starts = [0 if row is None else n_cached - 1 - row.n_cached for row in self._rows]
        mask = None
        if any(starts):
            columns = torch.arange(n_cached, device=device)
            mask = (columns >= torch.tensor(starts, device=device)[:, None]).long()
        ids = torch.tensor(tokens, device=device)[:, None]
        logits = self._logits(cache, self._positions, input_ids=ids, attention_mask=mask)
        self._positions = self._positions + 1
        ended = self._write(self._rows, logits)
        self._rows = [None if row in ended else row for row in self._rows]
        return ended

    @cached_property
    def _can_join(self) -> bool:
        layers = DynamicCache(config=self._model.config).layers
        return {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}

    def _logits(self, cache: Any, positions: Tensor, **inputs: Any) -> Tensor:
        """Logits (B, V), in float32, after the last token of `inputs`."""
        prepared = self._model.prepare_inputs_for_generation(
            position_ids=positions, past_key_values=cache, use_cache=True, **inputs
        )
        logits = self._model(**prepared, return_dict=True).logits[:, -1].float()
        logits[:, self._suppressed] = -torch.inf
        return logits

    def _join(self, rows: Sequence[Row | None], cache: Any, positions: Tensor) -> None:
        """Let rows that have ended leave, and new ones with their cache and positions join."""
        kept = [i for i, row in enumerate(self._rows) if row is not None]
        if not kept:
            self._rows, self._cache, self._positions = [*rows], cache, positions
            return
        self._rows = [*(self._rows[i] for i in kept), *rows]
        n_tokens = self.n_longest
        index = torch.tensor(kept, device=positions.device)
        for i, layer in enumerate(self._cache.layers):
            layer.join(index, n_tokens, [cache.layers[i]] if rows else [])
        self._positions = torch.cat([self._positions.index_select(-2, index), positions], -2)

    def _write(self, rows: Sequence[Row | None], logits: Tensor) -> list[Row]:
        """Add the next token to each row; give the rows that have ended."""
        running = [(i, row) for i, row in enumerate(rows) if row is not None]
        if len(running) < len(rows):
            logits = logits[[i for i, _ in running]]
        samplings = [row.request.sampling for _, row in running]
        steps = [len(row.tokens) for _, row in running]
        tokens = choose_tokens(logits, samplings, steps).tolist()
        ended = []
        for (_, row), token in zip(running, tokens, strict=True):
            row.tokens.append(token)
            if token in self.ends or len(row.tokens) == row.request.sampling.max_new_tokens:
                ended.append(row)
        return ended


@contextmanager
def _last_token_only(model: Any) -> Iterator[None]:
    """Let the head see the last token alone: the logits of all tokens of long prompts are large."""
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _head, states: (states[0][:, -1:],))
    try:
        yield
    finally:
        hook.remove()
