"""Tables of an experiment, from results of logs that are made here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from avrt.evaluate.logs import Line, Settings
from avrt.evaluate.results import ModelResult
from avrt.experiments import outcome
from avrt.experiments.arms import Runs
from avrt.experiments.claims import find_all
from avrt.experiments.figure import draw
from avrt.experiments.jobs import plan_jobs
from avrt.experiments.outcome import Cost, Measured, Value, metric, read_measured
from avrt.experiments.table import markdown, most_given
from avrt.runs import write_json
from avrt.types import BenchmarkItem, Sample
from small_experiment import Resolve, changed

LEVELS = ("easy", "easy", "medium", "hard")


def result_of(verdicts: Sequence[bool], model: str) -> ModelResult:
    """A finished log of items that are easy, easy, medium and hard."""
    lines, items = [], {}
    for number, (correct, level) in enumerate(zip(verdicts, LEVELS, strict=True)):
        name = f"item-{number}"
        sample = Sample(name, "?", ("a", "b"), 0, "Which", "both", name, source="made here")
        items[name] = BenchmarkItem(sample, {"difficulty": level}, {})
        lines.append(
            Line(name, "", "A" if correct else "B", "A", correct, "scored", None, "", "stop", None,
                 "protocol", n_completion_tokens=10 * (number + 1))
        )  # fmt: skip
    return ModelResult("world-bench", model, "av", lines, 4, Settings({}, {}), items=items)


@pytest.fixture
def runs(resolve: Resolve) -> Runs:
    claims = [{"claim": "RL helps", "better": "rl av", "than": "sft av"}] * 2
    tree = changed("claims", value=claims) | {"groups": ["difficulty"]}
    tree["arms"]["sft"]["stages"] = ["sft", "eval", "difficulty"]
    tree["arms"]["rl"]["about"] = "SFT + RL"
    return resolve(tree)


def measured_of(
    runs: Runs,
    verdicts: Mapping[str, Sequence[Sequence[bool]]],
    courses: Mapping[str, Mapping[int, Sequence[Sequence[bool]]]] = {},
) -> Measured:
    """What is measured when the seeds of each arm have these verdicts."""
    values = {
        (arm, "world-bench", "av"): {
            run.seed: Value(run, result_of(each, str(run.model)))
            for run, each in zip(runs.of(arm), by_seed, strict=False)
        }
        for arm, by_seed in verdicts.items()
    }
    steps = {
        (arm, "world-bench", "av"): {
            seed: {step: result_of(by_seed[seed], f"grpo@{step}") for step, by_seed in each.items()}
            for seed in runs.experiment.seeds
        }
        for arm, each in courses.items()
    }
    return Measured(runs, values, steps, Cost({"data": 1.0, "sft": 2.0, "rl": 3.0}), (), None, ())


SFT = [(True, False, False, False), (True, True, False, False)]
RL = [(True, True, True, False), (True, True, True, True)]


def test_claims_are_tested_over_seeds_and_beside_it_over_the_items_of_all_seeds(runs: Runs):
    first, second = find_all(measured_of(runs, {"sft": SFT, "rl": RL}))
    assert first.firsts == [75.0, 100.0]
    assert first.seconds == [25.0, 50.0]
    assert first.difference is not None
    assert first.difference.mean == 50.0
    assert (first.b, first.c, first.n_items, first.p_items) == (0, 4, 8, 0.125)
    assert first.p is second.p is None, "equal differences have no spread"


def test_a_seed_that_one_arm_lacks_is_left_out_of_the_test(runs: Runs):
    measured = measured_of(runs, {"sft": SFT[:1], "rl": RL})
    finding, _ = find_all(measured)
    assert list(finding.seeds) == [0]
    assert finding.p is None
    text = markdown(replace(measured, missing=[("sft", 1)]), [])
    assert "| sft | – | 25.0 (of 1) |" in text
    assert "**Not complete**; evaluations that are not there yet: sft, seed 1." in text


def test_p_values_are_corrected_for_all_claims(runs: Runs):
    unequal = [(True, True, True, False), (True, True, True, False)]
    first, second = find_all(measured_of(runs, {"sft": SFT, "rl": unequal}))
    assert first.difference is not None
    assert first.difference.p == pytest.approx(0.2048, abs=1e-4)
    assert first.p == second.p == pytest.approx(2 * first.difference.p)


def test_a_claim_that_cannot_be_tested_makes_no_other_one_more_certain(runs: Runs):
    unequal = [(True, True, True, False), (True, True, True, False)]
    claims = runs.experiment.claims
    asked = (claims[0], claims[0].model_copy(update={"better": "base av"}))
    known = replace(runs, experiment=runs.experiment.model_copy(update={"claims": asked}))
    tested, untested = find_all(measured_of(known, {"sft": SFT, "rl": unequal}))
    assert untested.p is None
    assert tested.difference is not None
    assert tested.p == pytest.approx(2 * tested.difference.p)


def test_items_that_all_seeds_share_are_not_counted_once_for_each(runs: Runs):
    measured = measured_of(runs, {"sft": SFT, "rl": RL})
    shared = {
        key: {
            seed: replace(value, run=replace(value.run, world=None)) for seed, value in of.items()
        }
        for key, of in measured.values.items()
    }
    first, _ = find_all(replace(measured, values=shared))
    assert (first.n_items, first.p_items) == (0, None)


def test_tables_have_means_by_arm_group_and_step(runs: Runs):
    course = {"rl": {0: SFT, 40: RL}}
    measured = measured_of(runs, {"sft": SFT, "rl": RL}, course)
    text = markdown(measured, find_all(measured))
    assert "| SFT + RL | – | 87.5 [0.0, 100.0] | 0.0 |" in text
    assert "|  | easy | medium | hard |" in text
    easy, medium, hard = measured.by_group(("rl", "world-bench", "av"), "difficulty").values()
    assert (easy.mean, medium.mean, hard.mean) == (100.0, 100.0, 50.0)
    assert "| 40 | 87.5 [0.0, 100.0] |" in text
    assert "Cost: 6 core-minutes (data 1, sft 2, SFT + RL 3)." in text


def test_a_log_counts_only_when_its_evaluation_was_done_as_it_is_asked_now(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
):
    results = [result_of(SFT[0], "sft")]
    monkeypatch.setattr(outcome, "_read", lambda *_: results)
    jobs = plan_jobs(runs)
    for job in jobs:
        asks = job.asks | {"settings": "earlier"} if job.run.seed == 1 else job.asks
        record = {"done": True, "asks": asks, "commit": None, "ended": "", "cpu_s": 0.0}
        write_json(job.record, record)
    measured = read_measured(runs, jobs)
    assert list(measured.values["sft", "world-bench", "av"]) == [0]


def test_checkpoints_count_in_the_experiment_that_asks_for_them(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outcome, "_read", lambda *_: [])
    monkeypatch.setattr(outcome, "_points", lambda *_: {0: result_of(SFT[0], "any")})
    tree = changed("arms", "rl", "stages", value=["grpo", "eval", "checkpoints"])
    measured = read_measured(resolve(tree), [])
    assert {arm for arm, *_ in measured.courses} == {"rl"}


def test_one_seed_has_no_interval(runs: Runs):
    one = replace(runs, experiment=runs.experiment.model_copy(update={"seeds": (0,)}))
    measured = measured_of(one, {"sft": SFT[:1], "rl": RL[:1]})
    assert "Accuracy in per cent, one seed, so without an interval; 4 items" in markdown(
        measured, []
    )
    assert "interval" not in draw(measured).caption


def test_a_group_that_no_item_has_is_said_with_those_that_there_are(runs: Runs):
    tree = runs.experiment.model_copy(update={"groups": ("dificulty",)})
    text = markdown(measured_of(replace(runs, experiment=tree), {"sft": SFT, "rl": RL}), [])
    assert "No item has the column dificulty, of groups; there are: difficulty." in text


def test_the_most_that_a_model_is_given_does_not_depend_on_the_order_in_the_file(
    resolve: Resolve,
) -> None:
    experiment = resolve(changed("benchmarks", value={"world-bench": ["av", "a"]})).experiment
    assert most_given(experiment, "world-bench") == "av"


def test_an_experiment_of_checkpoints_alone_has_no_table_of_models(resolve: Resolve):
    tree = changed("claims", value=[])
    tree["arms"]["sft"]["stages"] = ["sft"]
    tree["arms"]["rl"]["stages"] = ["grpo", "checkpoints"]
    runs = resolve(tree)
    text = markdown(measured_of(runs, {}, {"rl": {0: SFT, 40: RL}}), [])
    assert text.startswith("Accuracy of checkpoints by optimizer step, in per cent, world-bench")
    assert "no items yet" not in text
    assert "mean over" in text


def test_the_figure_is_the_course_where_there_is_one_else_the_arms(runs: Runs):
    plain = draw(measured_of(runs, {"sft": SFT, "rl": RL}))
    assert "a dot for each seed" in plain.caption
    assert "SFT + RL" in plain.svg
    course = draw(measured_of(runs, {"sft": SFT, "rl": RL}, {"rl": {0: SFT, 40: RL}}))
    assert "over training" in course.caption
    assert "optimizer step" in course.svg


def test_other_metrics_come_from_the_log_of_the_training_and_the_replies(runs: Runs):
    run = runs.of("rl")[0]
    log = run.folder / "grpo" / "log.jsonl"
    log.parent.mkdir(parents=True)
    rows = [{"step": 1, "kl": 0.001}, {"step": 2, "kl": 0.02}, {"step": 2, "eval_accuracy": 0.5}]
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    jobs = run.folder / "jobs"
    jobs.mkdir()
    (jobs / "grpo.json").write_text(json.dumps({"cpu_s": 90.0}))
    value = Value(run, result_of(RL[0], "grpo"))
    names = ("kl", "minutes", "tokens", "format", "accuracy")
    assert [metric(value, name) for name in names] == [0.02, 1.5, 25.0, 100.0, 75.0]
