"""Facts about `run.calls_from`: a second run asks only what the first one did not."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avrt.ask.ledger import open_ledger, read_ledger
from avrt.ask.replay import replay
from avrt.ask.rows import Call, Carried
from avrt.config import Config, dump_config, load_config
from avrt.errors import ConfigError
from avrt.generate import build, merge, trace
from avrt.report.funnel import calls_table
from avrt.runs import iter_parquet
from avrt.types import Completion, Prompt, Sampling
from chat_server import Reply, Server, chat
from scripted_run import MakeConfig, replies

Make = Callable[..., Config]


CALL = Call("trace", "q1", "vision", {"model": "m"}, None, "why?", Sampling())


class Models:
    """Both teachers and two mergers behind one server, which counts what each is asked."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.script = {f"{name} question {n}?": text for (name, n), text in replies().items()}
        server.answer = self.answer

    def answer(self, body: dict[str, Any], _: int) -> Reply:
        content = body["messages"][-1]["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        text = next(part["text"] for part in parts if part["type"] == "text")
        return chat(self.script.get(text.split("\n")[0]))

    def asked(self) -> Counter[str]:
        """Requests by model since the last look."""
        counts = Counter(body["model"] for body in self.server.bodies)
        self.server.bodies.clear()
        return counts


@pytest.fixture
def models(server: Server) -> Models:
    return Models(server)


@pytest.fixture
def make(make_config: MakeConfig, models: Models) -> Make:
    """Configurations of runs beside each other, whose models are served."""

    def make_run(name: str, *changes: str) -> Config:
        engine = json.dumps({"kind": "openai", "base_url": models.server.url, "check_media": False})
        roles = ("teachers.vision", "teachers.audio", "merger")
        served = (f"{role}.engine={engine}" for role in roles)
        config = make_config(None, *served, f"run.name={name}", *changes)
        if not config.run.path.exists():
            shutil.copytree(config.run.dir / "test", config.run.path)
        return config

    return make_run


@pytest.fixture
def first(make: Make, models: Models) -> Config:
    """A finished run."""
    config = make("first")
    generate(config)
    assert models.asked() == {"scripted-vision": 7, "scripted-audio": 7, "scripted-merge": 7}
    return config


def generate(config: Config) -> list[str]:
    return [stage.run(config).summary for stage in (trace, merge, build)]


def rows(config: Config, table: str) -> list[dict[str, Any]]:
    return list(iter_parquet(config.run.path / table))


def test_a_merger_ablation_makes_no_call_of_a_teacher(
    first: Config, make: Make, models: Models
) -> None:
    second = make("second", "run.calls_from=first", "merger.model=other-merger")
    summaries = generate(second)
    assert models.asked() == {"other-merger": 7}
    assert summaries[0].endswith(
        f"14 of 14 replies were taken from {first.run.path} (run.calls_from)"
    )
    assert summaries[1].endswith(
        f"0 of 7 replies were taken from {first.run.path} (run.calls_from)"
    )
    assert rows(second, "traces/teachers.parquet") == rows(first, "traces/teachers.parquet")


def test_an_equal_run_makes_no_call_and_the_same_files(
    first: Config, make: Make, models: Models
) -> None:
    second = make("second", "run.calls_from=first")
    generate(second)
    assert not models.asked()
    for name in ("traces/merged.parquet", "dataset/train.parquet", "manifests/trace.json"):
        assert (second.run.path / name).read_bytes() == (first.run.path / name).read_bytes()


def test_the_second_run_is_whole_without_the_first(
    first: Config, make: Make, models: Models
) -> None:
    second = make("second", "run.calls_from=first", "merger.model=other-merger")
    generate(second)
    models.asked()
    shutil.rmtree(first.run.path)
    shutil.rmtree(second.run.path / "traces")
    generate(alone := make("second", "merger.model=other-merger"))
    assert not models.asked()
    row = rows(alone, "dataset/train.parquet")[0]
    shown = replay(alone.run.path, row["id"], {"": alone.data.root})
    assert "# Call 3 of 3: merge, merger" in shown
    with read_ledger(alone.run.path) as ledger:
        assert ledger.count_replies() == {"trace": (14, 14), "merge": (7, 0)}


def test_the_report_counts_reused_replies(first: Config, make: Make) -> None:
    generate(second := make("second", "run.calls_from=first", "merger.model=other-merger"))
    assert calls_table(first.run.path) is None
    table = calls_table(second.run.path)
    assert table is not None
    assert table.rows == (("trace", "14", "14"), ("merge", "7", "0"))


def test_reused_replies_carry_the_names_of_the_second_run(
    first: Config, make: Make, models: Models
) -> None:
    vision = first.teachers["vision"].model_dump_json(exclude_none=True)
    renamed = ("teachers.vision=null", f"teachers.eyes={vision}", "build.view=eyes_first")
    second = make("second", "run.calls_from=first", *renamed)
    trace.run(second)
    assert not models.asked()
    with read_ledger(second.run.path) as ledger:
        assert {row["role"] for row in ledger.query("SELECT role FROM calls")} == {"eyes", "audio"}


def test_a_copied_reply_keeps_what_is_known_about_its_files(first: Config, make: Make) -> None:
    connection = sqlite3.connect(first.run.path / "ledger.sqlite")
    with connection:
        for key, text in connection.execute("SELECT key, files_json FROM calls").fetchall():
            files = {
                kind: [*file[:2], {"source_s": 9.5}] for kind, file in json.loads(text).items()
            }
            changed = (json.dumps(files), key)
            connection.execute("UPDATE calls SET files_json = ? WHERE key = ?", changed)
    connection.close()
    trace.run(second := make("second", "run.calls_from=first"))
    with read_ledger(second.run.path) as ledger:
        rows = ledger.query("SELECT files_json FROM calls WHERE role = 'audio'")
    files = [json.loads(row["files_json"])["audio"] for row in rows]
    assert [(len(file), file[2]) for file in files] == [(3, {"source_s": 9.5})] * 7


def test_failed_calls_of_the_first_run_are_made_again(
    make: Make, models: Models, short_waits: None
) -> None:
    first = make("first")
    gone = models.script.pop("VISION question 4?")
    trace.run(first)
    models.asked()
    models.script["VISION question 4?"] = gone
    second = make("second", "run.calls_from=first")
    assert trace.run(second).counts["kept"] == 7
    assert models.asked() == {"scripted-vision": 1}
    assert rows(first, "traces/teachers.parquet") != rows(second, "traces/teachers.parquet")


def test_nothing_is_written_into_the_first_run(first: Config, make: Make) -> None:
    def content() -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(first.run.path / "ledger.sqlite")
        tables = ("calls", "attempts", "payloads")
        found = [
            tuple(row) for name in tables for row in connection.execute(f"SELECT * FROM {name}")
        ]
        connection.close()
        return found

    before = content()
    generate(make("second", "run.calls_from=first", "merger.model=other-merger"))
    assert content() == before


def test_two_runs_may_take_from_each_other(first: Config, make: Make, models: Models) -> None:
    generate(make("second", "run.calls_from=first", "merger.model=other-merger"))
    models.asked()
    wider = make("first", "run.calls_from=second", "media.n_frames=2")
    shutil.rmtree(wider.run.path / "manifests")
    shutil.copytree(wider.run.dir / "test" / "manifests", wider.run.path / "manifests")
    generate(wider)
    assert models.asked() == {"scripted-vision": 7}


def test_the_plan_says_what_will_be_reused(first: Config, make: Make, models: Models) -> None:
    there = first.run.path
    second = make("second", "run.calls_from=first")
    assert (
        f"0 calls are finished, 14 are answered by {there} (run.calls_from), 0 are left to make\n"
    ) in trace.plan(second)
    other_media = make("second", "run.calls_from=first", "media.n_frames=2")
    assert (
        f"7 are answered by {there} (run.calls_from), 7 are left to make; the first: "
        "'avqa-train-1' is asked with other recipe.frames.n_frames than there\n"
    ) in trace.plan(other_media)
    trace.run(second)
    assert "14 calls are finished, 0 are answered" in trace.plan(second)
    assert f"0 calls are finished, 7 are answered by {there}" in merge.plan(second)
    assert "other engine.model than there" in merge.plan(
        make("second", "run.calls_from=first", "merger.model=other-merger")
    )
    assert not models.asked()


def test_a_plan_may_name_a_run_that_is_not_there_yet(make: Make) -> None:
    config = make("second", "run.calls_from=paper")
    there = config.run.dir / "paper"
    assert f"{there} (run.calls_from) is not there yet" in trace.plan(config)


def test_other_media_are_asked_anew_and_the_rest_is_reused(
    first: Config, make: Make, models: Models
) -> None:
    trace.run(make("second", "run.calls_from=first", "media.n_frames=2"))
    assert models.asked() == {"scripted-vision": 7}


def test_replies_of_a_run_at_work_are_taken_as_they_come(make: Make, models: Models) -> None:
    first, second = make("first"), make("second", "run.calls_from=first")
    with open_ledger(first.run.path) as at_work:  # locked, and without a reply
        with open_ledger(second.run.path, source=first.run.path) as ledger:
            assert ledger.adopt([CALL]) == set()
            at_work.record(
                CALL.key, CALL, Carried.by(Prompt("why?")), Completion("since", "stop", 1, 1)
            )
            assert ledger.adopt([CALL]) == {CALL.key}
        assert at_work.count_replies() == {"trace": (1, 0)}


def test_a_folder_is_written_into_the_run_as_a_path(make: Make, tmp_path: Path) -> None:
    folder = make("first").run.path
    config = make("second", f"run.calls_from={folder}")
    written = tmp_path / "written.yaml"
    for place in (tmp_path, folder.parent):  # there the relative path is a bare name
        with contextlib.chdir(place):
            written.write_text(dump_config(config))
            again = load_config(written).run
            assert again.calls_path is not None
            assert again.calls_path.resolve() == folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frist", r"run\.calls_from: .*frist: no such run; did you mean first\?"),
        ("nothing/at/all", "no such run; name another run in run.calls_from, or leave it out"),
        ("test", r"no model was asked in this run; name another run"),
        ("old", r"run\.calls_from: .*old/ledger\.sqlite: a ledger of version 7"),
    ],
)
def test_a_run_that_cannot_be_read_is_refused_before_any_call(
    first: Config, make: Make, models: Models, name: str, message: str
) -> None:
    old = first.run.dir / "old"
    shutil.copytree(first.run.path, old)
    connection = sqlite3.connect(old / "ledger.sqlite")
    connection.execute("PRAGMA user_version=7")
    connection.close()
    config = make("second", f"run.calls_from={name}")
    plans = () if "/" in name else (trace.plan, merge.plan)
    for work in (trace.run, merge.run, *plans):
        with pytest.raises(ConfigError, match=message):
            work(config)
    assert not models.asked()
    assert not (config.run.path / "ledger.sqlite").exists()


def test_a_damaged_ledger_of_the_first_run_is_named_with_the_setting_before_any_call(
    first: Config, make: Make, models: Models
) -> None:
    path = first.run.path / "ledger.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(4096, len(content), 4096):  # all but the first, which is read when it opens
        content[page : page + 600] = b"\xff" * 600
    path.write_bytes(content)
    second = make("second", "run.calls_from=first")
    with pytest.raises(ConfigError, match=r"run\.calls_from: .*damaged.*leave it out"):
        generate(second)
    assert not models.asked()
    assert not (second.run.path / "ledger.sqlite").exists()


@pytest.mark.parametrize("name", ["second", "{dir}/second", "{dir}/../runs/second/"])
def test_a_run_does_not_take_from_itself(make: Make, name: str) -> None:
    folder = make("second").run.dir
    with pytest.raises(ConfigError, match="is this run itself"):
        make("second", f"run.calls_from={name.format(dir=folder)}")
