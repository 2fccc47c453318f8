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
        ("avrt-7b", "video_mme", "av", "eccv", 64.1),
        ("video-salmonn-o1-7b", "daily_omni", "av", "reproduced", 64.0),
        ("traces-audio", "omnibench", "av", "v2", 52.5),
        ("merger-qwen2.5-14b", "omnibench", "av", "v1", 54.7),
    ],
)
def test_figures_are_those_of_the_paper(name, benchmark, given, source, value):
    found = [f.value for f in baselines()[name].figures_of(benchmark, given) if f.source == source]
    assert found == [value]


def test_a_figure_is_printed_in_the_states_of_the_paper_that_have_it():
    def states(name, benchmark, value, given="av"):
        found = baselines()[name].figures_of(benchmark, given)
        return next(f.printed_in for f in found if f.value == value)

    assert states("avrt-3b", "omnibench", 54.7) == ("v1",)
    assert states("avrt-3b", "omnibench", 56.3) == ("v2", "eccv")
    assert states("avrt-7b", "mmau", 75.4, "a") == ("eccv",)
    assert states("qwen2.5-omni-3b", "omnibench", 50.2) == ("v1", "v2", "eccv")
    assert states("qwen2.5-omni-3b", "omnibench", 42.4) == ("v1", "v2")


@pytest.mark.parametrize(("name", "total"), [("qwen2.5-omni-3b", 50.2), ("avrt-3b", 56.3)])
def test_the_figures_by_difficulty_average_to_the_total(name, total):
    counts = {"easy": 64, "medium": 456, "hard": 619}
    by_level = {
        level: baselines()[name].figures_of("omnibench", "av", level)[0].value for level in counts
    }
    mean = sum(counts[level] * by_level[level] for level in counts) / sum(counts.values())
    assert mean == pytest.approx(total, abs=0.3)


def test_all_are_listed_with_how_they_are_evaluated():
    text = render_all()
    assert "eval.models.NAME.preset=echoink-7b (harryhsing/EchoInk-R1-7B)" in text
    assert "avrt eval --predictions FILE --model ola-7b" in text
    assert "omnibench, AV, hard" in render("avrt-3b")
