"""The process on a node that does the work: pieces come in, messages go out."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeAlias

from avrt.errors import AvrtError
from avrt.scale.cluster import code_version

__all__ = ["Broken", "Emit", "MakeServer", "Place", "Server", "Worker"]

Emit: TypeAlias = Callable[[Any], None]
"""Sends a message to the driver; from any thread."""
_LONGEST_POLL_S = 5.0


class Server(Protocol):
    """What a worker does with pieces of work."""

    def take(self, piece: Any) -> None:
        """Begin a piece, and come back at once; messages about it follow."""
        ...


MakeServer: TypeAlias = Callable[[Emit], Server]


@dataclass(frozen=True)
class Broken:
    """The message of a worker that cannot work at all."""

    error: Exception
    traceback: str


@dataclass(frozen=True)
class Place:
    """Where the driver is: its folder, which workers on a shared disk have too, and its secrets."""

    folder: str
    environment: Mapping[str, str]


class Worker:
    """An actor; its methods run in threads of their own."""

    def __init__(self, make: MakeServer, place: Place) -> None:
        self._messages: SimpleQueue[Any] = SimpleQueue()
        os.environ.update(place.environment)
        with suppress(OSError):  # a node without that folder can ask servers all the same
            os.chdir(place.folder)
        self._make = make
        self._server: Server | None = None

    def version(self) -> str:
        """See `code_version`."""
        return code_version()

    def take(self, pieces: Sequence[Any]) -> None:
        """Begin pieces of work; a fault of all of them becomes a message."""
        try:
            if self._server is None:
                self._server = self._make(self._messages.put)
            for piece in pieces:
                self._server.take(piece)
        except Exception as error:  # noqa: BLE001 (the driver raises it)
            self._messages.put(broken(error))

    def collect(self) -> list[Any]:
        """The messages since the last time; waits for the first, a few seconds at most."""
        found: list[Any] = []
        with suppress(Empty):
            found.append(self._messages.get(timeout=_LONGEST_POLL_S))
            while True:
                found.append(self._messages.get_nowait())
        return found


def broken(error: Exception) -> Broken:
    """The message of an error, in a form that travels."""
    text = traceback.format_exc()
    known = isinstance(error, AvrtError)
    return Broken(error if known else RuntimeError(f"{type(error).__name__}: {error}"), text)
