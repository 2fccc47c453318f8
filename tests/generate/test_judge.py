"""Facts about the stage `judge`, and about judged traces in the dataset."""

from __future__ import annotations

import json
import re
import runpy
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from avrt.ask.budget import Budget, Shard
from avrt.ask.ledger import read_ledger
from avrt.config import Config, dump_config
from avrt.errors import ConfigError, DataError
from avrt.generate import build, judge, merge, trace
from avrt.generate.exam import HALVES, Measured, residual_rate
from avrt.generate.findings import FINDINGS
from avrt.generate.judged import Judgement, iter_judged, judged_path
from avrt.generate.verdict import describe_judge
from avrt.runs import Result, read_parquet
from avrt.types import Prompt
from scripted_run import MakeConfig, replies, right, wrong

Answer = Callable[[Prompt], str | None]
UseAnswers = Callable[[Answer], list[Prompt]]
READER = "judges.reader.votes=1"
"""A judge with the merger's model and engine, and the packaged prompt."""
LEAK = "As the audio description says"
AGAIN = "An earlier version of your reasoning"
CLEAN = {name: {"found": False, "quote": ""} for name in FINDINGS}


def merged(number: int, words: str = "joined") -> str:
    return f"<think>{words} {number}</think>\n<answer>{right(number)}</answer>"


def found(finding: str, quote: str) -> str:
    return json.dumps(CLEAN | {finding: {"found": True, "quote": quote}})


def read_trace(text: str) -> str:
    """A judge that finds that leak and nothing else."""
    return found("leak", LEAK) if LEAK in text else json.dumps(CLEAN)


def models(
    leaky: Collection[int] = (),
    again: Callable[[int], str | None] = merged,
    verdict: Callable[[str], str | None] = read_trace,
) -> Answer:
    """Models that are all right; the merger leaks on some samples, and answers `again` then."""
    script = {f"{role} question {number}?": text for (role, number), text in replies().items()}
    for number in leaky:
        script[f"MERGE question {number}?"] = merged(number, f"{LEAK}, joined")

    def answer(prompt: Prompt) -> str | None:
        if "The trace to check:" in prompt.text:
            return verdict(prompt.text.split("The trace to check:")[1].split("The faults:")[0])
        start = prompt.text.split("\n")[0]
        if AGAIN in prompt.text:
            return again(int(re.findall(r"\d+", start)[0]))
        return script.get(start)

    return answer


def judged(config: Config, budget: Budget | None = None) -> Result:
    trace.run(config)
    merge.run(config)
    return judge.run(config, budget)


def judgements(config: Config) -> dict[int, Judgement]:
    """The judgement about each question, of a run with a single judge."""
    of_all = iter_judged(config.run.path)
    return {int(sample_id.rsplit("-", 1)[1]): of[0] for sample_id, of in of_all}


def rows(config: Config) -> dict[int, dict[str, Any]]:
    """All rows of the dataset by question."""
    folder = config.run.path / "dataset"
    names = ("train", "validation", "rejected")
    every = [row for name in names for row in read_parquet(folder / f"{name}.parquet")]
    return {int(row["id"].rsplit("-", 1)[1]): row for row in every}


def asked(prompts: list[Prompt]) -> Counter[str]:
    """How many prompts went to whom."""
    return Counter(
        "judge" if "The trace to check:" in p.text else "again" if AGAIN in p.text else "other"
        for p in prompts
    )


def refuse(prompt: Prompt) -> str | None:
    raise AssertionError(f"a model is asked: {prompt.text[:60]}")


def write_exam(config: Config, folder: Path, **changes: Any) -> Path:
    """Results of an exam that the judge `reader` took: 40 leaks found of 50, 10 flagged wrongly."""
    digest = describe_judge(config.judges["reader"], config.media)["digest"]
    counts = {"right": 40, "wrong": 10, "missed": 10, "passed": 40}
    findings = {name: dict.fromkeys(HALVES, counts) for name in FINDINGS}
    path = folder / "exam.json"
    path.write_text(json.dumps({"gates": {}, "judges": {digest: {"findings": findings}}}))
    return path


def test_without_judges_there_is_nothing_to_do(make_config: MakeConfig) -> None:
    config = make_config()
    assert "names no model" in judged(config).summary
    assert not judged_path(config.run.path).exists()


def test_a_run_that_is_not_merged_is_refused(make_config: MakeConfig) -> None:
    config = make_config(None, READER)
    with pytest.raises(DataError, match="not found"):
        judge.run(config)
    trace.run(config)
    merge.run(config)
    (config.run.path / "manifests" / "merge.json").unlink()
    with pytest.raises(DataError, match="merge is not finished"):
        judge.run(config)


def test_clean_traces_and_leaks_are_judged(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    prompts = use_answers(models(leaky=[3]))
    config = make_config(None, READER)
    result = judged(config)
    assert result.counts["read"] == result.counts["kept"] == 7
    assert result.counts["finding/reader/leak"] == 1
    assert asked(prompts)["judge"] == 7
    of_all = judgements(config)
    assert {number: dict(of.findings) for number, of in of_all.items() if of.findings} == {
        3: {"leak": LEAK}
    }
    assert all(of.status == "ok" and len(of.calls) == 2 for of in of_all.values())


def test_a_judge_reads_question_answer_analyses_and_trace(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    prompts = use_answers(models())
    judged(make_config(None, READER))
    text = next(p.text for p in prompts if "to check:" in p.text and "question 3?" in p.text)
    for part in ("(D) rain", "Analysis of the frames:\nVisual Description: v3", merged(3)):
        assert part in text


@pytest.mark.parametrize(
    "reply",
    ["No faults.", found("leak", "As the video description says"), json.dumps(CLEAN)[:-1]],
)
def test_replies_without_form_or_with_invented_quotes_leave_a_trace_unjudged(
    make_config: MakeConfig, use_answers: UseAnswers, reply: str
) -> None:
    def verdict(text: str) -> str:
        return reply if "joined 2" in text else read_trace(text)

    use_answers(models(verdict=verdict))
    config = make_config(None, READER)
    result = judged(config)
    assert (result.counts["unjudged"], result.counts["kept"]) == (1, 6)
    assert judgements(config)[2].status == "unjudged"
    build.run(config)
    assert "reason" not in rows(config)[2]
    assert rows(config)[2]["findings"] is None
    assert rows(config)[3]["findings"] == []


def test_a_failed_call_is_counted_and_tried_again(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    use_answers(models(verdict=lambda text: None if "joined 2" in text else read_trace(text)))
    config = make_config(None, READER)
    assert judged(config).counts["failed/no_reply"] == 1
    assert judgements(config)[2].status == "failed/no_reply"
    prompts = use_answers(models())
    assert judge.run(config).counts["kept"] == 7
    assert asked(prompts) == {"judge": 1}


@pytest.mark.parametrize(("n_leaks", "is_found"), [(1, False), (2, True)])
def test_a_finding_needs_more_than_half_of_the_votes(
    make_config: MakeConfig, use_answers: UseAnswers, n_leaks: int, is_found: bool
) -> None:
    votes: Counter[str] = Counter()

    def verdict(text: str) -> str:
        votes[text] += 1
        return read_trace(text) if votes[text] <= n_leaks else json.dumps(CLEAN)

    use_answers(models(leaky=[3], verdict=verdict))
    config = make_config(None, "judges.reader.votes=3", "judges.reader.temperature=0.7")
    judged(config)
    assert set(votes.values()) == {3}
    assert ("leak" in judgements(config)[3].findings) == is_found
    assert len(judgements(config)[3].calls) == 4


def test_a_trace_that_a_gate_rejects_is_sent_to_no_judge(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    answer = models()

    def with_wrong_letter(prompt: Prompt) -> str | None:
        if prompt.text.startswith("MERGE question 2?"):
            return f"<think>joined 2</think>\n<answer>{wrong(2)}</answer>"
        return answer(prompt)

    prompts = use_answers(with_wrong_letter)
    config = make_config(None, READER)
    counts = judged(config).counts
    assert (counts["dropped/wrong_letter"], counts["kept"]) == (1, 6)
    assert asked(prompts)["judge"] == 6
    assert 2 not in judgements(config)


# Another try after a leak


def test_a_leak_is_repaired_by_the_merger_with_the_quote_in_view(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    prompts = use_answers(models(leaky=[3]))
    config = make_config(None, READER, "generate.leak_retries=2")
    counts = judged(config).counts
    assert (counts["merged_again"], counts["repaired"]) == (1, 1)
    assert asked(prompts)["again"] == 1
    (again,) = (prompt.text for prompt in prompts if AGAIN in prompt.text)
    assert again.startswith("MERGE question 3?")
    assert f'"{LEAK}"' in again
    of_3 = judgements(config)[3]
    assert (of_3.text, of_3.findings) == (merged(3), {})
    build.run(config)
    row = rows(config)[3]
    assert row["av_reasoning"] == merged(3)
    with read_ledger(config.run.path) as ledger:
        calls = ledger.find_calls(row["call_keys"])
        texts = [ledger.find(key).text for key in row["call_keys"]]
    stages = [calls[key].stage for key in row["call_keys"]]
    assert stages == ["trace", "trace", "merge", "merge", "judge", "judge"]
    assert texts[2:4] == [merged(3, f"{LEAK}, joined"), merged(3)]
    assert [calls[key].request["k"] for key in row["call_keys"]] == [0, 0, 0, 1, 0, 0]


def test_a_leak_that_stays_is_a_finding_about_the_last_try(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    tries = iter(["second", "third"])
    prompts = use_answers(
        models(leaky=[3], again=lambda number: merged(number, f"{LEAK}, {next(tries)}"))
    )
    config = make_config(None, READER, "generate.leak_retries=2")
    counts = judged(config).counts
    assert (counts["merged_again"], counts["repaired"]) == (1, 0)
    assert asked(prompts) == {"other": 21, "judge": 9, "again": 2}
    assert "third" in judgements(config)[3].text
    assert judgements(config)[3].findings == {"leak": LEAK}


@pytest.mark.parametrize(
    "reply", [None, "no trace", f"<think>x</think><answer>{wrong(3)}</answer>"]
)
def test_another_try_that_gates_reject_does_not_count(
    make_config: MakeConfig, use_answers: UseAnswers, reply: str | None
) -> None:
    use_answers(models(leaky=[3], again=lambda _: reply))
    config = make_config(None, READER, "generate.leak_retries=1")
    assert judged(config).counts["kept"] == 7
    assert judgements(config)[3].text == merged(3, f"{LEAK}, joined")
    assert judgements(config)[3].findings == {"leak": LEAK}
    assert ("nothing to do" in judge.run(config).summary) == (reply is not None)


def test_another_merger_than_merged_is_not_asked_again(make_config: MakeConfig) -> None:
    config = make_config(None, READER)
    trace.run(config)
    merge.run(config)
    changes = (READER, "generate.leak_retries=1", "merger.temperature=0.9")
    with pytest.raises(ConfigError, match="merged with another merger"):
        judge.run(make_config(None, *changes))


# Derived from the ledger


def test_judgements_come_back_from_the_ledger_without_a_call(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    use_answers(models(leaky=[3, 5], again=lambda n: merged(n, LEAK if n == 5 else "again")))
    config = make_config(None, READER, "generate.leak_retries=2")
    judged(config)
    build.run(config)
    path, folder = judged_path(config.run.path), config.run.path / "dataset"
    before = path.read_bytes(), {file.name: file.read_bytes() for file in folder.iterdir()}
    path.unlink()
    use_answers(refuse)
    judge.run(config)
    (config.run.path / "manifests" / "build.json").unlink()
    build.run(config)
    after = path.read_bytes(), {file.name: file.read_bytes() for file in folder.iterdir()}
    assert after == before


def test_a_budget_stops_the_stage_and_the_same_command_goes_on(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    prompts = use_answers(models(leaky=[3, 5]))
    config = make_config(None, READER, "generate.leak_retries=1")
    trace.run(config)
    merge.run(config)
    for n_calls in (3, 5, 1):
        assert "stopped by the budget" in judge.run(config, Budget(calls=n_calls)).summary
        assert not judged_path(config.run.path).exists()
    assert judge.run(config).counts["kept"] == 7
    assert asked(prompts) == {"other": 21, "judge": 9, "again": 2}
    assert "nothing to do" in judge.run(config).summary


def test_limits_and_shards_do_parts_with_their_retries(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    prompts = use_answers(models(leaky=[1, 2]))
    config = make_config(None, READER, "generate.leak_retries=1")
    trace.run(config)
    merge.run(config)
    assert "stopped by the limit" in judge.run(config, Budget(samples=1)).summary
    assert asked(prompts) == {"other": 21, "judge": 2, "again": 1}
    for part in (1, 2):
        assert "its shard" in judge.run(config, Budget(shard=Shard(part, 2))).summary
    assert asked(prompts) == {"other": 21, "judge": 9, "again": 2}
    use_answers(refuse)
    assert judge.run(config).counts["repaired"] == 2


def test_judges_and_votes_can_be_added_and_only_new_calls_are_made(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    use_answers(models())
    warm = "judges.reader.temperature=0.7"
    judged(make_config(None, READER, warm))
    prompts = use_answers(models())
    assert judge.run(make_config(None, "judges.reader.votes=2", warm)).counts["kept"] == 7
    assert asked(prompts) == {"judge": 7}
    both = make_config(None, "judges.reader.votes=2", warm, "judges.other.temperature=0.2")
    assert judge.run(both).counts["kept"] == 7
    assert asked(prompts) == {"judge": 14}
    assert [of.judge for of in next(iter_judged(both.run.path))[1]] == ["reader", "other"]


def test_another_judge_of_the_same_name_is_refused(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    use_answers(models())
    judged(make_config(None, READER))
    with pytest.raises(ConfigError, match=r"other settings \(judges\)"):
        judge.run(make_config(None, READER, "judges.reader.model=another"))


# The dataset


def test_a_run_with_judges_is_built_only_when_they_have_judged(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    use_answers(models())
    config = make_config(None, READER)
    trace.run(config)
    merge.run(config)
    with pytest.raises(DataError, match="judge is not finished; run `avrt judge`"):
        build.run(config)
    judge.run(config)
    with pytest.raises(ConfigError, match=r"judged by reader, but .* other; run `avrt judge`"):
        build.run(make_config(None, "judges.other.votes=1"))


def test_traces_that_pass_only_with_fewer_gates_are_to_be_judged_first(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    answer = models()

    def without_form(prompt: Prompt) -> str | None:
        return "no form" if prompt.text.startswith("MERGE question 2?") else answer(prompt)

    use_answers(without_form)
    judged(make_config(None, READER))
    config = make_config(None, READER, "build.gates=[]")
    with pytest.raises(ConfigError, match="'avqa-train-2' passes the gates but was never judged"):
        build.run(config)
    judge.run(config)
    assert build.run(config).counts["kept"] == 7


def test_a_judge_that_was_never_measured_rejects_nothing(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    use_answers(models(leaky=[3]))
    config = make_config(None, READER)
    judged(config)
    assert build.run(config).counts["kept"] == 7
    row = rows(config)[3]
    assert row["findings"] == [{"judge": "reader", "finding": "leak", "quote": LEAK}]
    card = (config.run.path / "dataset" / "README.md").read_text()
    assert "| judge `reader`: leak | 7 | 1 | no | not measured | not measured |" in card
    assert "residual leak rate: unknown (judge `reader`: leak: never measured)" in card


def test_the_user_can_let_it_reject_all_the_same(
    make_config: MakeConfig, use_answers: UseAnswers
) -> None:
    use_answers(models(leaky=[3]))
    config = make_config(None, READER)
    judged(config)
    result = build.run(make_config(None, READER, "judges.reader.reject_unmeasured=true"))
    assert result.counts["dropped/judged_leak"] == 1
    row = rows(config)[3]
    assert (row["stage"], row["reason"]) == ("judge", "dropped/judged_leak")


def test_a_measured_judge_rejects_and_the_card_says_how_good_it_is(
    make_config: MakeConfig, use_answers: UseAnswers, tmp_path: Path
) -> None:
    use_answers(models(leaky=[3]))
    config = make_config(None, READER)
    judged(config)
    exam = f"judges.reader.exam={write_exam(config, tmp_path)}"
    assert build.run(make_config(None, READER, exam)).counts["dropped/judged_leak"] == 1
    card = (config.run.path / "dataset" / "README.md").read_text()
    share = "0.80 (0.67-0.89)"
    assert f"| judge `reader`: leak | 7 | 1 | yes | {share} | {share} |" in card
    # 1 flagged * 0.8 / 0.8 = 1 leak, of which 0.8 are gone; 0.2 of the 6 left
    assert "Estimated residual leak rate: 3.3% of the traces that judge `reader`: leak" in card
    other = make_config(None, READER, exam, "build.findings=[support]")
    assert build.run(other).counts["kept"] == 7


def test_an_exam_of_another_judge_does_not_count(
    make_config: MakeConfig, use_answers: UseAnswers, tmp_path: Path
) -> None:
    use_answers(models(leaky=[3]))
    exam = write_exam(make_config(None, READER), tmp_path)
    changes = ("judges.reader.max_new_tokens=99", f"judges.reader.exam={exam}")
    config = make_config(None, *changes)
    judged(config)
    assert build.run(config).counts["kept"] == 7
    exam.write_text("{}")
    with pytest.raises(ConfigError, match="not a result of an exam"):
        build.run(config)


def test_the_exam_measures_a_judge_and_a_later_build_believes_it(
    make_config: MakeConfig,
    use_answers: UseAnswers,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The judge finds a leak wherever the trace has the words "audio description"."""

    def verdict(text: str) -> str:
        return found("leak", "audio description") if "audio description" in text else "no form"

    config = make_config(None, READER)
    path, output = tmp_path / "config.yaml", tmp_path / "exam.json"
    path.write_text(dump_config(config))
    prompts = use_answers(models(verdict=verdict))
    main = runpy.run_path(str(repository / "benchmarks" / "gates.py"))["main"]
    main(["--judge", str(path), "--output", str(output)])
    n_traces = sum(asked(prompts).values())
    assert "traces without a verdict" in capsys.readouterr().out
    digest = describe_judge(config.judges["reader"], config.media)["digest"]
    result = json.loads(output.read_text())["judges"][digest]
    for half in HALVES:
        counts = Measured(**result["findings"]["leak"][half])
        assert counts.right >= 1
    assert 0 < result["unread"] < n_traces
    use_answers(refuse)
    main(["--judge", str(path), "--output", str(output)])
    assert json.loads(output.read_text())["judges"] == {digest: result}

    use_answers(models(leaky=[3]))
    judged(config)
    believing = make_config(None, READER, f"judges.reader.exam={output}")
    assert build.run(believing).counts["dropped/judged_leak"] == 1


def test_the_residual_rate_follows_its_formula() -> None:
    half = Measured(right=30, wrong=10, missed=30, passed=30)
    assert residual_rate(100, 20, rejects=False, measured=half) == pytest.approx(30 / 100)
    assert residual_rate(100, 20, rejects=True, measured=half) == pytest.approx(15 / 80)
    assert residual_rate(100, 20, rejects=True, measured=None) is None
    assert residual_rate(100, 20, rejects=True, measured=Measured(0, 0, 5, 5)) is None
    assert residual_rate(20, 20, rejects=True, measured=half) is None
