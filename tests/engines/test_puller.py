from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from avrt.engines.puller import Puller


def pull_all(pull: Callable[[], int | None], n_workers: int) -> list[int]:
    """Everything that so many workers pull until there is no more."""
    got: list[int] = []

    async def work(puller: Puller[int | None]) -> None:
        while (item := await puller.next()) is not None:
            got.append(item)
            await asyncio.sleep(0)

    async def main() -> None:
        with Puller(pull) as puller:
            await asyncio.gather(*(work(puller) for _ in range(n_workers)))

    asyncio.run(main())
    return got


def test_many_workers_get_everything_once_in_order():
    items = iter(range(20_000))
    assert pull_all(lambda: next(items, None), 64) == list(range(20_000))


def test_nothing_is_pulled_before_somebody_asks():
    n_pulled = 0

    def pull() -> int:
        nonlocal n_pulled
        n_pulled += 1
        return n_pulled

    async def main() -> None:
        with Puller(pull) as puller:
            await asyncio.sleep(0.05)
            assert n_pulled == 0
            assert [await puller.next(), await puller.next()] == [1, 2]
            await asyncio.sleep(0.05)
            assert n_pulled == 2

    asyncio.run(main())


def test_what_pulling_raises_is_raised_where_it_was_asked_for():
    def pull() -> int:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        pull_all(pull, 3)


def test_the_end_waits_for_a_pull_that_is_under_way():
    """Else what it reads from would be closed under its feet."""
    begun, over = threading.Event(), threading.Event()

    def pull() -> int:
        begun.set()
        time.sleep(0.1)
        over.set()
        return 1

    async def main() -> None:
        with Puller(pull) as puller:
            asked = asyncio.ensure_future(puller.next())
            await asyncio.to_thread(begun.wait)
            asked.cancel()

    asyncio.run(main())
    assert over.is_set()
