"""Run asynchronous work to its end, also inside a notebook, whose own event loop is running."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["run_async"]

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`; where a loop runs in this thread already, in a thread of its own.

    Ctrl-C in this thread cancels the work and waits for its end.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()
    ended: Future[T] = Future()

    async def cancellable() -> T:
        task = asyncio.ensure_future(work)
        begun.set_result((asyncio.get_running_loop(), task))
        return await task

    def in_thread() -> None:
        try:
            ended.set_result(asyncio.run(cancellable()))
        except BaseException as error:  # noqa: BLE001 (raised below)
            ended.set_exception(error)

    thread = threading.Thread(target=in_thread, name="avrt-loop")
    try:
        thread.start()
        return ended.result()
    except KeyboardInterrupt:
        loop, task = begun.result()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
