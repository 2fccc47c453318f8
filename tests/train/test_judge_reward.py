"""The reward that asks a judge: by the ledger, bounded, and neutral where there is no verdict."""

from __future__ import annotations

import json

import pytest

from avrt.ask.ledger import read_ledger
from avrt.config import JudgeRole
from avrt.engines.scripted import ScriptedEngine
from avrt.errors import ConfigError
from avrt.train import grpo, judge_reward
from avrt.train.data import read_examples, split_path
from avrt.train.judge_reward import choose_judge, open_judge, without_failures

FAULTS = ("leak", "grounding", "contradiction", "support")


def reply(quote="", *faults):
    entries = {
        name: {"found": name in faults, "quote": quote * (name in faults)} for name in FAULTS
    }
    return json.dumps(entries)


def trace(thought):
    return f"<think>{thought}</think><answer>B</answer>"


@pytest.fixture
def judged(make_config, tmp_path):
    """A configuration whose judge answers from a script, and calls of its engine."""

    def make(lines, **settings):
        path = tmp_path / "script.jsonl"
        path.write_text("".join(json.dumps({"match": m, "reply": r}) + "\n" for m, r in lines))
        role = {"model": "scripted", "engine": {"kind": "scripted", "script": path}}
        config = make_config(
            judges={"reader": role}, grpo={"judge_weight": 0.5, "max_steps": 1, **settings}
        )
        examples = read_examples(split_path(config.run.path, "train"))
        return config, open_judge(config.run, config.grpo, config.judges, config.media, examples)

    return make


@pytest.fixture
def calls(monkeypatch):
    """The requests that reach the engine."""
    made = []
    generate = ScriptedEngine.generate

    def counting(self, requests, on_completion):
        def noted():
            for request in requests:
                made.append(request.key)
                yield request

        generate(self, noted(), on_completion)

    monkeypatch.setattr(ScriptedEngine, "generate", counting)
    return made


def test_a_completion_earns_a_quarter_less_for_each_fault_and_is_paid_once(judged, calls):
    lines = [("two", reply("of two", "leak", "support")), ("fine", reply())]
    texts = [trace("a story of two"), trace("all fine"), "no form, fine", trace("unknown")]
    config, judge = judged(lines)
    logged = {}
    with judge as reward:
        for _ in range(2):
            scores = reward(
                prompts=["s0"] * 2 + ["s1"] * 2, completions=texts, log_metric=logged.__setitem__
            )
    # One of the last group has no form and earns 0; the other, without a verdict, as much.
    assert scores == [0.5, 1.0, 0.0, 0.0]
    assert logged == {"judge_failed": 0.25}
    assert len(set(calls)) == 3
    assert len(calls) == 4, "only the call that failed is made again"
    with read_ledger(config.run.path) as ledger:
        rows = ledger.query("SELECT stage, role FROM calls WHERE finish_reason != 'error'")
    assert {(row["stage"], row["role"]) for row in rows} == {("grpo", "reader")}


def test_a_completion_without_a_verdict_earns_the_mean_of_its_group():
    assert without_failures([1.0, None, 0.5]) == [1.0, 0.75, 0.5]
    assert without_failures([None, None]) == [0.0, 0.0]


def test_no_call_is_begun_after_the_time_limit(judged, calls):
    _, judge = judged([("", reply())], judge_limit_s=1e-9)
    logged = {}
    with judge as reward:
        scores = reward(
            prompts=["s0"] * 2, completions=[trace("x"), trace("y")], log_metric=logged.__setitem__
        )
    assert (scores, logged, calls) == ([0.0, 0.0], {"judge_failed": 1.0}, [])


def test_a_training_asks_the_judge_about_its_completions(judged, calls, monkeypatch, read_jsonl):
    monkeypatch.setattr(judge_reward, "is_well_formed", lambda *_: True)  # the student knows none
    config, _ = judged([("", reply())])
    assert "reward of judge reader, scripted (scripted): up to 8 calls per step" in grpo.plan(
        config
    )
    grpo.run(config)
    (row,) = read_jsonl(config.run.path / "grpo" / "log.jsonl")
    assert (row["reward_judge"], row["judge_failed"]) == (1.0, 0.0)
    assert 1 <= len(calls) <= 8


def test_a_judge_that_is_not_there_is_refused_before_anything_is_read(make_config):
    role = JudgeRole(model="m")
    settings = make_config(grpo={"judge_weight": 1}).grpo
    for judges, known in (({}, "none"), ({"one": role, "two": role}, "one, two")):
        with pytest.raises(ConfigError, match=rf"needs one judge, and `judges` has {known};"):
            choose_judge(settings, judges)
    other = make_config(grpo={"judge_weight": 1, "judge": "three"}).grpo
    with pytest.raises(ConfigError, match=r"grpo\.judge = 'three' is not among `judges`: one"):
        choose_judge(other, {"one": role})
    with pytest.raises(ConfigError, match="needs one judge"):
        grpo.plan(make_config(grpo={"judge_weight": 1}))
    assert choose_judge(make_config().grpo, {}) is None
