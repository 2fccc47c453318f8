"""Choose the next token of each row of a batch, by the row's own seed, on the logits' device.

A row is sampled by adding Gumbel noise to its scaled log-probabilities and taking the largest,
which draws from that distribution. The noise of a token is a function of the row's seed, of the
number of tokens that the row has written and of the token: the batch around a row does not matter,
and no generator has to be kept. It is made of whole numbers, so that a seed draws the same on every
device, but for rounding.

The decision to question: noise of 31 bits. Tokens less likely than about 1e-10 are never drawn.

B: rows, V: vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avrt.types import Sampling

__all__ = ["choose_tokens"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
"""Of Threefry 2x32 with 20 rounds: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
as 1, 2, 3", 2011.
"""
_BITS = 31
_CACHED = 2**17
"""Numbers."""


def choose_tokens(logits: Tensor, samplings: Sequence[Sampling], steps: Sequence[int]) -> Tensor:
    """Choose a token (B,) for each row of float32 logits (B, V); `steps`: tokens it has written."""
    chosen = logits.argmax(-1)
    drawn = [i for i, sampling in enumerate(samplings) if sampling.temperature > 0]
    if not drawn:
        return chosen

    def column(values: Sequence[float], dtype: torch.dtype) -> Tensor:
        return torch.tensor([values[i] for i in drawn], dtype=dtype, device=logits.device)[:, None]

    rows = torch.tensor(drawn, device=logits.device)
    scaled = logits[rows] / column([s.temperature for s in samplings], torch.float32)
    top_p = [sampling.top_p for sampling in samplings]
    if min(top_p[i] for i in drawn) < 1.0:
        scaled = _keep_top_p(scaled, column(top_p, torch.float32))
    seeds = column([s.seed for s in samplings], torch.int64)
    columns = seeds, column(steps, torch.int64)
    # Dozens of passes over the numbers: on the CPU, while they are in its cache.
    n_together = max(1, _CACHED // logits.shape[-1]) if logits.device.type == "cpu" else len(drawn)
    parts = zip(*(numbers.split(n_together) for numbers in columns), strict=True)
    waits = torch.cat([_exponentials(seed, step, logits.shape[-1]) for seed, step in parts])
    chosen[rows] = (scaled - waits.log_()).argmax(-1)
    return chosen


def _keep_top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """Keep the most likely tokens of a row that first reach its `top_p` together, one at least."""
    ordered, order = logits.sort(descending=True)
    shares = ordered.softmax(-1)
    before = shares.cumsum(-1) - shares
    dropped = (before >= top_p) & (top_p < 1.0)
    return logits.masked_fill(dropped.scatter(-1, order, dropped), -torch.inf)


def _exponentials(seeds: Tensor, steps: Tensor, n: int) -> Tensor:
    """Draw `n` numbers of the exponential distribution for each seed (B, 1) and step (B, 1).

    Their negative logarithm is Gumbel noise. Small ones decide, and are the finest.
    """
    keys = [_as_int32(seeds), _as_int32(seeds >> 32)]
    counts = torch.arange(-(-n // 2), dtype=torch.int32, device=seeds.device)
    words = torch.cat(_threefry(keys, counts.repeat(len(seeds), 1), _as_int32(steps)), 1)[:, :n]
    uniform = (words & (2**_BITS - 1)).to(torch.float32).add_(0.5).mul_(2.0**-_BITS)
    return uniform.clamp_(max=1 - 2.0**-24).neg_().log1p_().neg_()


def _threefry(keys: list[Tensor], first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Encrypt pairs of numbers, int32 as all others, with keys (B, 1)."""
    keys = [*keys, keys[0] ^ keys[1] ^ _PARITY]
    first, second = first + keys[0], (second + keys[1]).expand_as(first).clone()
    for block in range(5):
        for n in _ROTATIONS[block % 2]:
            first += second
            second = second << n | (second >> 32 - n) & (2**n - 1)
            second ^= first
        first += keys[(block + 1) % 3]
        second += keys[(block + 2) % 3] + (block + 1)
    return first, second


def _as_int32(numbers: Tensor) -> Tensor:
    """The last 32 bits of whole numbers."""
    return ((numbers + 2**31) % 2**32 - 2**31).to(torch.int32)
