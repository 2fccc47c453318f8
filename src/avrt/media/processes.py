"""Run a function over many files in processes under a watchdog, so that no file stops the others.

A file that hangs, or whose decoder crashes, costs one process, which is replaced, and ends as a
`MediaError` like any other bad file. Results come in the order of the items, a bounded
number of them ahead of the caller, so memory stays flat over any number of files. A failure that
says nothing about its file (killed, timeout, permission, no memory) is no result yet: the file is
tried once more, in new processes, after all others, when there may be more room.

The decision to question: no library's pool is used. Those share a pipe between all processes; when
a process dies at the wrong moment they lose items, blame the wrong item, or fail altogether. Here
each process has a pipe and a thread of its own, so the failed item is known. And the watchdog is
the kernel's timer in each process (SIGALRM), which ends a decoder that hangs whatever it is doing,
even after the parent is gone. Nor are the processes those of `multiprocessing`, which run the
user's script again from its beginning: a script needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

from avrt.errors import PASSING_CLASSES, AvrtError, MediaError
from avrt.media.failures import NO_MEMORY

__all__ = ["Pool", "map_files", "map_once", "may_pass", "named"]

Item = TypeVar("Item")
Output = TypeVar("Output")

START_S = 60.0
"""Longest time that a process may need to start."""
ENDED_FROM_OUTSIDE = (
    *(signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2),
)
"""Signals that no decoder gives itself: the kernel, a scheduler or a person ended the process."""
READY = b"ready"
_START = """import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent may wait in a thread that gets no signal
sys.path[:] = {path!r}
from avrt.media.processes import serve
serve({descriptor})
"""


def map_files(
    function: Callable[[Item], Output],
    items: Iterable[Item],
    *,
    timeout_s: float,
    workers: int | None = None,
    ahead: int | None = None,
    path_of: Callable[[Item], str] = str,
) -> Generator[tuple[Item, Output | MediaError]]:
    """Yield every item with what `function` returns for it or the MediaError it raises.

    They come in order, but for those that are tried once more: their second result comes last.

    Function and items are sent to new processes, so the function must be a module's, or a `partial`
    of it. An item that takes longer than `timeout_s` gives a MediaError `timeout`, an item whose
    process is ended from outside a `killed`, one whose decoder crashes an `undecodable`; `path_of`
    names the item's file. Items are taken only while fewer than `ahead` (default: four for each
    worker) are in progress or wait for the caller. Closing the generator stops the processes at
    once; they also end with this process, even when it is killed.

    Raises:
        AvrtError: the processes do not start.
        Exception: any other error that `function` raises: a defect, not a bad file.
    """
    n_workers = (os.cpu_count() or 1) if workers is None else workers
    again: list[Item] = []
    with closing(map_once(function, items, timeout_s, n_workers, ahead)) as results:
        for item, result in results:
            if may_pass(result):
                again.append(item)
            else:
                yield item, named(result, item, path_of)
    with closing(map_once(function, again, timeout_s, n_workers, ahead)) as results:
        for item, result in results:
            yield item, named(result, item, path_of)


def may_pass(result: object) -> bool:
    """Whether another attempt may end otherwise; without a path, a process died or was short.

    Of several results in a mapping, one is enough.
    """
    if isinstance(result, Mapping):
        return any(map(may_pass, result.values()))
    return isinstance(result, MediaError) and (
        result.error_class in ("missing", *PASSING_CLASSES) or not result.path
    )


def named(result: Output, item: Item, path_of: Callable[[Item], str]) -> Output | MediaError:
    """The result; a MediaError that came without a path gets that of its item."""
    if isinstance(result, MediaError) and not result.path:  # only this process knows it
        return MediaError(result.error_class, path_of(item), result.detail)
    return result


def map_once(
    function: Callable[[Item], Output],
    items: Iterable[Item],
    timeout_s: float,
    n_workers: int,
    ahead: int | None = None,
) -> Generator[tuple[Item, Output | MediaError]]:
    """As `map_files`, but each item is tried once, all come in order, and no error has a path."""
    if n_workers == 0:
        yield from ((item, _run_here(function, item)) for item in items)
        return
    source = iter(items)
    first = list(islice(source, ahead or 4 * n_workers))
    if not first:
        return
    with closing(Pool(function, timeout_s, min(n_workers, len(first)))) as pool:
        waiting = deque((item, pool.submit(item)) for item in first)
        while waiting:
            item, future = waiting.popleft()
            result = future.result()
            waiting.extend((following, pool.submit(following)) for following in islice(source, 1))
            yield item, result


def _run_here(function: Callable[[Item], Output], item: Item) -> Output | MediaError:
    try:
        return function(item)
    except MediaError as error:
        return error


@dataclass(frozen=True)
class _Defect:
    """Any other exception, on its way to be raised in the parent."""

    error: Exception
    traceback: str


class Pool:
    """As many threads as processes; each thread keeps a process, and replaces it when it dies.

    With no worker at all, items are read in a thread of this process.
    """

    def __init__(self, function: Callable[[Any], Any], timeout_s: float, n_workers: int) -> None:
        self._function, self._timeout_s = function, timeout_s
        self._n_processes = n_workers
        self._threads = ThreadPoolExecutor(max(1, n_workers))
        self._own = threading.local()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._is_closed = False

    def start(self) -> None:
        """Start the processes now, beside other work; a fault comes with the first item."""
        for _ in range(self._n_processes):
            self._threads.submit(self._worker)

    def submit(self, item: Any, anew: bool = False) -> Future[Any]:
        """Give the future of the function's result for the item, or of a `MediaError`.

        With `anew`, a new process does the work.
        """
        if not self._n_processes:
            return self._threads.submit(_run_here, self._function, item)
        payload = pickle.dumps((self._function, item, self._timeout_s))
        return self._threads.submit(self._call, payload, anew)

    def close(self) -> None:
        """Stop all processes at once."""
        with self._lock:
            self._is_closed = True
            for worker in self._workers:
                worker.process.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def _call(self, payload: bytes, anew: bool) -> Any:
        """Let the process of this thread do the work; runs in a thread of the pool."""
        try:
            if anew and (worker := getattr(self._own, "worker", None)):
                self._bury(worker)
            worker = self._worker()
        except MediaError as error:
            return error
        try:
            worker.pipe.send_bytes(payload)
            reply = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            exit_code = self._bury(worker)
            if exit_code == -signal.SIGINT:
                raise KeyboardInterrupt from None
            return _explain_death(exit_code, self._timeout_s)
        result = pickle.loads(reply)
        if isinstance(result, _Defect):
            result.error.add_note(result.traceback)
            raise result.error
        return result

    def _worker(self) -> _Worker:
        """The process of this thread, which starts where there is none."""
        return getattr(self._own, "worker", None) or self._start()

    def _start(self) -> _Worker:
        with self._lock:
            if self._is_closed:
                raise CancelledError
            try:
                worker = _Worker()
            except OSError as error:
                raise AvrtError(
                    f"a process that reads files cannot be started: {error.strerror}; raise the "
                    "limit of open files (`ulimit -n`) or processes, or use fewer media.workers"
                ) from error
            self._workers.add(worker)
        if not worker.is_ready():
            exit_code = self._bury(worker)
            if exit_code is not None and -exit_code in ENDED_FROM_OUTSIDE:
                raise _explain_death(exit_code, self._timeout_s)
            raise AvrtError(
                f"a process that reads files did not start (exit code {exit_code}); "
                "its messages above name the cause"
            )
        self._own.worker = worker
        return worker

    def _bury(self, worker: _Worker) -> int | None:
        self._own.worker = None
        with self._lock:
            self._workers.discard(worker)
            return worker.end()


class _Worker:
    """A process, and the pipe for its payloads and results."""

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        with theirs:  # closed here, so that the pipe ends when the process does
            code = _START.format(path=sys.path, descriptor=theirs.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def is_ready(self) -> bool:
        """Wait until the process has started; False when it did not."""
        try:
            return self.pipe.poll(START_S) and self.pipe.recv_bytes() == READY
        except (EOFError, OSError):
            return False

    def end(self) -> int:
        """Give the exit code; end the process when it still runs."""
        self.process.kill()
        self.pipe.close()
        return self.process.wait()


def _explain_death(exit_code: int | None, timeout_s: float) -> MediaError:
    """The failure of the item over which a process died; its path is left empty."""
    if exit_code == -signal.SIGALRM:
        detail = f"not read after {timeout_s:g} s; download it again, or raise media.timeout_s"
        return MediaError("timeout", "", detail)
    if exit_code is not None and -exit_code in ENDED_FROM_OUTSIDE:
        detail = "its process was killed, most likely for lack of memory; use fewer media.workers"
        return MediaError("killed", "", detail)
    detail = f"the decoder crashed (exit code {exit_code}); convert it again"
    return MediaError("undecodable", "", detail)


def serve(descriptor: int) -> None:
    """Run in a process: call functions until the pipe or the parent ends."""
    pipe = Connection(descriptor)
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the parent is gone
        pipe.send_bytes(READY)
        while True:
            pipe.send_bytes(_run(pipe.recv_bytes()))


def _end_with_parent(descriptor: int) -> None:
    closed = select.poll()
    closed.register(descriptor, 0)  # no event but that its other end is closed
    closed.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def _run(payload: bytes) -> bytes:
    """Call a function; past its time limit the kernel ends this process."""
    try:
        function, item, timeout_s = pickle.loads(payload)
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        result = function(item)
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except MediaError as error:
        return pickle.dumps(error)
    except MemoryError:
        return pickle.dumps(MediaError("unreadable", "", NO_MEMORY))
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        return _pack(error, traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _pack(error: Exception, text: str) -> bytes:
    try:
        return pickle.dumps(_Defect(error, text))
    except (pickle.PicklingError, AttributeError, TypeError):  # it holds what cannot travel
        return pickle.dumps(_Defect(RuntimeError(repr(error)), text))
