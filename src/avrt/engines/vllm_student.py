"""vLLM in this process with the inputs of the student's training: frames as a video, and sound.

A prompt is encoded as in training (`encode.py`), and vLLM gets the token ids and tensors of that,
with the frames' rate, in the place of what its own processor would make of the media. So frames,
pixels, tokens and positions are the student's by construction; the ids that vLLM answered are
compared all the same. A request joins as soon as another has ended.

vLLM loads whole models alone: of a thinker in a local folder such a form is written beside it, and
removed when the model is loaded.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from avrt.config import EngineConfig
from avrt.engines.base import OnCompletion, failure
from avrt.engines.vllm import (
    deciding_args,
    is_refusal,
    load_llm,
    read_output,
    require_vllm,
    sampling_params,
)
from avrt.engines.weights import ADAPTER, in_process_identity, resolve
from avrt.errors import EngineError
from avrt.texts import read_json
from avrt.types import Completion, Request

__all__ = ["VllmStudentEngine"]

_KINDS = {"image": "image_token", "video": "video_token", "audio": "audio_token"}
_NEVER = -100.0
"""vLLM's largest bias against a token."""


@dataclass(frozen=True)
class _Running:
    request: Request
    input_ids: Any
    started_s: float


class VllmStudentEngine:
    """An Omni model that vLLM runs in this process."""

    takes_encoded = False

    def __init__(
        self,
        config: EngineConfig,
        model: str,
        revision: str | None,
        export: Callable[[Path, Path], Any] | None = None,
    ) -> None:
        self._config, self._model, self._revision, self._export = config, model, revision, export
        self._llm: Any = None
        deciding = deciding_args(config)
        self.identity = {
            **in_process_identity(model, revision, config.dtype),
            "in_process": "vllm",
            **({"vllm_args": deciding} if deciding else {}),
            **({"extra_body": config.fields} if config.fields else {}),
        }

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; see `Engine.generate`."""
        waiting = iter(requests)
        running: dict[str, _Running] = {}
        n_begun = 0
        while True:
            while len(running) < self._config.batch_size and (request := next(waiting, None)):
                self._llm = self._llm or self._load()
                n_begun += 1
                refusal = self._begin(str(n_begun), request, running)
                if refusal is not None:
                    on_completion(request, refusal)
            if not running:
                return
            for output in self._step():
                if output.finished:
                    done = running.pop(output.request_id)
                    on_completion(done.request, self._completion(output, done))

    def close(self) -> None:
        """Drop the model; vLLM frees its memory."""
        self._llm = None

    def _load(self) -> Any:
        arguments = {
            "limit_mm_per_prompt": dict.fromkeys(_KINDS, 1),
            "dtype": self._config.dtype,
            **self._config.vllm_args,
        }
        require_vllm()  # before the model is fetched
        with _whole(self._folder(), self._export) as source:
            return load_llm(source, None, arguments, self._model)

    def _folder(self) -> Path:
        """The model's folder; a model of the hub is fetched."""
        folder = Path(resolve(self._model))
        if folder.is_dir():
            return folder
        import huggingface_hub

        try:
            return Path(huggingface_hub.snapshot_download(self._model, revision=self._revision))
        except (OSError, ValueError) as error:
            raise EngineError(f"{self._model}: cannot fetch this model: {error}") from error

    @cached_property
    def _processor(self) -> Any:
        import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

        from transformers import AutoProcessor

        source, revision = resolve(self._model), self._revision
        processor: Any = AutoProcessor.from_pretrained(source, revision=revision)
        if "Omni" not in type(processor).__name__:
            raise EngineError(
                f"{self._model}: frames_as: video with kind: vllm is for Omni models, and this one "
                f"has {type(processor).__name__}; set frames_as: images"
            )
        return processor

    @cached_property
    def _bias(self) -> dict[int, float]:
        from avrt.engines.encode import suppress_token_ids

        return dict.fromkeys(suppress_token_ids(self._processor), _NEVER)

    def _begin(
        self, name: str, request: Request, running: dict[str, _Running]
    ) -> Completion | None:
        """Hand a request over; the failure of one that vLLM refuses."""
        from avrt.engines.encode import encode

        encoded = encode(self._processor, request.prompt)
        prompt = self._prompt(encoded.input_ids.tolist(), encoded.media)
        params = sampling_params(self._config, request.sampling, logit_bias=self._bias)
        try:
            self._llm.llm_engine.add_request(name, prompt, params)
        except Exception as error:
            if is_refusal(error):
                return failure("refused", " ".join(str(error).split())[:500])
            raise self._failed(error) from error
        running[name] = _Running(request, encoded.input_ids, time.monotonic())
        return None

    def _prompt(self, input_ids: list[int], media: Mapping[str, Any]) -> dict[str, Any]:
        """The rendered prompt that vLLM's engine takes."""
        import torch

        from avrt.engines.vllm_inputs import items_of, packed, runs_of

        if not media:
            return {"type": "token", "prompt_token_ids": input_ids}
        dtype = getattr(torch, self._config.dtype)
        items = dict(items_of(media, dtype))
        inputs = import_module("vllm.multimodal.inputs")
        return {
            "type": "multimodal",
            "prompt_token_ids": input_ids,
            "mm_kwargs": inputs.MultiModalKwargsItems(
                {kind: [_to_vllm(inputs, item) for item in each] for kind, each in items.items()}
            ),
            "mm_hashes": {
                kind: [sha256(packed(item)).hexdigest() for item in each]
                for kind, each in items.items()
            },
            "mm_placeholders": {
                kind: [
                    inputs.PlaceholderRange(**run)
                    for run in runs_of(input_ids, self._placeholder(kind))
                ]
                for kind in items
            },
        }

    def _placeholder(self, kind: str) -> int:
        token = getattr(self._processor, _KINDS[kind])
        return self._processor.tokenizer.convert_tokens_to_ids(token)

    def _step(self) -> Sequence[Any]:
        try:
            return self._llm.llm_engine.step()
        except Exception as error:
            raise self._failed(error) from error

    def _completion(self, output: Any, done: _Running) -> Completion:
        from avrt.engines.encode import count_media_tokens

        answered, asked = list(output.prompt_token_ids or ()), done.input_ids.tolist()
        if answered != asked:
            raise EngineError(
                f"{self._model}: vLLM answered a prompt of {len(answered)} tokens that is not the "
                f"student's, of {len(asked)}; set engine.kind=transformers"
            )
        n_frame, n_audio = count_media_tokens(self._processor, done.input_ids)
        completion = read_output(output, time.monotonic() - done.started_s)
        return replace(completion, n_frame_tokens=n_frame, n_audio_tokens=n_audio)

    def _failed(self, error: Exception) -> EngineError:
        return EngineError(f"{self._model}: vLLM failed: {type(error).__name__}: {error}")


def _to_vllm(inputs: Any, item: Mapping[str, Any]) -> Any:
    """An item of `items_of` in vLLM's own classes."""
    fields = {}
    for name, element in item.items():
        kind, settings = element["field"]
        if kind == "flat":
            slices = [slice(*bounds) for bounds in settings["slices"]]
            field = inputs.MultiModalFlatField(slices=slices, dim=settings["dim"])
        else:
            field = inputs.MultiModalBatchedField(keep_on_cpu=settings["keep_on_cpu"])
        fields[name] = inputs.MultiModalFieldElem(data=element["data"], field=field)
    return inputs.MultiModalKwargsItem(fields)


@contextmanager
def _whole(folder: Path, export: Callable[[Path, Path], Any] | None) -> Iterator[str]:
    """The model in the form that vLLM loads; what is written for it is removed."""
    if (folder / ADAPTER).is_file():
        raise EngineError(
            f"{folder}: adapters, which vLLM does not load so; merge them, or set "
            "engine.kind=transformers"
        )
    if not str(read_json(folder / "config.json").get("model_type")).endswith("_thinker"):
        yield str(folder)
        return
    if export is None:
        raise EngineError(
            f"{folder}: a thinker, which vLLM does not load; run `avrt checkpoint export-vllm`"
        )
    with tempfile.TemporaryDirectory(prefix=".vllm-", dir=folder.parent) as place:
        export(folder, Path(place) / "model")
        yield str(Path(place) / "model")
