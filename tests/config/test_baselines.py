from __future__ import annotations

import pytest

from avrt.config import EvalModel, load_config
from avrt.config.baselines import baselines, render, render_all
from avrt.config.presets import preset_names
from avrt.evaluate.benchmarks import BENCHMARKS


def test_every_baseline_can_be_evaluated_in_the_way_it_says():
    def evaluated(preset: str) -> EvalModel:
        model = load_config(None, (f"eval.models.mine.preset={preset}",)).eval.models["mine"]
        assert isinstance(model, EvalModel)
        return model

    for name, baseline in baselines().items():
        if baseline.model is not None:
            assert evaluated(name).model == baseline.model
        if baseline.teacher is not None:
            assert evaluated(baseline.teacher).modality is not None


def test_no_baseline_hides_a_preset_of_the_same_name():
    assert not set(baselines()) & set(preset_names())


def test_every_figure_is_about_a_known_benchmark_and_is_given_once():
    for one in baselines().values():
        keys = [(f.benchmark, f.given, f.difficulty, f.source) for f in one.figures]
        assert len(keys) == len(set(keys))
        assert all(f.benchmark in BENCHMARKS and 0 < f.value < 100 for f in one.figures)


@pytest.mark.parametrize(
    ("name", "benchmark", "given", "source", "value"),
    [
        ("qwen2.5-omni-3b", "omnibench", "a", "v1", 39.4),
        ("avrt-3b-rl", "omnibench", "av", "v1", 53.0),
        ("avrt-3b", "mmar", "a", "v2", 57.3),
        ("af3-think", "mmar", "a", "v1", 60.1),
        ("avatar-3b", "daily_omni", "av", "published", 44.7),
    ],
)
def test_figures_are_those_of_the_paper(name, benchmark, given, source, value):
    found = [f.value for f in baselines()[name].figures_of(benchmark, given) if f.source == source]
    assert found == [value]


def test_all_are_listed_with_how_they_are_evaluated():
    text = render_all()
    assert "eval.models.NAME.preset=echoink-7b (harryhsing/EchoInk-R1-7B)" in text
    assert "avrt eval --predictions FILE --model ola-7b" in text
    assert "omnibench, AV, hard" in render("avrt-3b")
