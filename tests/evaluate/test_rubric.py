from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from avrt.ask.budget import Budget
from avrt.ask.calls import describe_role
from avrt.ask.ledger import LedgerReader
from avrt.cli import cli
from avrt.config import Config, EvalConfig, ModelRole, RunConfig, dump_config
from avrt.datasets import read_items
from avrt.errors import AvrtError, ConfigError, DataError
from avrt.evaluate import Choice, rubric, score_predictions
from avrt.evaluate.logs import Line, LogMeta, Settings, log_path, write_log
from avrt.evaluate.rubric import ask, criteria_of, read_points
from avrt.evaluate.scoring import score
from avrt.prompts import load_prompt
from avrt.types import Completion
from benchmark_sets import rows_of, write_set
from chat_server import Server, chat
from script_engine import scripted

REPLIES = (
    "<think>Plucked strings come last.</think><answer>C</answer>",
    "<answer>A</answer>",
    "",
)
"""To the three questions: right, wrong, and nothing."""
KILLED = """
import os, signal, sys
from pathlib import Path
from avrt.config import load_config
from avrt.engines import LazyEngine
from avrt.engines.scripted import ScriptedEngine
from avrt.evaluate import Choice, rubric, score_predictions

def answer(prompt):
    if "Plucked" not in prompt.text:
        os.kill(os.getpid(), signal.SIGKILL)
    return "1: 1\\n2: 1"

def generate(engine, requests, on_completion):
    ScriptedEngine(answer, {}).generate(requests, on_completion)

LazyEngine.generate = generate
rubric.run(load_config(Path(sys.argv[1])))
"""
SCRIPT = (("Plucked", "1: 1\n2: 1"), ("", "1: 0\n2: 1"))
"""Of the text model, to the two replies with a text."""


def make_config(root, replies=REPLIES, script=SCRIPT, models=("student",)):
    data = write_set(root / "set", "mmar")
    role = {"model": "j", "prompt": "rubric", "engine": scripted(root, dict(script), "rubric")}
    config = Config(
        run=RunConfig(dir=root / "runs"),
        eval=EvalConfig(benchmarks={"sounds": data}, models=dict.fromkeys(models, "some/model")),
        rubric=ModelRole.model_validate(role),
    )
    meta = LogMeta(Settings({}, {}), n_items=3)
    for model in models:
        lines = [
            line(item.sample, text) for item, text in zip(read_items(data), replies, strict=False)
        ]
        write_log(log_path(config.run.path, "sounds", model, "a"), meta, lines)
    return config


def line(sample, text):
    strict = score(Completion(text, "stop"), sample)
    return Line(
        sample_id=sample.id,
        text=text,
        answer=strict.answer,
        target=sample.target,
        correct=strict.value == 1.0,
        status=strict.status,
        explanation=strict.explanation,
        finish_reason="stop",
        error_class=None,
        prompt_digest="",
        protocol="",
    )


def scores_path(config, model="student"):
    return config.run.path / "eval" / "sounds" / model / "rubric" / "a.jsonl"


def scores(config, model="student"):
    return [json.loads(row) for row in scores_path(config, model).read_text().splitlines()]


def test_imported_predictions_are_graded_and_judge_prompt_and_tokens_are_stored(tmp_path):
    config = make_config(tmp_path)
    file = tmp_path / "ola.jsonl"
    rows = [
        {"id": "first_00-01", "text": REPLIES[0]},
        {"id": "second", "text": REPLIES[1]},
        {"id": "third", "text": None},
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    choice = Choice(models=("ola",), benchmarks=("sounds",), modalities=("a",))
    score_predictions(config, file, choice)
    summary = rubric.run(config).summary
    assert scores(config, "ola") == scores(config, "student")
    judge = json.loads(scores_path(config, "ola").with_suffix(".meta.json").read_text())["judge"]
    assert judge == json.loads(json.dumps(describe_role(config.rubric, config.media)))
    assert judge["prompt"] == load_prompt("rubric").digest
    assert judge["engine"]["model"] == "j"
    assert f"judge: j, prompt rubric ({judge['prompt'][:12]})" in summary


def test_the_tokens_of_the_judge_are_stored(tmp_path):
    config = make_config(tmp_path)
    with Server() as server:
        server.answer = lambda _body, _n: chat("1: 1\n2: 0")
        engine = {"kind": "openai", "base_url": server.url}
        role = ModelRole.model_validate({"model": "j", "prompt": "rubric", "engine": engine})
        rubric.run(config.model_copy(update={"rubric": role}))
    tokens = [(row["n_prompt_tokens"], row["n_completion_tokens"]) for row in scores(config)]
    assert tokens == [(7, 3), (7, 3), (0, 0)]  # the third reply is empty


@pytest.fixture
def item(tmp_path):
    return next(iter(read_items(write_set(tmp_path, "mmar"))))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rubric": None}, "no rubric"),
        ({"rubric": []}, "gives no points"),
        ({"rubric": [{"name": "x", "scoring_point": "y", "choices": [0]}]}, "gives no points"),
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


def test_the_text_model_reads_question_gold_reply_and_every_criterion(item):
    _, text = ask(item, "I hear {strings}", load_prompt("rubric"))
    for part in ("Which instrument enters last?", "(C) Harp", "I hear {strings}", "1: Cue", "2: O"):
        assert part in text


def test_replies_are_scored_once_and_no_reply_earns_nothing(tmp_path, no_engine):
    config = make_config(tmp_path)
    assert "3 replies in 1 logs, 2 of them" in rubric.plan(config)
    result = rubric.run(config)
    assert result.counts == {"scored": 3, "incomplete": 0}
    assert re.search(r"sounds/student/A: 50\.0 % \[.*\] of the points, n = 3", result.summary)
    assert "100.0 % [16.7, 100.0] of the 1 with the right answer" in result.summary
    assert [entry["points"] for entry in scores(config)] == [[1, 1], [0, 1], [0, 0]]
    assert [entry["key"] is None for entry in scores(config)] == [False, False, True]
    no_engine()
    before = scores_path(config).read_bytes()
    scores_path(config).unlink()
    assert rubric.run(config).counts == result.counts
    assert scores_path(config).read_bytes() == before
    assert "0 of them" in rubric.plan(config)


def test_too_many_failed_calls_are_an_error_after_the_scores_are_stored_and_shown(
    tmp_path, use_answers, capsys
):
    config = make_config(tmp_path, models=("student", "twin"))
    use_answers(lambda _: None)
    with pytest.raises(AvrtError, match=r"rubric: 2 of 2 calls failed .*max_failure_rate = 0\.2"):
        rubric.run(config)
    assert [entry["key"] for entry in scores(config)] == [None]  # of the reply without text
    shown = capsys.readouterr().out
    assert "A: 0.0 % [0.0, 83.3] of the points, n = 1; " in shown
    assert "2 not scored yet" in shown
    assert "2 of 2 calls failed (2 no_reply); repeat the command to try them again" in shown


def test_a_failed_call_is_made_again(tmp_path, use_answers):
    config = make_config(tmp_path)
    half = config.generate.model_copy(update={"max_failure_rate": 0.5})
    config = config.model_copy(update={"generate": half})
    use_answers(lambda prompt: "1: 1\n2: 1" if "Plucked" in prompt.text else None)
    first = rubric.run(config)
    assert first.counts == {"scored": 2, "incomplete": 0}
    assert "A: 50.0 % [9.5, 90.5] of the points, n = 2; " in first.summary
    assert "1 not scored yet" in first.summary
    assert "1 of 2 calls failed (1 no_reply); repeat the command to try them again" in first.summary
    assert [entry["points"] for entry in scores(config)] == [[1, 1], [0, 0]]
    assert "1 of them" in rubric.plan(config)
    asked = use_answers(lambda _: "1: 0\n2: 1")
    assert rubric.run(config).counts == {"scored": 3, "incomplete": 0}
    assert len(asked) == 1


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, use_answers):
    config = make_config(tmp_path)
    settings = tmp_path / "config.yaml"
    settings.write_text(dump_config(config))
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(settings)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert "1 of them" in rubric.plan(config)
    asked = use_answers(lambda _: "1: 0\n2: 1")
    assert rubric.run(config).counts == {"scored": 3, "incomplete": 0}
    assert len(asked) == 1


def test_equal_replies_are_asked_about_once(tmp_path, use_answers):
    config = make_config(tmp_path, models=("student", "twin"))
    asked = use_answers(lambda _: "1: 1\n2: 1")
    result = rubric.run(config)
    assert (len(asked), result.counts["scored"]) == (2, 6)
    assert scores(config, "student") == scores(config, "twin")


def test_a_budget_stops_and_the_same_command_goes_on(tmp_path, use_answers):
    config = make_config(tmp_path)
    asked = use_answers(lambda _: "1: 1\n2: 1")
    result = rubric.run(config, Budget(calls=1))
    assert "1 not scored yet" in result.summary
    assert "rubric: stopped by the budget of 1 calls" in result.summary
    assert [entry["points"] for entry in scores(config)] == [[1, 1], [0, 0]]
    rubric.run(config)
    assert len(asked) == 2
    assert len(scores(config)) == 3
    rubric.run(config, Budget(samples=1))
    assert len(scores(config)) == 3


def test_reading_is_linear_in_the_replies(tmp_path, use_answers, monkeypatch):
    """Reads of logs, items and the ledger do not grow with the replies of a batch."""
    use_answers(lambda _: "1: 1\n2: 1")
    counts = []
    for n in (40, 400):
        root = tmp_path / str(n)
        rows = [row | {"id": f"{n}-{k}"} for k in range(n) for row in rows_of("mmar")[:1]]
        config = make_config(root, replies=())
        data = write_set(root / "set", "mmar", rows)
        lines = [line(item.sample, f"reply {k}") for k, item in enumerate(read_items(data))]
        path = log_path(config.run.path, "sounds", "student", "a")
        write_log(path, LogMeta(Settings({}, {}), n_items=n), lines)
        assert rubric.run(config).counts["scored"] == n
        counts.append(count_reads(monkeypatch, config))
    assert counts[0] == counts[1]


def count_reads(monkeypatch, config):
    """Reads of files and queries of the ledger while everything is scored."""
    reads: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for owner, name in ((Path, "read_bytes"), (Path, "read_text"), (LedgerReader, "query")):
            method = getattr(owner, name)

            def counting(*arguments, method=method, name=name, **named):
                reads[name] += 1
                return method(*arguments, **named)

            patch.setattr(owner, name, counting)
        rubric.run(config)
    return reads


def test_another_text_model_or_prompt_scores_again(tmp_path):
    config = make_config(tmp_path)
    rubric.run(config)
    other = config.model_copy(update={"rubric": config.rubric.model_copy(update={"model": "k"})})
    assert "2 of them" in rubric.plan(other)
    own = tmp_path / "own.txt"
    own.write_text("Grade {reply} by {criteria}.")
    other = config.model_copy(
        update={"rubric": config.rubric.model_copy(update={"prompt": str(own)})}
    )
    assert "2 of them" in rubric.plan(other)


def test_without_mmar_or_without_replies_there_is_one_message(tmp_path):
    config = make_config(tmp_path)
    bare = config.model_copy(update={"eval": EvalConfig()})
    with pytest.raises(ConfigError, match=r"no benchmark under eval\.benchmarks has format mmar"):
        rubric.plan(bare)
    log_path(config.run.path, "sounds", "student", "a").unlink()
    with pytest.raises(ConfigError, match="no replies to sounds yet; run `avrt eval` first"):
        rubric.plan(config)


def test_the_command_plans_and_scores(tmp_path):
    config = make_config(tmp_path)
    settings = [
        f"run.dir={config.run.dir}",
        f"eval.benchmarks={{sounds: {{format: mmar, root: {tmp_path / 'set'}}}}}",
        "eval.models={student: x}",
        f"rubric={{model: j, engine: {{kind: scripted, script: {tmp_path / 'rubric.jsonl'}}}}}",
    ]
    invoke = CliRunner().invoke
    assert "2 of them to be scored" in invoke(cli, ["rubric", *settings, "--dry-run"]).output
    first = invoke(cli, ["rubric", *settings, "--budget-calls", "1"])
    assert first.exit_code == 0, first.output
    assert "stopped by the budget of 1 calls" in first.output
    rest = invoke(cli, ["rubric", *settings])
    assert rest.exit_code == 0, rest.output
    assert "50.0 %" in rest.output


def test_every_real_rubric_is_read(real_data, tmp_path):
    (tmp_path / "MMAR-meta.jsonl").symlink_to(real_data / "annotations" / "MMAR-meta.jsonl")
    data = write_set(tmp_path / "own", "mmar").model_copy(update={"root": tmp_path})
    n_criteria = [len(criteria_of(item)) for item in read_items(data)]
    assert len(n_criteria) == 1000
    assert min(n_criteria) >= 1
    assert rows_of("mmar")[0].keys() == next(iter(read_items(data))).row.keys()
