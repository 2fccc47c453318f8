"""Make the inputs of the next steps while the model is at work.

Processes decode clips under the watchdog of `avrt.media`, a thread of this process makes compact
inputs of them (`encode`), and a bounded number of samples waits: about 14 MB for a clip of 720p.

The order in which samples are read is a forecast, taken from the trainer's own batches; what the
trainer gets is always what it asks for. So order and resume are the trainer's, and a wrong forecast
costs time alone.

A sample whose clip fails twice, the second time in a new process, is dropped by name. In its place
comes the next sample in this process's order of the epoch, behind the batch and then from the
beginning, that can be read and is not in the batch: a rule that depends on nothing but the order
and on which files fail, so a resumed training repeats it, and every process has its full batch.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, TypeAlias

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from avrt.config import MediaConfig
from avrt.engines.encode import Encoded
from avrt.errors import AvrtError, MediaError
from avrt.media import load_media
from avrt.media.processes import Pool
from avrt.train.data import PromptEncoder
from avrt.train.dropped import Dropped
from avrt.train.lengths import count_prompt_tokens
from avrt.types import Sample

__all__ = ["Feed", "FollowEpochs", "Take"]

Take: TypeAlias = Callable[..., list[tuple[str, Encoded]]]
"""`Feed.take`, or what has its parameters: gives the inputs of samples by id, each with the id of
the sample that they are of.
"""

CACHE_BYTES = 1 << 30
"""A dataset that fits is read once: its compact inputs stay in memory."""
TOKEN_BYTES = 4 * 3 * 2 * 14 * 14
"""Of a compact picture token, four patches of two frames; a token of sound or text has fewer."""


@dataclass
class _Course:
    """The batches that will be asked for, in order."""

    batches: list[tuple[str, ...]] = field(default_factory=list)
    place: int = 0
    """The batch that was asked for last."""

    def seek(self, batch: tuple[str, ...]) -> bool:
        """Go to a batch, if there is such a one."""
        for start in (self.place, 0):
            try:
                self.place = self.batches.index(batch, start)
            except ValueError:
                continue
            return True
        return False

    def following(self) -> Iterator[str]:
        """The samples behind this batch."""
        return chain.from_iterable(islice(self.batches, self.place + 1, None))

    def others(self) -> Iterator[str]:
        """The samples behind this batch, then those before it."""
        return chain(self.following(), chain.from_iterable(islice(self.batches, self.place)))


class Feed:
    """The inputs of samples, read ahead in the order of `follow`."""

    def __init__(
        self,
        encoder: PromptEncoder,
        samples: Iterable[Sample],
        dropped: Dropped,
        n_ahead: int,
    ) -> None:
        """`n_ahead`: samples that may wait, unless `media.read_ahead` says how many.

        Its processes start now; `count` comes before the first `take`.
        """
        media = encoder.media
        self._encoder = copy.deepcopy(encoder)  # its tokenizer is used in a thread
        self._samples = {sample.id: sample for sample in samples}
        self.dropped = dropped
        self._n_ahead = n_ahead if media.read_ahead is None else media.read_ahead
        self._courses: dict[str, _Course] = {}
        self._waiting: dict[str, Future[Encoded | MediaError]] = {}
        self._n_tokens: dict[str, int | MediaError] = {}
        self._cache: dict[str, Encoded] | None = None
        read = partial(load_media, root=encoder.root, media=media, modality="av")
        self._pool = Pool(read, media.timeout_s, _n_workers(media))
        self._pool.start()
        self._thread = ThreadPoolExecutor(1)
        self.waited_s = 0.0
        """Seconds that `take` has needed so far."""

    def count(self, run: Path) -> dict[str, int | MediaError]:
        """Count the tokens of each prompt, as `count_prompt_tokens` does."""
        samples = list(self._samples.values())
        self._n_tokens = count_prompt_tokens(run, self._encoder, samples)
        n_bytes = TOKEN_BYTES * sum(n for n in self._n_tokens.values() if isinstance(n, int))
        if n_bytes <= CACHE_BYTES:
            self._cache = {}
        return self._n_tokens

    def follow(self, name: str, batches: Iterable[Iterable[str]]) -> None:
        """Forecast the batches of an epoch or an evaluation, `name`; only their number is held."""
        distinct = (tuple(dict.fromkeys(batch)) for batch in batches)
        self._courses[name] = _Course([batch for batch, _ in groupby(distinct)])

    def take(self, names: Sequence[str], replace: bool = True) -> list[tuple[str, Encoded]]:
        """Give the inputs of a batch, in its order; start to read what follows it.

        With `replace`, another sample stands for one that cannot be read, under its own id; else
        the row is left out.

        Raises:
            AvrtError: too large a share of the clips fails, or no sample is left.
        """
        started_s = time.perf_counter()
        batch = tuple(dict.fromkeys(names))
        course = self._find_course(batch)
        self._read_ahead(batch, course)
        taken: dict[str, tuple[str, Encoded]] = {}
        used = set(batch)
        for name in batch:
            encoded = self._get(name)
            if encoded is not None:
                taken[name] = (name, encoded)
            elif replace:
                taken[name] = self._replacement(course, used)
                used.add(taken[name][0])
        self.waited_s += time.perf_counter() - started_s
        return [taken[name] for name in names if name in taken]

    def close(self) -> None:
        """Stop the processes at once."""
        self._pool.close()
        self._thread.shutdown(cancel_futures=True)

    def _find_course(self, batch: tuple[str, ...]) -> _Course:
        for course in self._courses.values():
            if course.seek(batch):
                return course
        return _Course([batch])

    def _read_ahead(self, batch: tuple[str, ...], course: _Course) -> None:
        """Let the samples of the batch and `n_ahead` behind it be read."""
        wanted = dict.fromkeys(chain(batch, islice(course.following(), self._n_ahead)))
        for name in wanted:
            known = name in self._waiting or name in self.dropped or name in (self._cache or ())
            if not known:
                self._waiting[name] = self._submit(name)

    def _submit(self, name: str) -> Future[Encoded | MediaError]:
        return self._thread.submit(self._encode, name, self._pool.submit(self._samples[name]))

    def _encode(self, name: str, decoded: Future[Any]) -> Encoded | MediaError:
        """Make the inputs of a clip that comes from a process; runs in the thread."""
        sample = self._samples[name]
        clip = decoded.result()
        if isinstance(clip, MediaError):
            clip = self._pool.submit(sample, anew=True).result()
        path = sample.picture_path or ""
        if isinstance(clip, MediaError):
            return MediaError(clip.error_class, clip.path or path, clip.detail)
        encoded = self._encoder.encode(sample, *clip)
        n_tokens = len(encoded.input_ids)
        if n_tokens != self._n_tokens[name]:
            detail = (
                f"gives {n_tokens} tokens and not {self._n_tokens[name]}: another file has the "
                "name of the one that was prepared; bring that back, or run `avrt prepare` again"
            )
            return MediaError("missing", path, detail)
        return encoded

    def _get(self, name: str, keep: bool = False) -> Encoded | None:
        """The inputs of a sample, or None when it is dropped; `keep` leaves them for their turn."""
        if name in self.dropped:
            return None
        if self._cache is not None and name in self._cache:
            return self._cache[name]
        is_waiting = name in self._waiting
        future = self._waiting.pop(name, None) or self._submit(name)
        result = future.result()
        self.dropped.tried(name)
        if isinstance(result, MediaError):
            self.dropped.add(name, result)
            return None
        if self._cache is not None:
            self._cache[name] = result
        elif keep and is_waiting:
            self._waiting[name] = future
        return result

    def _replacement(self, course: _Course, used: set[str]) -> tuple[str, Encoded]:
        for name in course.others():
            if name not in used and (encoded := self._get(name, keep=True)) is not None:
                return name, encoded
        raise AvrtError(
            "no other sample is left in the place of one whose clip cannot be read; dropped.jsonl "
            "names those; mend their files, then repeat the command"
        )


class FollowEpochs(TrainerCallback):
    """Tells a feed the batches of each epoch, and the step that takes them."""

    def __init__(self, feed: Feed, trainer: Any) -> None:
        """The trainer's datasets have one column, the ids of samples."""
        self._feed = feed
        (self._ids,) = trainer.train_dataset.to_dict().values()
        if trainer.eval_dataset is not None:
            (ids,) = trainer.eval_dataset.to_dict().values()
            batches = trainer.get_eval_dataloader().batch_sampler
            feed.follow("validation", ([ids[i] for i in batch] for batch in batches))

    @override
    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        self._feed.dropped.share()
        batches = train_dataloader.batch_sampler  # of this process, the same at every pass
        self._feed.follow("train", ([self._ids[i] for i in batch] for batch in batches))

    @override
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._feed.dropped.step = state.global_step + 1


def _n_workers(media: MediaConfig) -> int:
    """Processes of this one's share of the machine, unless the settings say how many."""
    if media.workers is not None:
        return media.workers
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, (os.cpu_count() or 1) // n_local)
