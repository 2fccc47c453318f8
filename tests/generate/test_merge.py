"""Facts about the stage `merge`: who is merged, and what the merger reads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from avrt.config import Config
from avrt.datasets import prepare
from avrt.errors import AvrtError, ConfigError, DataError
from avrt.generate import merge, trace
from avrt.generate.records import iter_merged, merged_path
from avrt.report.funnel import read_funnel
from avrt.runs import manifest_path
from avrt.types import Prompt
from scripted_run import Answer, MakeConfig, replies, right, wrong

MIXED = replies({("VISION", 1): f"Answer: ({wrong(1)})", ("AUDIO", 2): "Who knows."})


def merged(config: Config) -> merge.Result:
    trace.run(config)
    return merge.run(config)


def requests(config: Config) -> list[dict[str, Any]]:
    connection = sqlite3.connect(config.run.path / "ledger.sqlite")
    query = "SELECT request_json, key FROM calls WHERE stage = 'merge'"
    found = [{**json.loads(text), "key": key} for text, key in connection.execute(query)]
    connection.close()
    return found


def test_a_run_that_is_not_traced_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(DataError, match=r"teachers\.parquet: not found"):
        merge.run(make_config())


def test_samples_prepared_after_tracing_are_refused(make_config: MakeConfig) -> None:
    few = make_config(None, "data.limit=3")
    manifest = few.run.path / "manifests" / "prepare.json"
    manifest.unlink()
    prepare.run(few)
    trace.run(few)
    manifest.unlink()
    prepare.run(make_config())
    with pytest.raises(ConfigError, match=r"4 samples, such as 'avqa-train-4'.*`avrt trace` again"):
        merge.run(make_config())


@pytest.mark.parametrize(
    ("view", "counts"),
    [
        ("paper", {"kept": 5, "dropped/one_teacher_wrong": 1, "dropped/no_answer": 1}),
        ("either", {"kept": 7}),
        ("unfiltered", {"kept": 6, "dropped/no_answer": 1}),
    ],
)
def test_the_view_selects_and_every_other_sample_is_counted(
    make_config: MakeConfig, view: str, counts: dict[str, int]
) -> None:
    config = make_config(MIXED, f"build.view={view}")
    assert dict(merged(config).counts) == {"read": 7, **counts}
    assert len(dict(iter_merged(config.run.path))) == counts["kept"]


def test_the_merger_reads_gold_and_both_analyses_and_no_media(make_config: MakeConfig) -> None:
    config = make_config()
    merged(config)
    assert len(requests(config)) == 7
    (third,) = (one for one in requests(config) if "question 3?" in one["text"])
    assert third["text"] == (
        "MERGE question 3?\n(A) dog\n(B) cat\n(C) car\n(D) rain\n(D) rain\n"
        f"Audio Description: a3\nAnswer: ({right(3)})\n"
        f"Visual Description: v3\nAnswer: ({right(3)})"
    )
    assert (third["frames"], third["audio"], third["recipe"]) == (None, None, None)


THOUGHT = f"◁think▷Perhaps ({wrong(3)}), no.◁/think▷"


def test_the_merger_reads_a_private_thought_only_where_it_is_wanted(
    make_config: MakeConfig,
) -> None:
    thinking = replies({("VISION", 3): f"{THOUGHT}Visual Description: v3\nAnswer: ({right(3)})"})
    config = make_config(thinking)
    merged(config)
    keys = {one["text"]: one["key"] for one in requests(config)}
    (whole,) = (text for text in keys if "question 3?" in text)
    assert THOUGHT in whole

    without = make_config(thinking, "teachers.vision.merge_thought=false", "run.name=without")
    prepare.run(without)
    merged(without)
    also = {one["text"]: one["key"] for one in requests(without)}
    (cut,) = also.keys() - keys.keys()
    assert cut == whole.replace(THOUGHT, "")
    assert all(keys[text] == key for text, key in also.items() if text != cut)
    # A run of before does not notice the setting at its default; the other value is refused there.
    assert "hidden_thoughts" not in json.loads(manifest_path(config.run.path, "merge").read_text())
    with pytest.raises(ConfigError, match=r"'merge' was already done.*hidden_thoughts"):
        merge.run(make_config(thinking, "teachers.vision.merge_thought=false"))


def test_traces_are_rebuilt_from_the_ledger_byte_by_byte(
    make_config: MakeConfig, no_engine: Callable[[], None]
) -> None:
    config = make_config()
    merged(config)
    path = merged_path(config.run.path)
    before = path.read_bytes()
    path.unlink()
    no_engine()
    merge.run(config)
    assert path.read_bytes() == before
    assert "nothing to do" in merge.run(config).summary


def test_a_failure_of_a_teacher_is_not_one_of_the_merger_and_not_left_to_merge(
    make_config: MakeConfig, no_engine: Callable[[], None]
) -> None:
    config = make_config(replies({("VISION", 4): None}))
    result = merged(config)
    assert dict(result.counts) == {"read": 7, "kept": 6, "dropped/trace_failed": 1}
    assert "1 dropped/trace_failed" in result.summary
    steps = {step.stage: step for step in read_funnel(config.run.path)}
    assert steps["trace"].losses == (("failed: no reply", 1),)
    assert steps["merge"].losses == (("dropped: trace failed", 1),)
    no_engine()
    assert "nothing to do" in merge.run(config).summary


@pytest.mark.parametrize("role", ["VISION", "MERGE"])
def test_a_failed_call_is_made_again_and_its_sample_merged(
    make_config: MakeConfig, use_answers: Callable[[Answer], list[Prompt]], role: str
) -> None:
    script = {f"{name} question {n}?": text for (name, n), text in replies().items()}
    config, failing = make_config(), f"{role} question 4?"

    def answer(prompt: Prompt) -> str | None:
        return script.get(prompt.text.split("\n")[0])

    gone = script.pop(failing)
    use_answers(answer)
    assert merged(config).counts["kept"] == 6
    script[failing] = gone
    assert merged(config).counts["kept"] == 7


def test_a_damaged_table_is_written_anew(make_config: MakeConfig) -> None:
    config = make_config()
    merged(config)
    path = merged_path(config.run.path)
    whole = path.read_bytes()
    for start in range(4, len(whole) - 8, len(whole) // 10):
        damaged = bytearray(whole)
        damaged[start : start + 60] = bytes(60)
        path.write_bytes(damaged)
        manifest_path(config.run.path, "merge").unlink()
        merge.run(config)
        assert path.read_bytes() == whole


def test_too_many_failures_stop_the_run(make_config: MakeConfig) -> None:
    config = make_config(replies({("MERGE", number): None for number in (1, 2, 3)}))
    with pytest.raises(AvrtError, match="merge: 3 of 7 calls failed"):
        merged(config)
    assert dict(iter_merged(config.run.path))["avqa-train-1"].status == "no_reply"


def test_another_merger_is_refused_with_a_remedy(make_config: MakeConfig) -> None:
    merged(make_config())
    with pytest.raises(ConfigError, match=r"other settings \(merger\)"):
        merge.run(make_config(None, "merger.temperature=0.5"))


def test_a_wider_view_makes_only_the_calls_that_are_missing(make_config: MakeConfig) -> None:
    merged(make_config(MIXED))
    before = len(requests(make_config(MIXED)))
    wider = make_config(MIXED, "build.view=either")
    assert merge.run(wider).counts["kept"] == 7
    assert len(requests(wider)) == 7 > before
    assert merge.run(make_config(MIXED)).counts["kept"] == before
    assert len(requests(wider)) == 7


def test_nothing_selected_is_no_error_and_needs_no_engine(
    make_config: MakeConfig, no_engine: Callable[[], None]
) -> None:
    config = make_config(dict.fromkeys(replies(), "no idea"))
    trace.run(config)
    no_engine()
    assert dict(merge.run(config).counts) == {"read": 7, "kept": 0, "dropped/no_answer": 7}


def test_the_plan_says_how_many(make_config: MakeConfig) -> None:
    config = make_config(MIXED)
    assert "every sample of the view 'paper'" in merge.plan(config)
    trace.run(config)
    assert "5 of 7 samples are in the view 'paper'; 0 finished" in merge.plan(config)
