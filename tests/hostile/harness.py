"""Reads hostile files in a process of its own, so that a crash or a hang fails one test only."""

from __future__ import annotations

import multiprocessing
import os
import resource
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import Decoded, MediaInfo, probe, read_clip

DEADLINE_S = 60.0
MAX_MEMORY = 6 * 2**30


@dataclass
class Reading:
    """What became of one file: each form a clip, or the class of the error."""

    info: MediaInfo
    v: Decoded | str
    a: Decoded | str
    av: Decoded | str


class Worker:
    """One process that answers calls; when it crashes or hangs, the call fails and it is replaced.

    It works in `folder`, so that files can have relative names.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, os.fspath(self._folder)), daemon=True
        )
        self._process.start()
        theirs.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result.

        Raises:
            AssertionError: the process crashed or hung, or the function raised.
        """
        self._connection.send((function, arguments))
        try:
            assert self._connection.poll(DEADLINE_S), f"hung: {function.__name__}{arguments}"
            result, failure = self._connection.recv()
        except (AssertionError, EOFError, ConnectionError) as error:
            self.close()
            code = self._process.exitcode
            self._start()
            if isinstance(error, AssertionError):
                raise
            raise AssertionError(f"crashed ({code}): {function.__name__}{arguments}") from error
        assert failure is None, f"{function.__name__}{arguments}: {failure}"
        return result

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection, folder: str) -> None:
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    warnings.simplefilter("error")
    av.logging.set_level(None)
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send((function(*arguments), None))
        except Exception:  # noqa: BLE001 - whatever it is, the test must hear of it
            connection.send((None, traceback.format_exc(limit=-2)))


def read(path: Path, settings: dict[str, Any]) -> Reading:
    """Everything that the package makes of one file."""
    media = MediaConfig.model_validate(settings)

    def attempt(modality: Any) -> Decoded | str:
        try:
            return read_clip(path, media, modality)
        except MediaError as error:
            return error.error_class

    return Reading(probe(path, media), attempt("v"), attempt("a"), attempt("av"))


def decode_and_pick(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The frames that the rule names, from a decoder that decodes everything in order."""
    frames: list[NDArray[np.uint8]] = []
    scaling = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    options = {"protocol_whitelist": "file"}
    with av.open(f"file:{path}", options=options) as container:
        tracks = container.streams.video
        track = next(t for t in tracks if not t.disposition & Disposition.attached_pic)
        for frame in container.decode(track):
            lies = round(frame.rotation / 90) % 2
            size = (height, width) if lies else (width, height)
            scaled = frame.reformat(*size, format="rgb24", interpolation=scaling, threads=1)
            frames.append(np.rot90(scaled.to_ndarray(), round(frame.rotation / 90)))
    last = Fraction(len(frames) - 1, 7)
    return np.stack([frames[round(last * place)] for place in range(8)])
