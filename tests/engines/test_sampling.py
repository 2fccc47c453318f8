from __future__ import annotations

import math

import pytest
import torch

from avrt.engines import sampling
from avrt.engines.sampling import choose_tokens
from avrt.types import Sampling

N_ROWS = 20_000


def shares(logits: torch.Tensor, **sampling) -> torch.Tensor:
    """How often each token is chosen by rows with seeds of their own."""
    samplings = [Sampling(seed=seed, **sampling) for seed in range(N_ROWS)]
    tokens = choose_tokens(logits.repeat(N_ROWS, 1), samplings, [3] * N_ROWS)
    return torch.bincount(tokens, minlength=len(logits)) / N_ROWS


def test_tokens_are_drawn_from_the_tempered_distribution_within_top_p():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    tempered = torch.softmax(logits / 2.0, -1)  # 0.38, 0.30, 0.21, 0.12: the first three reach 0.7
    whole = shares(logits, temperature=2.0)
    torch.testing.assert_close(whole, tempered, atol=0.01, rtol=0)
    expected = torch.cat([tempered[:3] / tempered[:3].sum(), torch.zeros(1)])
    within = shares(logits, temperature=2.0, top_p=0.7)
    torch.testing.assert_close(within, expected, atol=0.01, rtol=0)


def test_the_steps_of_a_row_and_the_tokens_of_a_step_are_drawn_independently():
    drawn = choose_tokens(
        torch.zeros(4_000, 16), [Sampling(temperature=1.0, seed=7)] * 4_000, range(4_000)
    )
    pairs = drawn[:-1] * 16 + drawn[1:]
    expected = len(pairs) / 256
    counts = torch.bincount(pairs, minlength=256)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_a_row_draws_the_same_in_every_batch(seed):
    logits = torch.randn(3, 1_000, generator=torch.Generator().manual_seed(1))
    one = Sampling(temperature=0.8, top_p=0.9, seed=seed)
    others = [Sampling(), Sampling(temperature=1.5, seed=seed + 1)]
    alone = choose_tokens(logits[:1], [one], [5])
    together = choose_tokens(logits, [one, *others], [5, 0, 9])
    moved = choose_tokens(logits.flip(0), [*others[::-1], one], [9, 0, 5])
    assert int(alone) == int(together[0]) == int(moved[2])
    assert int(together[1]) == int(logits[1].argmax())


def test_what_is_impossible_is_never_drawn():
    logits = torch.full((200, 50), -torch.inf)
    logits[:, 17] = -3.0
    samplings = [Sampling(temperature=5.0, seed=seed) for seed in range(200)]
    assert set(choose_tokens(logits, samplings, [0] * 200).tolist()) == {17}


def test_a_token_of_a_hundred_thousand_is_drawn_as_often_as_its_probability_says():
    logits = torch.full((150_000,), -14.0)
    logits[5] = 0.0  # beside it, the others have 11 % together
    samplings = [Sampling(temperature=1.0, seed=seed) for seed in range(100)]
    chosen = [int(choose_tokens(logits[None], [one], [0])) for one in samplings]
    expected = float(logits.softmax(-1)[5]) * 100
    assert abs(chosen.count(5) - expected) < 16  # five standard deviations


@pytest.mark.parametrize(
    ("keys", "counts", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((-1, -1), (-1, -1), (0x1CB996FC, 0xBB002BE7)),
        (
            (0x13198A2E, 0x03707344),
            (0x243F6A88, 0x85A308D3 - 2**32),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
)
def test_random_numbers_are_those_of_the_published_generator(keys, counts, words):
    """Known answers of Random123 for Threefry 2x32 with 20 rounds."""
    numbers = [torch.tensor([[number]], dtype=torch.int32) for number in (*keys, *counts)]
    made = sampling._threefry(numbers[:2], numbers[2], numbers[3])
    assert tuple(int(word) % 2**32 for word in made) == words
