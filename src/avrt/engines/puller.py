"""What the workers of an engine do next, pulled in a thread of its own.

Media are read and requests encoded while replies arrive. Nothing is pulled before a worker asks.

The decision to question: a thread that stays, instead of one job of a pool per request, which costs
as much CPU time as the HTTP request itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Puller"]

T = TypeVar("T")


class Puller(Generic[T]):
    """Calls `pull` in another thread, once for every `next`; use it as a context."""

    def __init__(self, pull: Callable[[], T]) -> None:
        self._pull = pull
        self._asked: SimpleQueue[asyncio.Future[T] | None] = SimpleQueue()
        self._pulled: deque[tuple[asyncio.Future[T], T | BaseException]] = deque()
        self._thread = threading.Thread(target=self._run, name="avrt-puller")

    def __enter__(self) -> Puller[T]:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Wait until `pull` has returned: what it reads from may be closed after that."""
        self._asked.put(None)
        self._thread.join()

    async def next(self) -> T:
        """What `pull` returned, or raised; first come, first served."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._asked.put(future)
        return await future

    def _run(self) -> None:
        while (future := self._asked.get()) is not None:
            if future.cancelled():
                continue
            try:
                pulled = self._pull()
            except BaseException as error:  # noqa: BLE001 (raised where it was asked for)
                pulled = error
            self._pulled.append((future, pulled))
            if len(self._pulled) == 1:  # else a hand-over is due that finds this one too
                self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        while self._pulled:
            future, pulled = self._pulled.popleft()
            if future.cancelled():
                continue
            if isinstance(pulled, BaseException):
                future.set_exception(pulled)
            else:
                future.set_result(pulled)
