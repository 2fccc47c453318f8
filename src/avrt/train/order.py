"""The order of training samples, which follows from the seed and the epoch alone.

The trainers' own samplers draw each epoch's order from a generator that goes on from the epoch
before. A training that is resumed in a later epoch would start again with the first epoch's order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

__all__ = ["ByEpoch", "ByLength", "length_sorted"]

WINDOW = 32
"""Chunks that are sorted together."""


class ByEpoch(Sampler[int]):
    """A sampler whose generator is seeded anew for each epoch."""

    def __init__(self, sampler: Any, trainer: Any) -> None:
        self._sampler = sampler
        self._trainer = trainer

    def __iter__(self) -> Iterator[int]:
        seed = self._trainer.args.seed + epoch_of(self._trainer)
        self._sampler.generator.manual_seed(seed)
        yield from self._sampler

    def __len__(self) -> int:
        return len(self._sampler)


class ByLength(Sampler[int]):
    """Random order in which the samples of one pass over all processes are about equally long."""

    def __init__(self, lengths: Sequence[int], chunk: int, trainer: Any) -> None:
        self._lengths = lengths
        self._chunk = chunk
        self._trainer = trainer

    def __iter__(self) -> Iterator[int]:
        seed = self._trainer.args.seed + epoch_of(self._trainer)
        yield from length_sorted(self._lengths, self._chunk, seed)

    def __len__(self) -> int:
        return len(self._lengths)


def length_sorted(lengths: Sequence[int], chunk: int, seed: int) -> list[int]:
    """Give a permutation: shuffled, sorted by length in windows, cut into chunks, these shuffled.

    A chunk holds the samples that all processes together take in a pass. Sorting inside windows
    only keeps an optimizer step, which takes several chunks, a mixture of lengths. The last chunk
    may be smaller and stays last, so that every other chunk stays whole.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    size = WINDOW * chunk
    windows = [order[first : first + size] for first in range(0, len(order), size)]
    by_length = [i for window in windows for i in sorted(window, key=lambda i: lengths[i])]
    chunks = [by_length[first : first + chunk] for first in range(0, len(by_length), chunk)]
    rest = chunks.pop() if len(lengths) % chunk else []
    shuffled = torch.randperm(len(chunks), generator=generator).tolist()
    return [i for number in shuffled for i in chunks[number]] + rest


def epoch_of(trainer: Any) -> int:
    """Give the current epoch, from 0; the trainer counts in fractions."""
    return math.floor((trainer.state.epoch or 0.0) + 1e-6)
