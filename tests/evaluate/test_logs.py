"""Facts about the log as a file; what goes into it is in test_run.py and test_resume.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from avrt.errors import ConfigError, DataError
from avrt.evaluate.logs import (
    Line,
    LogMeta,
    Settings,
    find_logs,
    log_path,
    read_log,
    read_meta,
    write_log,
)

META = LogMeta(Settings({"model": "m"}, {"prompt": "p", "max_new_tokens": 8}), n_items=2)


def line(sample_id: str, text: str = "<answer>A</answer>", k: int = 0) -> Line:
    return Line(
        sample_id=sample_id, text=text, answer="A", target="A", correct=True, status="scored",
        error_class=None, explanation="answered A: right", finish_reason="stop",
        prompt_digest="0" * 64, protocol="0" * 12, k=k, n_prompt_tokens=5, n_completion_tokens=3,
        latency_s=0.1,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path):
    path = log_path(tmp_path, "bench", "base", "av")
    write_log(path, META, [line("one")])
    return path


def test_a_line_comes_back_as_it_was_written(log):
    assert read_log(log) == [line("one")]
    assert find_logs(log.parents[3]) == [log]


@pytest.mark.parametrize("text", ["umlaut ä, emoji 🎧", "line separator \u2028 and \x85", "\ud800"])
def test_any_text_a_model_writes_survives(log, text):
    write_log(log, META, [line("one"), line("two", text)])
    assert read_log(log)[1].text == text


def test_equal_answers_are_equal_bytes(log):
    before = log.read_bytes(), log.with_suffix(".meta.json").read_bytes()
    write_log(log, META, [line("one")])
    assert (log.read_bytes(), log.with_suffix(".meta.json").read_bytes()) == before


def test_another_model_is_refused_with_a_remedy(log):
    before = log.read_bytes()
    other = replace(META, settings=Settings({"model": "another"}, {"prompt": "q"}))
    with pytest.raises(
        ConfigError, match=r"other settings \(model, max_new_tokens, prompt\).*run\.name"
    ) as refusal:
        write_log(log, other, [line("one")])
    assert str(log) in str(refusal.value)
    assert log.read_bytes() == before


def test_a_deleted_log_is_no_reason_to_refuse(log):
    log.unlink()
    other = replace(META, settings=Settings({"model": "another"}, {"prompt": "q"}))
    write_log(log, other, [line("one")])
    assert read_meta(log).settings.model == {"model": "another"}


def test_a_log_without_its_settings_is_refused(log):
    log.with_suffix(".meta.json").unlink()
    with pytest.raises(DataError, match=r"meta\.json"):
        write_log(log, META, [line("one")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not an evaluated item"),
        ('{"version": 1}', "not an evaluated item"),
        ("[1, 2]", "not an evaluated item"),
        ('{"version": 3}', "format version 3"),
    ],
)
def test_a_broken_line_is_named_by_file_and_row(log, text, reason):
    for end in (b"\n", b""):
        log.write_bytes(b"".join(log.read_bytes().splitlines(True)[:1]) + text.encode() + end)
        with pytest.raises(DataError, match=rf"av\.jsonl:2: .*{reason}"):
            read_log(log)


def test_settings_of_another_version_are_refused(log):
    path = log.with_suffix(".meta.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 3}))
    with pytest.raises(DataError, match=r"meta\.json: format version 3.*delete .*av\.jsonl"):
        read_meta(log)


def test_an_unknown_status_is_refused(log):
    content = json.loads(log.read_text()) | {"sample_id": "two", "status": "fine"}
    log.write_text(log.read_text() + json.dumps(content) + "\n")
    with pytest.raises(DataError, match="unknown status 'fine'"):
        read_log(log)


def test_an_item_that_stands_twice_is_refused(log):
    log.write_bytes(log.read_bytes() * 2)
    with pytest.raises(DataError, match=r"av\.jsonl:2: item 'one' stands twice"):
        read_log(log)


def test_the_settings_come_back_with_the_id_of_their_protocol(log):
    assert read_meta(log) == replace(META, notes=[])
    stored = json.loads(log.with_suffix(".meta.json").read_text())
    assert stored["protocol_id"] == META.settings.protocol_id


def test_several_answers_to_an_item_are_no_duplicates(log):
    write_log(log, META, [line("one"), line("one", k=1)])
    assert [x.id for x in read_log(log)] == [("one", 0), ("one", 1)]
