from __future__ import annotations

import pytest

from avrt.config import EngineConfig, EvalModel
from avrt.evaluate import cost, plan, run
from avrt.types import Completion
from script_engine import scripted


@pytest.fixture
def two_models(config, use_completions):
    """Two models that answer with 40 tokens; the first takes all inputs, the second only frames."""
    use_completions(lambda _: Completion("A", "stop", n_completion_tokens=40))
    engine = EngineConfig(kind="openai")
    models = {
        "first": EvalModel(model="m", engine=engine),
        "second": EvalModel(model="n", engine=engine, modality="v"),
    }
    return config.model_copy(
        update={"eval": config.eval.model_copy(update={"models": models, "limit": 5})}
    )


EACH = (
    "about 300 tokens each: under 0.1 GPU hours at 0.09 s per answer (assumed for 3 B on an H100)"
)


def forecast(text: str) -> list[str]:
    return [line for line in text.splitlines() if " left" in line]


def with_models(config, **models):
    return config.model_copy(update={"eval": config.eval.model_copy(update={"models": models})})


def test_the_plan_says_the_hours_of_each_model_and_of_all(two_models):
    assert forecast(plan(two_models)) == [
        f"eval: up to 15 answers left of model first, {EACH}",
        f"eval: up to 5 answers left of model second, {EACH}",
        "eval: up to 20 answers left in all: under 0.1 GPU hours",
    ]


def test_the_hours_are_said_before_the_first_call_and_measured_for_the_next_model(
    two_models, capsys
):
    run(two_models)
    lines = forecast(capsys.readouterr().err)
    assert lines[0].startswith("eval: up to 15 answers left of model first")
    assert lines[2] == "eval: up to 20 answers left in all: under 0.1 GPU hours"
    assert lines[3].startswith("eval: up to 5 answers left of model second")
    assert lines[3].endswith("(measured by this command)")
    assert forecast(plan(two_models)) == []


def test_answers_that_are_there_are_not_left_and_give_the_length_of_others(two_models, monkeypatch):
    monkeypatch.setattr(cost, "_MIN_KNOWN", 10)
    drawn = EvalModel(model="m", engine=EngineConfig(kind="openai"), temperature=1.0)
    run(with_models(two_models, first=drawn))
    more = drawn.model_copy(update={"k": 3})
    (line,) = forecast(plan(with_models(two_models, first=more)))
    assert line.startswith("eval: up to 30 answers left of model first, about 40 tokens each")


def test_answers_to_another_prompt_are_all_left(two_models):
    run(two_models)
    (two_models.run.path / "eval/clips/second/v.jsonl").unlink()
    changed = two_models.eval.models["second"].model_copy(update={"prompt": "direct"})
    models = {**two_models.eval.models, "second": changed}
    (line,) = forecast(plan(with_models(two_models, **models)))
    assert line.startswith("eval: up to 5 answers left of model second")


def test_a_model_on_the_cpu_has_no_gpu_hours(two_models):
    model = EvalModel(model="m", engine=EngineConfig(kind="transformers", device="cpu"))
    assert forecast(plan(with_models(two_models, cpu=model))) == [
        "eval: up to 15 answers left of model cpu"
    ]


def test_a_script_has_no_gpu_hours_after_it_has_answered(two_models, tmp_path, capsys):
    engine = EngineConfig(**scripted(tmp_path, {"": "A"}))
    names = ("first", "second")
    run(with_models(two_models, **{n: EvalModel(model=n, engine=engine) for n in names}))
    lines = forecast(capsys.readouterr().err)
    assert lines[-1] == "eval: up to 15 answers left of model second"
