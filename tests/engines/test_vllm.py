"""vLLM in process, with a stand-in for the package: it records what it is asked and answers in
vLLM's own shapes. vLLM itself needs an accelerator and its own versions of everything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import engine_identity, make_engine
from avrt.engines.messages import build_messages
from avrt.errors import EngineError
from avrt.types import Prompt

MEDIA = MediaConfig()


class VLLMClientError(Exception):
    """What refuses a prompt since vLLM has errors of its own; before, it was a ValueError."""


class VLLMValidationError(VLLMClientError): ...


class EngineDeadError(Exception): ...


@dataclass
class SamplingParams:
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    top_k: int = 0
    structured_outputs: object = None


@dataclass
class StructuredOutputsParams:
    regex: str


@dataclass
class CompletionOutput:
    text: str
    finish_reason: str | None
    token_ids: tuple[int, ...] = (1, 2, 3)


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]
    prompt_token_ids: list[int] | None = field(default_factory=lambda: [0] * 7)


def text_of(messages: list[dict]) -> str:
    content = messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


@pytest.fixture
def vllm(monkeypatch):
    """The stand-in; `made` and `chats` hold the arguments of every `LLM` and `LLM.chat`."""
    module, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    refusals = {"long": VLLMValidationError, "long, said as before": ValueError}
    module.made, module.chats = [], []

    class LLM:
        def __init__(self, **arguments) -> None:
            if arguments.get("max_model_len") == 0:
                raise ValueError("max_model_len must be positive")
            module.made.append(arguments)

        def chat(self, messages, sampling_params, *, use_tqdm, **arguments):
            assert len(messages) == len(sampling_params)
            assert not use_tqdm
            module.chats.append((messages, sampling_params, arguments))
            texts = [text_of(conversation) for conversation in messages]
            if "dead" in texts:
                raise EngineDeadError("EngineCore died")
            for text in texts:  # one prompt refused: vLLM takes none of them
                if text in refusals:
                    raise refusals[text]("The decoder prompt is longer than the maximum")
            reasons = {"cut": "length", "aborted": "abort"}
            return [
                RequestOutput([CompletionOutput(f"re: {text}", reasons.get(text, "stop"))])
                for text in texts
            ]

    module.LLM, module.SamplingParams = LLM, SamplingParams
    sampling.StructuredOutputsParams = StructuredOutputsParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    return module


def engine_for(**settings):
    return make_engine(EngineConfig(kind="vllm", **settings), "the-model", "r1", MEDIA)


def test_without_vllm_the_error_names_what_to_do(monkeypatch, make_request, collect):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match=r"vLLM cannot be imported .*set engine\.kind=openai"):
        collect(engine_for(), [make_request("k", "hi")])


def test_a_model_that_vllm_cannot_load_is_an_engine_error(vllm, make_request, collect):
    with pytest.raises(EngineError, match=r"the-model: vLLM cannot load .*max_model_len must be"):
        collect(engine_for(vllm_args={"max_model_len": 0}), [make_request("k", "hi")])


def test_a_vllm_that_dies_is_an_engine_error(vllm, make_request, collect):
    with pytest.raises(EngineError, match="EngineCore died"):
        collect(engine_for(), [make_request("k", "dead")])


@pytest.mark.parametrize("refused", ["long", "long, said as before"])
def test_a_prompt_that_vllm_refuses_fails_alone(vllm, make_request, collect, refused):
    texts = ["a", refused, "b"]
    done = collect(engine_for(), [make_request(text, text) for text in texts])
    assert [done[text].finish_reason for text in texts] == ["stop", "error", "stop"]
    assert done[refused].error_class == "refused"
    assert "longer than the maximum" in (done[refused].error or "")


def test_replies_carry_text_reason_and_token_counts(vllm, make_request, collect):
    done = collect(engine_for(), [make_request(text, text) for text in ("hi", "cut", "aborted")])
    assert (done["hi"].text, done["hi"].finish_reason) == ("re: hi", "stop")
    assert (done["hi"].n_prompt_tokens, done["hi"].n_completion_tokens) == (7, 3)
    assert done["cut"].finish_reason == "length"
    assert done["aborted"].error_class == "bad_reply"


def test_it_gets_the_messages_of_a_server_and_each_prompt_its_own_seed(
    vllm, make_request, make_frames, make_sound, collect
):
    prompt = Prompt("what?", system="be kind", frames=make_frames(0), audio=make_sound(0))
    requests = [
        make_request(f"k{seed}", prompt, temperature=0.7, top_p=0.9, seed=seed) for seed in (4, 5)
    ]
    settings = {"audio_as": "audio_url"}
    collect(engine_for(**settings), requests)
    ((messages, samplings, _),) = vllm.chats
    assert messages == [build_messages(prompt, EngineConfig(**settings), MEDIA)] * 2
    assert samplings == [SamplingParams(0.7, 0.9, 12, seed) for seed in (4, 5)]


def test_batches_are_as_large_as_is_said_and_the_model_is_loaded_once(vllm, make_request, collect):
    engine = engine_for(batch_size=2, vllm_args={"tensor_parallel_size": 2})
    collect(engine, [])
    assert vllm.made == []
    collect(engine, [make_request(f"k{i}", "hi") for i in range(5)])
    collect(engine, [make_request("k", "hi")])
    assert [len(messages) for messages, _, _ in vllm.chats] == [2, 2, 1, 1]
    assert vllm.made == [{"model": "the-model", "revision": "r1", "tensor_parallel_size": 2}]


def test_extra_body_goes_where_vllm_takes_it(vllm, make_request, collect):
    extra = {
        "mm_processor_kwargs": {"fps": 0.8},
        "chat_template_kwargs": {"enable_thinking": False},
        "structured_outputs": {"regex": "[A-D]"},
        "top_k": 5,
    }
    collect(engine_for(extra_body=extra), [make_request("k", "hi")])
    ((_, (sampling,), arguments),) = vllm.chats
    assert arguments == {key: extra[key] for key in ("mm_processor_kwargs", "chat_template_kwargs")}
    assert (sampling.top_k, sampling.structured_outputs) == (5, StructuredOutputsParams("[A-D]"))


def test_the_identity_needs_no_vllm_and_holds_what_decides_replies():
    def identity(**vllm_args) -> dict:
        config = EngineConfig(kind="vllm", vllm_args=vllm_args)
        return dict(engine_identity(config, "the-model", "r1", MEDIA))

    assert identity(tensor_parallel_size=4, gpu_memory_utilization=0.8) == identity()
    assert identity(quantization="fp8") != identity()
    assert identity()["frames"] == "jpeg-90"
    assert EngineConfig(kind="vllm").takes_encoded
    assert not EngineConfig(kind="transformers").takes_encoded
