from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.config import Config, EngineConfig, EvalConfig, ModelRole, RunConfig
from avrt.datasets import read_items
from avrt.errors import ConfigError, DataError
from avrt.evaluate import rubric
from avrt.evaluate.logs import Line, append, log_path
from avrt.evaluate.rubric import ask, criteria_of, read_points
from avrt.evaluate.scoring import score
from avrt.prompts import load_prompt
from avrt.types import Completion
from benchmark_sets import rows_of, write_set

REPLIES = (
    "<think>Plucked strings come last.</think><answer>C</answer>",
    "<answer>A</answer>",
    "",
)
"""To the three questions: right, wrong, and nothing."""


def make_config(root, replies=REPLIES, script=(("Plucked", "1: 1\n2: 1"), ("", "1: 0\n2: 1"))):
    data = write_set(root / "set", "mmar")
    judge = root / "judge.jsonl"
    entries = [json.dumps({"match": match, "reply": reply}) for match, reply in script]
    judge.write_text("\n".join(entries))
    config = Config(
        run=RunConfig(dir=root / "runs"),
        eval=EvalConfig(benchmarks={"sounds": data}, models={"student": "some/model"}),
        rubric=ModelRole(
            model="j", prompt="rubric", engine=EngineConfig(kind="scripted", script=judge)
        ),
    )
    path = log_path(config.run.path, "sounds", "student", "a")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for item, text in zip(read_items(data), replies, strict=False):
            append(file, line(item.sample, text))
    return config


def line(sample, text):
    judged = score(Completion(text, "stop"), sample)
    return Line(
        sample_id=sample.id,
        text=text,
        answer=judged.answer,
        target=sample.target,
        correct=judged.value == 1.0,
        status=judged.status,
        error_class=None,
        explanation=judged.explanation,
        finish_reason="stop",
        prompt_digest="",
        frames_digest=None,
        audio_digest=None,
        n_prompt_tokens=0,
        n_completion_tokens=0,
        latency_s=0.0,
    )


def judgements(config):
    path = config.run.path / "eval" / "sounds" / "student" / "rubric" / "a.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def item(tmp_path):
    return next(iter(read_items(write_set(tmp_path, "mmar"))))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rubric": None}, "no rubric"),
        ({"rubric": []}, "no point can be earned"),
        ({"rubric": [{"name": "x", "scoring_point": "y", "choices": [0]}]}, "no point can be"),
        ({"rubric": [{"name": "x"}]}, "no rubric"),
        ({"rubric": "all of it"}, "no rubric"),
    ],
)
def test_an_item_without_a_rubric_is_refused_by_name(item, change, complaint):
    with pytest.raises(DataError, match=rf"MMAR-meta\.jsonl:1: .*{complaint}"):
        criteria_of(replace(item, row={**item.row, **change}))


def test_an_older_file_is_refused_with_the_way_out(item):
    row = {field: value for field, value in item.row.items() if field != "rubric"}
    with pytest.raises(DataError, match="take MMAR-meta of February 2026"):
        criteria_of(replace(item, row=row))


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("1: 1\n2: 0", (1, 0)),
        ("<think>1: 0</think>\n1: 1\n2: 1", (1, 1)),
        ("**1:** 1\n- nothing\n2) 1 point", (1, 1)),
        ("Criterion 1: 1\n2. 0", (1, 0)),
        ("2: 1", (None, 1)),
        ("1: 7\n2: 1", (None, 1)),
        ("1: 1\n1: 0\n2: 1", (None, 1)),
        ("1: 1\n1: 1\n2: 1", (1, 1)),
        ("1: 1\n2: 1\n3: 1", (1, 1)),
        ("Both points are earned.", (None, None)),
        ("", (None, None)),
    ],
)
def test_points_are_read_and_never_guessed(item, text, points):
    assert read_points(text, criteria_of(item)) == points


def test_the_judge_reads_question_gold_reply_and_every_criterion(item):
    _, text = ask(item, "I hear {strings}", load_prompt("rubric"))
    for part in ("Which instrument enters last?", "(C) Harp", "I hear {strings}", "1: Cue", "2: O"):
        assert part in text


def test_replies_are_judged_once_and_no_reply_earns_nothing(tmp_path):
    config = make_config(tmp_path)
    assert "3 replies in 1 logs, 3 of them" in rubric.plan(config)
    result = rubric.run(config)
    assert result.counts == {"judged": 3, "unjudged": 0}
    assert re.search(r"sounds/student/A: 50\.0 % \[.*\] of the points, n = 3", result.summary)
    assert "100.0 % [100.0, 100.0] of the 1 with the right answer" in result.summary
    assert [entry["points"] for entry in sorted(judgements(config), key=lambda e: e["text"])] == [
        [0, 0],
        [0, 1],
        [1, 1],
    ]
    before = judgements(config)
    assert rubric.run(config).counts == result.counts
    assert judgements(config) == before
    assert "0 of them" in rubric.plan(config)


def test_a_killed_run_goes_on_and_a_failed_call_is_made_again(tmp_path):
    config = make_config(tmp_path, script=(("Plucked", "1: 1\n2: 1"),))
    first = rubric.run(config)
    assert first.counts == {"judged": 3, "unjudged": 1}  # no line of the script for the second
    path = config.run.path / "eval" / "sounds" / "student" / "rubric" / "a.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    again = rubric.run(config)
    assert again.counts == first.counts
    assert len({entry["key"] for entry in judgements(config)}) == 3
    assert "1 not fully judged" in again.summary


def test_another_judge_or_prompt_judges_again(tmp_path):
    config = make_config(tmp_path)
    rubric.run(config)
    other = config.model_copy(update={"rubric": config.rubric.model_copy(update={"model": "k"})})
    assert "3 of them" in rubric.plan(other)
    own = tmp_path / "own.txt"
    own.write_text("Grade {reply} by {criteria}.")
    other = config.model_copy(
        update={"rubric": config.rubric.model_copy(update={"prompt": str(own)})}
    )
    assert "3 of them" in rubric.plan(other)


def test_without_mmar_or_without_replies_there_is_one_message(tmp_path):
    config = make_config(tmp_path)
    bare = config.model_copy(update={"eval": EvalConfig()})
    with pytest.raises(ConfigError, match=r"no benchmark under eval\.benchmarks has format mmar"):
        rubric.plan(bare)
    log_path(config.run.path, "sounds", "student", "a").unlink()
    with pytest.raises(ConfigError, match="no replies to sounds yet; run `avrt eval` first"):
        rubric.plan(config)


def test_the_command_says_and_judges(tmp_path):
    config = make_config(tmp_path)
    settings = [
        f"run.dir={config.run.dir}",
        f"eval.benchmarks={{sounds: {{format: mmar, root: {tmp_path / 'set'}}}}}",
        "eval.models={student: x}",
        f"rubric={{model: j, engine: {{kind: scripted, script: {tmp_path / 'judge.jsonl'}}}}}",
    ]
    invoke = CliRunner().invoke
    assert "3 of them to be judged" in invoke(cli, ["rubric", *settings, "--dry-run"]).output
    judged = invoke(cli, ["rubric", *settings])
    assert judged.exit_code == 0, judged.output
    assert "50.0 %" in judged.output


def test_every_real_rubric_is_read(real_data, tmp_path):
    (tmp_path / "MMAR-meta.jsonl").symlink_to(real_data / "annotations" / "MMAR-meta.jsonl")
    data = write_set(tmp_path / "own", "mmar").model_copy(update={"root": tmp_path})
    n_criteria = [len(criteria_of(item)) for item in read_items(data)]
    assert len(n_criteria) == 1000
    assert min(n_criteria) >= 1
    assert rows_of("mmar")[0].keys() == next(iter(read_items(data))).row.keys()
