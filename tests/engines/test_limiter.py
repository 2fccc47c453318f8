from __future__ import annotations

import asyncio

import pytest

from avrt.engines import limiter
from avrt.engines.limiter import Limit, Replica, Replicas, Report, Slot


class Calls:
    """The calls in flight at a server that takes `capacity` at once, answered in order."""

    def __init__(self, limit: Limit, capacity: int) -> None:
        self.limit, self.capacity = limit, capacity
        self.taken: list[Slot] = []
        self.n_refused = 0
        self.most = 0

    def fill(self) -> None:
        """Start as many calls as the limit allows; the server refuses at once what is too much."""
        while self.limit.in_flight < self.limit.now:
            slot = self.limit.start()
            self.most = max(self.most, self.limit.in_flight)
            if len(self.taken) < self.capacity:
                self.taken.append(slot)
            else:
                self.n_refused += 1
                self.limit.refuse(slot)
                self.limit.finish()

    def answer(self, n: int) -> None:
        for _ in range(n):
            self.fill()
            self.limit.succeed(self.taken.pop(0), 0.2)
            self.limit.finish()
        self.fill()


def test_the_limit_grows_to_the_most_that_is_allowed_and_no_further():
    calls = Calls(Limit(100, 60), capacity=1000)
    calls.answer(400)
    assert (calls.limit.now, calls.most, calls.n_refused) == (100, 100, 0)


@pytest.mark.parametrize("capacity", [1, 3, 8, 20, 64])
def test_the_limit_finds_what_a_server_takes_and_wastes_few_calls(capacity):
    calls = Calls(Limit(256, 60), capacity)
    calls.answer(5000)
    assert len(calls.taken) == capacity
    assert calls.limit.now in (capacity, capacity + 1)
    assert calls.n_refused <= 0.013 * 5000


def test_the_limit_follows_a_server_that_changes():
    calls = Calls(Limit(256, 60), 4)
    calls.answer(500)
    calls.capacity = 64
    calls.answer(600)
    assert len(calls.taken) == 64
    calls.capacity, calls.n_refused = 8, 0
    calls.answer(200)
    assert len(calls.taken) == 8
    assert calls.n_refused < 12


def test_refusals_that_come_together_cut_the_limit_once():
    limit = Limit(64, 60)
    calls = Calls(limit, 1000)
    calls.answer(200)
    assert limit.now == 64
    burst = calls.taken[-32:]
    assert [limit.refuse(slot) for slot in burst].count(True) == 1
    assert limit.now == 63  # none of them has left yet
    for _ in burst:
        limit.finish()
    after = limit.start()
    assert limit.refuse(after)
    assert limit.now == after.level // 2


def test_few_faults_change_nothing_and_many_halve_the_limit():
    limit = Limit(64, 60)
    calls = Calls(limit, 1000)
    calls.answer(300)
    for i in range(400):
        slot = calls.taken.pop(0)
        if i % 25:
            limit.succeed(slot, 0.2)
        else:
            assert not limit.fail(slot)
        limit.finish()
        calls.fill()
    assert limit.now == 64
    assert [limit.fail(slot) for slot in calls.taken].count(True) == 1
    assert limit.now == 32


def test_a_limit_does_not_grow_while_replies_take_half_of_the_timeout():
    limit = Limit(64, timeout_s=10)
    for _ in range(200):
        slots = [limit.start() for _ in range(limit.now)]
        for slot in slots:
            limit.succeed(slot, 9.0)
            limit.finish()
    assert limit.now < 32


def test_a_limit_that_is_not_used_does_not_grow():
    limit = Limit(64, 60)
    for _ in range(200):
        limit.succeed(limit.start(), 0.2)
        limit.finish()
    assert limit.now == limiter._START


async def _take_all(replicas: Replicas, n: int) -> list[str]:
    async with asyncio.timeout(5):
        return [(await replicas.take())[0].url for _ in range(n)]


def test_the_next_call_goes_to_the_server_with_the_fewest():
    async def scenario() -> None:
        replicas = Replicas(["a", "b"], 16, 60)
        assert sorted(await _take_all(replicas, 6)) == ["a"] * 3 + ["b"] * 3
        a = replicas.all[0]
        replicas.give_back(a)
        replicas.give_back(a)
        assert await _take_all(replicas, 2) == ["a", "a"]

    asyncio.run(scenario())


def test_a_server_that_rests_gets_no_call_until_it_has_rested(monkeypatch):
    monkeypatch.setattr(limiter, "_FIRST_WAIT_S", 0.02)

    async def scenario() -> None:
        replicas = Replicas(["a", "b"], 16, 60)
        a: Replica = replicas.all[0]
        standing = await replicas.report(a, a.limit.start(), Report("down", wait_s=0.1))
        assert (standing.is_down, standing.all_down, standing.n_cuts) == (True, False, 1)
        replicas.give_back(a)
        assert await _take_all(replicas, 8) == ["b"] * 8
        assert await _take_all(replicas, 1) == ["a"]  # waits: b is full
        assert a.limit.now == 1

    asyncio.run(scenario())


def test_whoever_waits_for_a_place_is_served_in_turn():
    async def scenario() -> None:
        replicas = Replicas(["a"], 1, 60)
        order: list[int] = []

        async def call(i: int) -> None:
            replica, _ = await replicas.take()
            order.append(i)
            await asyncio.sleep(0)
            replicas.give_back(replica)

        await asyncio.gather(*(call(i) for i in range(5)))
        assert order == [0, 1, 2, 3, 4]

    asyncio.run(scenario())
