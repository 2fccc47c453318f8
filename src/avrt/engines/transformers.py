"""The in-process engine: any transformers model, in batches of `batch_size`.

Requests are taken some batches ahead and sorted by length, so that a batch has little padding.

Each row is sampled with its own seed by adding Gumbel noise to its scaled log-probabilities and
taking the largest, which draws from exactly that distribution: unlike the library's own sampling, a
row's result then does not depend on which other rows share its batch. Defaults saved with a model
(repetition penalty, top-k) are not used: what a run's configuration says is what happens.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from avrt.config import EngineConfig
from avrt.engines.base import OnCompletion, failure
from avrt.engines.encode import (
    Encoded,
    collate,
    count_media_tokens,
    encode,
    suppress_token_ids,
)
from avrt.engines.weights import Loaded, in_process_identity, load
from avrt.errors import EngineError
from avrt.types import Completion, Prompt, Request, Sampling

__all__ = ["SeededSampler", "TransformersEngine"]

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
        self._batch_size = config.batch_size
        self._name = model
        self._interleaved = config.use_audio_in_video
        self.identity = in_process_identity(model, revision, config.dtype, self._interleaved)

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; see `Engine.generate`. Replies come a batch at a time."""
        for batch in _batches(_sorted(requests, self._batch_size), self._batch_size):
            fitting: list[tuple[Request, Encoded]] = []
            for request in batch:
                encoded = encode(self._model.processor, request.prompt, self._interleaved)
                problem = self._too_long(encoded, request.sampling)
                if problem:
                    on_completion(request, failure("too_long", problem))
                else:
                    fitting.append((request, encoded))
            for request, completion in self._complete(fitting):
                on_completion(request, completion)

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

    def _too_long(self, encoded: Encoded, sampling: Sampling) -> str | None:
        config = self._model.model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None)
        n_prompt = len(encoded.input_ids)
        if limit is None or n_prompt + sampling.max_new_tokens <= limit:
            return None
        return (
            f"{n_prompt} prompt tokens and max_new_tokens {sampling.max_new_tokens} "
            f"exceed the model's {limit}"
        )

    @torch.inference_mode()
    def _complete(
        self, batch: list[tuple[Request, Encoded]]
    ) -> Iterator[tuple[Request, Completion]]:
        if not batch:
            return
        model, tokenizer = self._model.model, self._model.tokenizer
        started = time.monotonic()
        samplings = [request.sampling for request, _ in batch]
        settings = self._generation_config(samplings[0].max_new_tokens)
        inputs = collate([encoded for _, encoded in batch], settings.pad_token_id, "left")
        inputs = {key: value.to(model.device) for key, value in inputs.items()}
        sampler = LogitsProcessorList(
            [SeededSampler(samplings)] if samplings[0].temperature > 0 else []
        )
        try:
            output = model.generate(**inputs, generation_config=settings, logits_processor=sampler)
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{self._name}: out of memory with {len(batch)} prompts together; "
                f"lower engine.batch_size ({self._batch_size})"
            ) from error
        latency_s = time.monotonic() - started
        new_tokens = output[:, inputs["input_ids"].shape[1] :].cpu()
        for (request, encoded), row in zip(batch, new_tokens, strict=True):
            completion = _read_row(tokenizer, row, settings.eos_token_id, latency_s)
            n_frame, n_audio = count_media_tokens(self._model.processor, encoded.input_ids)
            yield (
                request,
                replace(
                    completion,
                    n_prompt_tokens=len(encoded.input_ids),
                    n_frame_tokens=n_frame,
                    n_audio_tokens=n_audio,
                ),
            )

    def _generation_config(self, max_new_tokens: int) -> GenerationConfig:
        saved, tokenizer = self._model.model.generation_config, self._model.tokenizer
        ends = saved.eos_token_id if saved.eos_token_id is not None else tokenizer.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
        self._model.model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad)
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=pad,
            suppress_tokens=suppress_token_ids(self._model.processor) or None,
        )


class SeededSampler(LogitsProcessor):
    """Makes the largest score of each row a draw from its distribution, from the row's own seed.

    B: rows, V: vocabulary. Add it last, and decode greedily.
    """

    def __init__(self, samplings: list[Sampling]) -> None:
        self._samplings = samplings
        self._generators = [torch.Generator().manual_seed(sampling.seed) for sampling in samplings]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        rows = zip(scores, self._samplings, self._generators, strict=True)
        return torch.stack([self._draw(*row) for row in rows])

    @staticmethod
    def _draw(scores_V: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
        logits_V = scores_V.float() / sampling.temperature
        if sampling.top_p < 1.0:
            logits_V = _keep_top_p(logits_V, sampling.top_p)
        # Drawn on the CPU, so that a seed means the same on every device.
        uniform_V = torch.rand(len(logits_V), generator=generator, dtype=torch.float64)
        gumbel_V = -torch.log(-torch.log(uniform_V.clamp_min(torch.finfo(torch.float64).tiny)))
        return logits_V + gumbel_V.to(logits_V)


def _keep_top_p(logits_V: Tensor, top_p: float) -> Tensor:
    """Keep the most likely tokens that first reach `top_p` together, one at least."""
    sorted_V, order_V = logits_V.sort(descending=True)
    before_V = sorted_V.softmax(-1).cumsum(-1) - sorted_V.softmax(-1)
    return logits_V.masked_fill((before_V >= top_p)[order_V.argsort()], -torch.inf)


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
    return *_decoding(request), -_length(request.prompt)


def _length(prompt: Prompt) -> float:
    """Roughly the tokens of a prompt."""
    frames, audio = prompt.decoded()
    n_pixels = 0 if frames is None else frames.pixels.size / 3
    sound_s = 0.0 if audio is None else audio.duration_s
    return len(prompt.text) / 4 + n_pixels / _PIXELS_PER_TOKEN + sound_s * _SOUND_TOKENS_PER_S


def _batches(requests: Iterable[Request], size: int) -> Iterator[list[Request]]:
    """Consecutive requests, at most `size`, that decode alike: one length limit, greedy or not, the
    same kinds of media.
    """
    batch: list[Request] = []
    for request in requests:
        if batch and (len(batch) == size or _decoding(request) != _decoding(batch[0])):
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def _decoding(request: Request) -> tuple[int, bool, bool, bool]:
    prompt, sampling = request.prompt, request.sampling
    given = (prompt.frames is not None, prompt.audio is not None)
    return (sampling.max_new_tokens, sampling.temperature > 0, *given)


def _read_row(tokenizer: Any, row: Tensor, ends: list[int], latency_s: float) -> Completion:
    """The completion in a row of new tokens, which is padded after its end token."""
    tokens = row.tolist()
    end = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = tokens if end is None else tokens[:end]
    return Completion(
        tokenizer.decode(kept, skip_special_tokens=True),
        "length" if end is None else "stop",
        n_completion_tokens=len(kept) + (end is not None),
        latency_s=latency_s,
    )
