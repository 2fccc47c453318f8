"""Pull the next request of an engine's workers in a separate thread.

Media are read and requests encoded while replies arrive. A request is pulled only when a worker
needs it.

The decision to question: the thread stays alive, instead of a pool's job for each request, which
costs as much CPU time as the HTTP request itself.
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
    """Calls `pull` in another thread, once for every `next`; use it as a context manager."""

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
        """Wait until `pull` has returned, so that its sources can be closed."""
        self._asked.put(None)
        self._thread.join()

    async def next(self) -> T:
        """Give the result of a call of `pull`, or raise its error; first come, first served."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._asked.put(future)
        return await future

    def _run(self) -> None:
        while (future := self._asked.get()) is not None:
            if future.cancelled():
                continue
            try:
                pulled = self._pull()
            except BaseException as error:  # noqa: BLE001 (raised in `next`)
                pulled = error
            self._pulled.append((future, pulled))
            if len(self._pulled) == 1:  # else a hand-over is scheduled and takes this result too
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
