from __future__ import annotations

import json

import pytest

from avrt.errors import ConfigError, DataError
from avrt.evaluate.logs import Line, append, find_logs, log_path, open_log, read_log


def line(sample_id: str, text: str = "<answer>A</answer>") -> Line:
    return Line(
        sample_id=sample_id, text=text, answer="A", target="A", correct=True, status="scored",
        error_class=None, explanation="answered A: right", finish_reason="stop",
        prompt_digest="0" * 64, frames_digest=None, audio_digest=None,
        n_prompt_tokens=5, n_completion_tokens=3, latency_s=0.1,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path):
    path = log_path(tmp_path, "bench", "base", "av")
    file, finished = open_log(path, {"model": "m", "max_new_tokens": 8}, n_items=2)
    assert finished == []
    with file:
        append(file, line("one"))
    return path


def test_a_line_comes_back_as_it_was_written(log):
    assert read_log(log) == [line("one")]
    assert list(find_logs(log.parents[3])) == [("bench", "base", "av", log)]


@pytest.mark.parametrize("text", ["umlaut ä, emoji 🎧", "line separator \u2028 and \x85", "\ud800"])
def test_any_text_a_model_writes_survives(log, text):
    file, _ = open_log(log, {"model": "m", "max_new_tokens": 8}, n_items=2)
    with file:
        append(file, line("two", text))
    assert read_log(log)[1].text == text


def test_a_torn_last_line_is_cut_and_done_again(log):
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"version": 1, "sample_id": "tw')
    assert read_log(log) == [line("one")]
    file, finished = open_log(log, {"model": "m", "max_new_tokens": 8}, n_items=2)
    with file:
        append(file, line("two"))
    assert [x.sample_id for x in finished] == ["one"]
    assert [x.sample_id for x in read_log(log)] == ["one", "two"]


def test_another_model_is_refused_with_a_remedy(log):
    before = log.read_bytes()
    with pytest.raises(ConfigError, match=r"other settings \(model\).*run\.name") as refusal:
        open_log(log, {"model": "another", "max_new_tokens": 8}, n_items=2)
    assert str(log) in str(refusal.value)
    assert log.read_bytes() == before


def test_a_log_without_its_settings_is_refused(log):
    log.with_suffix(".meta.json").unlink()
    with pytest.raises(DataError, match=r"meta\.json"):
        open_log(log, {"model": "m", "max_new_tokens": 8}, n_items=2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not an evaluated item"),
        ('{"version": 1}', "not an evaluated item"),
        ("[1, 2]", "not an evaluated item"),
        ('{"version": 2}', "format version 2"),
    ],
)
def test_a_broken_line_is_named_by_file_and_row(log, text, reason):
    log.write_bytes(log.read_bytes() + text.encode() + b"\n")
    with pytest.raises(DataError, match=rf"av\.jsonl:2: .*{reason}"):
        read_log(log)


def test_an_unknown_status_is_refused(log):
    content = json.loads(log.read_text()) | {"sample_id": "two", "status": "fine"}
    log.write_text(log.read_text() + json.dumps(content) + "\n")
    with pytest.raises(DataError, match="unknown status 'fine'"):
        read_log(log)


def test_an_item_that_is_there_twice_is_refused(log):
    log.write_bytes(log.read_bytes() * 2)
    with pytest.raises(DataError, match=r"av\.jsonl:2: item 'one' is there twice"):
        read_log(log)
