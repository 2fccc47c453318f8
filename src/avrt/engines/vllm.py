"""vLLM in this process: the same messages as for a server, in batches of `batch_size`.

The model is loaded at the first request, so that a run whose calls are all known loads no model. A
prompt that vLLM refuses fails alone: the prompts of its batch are then sent one by one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from typing import Any

from avrt.config import EngineConfig, MediaConfig
from avrt.config.secrets import mask
from avrt.engines.base import OnCompletion, failure
from avrt.engines.messages import build_messages, wire_identity
from avrt.engines.weights import resolve
from avrt.errors import EngineError
from avrt.types import Completion, Request, Sampling

__all__ = [
    "VllmEngine",
    "deciding_args",
    "is_refusal",
    "load_llm",
    "read_output",
    "require_vllm",
    "sampling_params",
]

_CHAT_ARGUMENTS = ("mm_processor_kwargs", "chat_template_kwargs")
"""Fields of `extra_body` for `LLM.chat`; the rest goes to `SamplingParams`."""
_ONLY_HOW_FAST = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "distributed_executor_backend",
        "gpu_memory_utilization",
        "max_num_seqs",
        "max_num_batched_tokens",
        "enforce_eager",
        "enable_prefix_caching",
        "download_dir",
        "disable_log_stats",
        "trust_remote_code",
    }
)
"""Arguments of `LLM` that do not change replies, so that they are not in a call's key."""


class VllmEngine:
    """A model that vLLM runs in this process."""

    takes_encoded = True

    def __init__(
        self, config: EngineConfig, model: str, revision: str | None, media: MediaConfig
    ) -> None:
        self._config, self._model, self._revision, self._media = config, model, revision, media
        self._llm: Any = None
        deciding = deciding_args(config)
        self.identity = {
            **wire_identity(config, model, revision, media),
            "in_process": "vllm",
            **({"vllm_args": deciding} if deciding else {}),
        }

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; see `Engine.generate`. Replies come a batch at a time."""
        remaining = iter(requests)
        while batch := list(islice(remaining, self._config.batch_size)):
            self._llm = self._llm or self._load()
            for request, completion in zip(batch, self._complete(batch), strict=True):
                on_completion(request, completion)

    def close(self) -> None:
        """Drop the model; vLLM frees its memory."""
        self._llm = None

    def _load(self) -> Any:
        return load_llm(resolve(self._model), self._revision, self._config.vllm_args, self._model)

    def _complete(self, batch: list[Request]) -> Iterator[Completion]:
        try:
            yield from self._chat(batch)
        except _RefusedError as error:
            if len(batch) == 1:
                yield failure("refused", " ".join(str(error).split())[:500])
                return
            for request in batch:
                yield from self._complete([request])

    def _chat(self, batch: list[Request]) -> list[Completion]:
        messages = [build_messages(request.prompt, self._config, self._media) for request in batch]
        samplings = [sampling_params(self._config, request.sampling) for request in batch]
        extra = self._config.fields
        arguments = {name: extra[name] for name in _CHAT_ARGUMENTS if name in extra}
        started = time.monotonic()
        try:
            outputs = self._llm.chat(messages, samplings, use_tqdm=False, **arguments)
        except Exception as error:
            if is_refusal(error):
                raise _RefusedError(error) from error
            problem = f"{type(error).__name__}: {error}"
            raise EngineError(f"{self._model}: vLLM failed: {problem}") from error
        latency_s = time.monotonic() - started
        return [read_output(output, latency_s) for output in outputs]


class _RefusedError(Exception):
    """vLLM refuses a whole batch because of a prompt in it."""


def deciding_args(config: EngineConfig) -> dict[str, Any]:
    """The arguments of `LLM` that decide replies, without secrets."""
    return mask({n: value for n, value in config.vllm_args.items() if n not in _ONLY_HOW_FAST})


def load_llm(source: str, revision: str | None, arguments: Mapping[str, Any], model: str) -> Any:
    """Load a model, which messages call `model`.

    Raises:
        EngineError: vLLM is not installed, or cannot load it.
    """
    vllm = _import_vllm()
    try:
        return vllm.LLM(model=source, revision=revision, **arguments)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise EngineError(
            f"{model}: vLLM cannot load this model: {error}; "
            f"its arguments were engine.vllm_args = {mask(arguments)}"
        ) from error


def require_vllm() -> None:
    """Stop before anything long is begun where vLLM is not installed; does not import it.

    Raises:
        EngineError: it is not.
    """
    if find_spec("vllm") is None:
        _import_vllm()


def sampling_params(config: EngineConfig, sampling: Sampling, **further: Any) -> Any:
    """Make vLLM's `SamplingParams`, with the fields of `extra_body` that belong there."""
    settings = {n: value for n, value in config.fields.items() if n not in _CHAT_ARGUMENTS}
    if "structured_outputs" in settings:
        params = _import_vllm("sampling_params").StructuredOutputsParams
        settings["structured_outputs"] = params(**settings["structured_outputs"])
    return _import_vllm().SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_new_tokens,
        seed=sampling.seed,
        **further,
        **settings,
    )


def is_refusal(error: Exception) -> bool:
    """Recognise a refusal by name: older versions raise ValueError and have no class to import."""
    own = any(kind.__name__ == "VLLMClientError" for kind in type(error).__mro__)
    return own or isinstance(error, ValueError)


def _import_vllm(part: str | None = None) -> Any:
    """Import vLLM or a module of it, an optional package with its own requirements."""
    from importlib import import_module

    try:
        return import_module("vllm" if part is None else f"vllm.{part}")
    except ImportError as error:
        raise EngineError(
            f"engine.kind is 'vllm' but vLLM cannot be imported ({error}); install it in this "
            "environment, or run `vllm serve` in another and set engine.kind=openai"
        ) from error


def read_output(output: Any, latency_s: float) -> Completion:
    """The completion in vLLM's output."""
    answer, n_prompt_tokens = output.outputs[0], len(output.prompt_token_ids or ())
    if answer.finish_reason not in ("stop", "length"):
        return failure("bad_reply", f"finish_reason is {answer.finish_reason!r}", latency_s)
    return Completion(
        answer.text,
        answer.finish_reason,
        n_prompt_tokens=n_prompt_tokens,
        n_completion_tokens=len(answer.token_ids),
        latency_s=latency_s,
    )
