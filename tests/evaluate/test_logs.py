from __future__ import annotations

import json
from dataclasses import replace

import pytest

from avrt.errors import ConfigError, DataError
from avrt.evaluate.logs import (
    Line,
    LogMeta,
    Settings,
    append,
    find_logs,
    log_path,
    log_paths,
    open_log,
    read_log,
    read_logs,
    read_meta,
)

META = LogMeta(Settings({"model": "m"}, {"prompt": "p", "max_new_tokens": 8}), n_items=2)
LINE_1 = {
    "answer": "A", "audio_digest": None, "correct": True, "error_class": None,
    "explanation": "answered A: right", "finish_reason": "stop", "frames_digest": None,
    "latency_s": 0.1, "n_completion_tokens": 3, "n_prompt_tokens": 5, "prompt_digest": "0",
    "sample_id": "old", "status": "scored", "target": "A", "text": "<answer>A</answer>",
    "version": 1,
}  # fmt: skip
"""As the first version wrote it."""
META_1 = {
    "fingerprint": "f", "n_items": 1, "version": 1,
    "settings": {
        "model": {"model": "m", "revision": None}, "prompt": "p", "media": {"n_frames": 8},
        "max_new_tokens": 8, "dtype": "float32",
    },
}  # fmt: skip


def line(sample_id: str, text: str = "<answer>A</answer>", k: int = 0) -> Line:
    return Line(
        sample_id=sample_id, text=text, answer="A", target="A", correct=True, status="scored",
        error_class=None, explanation="answered A: right", finish_reason="stop",
        prompt_digest="0" * 64, frames_digest=None, audio_digest=None,
        n_prompt_tokens=5, n_completion_tokens=3, latency_s=0.1, k=k,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path):
    path = log_path(tmp_path, "bench", "base", "av")
    with open_log(path, META) as file:
        append(file, line("one"))
    return path


def test_a_line_comes_back_as_it_was_written(log):
    assert read_log(log) == [line("one")]
    assert list(find_logs(log.parents[3])) == [("bench", "base", "av", [log])]


@pytest.mark.parametrize("text", ["umlaut ä, emoji 🎧", "line separator \u2028 and \x85", "\ud800"])
def test_any_text_a_model_writes_survives(log, text):
    with open_log(log, META) as file:
        append(file, line("two", text))
    assert read_log(log)[1].text == text


def test_a_torn_last_line_is_cut_and_done_again(log):
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"version": 1, "sample_id": "tw')
    assert read_log(log) == [line("one")]
    with open_log(log, META) as file:
        append(file, line("two"))
    assert [x.sample_id for x in read_log(log)] == ["one", "two"]


def test_another_model_is_refused_with_a_remedy(log):
    before = log.read_bytes()
    other = replace(META, settings=Settings({"model": "another"}, {"prompt": "q"}))
    with pytest.raises(
        ConfigError, match=r"other settings \(model, max_new_tokens, prompt\).*run\.name"
    ) as refusal:
        open_log(log, other)
    assert str(log) in str(refusal.value)
    assert log.read_bytes() == before


def test_a_log_without_its_settings_is_refused(log):
    log.with_suffix(".meta.json").unlink()
    with pytest.raises(DataError, match=r"meta\.json"):
        open_log(log, META)


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


def test_the_settings_come_back_with_the_id_of_their_protocol(log):
    assert read_meta(log) == replace(META, notes=[])
    stored = json.loads(log.with_suffix(".meta.json").read_text())
    assert stored["protocol_id"] == META.settings.protocol_id


def test_two_processes_do_not_write_one_log(log):
    with open_log(log, META), pytest.raises(ConfigError, match=r"another process.*--shard 1/2"):
        open_log(log, META)


def test_several_answers_to_an_item_are_no_duplicates(log):
    with open_log(log, META) as file:
        append(file, line("one", k=1))
    assert [x.id for x in read_log(log)] == [("one", 0), ("one", 1)]


def test_shards_are_read_as_one_log(log):
    run = log.parents[3]
    shard = log_path(run, "bench", "base", "av", "2of2")
    with open_log(shard, META) as file:
        append(file, line("two"))
    assert [x.sample_id for x in read_logs(log_paths(run, "bench", "base", "av"))] == ["two", "one"]
    assert list(find_logs(run)) == [("bench", "base", "av", [shard, log])]


def test_an_item_in_two_shards_is_refused(log):
    run = log.parents[3]
    with open_log(log_path(run, "bench", "base", "av", "1of2"), META) as file:
        append(file, line("one"))
    with pytest.raises(DataError, match=r"av.jsonl:1: item 'one' is there twice \(before: av.1of2"):
        read_logs(log_paths(run, "bench", "base", "av"))


def write_version_1(run):
    path = log_path(run, "bench", "base", "av")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(LINE_1) + "\n")
    path.with_suffix(".meta.json").write_text(json.dumps(META_1))
    return path


def test_a_log_of_the_first_version_is_read(tmp_path):
    path = write_version_1(tmp_path)
    (old,) = read_log(path)
    assert (old.sample_id, old.k, old.n_frames, old.protocol) == ("old", 0, None, None)
    settings = read_meta(path).settings
    assert settings.model == {"model": "m", "revision": None, "dtype": "float32"}
    assert settings.protocol["n_frames"] == 8


def test_a_log_of_the_first_version_is_not_continued(tmp_path):
    path = write_version_1(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"version 1, which can be read .* delete this file"):
        open_log(path, META)
    assert path.read_bytes() == before
