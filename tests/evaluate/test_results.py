from __future__ import annotations

import json
from dataclasses import replace

import pytest

from avrt.config import BenchmarkConfig
from avrt.evaluate import Choice, run
from avrt.evaluate.logs import log_path
from avrt.evaluate.results import read_results
from avrt.evaluate.summary import detail_text
from avrt.types import Prompt
from benchmark_sets import write_set

N_ITEMS = 6


@pytest.fixture
def evaluate(use_answers):
    """Evaluate one model in one modality with a reply, or a function that gives it."""

    def evaluate(config, reply, modality="v", **fields):
        use_answers(reply if callable(reply) else lambda _: reply)
        config = config.model_copy(update={"eval": config.eval.model_copy(update=fields)})
        run(config, Choice(models=["base"], modalities=[modality]))
        (result,) = read_results(config)
        return result

    return evaluate


def test_stored_texts_are_scored_by_todays_parser(evaluate, config):
    evaluate(config, "<answer>A</answer>")
    path = log_path(config.run.path, "clips", "base", "v")
    wrong_verdicts = [
        {**json.loads(line), "answer": None, "correct": False, "status": "unparsable"}
        for line in path.read_text().splitlines()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in wrong_verdicts))
    (result,) = read_results(config)
    assert (result.accuracy.k, result.counts) == (2, {"scored": N_ITEMS})


def test_without_texts_a_result_says_the_same(evaluate, config):
    whole = evaluate(config, "<think>two words</think><answer>A</answer>")
    (lean,) = read_results(config, with_texts=False)
    assert {line.text for line in lean.lines} == {""}
    assert detail_text(lean) == detail_text(whole)
    assert (lean.think_words, lean.accuracy, lean.official) == (2, whole.accuracy, whole.official)


def test_the_rule_of_the_authors_stands_beside_the_strict_one(evaluate, config, tmp_path):
    """MMAR's rule reads words, so the gold text in running text is right; ours asks for a form."""
    data = write_set(tmp_path / "mmar", "mmar")
    items = {}

    def reply(prompt: Prompt) -> str:
        return f"I hear it: {items[prompt.text]}"

    from avrt.datasets import read_items
    from avrt.evaluate.questions import fill_question
    from avrt.prompts import load_prompt

    for item in read_items(data):
        text = fill_question(item.sample, load_prompt(config.student.prompt))[1]
        items[text] = item.sample.target_text
    result = evaluate(config, reply, "none", benchmarks={"mmar": data})
    assert result.accuracy.value == 0
    assert result.counts["unparsable"] == len(items)
    assert result.official is not None
    assert result.official.value == 1
    assert "official 100.0 %, official raw 100.0 %, invalid 100.0 %" in detail_text(result)


def test_a_set_whose_rule_is_our_own_parser_has_no_second_score(evaluate, config):
    """It would repeat the strict one."""
    result = evaluate(config, "<answer>B</answer>", "none")
    assert result.official is None
    assert detail_text(result) == "invalid 0.0 %"


def test_another_reading_of_the_rule_stands_beside_it(evaluate, config, tmp_path):
    """A bare letter becomes the text of its option; the raw rule finds no word of the answer."""
    data = write_set(tmp_path / "mmar", "mmar")
    result = evaluate(config, "<answer>B</answer>", "none", benchmarks={"mmar": data})
    assert result.official is not None
    assert result.official.value == result.accuracy.value > 0
    assert {name: one.value for name, one in result.official_variants.items()} == {"raw": 0.0}
    assert "official 33.3 %, official raw 0.0 %" in detail_text(result)


def test_items_that_the_authors_leave_out_are_in_our_denominator(evaluate, config, tmp_path):
    data = write_set(tmp_path / "daily", "daily_omni")
    may_fail = config.generate.model_copy(update={"max_failure_rate": 1})
    config = config.model_copy(update={"generate": may_fail})
    result = evaluate(config, lambda _: None, "none", benchmarks={"daily": data})
    assert result.accuracy.n > 0
    assert result.official is not None
    assert (result.official.n, result.official.value) == (0, None)
    assert f"official – of 0, invalid –, {result.accuracy.n} failed" in detail_text(result)


def test_what_differs_from_the_published_set_is_said_everywhere(evaluate, config, tmp_path, capsys):
    data = write_set(tmp_path / "omni", "omnibench")
    result = evaluate(config, "<answer>A</answer>", "none", benchmarks={"omni": data})
    assert any("fewer than the 1142" in note for note in result.set_notes)
    assert "fewer than the 1142" in capsys.readouterr().out


def test_groups_are_those_of_the_benchmark(evaluate, config, tmp_path):
    data = write_set(tmp_path / "omni", "omnibench")
    result = evaluate(config, "<answer>A</answer>", "none", benchmarks={"omni": data})
    assert result.groups == ["task_type", "audio_type"]
    assert sum(a.n for a in result.by_group("task_type").values()) == result.accuracy.n


def test_an_own_set_is_broken_down_by_question_type(evaluate, config):
    result = evaluate(config, "<answer>A</answer>")
    by_type = {name: (a.k, a.n) for name, a in result.by_group("question_type").items()}
    assert by_type == {"Where": (0, 3), "Which": (2, 3)}


@pytest.mark.parametrize(
    ("text", "n_words"),
    [
        ("<think>one two three</think><answer>A</answer>", 3),
        ("◁think▷one two◁/think▷ (A)", 2),
        ("one two</think> (A)", 2),
        ("<answer>A</answer>", None),
        ("<think>never ends", None),
    ],
)
def test_a_thought_is_measured_in_words(evaluate, config, text, n_words):
    result = evaluate(config, text)
    assert result.think_words == n_words


def test_means_are_over_replies_and_unknown_is_not_zero(evaluate, config):
    result = evaluate(config, "<answer>A</answer>", "av")
    assert result.mean("n_frames") == 4
    assert result.mean("n_frame_tokens") is None
    blank = replace(result, lines=[x for x in result.lines if x.status == "missing_media"])
    assert blank.mean("n_frames") is None
    assert blank.invalid_rate is None


def test_a_benchmark_that_is_configured_no_more_is_still_read(evaluate, config, bench_root):
    evaluate(config, "<answer>A</answer>")
    other = {"sounds": BenchmarkConfig(format="parquet", root=bench_root, split="sounds")}
    config = config.model_copy(
        update={"eval": config.eval.model_copy(update={"benchmarks": other})}
    )
    assert [r.benchmark for r in read_results(config)] == ["clips"]
