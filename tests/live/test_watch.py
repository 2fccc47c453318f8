"""Facts about the state of a run at work: real stages, real ledgers, real logs that grow."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3

import pytest

from avrt.ask.budget import Shard
from avrt.ask.ledger import Ledger, open_ledger
from avrt.ask.rows import Call, Carried
from avrt.generate import merge, trace
from avrt.live.expected import Group
from avrt.live.page import to_html
from avrt.live.sections import sections
from avrt.live.state import State, Watcher
from avrt.live.tail import CallTail, LogTail
from avrt.live.text import lines_of
from avrt.live.workers import find_workers
from avrt.types import Completion, Prompt, Sampling
from scripted_run import right, wrong

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\x00 end\nThe line\tafter"


def record(ledger: Ledger, name: str, error: str | None = None, text: str = "Answer: (A)") -> None:
    call = Call("trace", name, "vision", {"model": "m"}, None, f"ask {name}", Sampling())
    reason = "stop" if error is None else "error"
    failure = {} if error is None else {"error_class": error, "error": f"{error}: {HOSTILE}"}
    completion = Completion(text if error is None else "", reason, 5, 7, **failure)
    ledger.record(call.key, call, Carried(), completion)


def asked(state: State, stage: str, role: str) -> tuple[int, int, int | None, bool]:
    each = next(each for each in state.asked if each.group[:2] == (stage, role))
    return each.n_done, each.n_failed, each.n_expected, each.is_at_work


# What a look finds


def test_a_generation_is_seen_while_it_works(make_config, use_answers):
    config = make_config(None, "generate.max_failure_rate=1.0")
    watcher, states = Watcher(config.run.path), []

    def answer(prompt: Prompt) -> str | None:
        states.append(watcher.look())
        number = int(re.findall(r"question (\d+)\?", prompt.text)[0])
        letter = wrong(number) if number == 2 else right(number)
        if prompt.text.startswith("MERGE"):
            return f"<think>joined {number}</think>\n<answer>{letter}</answer>"
        return None if number == 3 else f"I perceive {number}.\nAnswer: ({letter})"

    use_answers(answer)
    trace.run(config)
    middle = states[6]
    done, failed, expected, is_at_work = asked(middle, "trace", "vision")
    assert (done + failed, expected, is_at_work) == (6, 7, True)
    assert asked(middle, "trace", "audio") == (0, 0, 7, False)
    assert [worker.part for worker in middle.workers] == ["generation"]
    assert "process" in middle.workers[0].name
    (vision,) = [each for each in middle.asked if each.is_at_work]
    assert vision.n_scored == vision.n_done
    assert vision.n_done - vision.n_right <= 1
    assert vision.rate is not None
    assert vision.left_s is not None
    assert middle.replies[0].text.startswith("I perceive")
    last = watcher.look()
    assert (last.workers, last.stages["trace"]["read"]) == ([], 7)
    assert [(each.error_class, each.n) for each in last.failures] == [("no_reply", 2)]
    merge.run(config)
    assert asked(watcher.look(), "merge", "merger")[0] >= 4


def test_a_call_that_is_made_again_counts_once(tmp_path):
    watcher = Watcher(tmp_path)
    with open_ledger(tmp_path) as ledger:
        for number in range(4):
            record(ledger, f"q{number}", "timeout" if number < 3 else None)
        state = watcher.look()
        assert asked(state, "trace", "vision")[:2] == (1, 3)
        assert [(each.error_class, each.n) for each in state.failures] == [("timeout", 3)]
        record(ledger, "q0", "refused")
        record(ledger, "q1")
        state = watcher.look()
    assert asked(state, "trace", "vision")[:2] == (2, 2)
    assert {each.error_class: each.n for each in state.failures} == {"timeout": 1, "refused": 1}
    assert asked(Watcher(tmp_path).look(), "trace", "vision")[:2] == (2, 2)


def test_the_files_of_shards_count_as_one_ledger(tmp_path):
    for part in (1, 2):
        with open_ledger(tmp_path, Shard(part, 2)) as ledger:
            for number in range(3):
                record(ledger, f"q{part}{number}", "timeout")
    watcher = Watcher(tmp_path)
    assert asked(watcher.look(), "trace", "vision")[:2] == (0, 6)
    with open_ledger(tmp_path) as ledger:  # in a file of its own, which is read first
        for part in (1, 2):
            record(ledger, f"q{part}0")
        for each in (watcher, Watcher(tmp_path)):
            assert asked(each.look(), "trace", "vision")[:2] == (2, 4)


def test_a_look_reads_what_is_new(tmp_path):
    tail = CallTail(tmp_path)
    assert tail.look() == (False, [])
    with open_ledger(tmp_path) as ledger:
        for number in range(7):
            record(ledger, f"q{number}")
        assert len(tail.look()[1]) == 7
        record(ledger, "q7")
        is_other, calls = tail.look()
        assert (is_other, [call.sample_id for call in calls]) == (False, ["q7"])
        assert tail.look() == (False, [])
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT key FROM calls WHERE rowid > 7 ORDER BY rowid LIMIT 5"
        )
        assert [row[3] for row in plan] == ["SEARCH calls USING INTEGER PRIMARY KEY (rowid>?)"]


def test_another_ledger_in_its_place_is_counted_anew(tmp_path):
    with open_ledger(tmp_path) as ledger:
        for number in range(7):
            record(ledger, f"q{number}", "timeout")
    watcher = Watcher(tmp_path)
    watcher.look()
    for path in tmp_path.glob("ledger.sqlite*"):
        path.unlink()
    assert watcher.look().asked == []
    with open_ledger(tmp_path) as ledger:
        record(ledger, "q9")
    state = watcher.look()
    assert asked(state, "trace", "vision")[:2] == (1, 0)
    assert state.failures == []


def test_a_ledger_that_cannot_be_read_is_said_beside_the_rest(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database, but long enough to be one" * 9)
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "log.jsonl").write_text('{"step": 3, "loss": 0.5}\n')
    state = Watcher(tmp_path).look()
    assert "not a readable ledger" in state.problem
    assert state.training[0].step == 3
    assert any(line.startswith("cannot be read: ") for line in lines_of(state))


def test_nothing_is_written_into_the_run(tmp_path):
    with open_ledger(tmp_path) as ledger:
        record(ledger, "q0")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    Watcher(tmp_path).look()
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    shared = {path for path in after if path.name.endswith(("-shm", "-wal"))}  # of any reader
    assert {path: after[path] for path in after.keys() - shared} == {
        path: before[path] for path in before.keys() - shared
    }


# Trainings


def test_a_log_that_grows_is_read_on(tmp_path):
    path = tmp_path / "log.jsonl"
    tail = LogTail(path)
    assert tail.look() == (False, [])
    path.write_text('{"step": 1, "loss": 0.5}\nno json\n[1]\n{"step": 2, "lo')
    assert tail.look() == (True, [{"step": 1, "loss": 0.5}])
    with path.open("a") as file:
        file.write('ss": 0.25}\n')
    assert tail.look() == (False, [{"step": 2, "loss": 0.25}])
    assert tail.look() == (False, [])
    other = tmp_path / "new"
    other.write_text('{"step": 1, "loss": 0.5}\n')
    other.replace(path)  # as a resumed training does
    assert tail.look() == (True, [{"step": 1, "loss": 0.5}])


def test_a_training_shows_its_last_steps(tmp_path):
    folder = tmp_path / "grpo"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "stage.json").write_text('{"settings": {"grpo": {"max_steps": 40}}}')
    rows = [{"step": 0, "eval_accuracy": 0.5, "eval_n": 20}]
    rows += [
        {"step": step, "loss": 0.1, "reward": step / 10, "zero_spread": 0.25, "step_time_s": 2.0}
        for step in range(1, 21)
    ]
    rows[-1]["warnings"] = {"kl": "the policy drifts"}
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / ".grpo.lock").write_text(f"{own_name()}\n")
    groups = [
        {"step": step, "id": "q7", "texts": [f"thought {step}", "other"], "advantages": [1.0, -1.0],
         "rewards": {"format": [1.0, None], "accuracy": [1.0, 0.0]}}
        for step in (19, 20)
    ]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in groups)
    (folder / "completions.jsonl").write_text(lines)
    state = Watcher(tmp_path).look()
    (training,) = state.training
    assert (training.step, training.n_steps, training.left_s) == (20, 40, 40.0)
    assert training.numbers["reward"] == pytest.approx(1.55)
    assert training.held_out == {"step": 0, "eval_accuracy": 0.5, "eval_n": 20}
    text = "\n".join(lines_of(state))
    assert "at work  grpo" in text
    assert "warning: grpo: the policy drifts" in text
    assert re.search(r"zero spread\n.* 0\.25", text)
    assert re.search(r"grpo +20 +q7 +format 1, accuracy 1\n +thought 20\n", text)
    assert "format –, accuracy 0" in text
    assert "thought 19" not in text


# Processes


def own_name(pid: int | None = None, machine: str | None = None) -> str:
    machine = machine or socket.gethostname()
    return f"process {pid or os.getpid()} on {machine} since 2026-01-02 03:04:05+00:00 (avrt grpo)"


@pytest.fixture
def dead() -> int:
    """The number of a process that is no more."""
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(pid, 0)
    return pid


def test_the_holders_of_locks_are_at_work(tmp_path, dead):
    names = {
        "ledger.lock": "",
        "ledger.1of2.lock": own_name(),
        "ledger.eval-qwen2.5.lock": own_name(machine="elsewhere"),
        "ledger.eval-base.lock": own_name(dead),
        ".grpo.lock": own_name(),
        ".samples.parquet.lock": "anything else",
    }
    for name, text in names.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert sorted(worker.part for worker in find_workers(tmp_path)) == [
        "eval-qwen2.5",
        "generation",
        "grpo",
    ]


# How it is shown


@pytest.fixture
def hostile(tmp_path) -> State:
    with open_ledger(tmp_path) as ledger:
        record(ledger, f"q{HOSTILE}", text=HOSTILE * 500)
        record(ledger, "q1", "timeout")
    return Watcher(tmp_path).look()


@pytest.mark.parametrize("width", [20, 80, 200])
def test_no_text_steers_the_terminal_or_is_wider(hostile, width):
    lines = lines_of(hostile, width)
    assert all(len(line) <= width and line.isprintable() for line in lines)
    assert not any(line.startswith("The line") for line in lines)


def test_no_text_becomes_markup(hostile):
    page = to_html(hostile, 5)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search("[\x00-\x08\x1b\u202e]", page)


def test_the_page_loads_itself_again_and_leads_to_the_report(hostile):
    page = to_html(hostile, 7, "/runs/a b/report/index.html")
    assert '<meta http-equiv="refresh" content="7">' in page
    assert 'href="/runs/a b/report/index.html"' in page


def test_a_long_reply_is_shown_with_its_end(hostile):
    (section,) = [section for section in sections(hostile) if section.title == "Latest replies"]
    text = section.rows[0][-1]
    assert " … " in text
    assert text.endswith("after")
    assert len(text) < 400


def test_an_empty_run_has_a_state(tmp_path):
    assert lines_of(Watcher(tmp_path).look())[1] == "no process is at work here"
    assert Group("eval", "base") == ("eval", "base", "", "")
