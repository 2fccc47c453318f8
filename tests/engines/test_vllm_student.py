"""vLLM in process with the student's inputs: a stand-in for the package takes them apart.

What vLLM itself answers to them is compared by hand, see docs/engines.md.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from avrt.checkpoints.convert import export_vllm
from avrt.config import EngineConfig, MediaConfig
from avrt.engines import LazyEngine, engine_identity
from avrt.engines.encode import as_floats, encode
from avrt.engines.weights import load
from avrt.errors import EngineError
from avrt.types import Prompt


@dataclass
class SamplingParams:
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    logit_bias: dict[int, float]


@dataclass
class Field:
    slices: Any = None
    dim: int = 0
    keep_on_cpu: bool = False


@dataclass
class Element:
    data: torch.Tensor
    field: Field


@dataclass
class PlaceholderRange:
    offset: int
    length: int


class ValidationError(ValueError):
    """What vLLM raises about a prompt."""


class StandInEngine:
    """Answers in turn, the newest request first; the first token of a reply is its number."""

    def __init__(self) -> None:
        self.prompts: dict[str, dict[str, Any]] = {}
        self.params: dict[str, SamplingParams] = {}
        self.waiting: list[str] = []
        self.most = 0
        self.changed: list[int] = []

    def add_request(self, name: str, prompt: dict[str, Any], params: SamplingParams) -> None:
        if len(prompt["prompt_token_ids"]) > 1000:
            raise ValidationError("The decoder prompt is longer than the maximum")
        self.prompts[name], self.params[name] = prompt, params
        self.waiting.append(name)
        self.most = max(self.most, len(self.waiting))

    def step(self) -> list[Any]:
        name = self.waiting.pop()
        ids = [*self.prompts[name]["prompt_token_ids"], *self.changed]
        reply = SimpleNamespace(text=f"reply {name}", finish_reason="stop", token_ids=(1, 2))
        done = {"request_id": name, "prompt_token_ids": ids, "outputs": [reply]}
        going_on = [SimpleNamespace(finished=False, request_id=other) for other in self.waiting]
        return [*going_on, SimpleNamespace(finished=True, **done)]


@pytest.fixture
def vllm(monkeypatch):
    module, inputs = ModuleType("vllm"), ModuleType("vllm.multimodal.inputs")
    module.__spec__ = ModuleSpec("vllm", None)
    module.loaded = []

    class LLM:
        def __init__(self, model: str, **arguments: Any) -> None:
            config = json.loads(Path(model, "config.json").read_text())
            module.loaded.append((Path(model), config, arguments))
            self.llm_engine = module.engine = StandInEngine()

    module.LLM, module.SamplingParams = LLM, SamplingParams
    inputs.MultiModalKwargsItems = inputs.MultiModalKwargsItem = dict
    inputs.MultiModalFieldElem, inputs.PlaceholderRange = Element, PlaceholderRange
    inputs.MultiModalFlatField = inputs.MultiModalBatchedField = Field
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.multimodal", ModuleType("vllm.multimodal"))
    monkeypatch.setitem(sys.modules, "vllm.multimodal.inputs", inputs)
    return module


@pytest.fixture
def engine_for(checkpoint):
    def make(name: str = "student", **settings):
        config = EngineConfig(kind="vllm", frames_as="video", **settings)
        return LazyEngine(config, str(checkpoint(name)), None, MediaConfig(), export_vllm)

    return make


def test_vllm_gets_the_ids_the_tensors_and_the_rate_of_training(
    vllm, engine_for, checkpoint, make_frames, make_sound, make_request, collect
):
    clip = Prompt("what?", system="look", frames=make_frames(0, 6), audio=make_sound(0))
    picture = Prompt("who?", frames=make_frames(1, 1, still=True))
    requests = [
        make_request(name, prompt, temperature=0.7, seed=5)
        for name, prompt in (("clip", clip), ("picture", picture), ("text", Prompt("why?")))
    ]
    done = collect(engine_for(dtype="bfloat16"), requests)
    processor = load(str(checkpoint("student"))).processor
    (first, second, third), engine = vllm.engine.prompts.values(), vllm.engine
    encoded = encode(processor, clip)
    media = as_floats(encoded.media)
    assert first["prompt_token_ids"] == encoded.input_ids.tolist()
    ((video,), (sound,)) = (first["mm_kwargs"][kind] for kind in ("video", "audio"))
    pixels = media["pixel_values_videos"].to(torch.bfloat16)
    assert torch.equal(video["pixel_values_videos"].data, pixels)
    assert video["video_grid_thw"].data.tolist() == media["video_grid_thw"][0].tolist()
    rate = float(video["second_per_grid_ts"].data)
    assert rate == pytest.approx(2 / 2.5, abs=0.02)  # two frames are a grid, at 2.5 per second
    features = media["input_features"][0].to(torch.bfloat16)
    assert torch.equal(sound["input_audio_features"].data, features)
    for kind, token in (("video", processor.video_token), ("audio", processor.audio_token)):
        (place,) = first["mm_placeholders"][kind]
        ids = first["prompt_token_ids"][place.offset : place.offset + place.length]
        assert {*ids} == {processor.tokenizer.convert_tokens_to_ids(token)}
    assert {*second["mm_kwargs"]} == {"image"}
    assert (third["type"], {*third}) == ("token", {"type", "prompt_token_ids"})
    params = engine.params["1"]
    assert (params.temperature, params.seed, params.max_tokens) == (0.7, 5, 12)
    assert {*params.logit_bias.values()} == {-100.0}
    counts = [(done[r.key].n_frame_tokens, done[r.key].n_audio_tokens) for r in requests]
    assert [(frames > 0, sound > 0) for frames, sound in counts] == [
        (True, True),
        (True, False),
        (False, False),
    ]


def test_a_thinker_is_loaded_in_the_form_that_vllm_takes_and_nothing_is_left_of_it(
    vllm, engine_for, checkpoint, make_request, collect
):
    folder = checkpoint("student")
    beside = sorted(folder.parent.iterdir())
    collect(engine_for(vllm_args={"max_model_len": 512}), [make_request("k", "hi")])
    ((place, config, arguments),) = vllm.loaded
    assert config["architectures"] == ["Qwen2_5OmniForConditionalGeneration"]
    assert (arguments["dtype"], arguments["max_model_len"]) == ("float32", 512)
    assert not place.exists()
    assert sorted(folder.parent.iterdir()) == beside


def test_the_next_request_joins_when_one_has_ended(vllm, engine_for, make_request, collect):
    requests = [make_request(f"k{i}", "hi") for i in range(6)]
    done = collect(engine_for(batch_size=2), requests)
    assert {key: reply.text for key, reply in done.items()} == {
        f"k{i}": f"reply {i + 1}" for i in range(6)
    }
    assert list(done) == ["k1", "k2", "k3", "k4", "k5", "k0"]  # the stand-in's newest first
    assert vllm.engine.most == 2


def test_a_prompt_that_vllm_refuses_fails_alone(vllm, engine_for, make_request, collect):
    requests = [make_request("long", "word " * 1000), make_request("short", "hi")]
    done = collect(engine_for(), requests)
    assert (done["long"].error_class, done["short"].finish_reason) == ("refused", "stop")


def test_other_tokens_than_the_students_are_refused(vllm, engine_for, make_request, collect):
    engine = engine_for()
    collect(engine, [make_request("k", "hi")])
    vllm.engine.changed = [7]
    with pytest.raises(EngineError, match=r"tokens that is not the student's.*kind=transformers"):
        collect(engine, [make_request("k", "hi")])


def test_models_that_are_no_omni_models_are_refused(vllm, engine_for, make_request, collect):
    with pytest.raises(EngineError, match="is for Omni models, and this one has Qwen2_5_VL"):
        collect(engine_for("vision_teacher"), [make_request("k", "hi")])


def test_the_identity_says_how_the_model_runs_and_the_media_are_those_of_transformers(checkpoint):
    def identity(**settings) -> dict[str, Any]:
        model = str(checkpoint("student"))
        return dict(engine_identity(EngineConfig(**settings), model, None, MediaConfig()))

    own = identity(kind="vllm", frames_as="video", vllm_args={"gpu_memory_utilization": 0.8})
    assert own == {**identity(kind="transformers"), "in_process": "vllm"}
    assert not EngineConfig(kind="vllm", frames_as="video").takes_encoded
