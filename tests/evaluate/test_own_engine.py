"""The engine of evaluated models that name none."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from avrt.config import EngineConfig, EvalModel
from avrt.errors import ConfigError, EngineError
from avrt.evaluate import plan, run
from avrt.evaluate.models import choose_models
from avrt.types import Completion


@pytest.fixture
def with_vllm(monkeypatch):
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.fixture
def auto(config):
    return config.model_copy(
        update={"eval": config.eval.model_copy(update={"engine": "auto"})},
    )


def with_student(config, **settings):
    return config.model_copy(update={"student": config.student.model_copy(update=settings)})


def first(config):
    return choose_models(config, config.eval.models)[0]


def test_auto_is_vllm_with_the_students_inputs_under_the_same_protocol(config, auto, with_vllm):
    config, auto = (with_student(each, device="auto") for each in (config, auto))
    model = first(auto)
    assert (model.engine.kind, model.engine.frames_as) == ("vllm", "video")
    assert model.identity == {**first(config).identity, "in_process": "vllm"}
    protocols = [plan(each).splitlines()[0].rpartition(" ")[2] for each in (config, auto)]
    assert protocols[0] == protocols[1]


@pytest.mark.parametrize("student", [{"device": "cpu"}, {"use_audio_in_video": True}])
def test_auto_is_transformers_where_vllm_cannot_do_it(auto, with_vllm, student):
    assert first(with_student(auto, **student)).engine.kind == "transformers"


def test_auto_is_transformers_where_vllm_is_not_installed(auto, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert first(with_student(auto, device="auto")).engine.kind == "transformers"


def test_vllm_for_sound_between_frames_is_refused(config):
    config = with_student(config, use_audio_in_video=True)
    settings = config.eval.model_copy(update={"engine": "vllm"})
    with pytest.raises(ConfigError, match=r"eval\.engine = vllm takes no video with its sound"):
        first(config.model_copy(update={"eval": settings}))


def test_vllm_that_is_not_installed_is_said_before_any_model_is_asked(
    config, monkeypatch, use_completions
):
    monkeypatch.setitem(sys.modules, "vllm", None)
    asked = use_completions(lambda _: Completion("A", "stop"))
    own = EvalModel(model="m", engine=EngineConfig(kind="vllm"))
    settings = config.eval.model_copy(update={"models": {"base": "base", "own": own}})
    with pytest.raises(EngineError, match=r"eval\.models\.own: .*vLLM cannot be imported.*eval"):
        run(config.model_copy(update={"eval": settings}))
    assert not asked
    assert not config.run.path.exists()
