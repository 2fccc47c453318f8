"""The in-process engine: any transformers model, `batch_size` rows at a time.

Requests are taken some batches ahead and sorted by length, so that a batch has little padding; when
rows end, the next ones take their places (`decoding.py`). Each row is sampled with its own seed
(`sampling.py`): unlike the library's own sampling, a row's result then does not depend on which
other rows share its batch. Defaults saved with a model (repetition penalty, top-k) are not used:
what a run's configuration says is what happens.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

import torch

from avrt.config import EngineConfig
from avrt.engines.base import OnCompletion, failure
from avrt.engines.decoding import Batch, Row
from avrt.engines.encode import Encoded, count_media_tokens, encode
from avrt.engines.weights import Loaded, in_process_identity, load
from avrt.errors import EngineError
from avrt.types import Completion, Prompt, Request, Sampling

__all__ = ["TransformersEngine"]

_WINDOW_BATCHES = 8
_WINDOW_BYTES = 512 * 2**20
"""Decoded media that wait together to be sorted by length."""
_PIXELS_PER_TOKEN = 28 * 28
_SOUND_TOKENS_PER_S = 25


class TransformersEngine:
    """One model in this process."""

    takes_encoded = False

    def __init__(self, config: EngineConfig, model: str, revision: str | None) -> None:
        self._loaded: Loaded | None = load(model, revision, config.device, config.dtype)
        self._batch_size, self._batch_tokens = config.batch_size, config.batch_tokens
        self._name = model
        self._interleaved = config.use_audio_in_video
        self.identity = in_process_identity(model, revision, config.dtype, self._interleaved)

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; see `Engine.generate`."""
        batch = Batch(self._model)
        waiting = _Waiting(self._fitting(requests, on_completion, batch))
        while True:
            rows = waiting.take(batch, batch.n_free(self._batch_size), self._batch_tokens)
            if not rows and not batch.n_running:
                return
            try:
                ended = batch.admit(rows) if rows else batch.step()
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"{self._name}: out of memory with {batch.n_running + len(rows)} prompts "
                    f"together; lower engine.batch_size ({self._batch_size}) or "
                    f"engine.batch_tokens ({self._batch_tokens})"
                ) from error
            for row in ended:
                on_completion(row.request, self._completion(row, batch.ends))

    def close(self) -> None:
        """Drop the model and give its memory back."""
        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def _model(self) -> Loaded:
        if self._loaded is None:
            raise EngineError(f"{self._name}: the engine is closed")
        return self._loaded

    def _too_long(self, encoded: Encoded, sampling: Sampling, batch: Batch) -> str | None:
        config = self._model.model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None)
        n_prompt, n_new = len(encoded.input_ids), sampling.max_new_tokens
        if limit is None or n_prompt + n_new <= limit:
            return None
        n_positions = batch.count_positions(encoded)
        if n_positions + n_new <= limit:
            return None
        return (
            f"{n_positions} positions of {n_prompt} prompt tokens and max_new_tokens {n_new} "
            f"exceed the model's {limit}"
        )

    def _fitting(
        self, requests: Iterable[Request], on_completion: OnCompletion, batch: Batch
    ) -> Iterator[Row]:
        """Encode the requests, the longest of a window first; complete those that do not fit."""
        for request in _sorted(requests, self._batch_size):
            encoded = encode(self._model.processor, request.prompt, self._interleaved, compact=True)
            problem = self._too_long(encoded, request.sampling, batch)
            if problem:
                on_completion(request, failure("too_long", problem))
            else:
                yield Row(request, encoded)

    def _completion(self, row: Row, ends: Sequence[int]) -> Completion:
        input_ids = row.encoded.input_ids
        n_frame, n_audio = count_media_tokens(self._model.processor, input_ids)
        is_whole = row.tokens[-1] in ends
        return Completion(
            self._model.tokenizer.decode(
                row.tokens[:-1] if is_whole else row.tokens, skip_special_tokens=True
            ),
            "stop" if is_whole else "length",
            n_prompt_tokens=len(input_ids),
            n_completion_tokens=len(row.tokens),
            n_frame_tokens=n_frame,
            n_audio_tokens=n_audio,
            latency_s=time.monotonic() - row.started_s,
        )


class _Waiting:
    """Rows that wait for a place."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next: Row | None = None

    def take(self, batch: Batch, n: int, n_tokens: int) -> list[Row]:
        """The next rows, at most `n`, whose prompts have the same kinds of media, and that make the
        batch no larger than `n_tokens` with every row as long as the longest.
        """
        taken: list[Row] = []
        longest = batch.n_longest
        while len(taken) < n:
            row = self._next or next(self._rows, None)
            self._next = None
            if row is None:
                break
            longest = max(longest, len(row.encoded.input_ids))
            n_rows = batch.n_running + len(taken) + 1
            is_alike = not taken or _kinds(row.request.prompt) == _kinds(taken[0].request.prompt)
            if not is_alike or (n_rows > 1 and n_rows * longest > n_tokens):
                self._next = row
                break
            taken.append(row)
        return taken


def _sorted(requests: Iterable[Request], batch_size: int) -> Iterator[Request]:
    """The requests in windows of some batches, alike ones together and the longest first: a request
    that does not fit in memory fails at once.
    """
    window: list[Request] = []
    payloads: dict[int, int] = {}  # bytes by payload: prompts may share one
    for request in requests:
        window.append(request)
        frames, audio = request.prompt.decoded()
        payloads[id(frames)] = 0 if frames is None else frames.pixels.nbytes
        payloads[id(audio)] = 0 if audio is None else audio.samples.nbytes
        if len(window) == batch_size * _WINDOW_BATCHES or sum(payloads.values()) > _WINDOW_BYTES:
            yield from sorted(window, key=_batch_order)
            window, payloads = [], {}
    yield from sorted(window, key=_batch_order)


def _batch_order(request: Request) -> tuple[Any, ...]:
    return *_kinds(request.prompt), -_length(request.prompt)


def _kinds(prompt: Prompt) -> tuple[bool, bool]:
    return prompt.frames is not None, prompt.audio is not None


def _length(prompt: Prompt) -> float:
    """Roughly the tokens of a prompt."""
    frames, audio = prompt.decoded()
    n_pixels = 0 if frames is None else frames.pixels.size / 3
    sound_s = 0.0 if audio is None else audio.duration_s
    return len(prompt.text) / 4 + n_pixels / _PIXELS_PER_TOKEN + sound_s * _SOUND_TOKENS_PER_S
