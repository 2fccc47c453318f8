"""Ask one model everything that its logs of one set still lack.

Media are read in worker processes, a few items ahead, and shown to the model as sound, as pictures
and as both before they are dropped, so that memory stays flat and each file is read once. A server
gets requests one after the other, as many at a time as it bears; a model in this process gets them
sorted by length inside a window, so that a batch has little padding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from tqdm import tqdm

from avrt.config import Config
from avrt.engines import Engine
from avrt.errors import EngineError, MediaError
from avrt.evaluate.items import Fault, Item, Need, Shown, read_media
from avrt.evaluate.logs import Line, Settings, append
from avrt.evaluate.models import Model
from avrt.evaluate.questions import Question
from avrt.evaluate.sets import EvalSet
from avrt.media.processes import map_files
from avrt.types import Completion, Frames, Given, Prompt, Request, Waveform

__all__ = ["Log", "answer_all"]

_WINDOW_BATCHES = 4
_WINDOW_BYTES = 512 * 2**20
"""Decoded media that wait together to be sorted by length."""
_PIXELS_PER_TOKEN = 28 * 28
_SOUND_TOKENS_PER_S = 25


@dataclass(frozen=True)
class Log:
    """One open log and the answers that it still lacks."""

    modality: Given
    file: IO[str]
    left: set[tuple[str, int]]
    """Item, and which of its answers."""


def answer_all(
    config: Config,
    engine: Engine,
    model: Model,
    benchmark: EvalSet,
    settings: Settings,
    logs: Sequence[Log],
) -> None:
    """Do what the logs lack; each answer is written as it comes.

    Raises:
        EngineError: the engine cannot be used, or a model did not get the media it was given.
    """
    n_left = sum(len(log.left) for log in logs)
    title = f"eval {benchmark.name}/{model.name}"
    with tqdm(total=n_left, desc=title, unit="item", disable=None) as bar:
        work = _Work(config, model, settings.protocol_id, logs, bar.update)
        needs = _needs(config, benchmark, model, logs)
        with (
            closing(_read(config, benchmark, model, needs)) as read,
            closing(work.requests(read)) as requests,
        ):
            engine.generate(requests, work.store)
    lost = set().union(*(log.left for log in logs))
    if lost:
        raise EngineError(
            f"the engine gave no reply to {len(lost)} items, such as {min(lost)[0]!r}"
        )


@dataclass(frozen=True)
class _Asked:
    """A request that the engine has."""

    item: Item
    prompt: Prompt
    log: Log
    k: int


@dataclass(frozen=True)
class _Work:
    """What the two sides of an engine share; they may run in different threads."""

    config: Config
    model: Model
    protocol: str
    logs: Sequence[Log]
    on_finished: Callable[[int], object]
    in_flight: dict[str, _Asked] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, read: Iterable[tuple[Need, Shown]]) -> Generator[Request]:
        """Every question that a log lacks, those of one window by modality."""
        is_sorted = self.model.engine.kind == "transformers"
        n_items = self.model.engine.batch_size * _WINDOW_BATCHES if is_sorted else 1
        for window in _windows(read, n_items):
            items = [Item(need.sample, need.questions, shown) for need, shown in window]
            for log in self.logs:
                asked = [one for item in items for one in self._ask(item, log)]
                if is_sorted:  # the longest first: what does not fit fails at once
                    asked.sort(key=lambda one: _length(one.prompt), reverse=True)
                for one in asked:
                    yield self._begin(one)

    def store(self, request: Request, completion: Completion) -> None:
        """Write what came back; an engine's `on_completion`."""
        with self.lock:
            one = self.in_flight.pop(request.key)
            line = one.item.answered(one.prompt, completion, one.k, self.protocol)
            self._finish(one.log, line)

    def _ask(self, item: Item, log: Log) -> Iterator[_Asked]:
        """The questions about an item that `log` lacks; those without media are finished here."""
        wanted = [k for k in range(self.model.k) if (item.sample.id, k) in log.left]
        prompt = item.prompt(log.modality) if wanted else None
        for k in wanted:
            if isinstance(prompt, Fault):
                with self.lock:
                    self._finish(log, item.missing(prompt, log.modality, k, self.protocol))
            elif prompt is not None:
                yield _Asked(item, prompt, log, k)

    def _begin(self, one: _Asked) -> Request:
        sample_id = one.item.sample.id
        key = f"{one.log.modality} {one.k} {sample_id}"
        with self.lock:
            self.in_flight[key] = one
        sampling = self.model.sampling_of(sample_id, one.k, self.config.run.seed)
        return Request(key, one.prompt, sampling)

    def _finish(self, log: Log, line: Line) -> None:
        append(log.file, line)
        log.left.remove(line.id)
        self.on_finished(1)


def _needs(config: Config, benchmark: EvalSet, model: Model, logs: Sequence[Log]) -> Iterator[Need]:
    """The questions and the media that the missing answers need, item by item."""
    for item in benchmark.asked:
        ids = {(item.sample.id, k) for k in range(model.k)}
        lacking: list[Given] = [log.modality for log in logs if ids & log.left]
        if lacking:
            questions: dict[Given, Question] = {
                given: model.ask(item, given, benchmark, config.media.n_frames) for given in lacking
            }
            frames, audio = (any(kind in given for given in lacking) for kind in "va")
            yield Need(item.sample, questions, frames, audio)


def _read(
    config: Config, benchmark: EvalSet, model: Model, needs: Iterable[Need]
) -> Generator[tuple[Need, Shown]]:
    """Yield every need with its media, in order."""
    needs = list(needs)
    if not any(need.frames or need.audio for need in needs):
        yield from ((need, Shown(None, None)) for need in needs)
        return
    media, encode = config.media, model.engine.takes_encoded
    read = partial(read_media, root=benchmark.data.root, media=media, encode=encode)
    limits = {"timeout_s": media.timeout_s, "workers": media.workers}
    with closing(map_files(read, needs, path_of=_path_of, **limits)) as results:
        for need, shown in results:
            if isinstance(shown, MediaError):  # the process that read it died
                fault = Fault(shown.error_class, shown.detail)
                shown = Shown(fault if need.frames else None, fault if need.audio else None)
            yield need, shown


def _path_of(need: Need) -> str:
    return need.sample.picture_path or need.sample.sound_path or need.sample.id


def _windows(
    read: Iterable[tuple[Need, Shown]], n_items: int
) -> Iterator[list[tuple[Need, Shown]]]:
    """Some items at a time, fewer when their media are large."""
    window: list[tuple[Need, Shown]] = []
    n_bytes = 0
    for need, shown in read:
        window.append((need, shown))
        n_bytes += _bytes_of(shown)
        if len(window) == n_items or n_bytes > _WINDOW_BYTES:
            yield window
            window, n_bytes = [], 0
    if window:
        yield window


def _bytes_of(shown: Shown) -> int:
    pixels = shown.frames.pixels.nbytes if isinstance(shown.frames, Frames) else 0
    return pixels + (shown.audio.samples.nbytes if isinstance(shown.audio, Waveform) else 0)


def _length(prompt: Prompt) -> float:
    """Roughly the tokens of a prompt with decoded media."""
    frames, audio = prompt.decoded()
    n_pixels = 0 if frames is None else frames.pixels.size / 3
    sound_s = 0.0 if audio is None else audio.duration_s
    return len(prompt.text) / 4 + n_pixels / _PIXELS_PER_TOKEN + sound_s * _SOUND_TOKENS_PER_S
