"""The arithmetic of a plan: pure functions of numbers, each with its formula.

Units: GB are 10^9 bytes, parameters and tokens are counts, times are seconds, `gpu_s` are seconds
of one GPU. Nothing is read.

The decision to question: a server is taken as if it did nothing but read its weights and its cache
of keys and values for every token that it writes, at a stated share of the memory's speed, with as
many replies at a time as fit. Real servers reach that within a factor of two; a measured
`ROLE.gpu_s` takes the place of all of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "Gpu",
    "Model",
    "adapter_gb",
    "call_gpu_s",
    "checkpoint_gb",
    "hours_of",
    "rows_in_flight",
    "sample_tflop",
    "training_gb",
    "usable_gpus",
]


@dataclass(frozen=True)
class Gpu:
    """What a card does, after the shares of it that are reached."""

    memory_gb: float
    """Memory x share that a server takes."""
    tflops: float
    """TFLOP/s x share that is reached."""
    tb_per_s: float
    """TB/s of memory x share that is reached."""


@dataclass(frozen=True)
class Model:
    """A model behind a server."""

    parameters_b: float
    """Billions; all of them are read for a token once many replies are under way."""
    active_b: float
    """Billions that a token passes."""
    cache_kb: float
    """Of keys and values, per token."""
    n_gpus: int
    """GPUs of one server."""

    @property
    def weights_gb(self) -> float:
        """2 bytes per parameter."""
        return 2 * self.parameters_b


def rows_in_flight(model: Model, gpu: Gpu, context: float, most: int) -> int:
    """Replies that a server writes at a time; 0: its weights do not fit.

    rows = min(most, (memory x GPUs - weights) / (cache per token x context))
    """
    free_gb = gpu.memory_gb * model.n_gpus - model.weights_gb
    if free_gb <= 0:
        return 0
    return max(1, min(most, math.floor(free_gb * 1e6 / (model.cache_kb * context))))


def call_gpu_s(
    model: Model, gpu: Gpu, tokens: tuple[float, float], rows: int, least_step_s: float = 0.0
) -> float:
    """GPU seconds of a call with `tokens` of (prompt, reply), `rows` of which run at a time.

    prompt: tokens x 2 x active parameters / (TFLOP/s x share)
    step:   max((weights + rows x cache x context) / (TB/s x share x GPUs), least_step_s)
    reply:  tokens x step x GPUs / rows
    """
    prompt, reply = tokens
    prompt_s = prompt * 2 * model.active_b * 1e9 / (gpu.tflops * 1e12)
    cache_gb = rows * model.cache_kb * (prompt + reply) / 1e6
    step_s = (model.weights_gb + cache_gb) / (gpu.tb_per_s * 1e3 * model.n_gpus)
    return prompt_s + reply * max(step_s, least_step_s) * model.n_gpus / rows


def sample_tflop(active_b: float, tokens: float, towers: float, extra_tokens: float = 0.0) -> float:
    """TFLOP of a training step on a sample of `tokens`, whose towers take `towers` once.

    towers + 2 x active parameters x (4 x tokens + extra tokens): forward, once more for the
    activations that were not kept, and backward twice; the extra tokens go through the model once,
    as in a rollout or a reference. Attention's square is left out: 8 % at 3,400 tokens of a model
    of 3 billion (docs/gpus.md).
    """
    return towers + 2 * active_b * (4 * tokens + extra_tokens) / 1e3


def training_gb(
    parameters_b: float, trained_b: float, has_reference: bool, bytes_adam: int
) -> float:
    """GB of a GPU that trains alone, before activations.

    trained x (4 weight + 2 copy for autocast + 4 gradient + moments) + frozen x 2, and a reference
    of 2 bytes per trained parameter.
    """
    each = 4 + 2 + 4 + bytes_adam + (2 if has_reference else 0)
    return trained_b * each + 2 * (parameters_b - trained_b)


def checkpoint_gb(parameters_b: float, trained_b: float) -> tuple[float, float]:
    """GB of a checkpoint that can be resumed, and of a model.

    resumable: trained x 16 (weight, gradient's place, two moments) + frozen x 2
    model: trained x 4 + frozen x 2
    """
    frozen = 2 * (parameters_b - trained_b)
    return 16 * trained_b + frozen, 4 * trained_b + frozen


def adapter_gb(parameters_b: float, adapters_b: float) -> tuple[float, float, float]:
    """GB of a checkpoint of adapters that can be resumed, of its weights, and of the merged model.

    resumable: adapters x 16, as above; weights: adapters x 4. The frozen weights are in neither.
    model: parameters x 4, as adapters are merged in float32
    """
    return 16 * adapters_b, 4 * adapters_b, 4 * parameters_b


def usable_gpus(gpus: int, n_gpus: int) -> int:
    """GPUs that servers of `n_gpus` each can use: floor(gpus / n_gpus) x n_gpus."""
    return gpus // n_gpus * n_gpus


def hours_of(gpu_s: float, core_s: float, gpus: int, cores: float) -> float:
    """Hours by the clock: max(GPU seconds / GPUs, core seconds / (GPUs x cores)) / 3,600."""
    return max(gpu_s / gpus, core_s / (gpus * cores)) / 3600
