from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from trl.trainer.utils import RepeatSampler

from avrt.train.order import ByEpoch, ByLength, length_sorted

LENGTHS = np.random.default_rng(0).integers(100, 900, 1000).tolist()


def trainer_at(epoch):
    return SimpleNamespace(state=SimpleNamespace(epoch=epoch), args=SimpleNamespace(seed=7))


def padded_share(order, chunk):
    """Share of the places in all passes that hold padding."""
    passes = [[LENGTHS[i] for i in order[k : k + chunk]] for k in range(0, len(order), chunk)]
    n_places = sum(max(lengths) * len(lengths) for lengths in passes)
    return 1 - sum(LENGTHS) / n_places


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
@pytest.mark.parametrize("chunk", [1, 8, 24])
def test_every_sample_comes_once(n, chunk):
    assert sorted(length_sorted(LENGTHS[:n], chunk, seed=1)) == list(range(n))


def test_samples_of_one_pass_are_about_equally_long():
    assert padded_share(list(range(1000)), 8) > 0.3
    assert padded_share(length_sorted(LENGTHS, 8, seed=1), 8) < 0.05


def test_the_lengths_of_steps_stay_mixed():
    order = length_sorted(LENGTHS, 8, seed=1)
    steps = [np.mean([LENGTHS[i] for i in order[k : k + 64]]) for k in range(0, 960, 64)]
    assert np.std(steps) < 0.5 * np.std(LENGTHS)
    assert abs(np.corrcoef(np.arange(len(steps)), steps)[0, 1]) < 0.6, "no drift over the epoch"


@pytest.mark.parametrize(
    "make",
    [
        lambda trainer: ByEpoch(
            RepeatSampler(LENGTHS, mini_repeat_count=2, batch_size=4, repeat_count=1, seed=7),
            trainer,
        ),
        lambda trainer: ByLength(LENGTHS, 8, trainer),
    ],
)
def test_an_epoch_s_order_is_the_same_after_a_restart(make):
    going_on = trainer_at(None)
    sampler = make(going_on)
    orders = []
    for epoch in (0, 0.999999999, 2.0):
        going_on.state.epoch = epoch
        orders.append(list(sampler))
    assert orders[0] != orders[1] != orders[2]
    assert list(make(trainer_at(1.5))) == orders[1]
    assert list(make(trainer_at(2.25))) == orders[2]
