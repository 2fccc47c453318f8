from __future__ import annotations

import pytest

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.engines.scripted import ScriptedEngine, read_script
from avrt.errors import ConfigError, DataError


def test_a_scripted_engine_without_a_script_is_refused():
    with pytest.raises(ConfigError, match=r"engine\.script is not set"):
        make_engine(EngineConfig(kind="scripted"), "anything", None, MediaConfig())


def test_a_missing_script_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot be read"):
        read_script(tmp_path / "absent.jsonl", "m")


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", '{"match": "a"}', '{"match": 1, "reply": "x"}', '{"match":"a","reply":"b","x":1}'],
)
def test_a_bad_line_is_refused_with_file_and_row(tmp_path, line):
    path = tmp_path / "script.jsonl"
    path.write_text(f'{{"match": "a", "reply": "b"}}\n\n{line}\n')
    with pytest.raises(DataError, match=r"script\.jsonl: line 3: "):
        read_script(path, "m")


def test_the_first_matching_line_answers_and_no_match_is_a_named_failure(
    tmp_path, collect, make_request
):
    path = tmp_path / "script.jsonl"
    path.write_text(
        '{"match": "dog", "reply": "woof"}\n{"match": "do", "reply": "never for dogs"}\n'
    )
    engine = make_engine(EngineConfig(kind="scripted", script=path), "m", None, MediaConfig())
    done = collect(
        engine, [make_request("1", "a dog"), make_request("2", "door"), make_request("3", "cat")]
    )
    assert [done[key].text for key in "123"] == ["woof", "never for dogs", ""]
    assert [done[key].finish_reason for key in "123"] == ["stop", "stop", "error"]
    assert done["3"].error_class == "no_reply"


def test_an_edited_script_gives_other_keys_and_a_moved_one_does_not(tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"match": "", "reply": "x"}')
    two.write_text('{"match": "", "reply": "x"}')
    before = dict(read_script(one, "m").identity)
    assert read_script(two, "m").identity == before
    one.write_text('{"match": "", "reply": "y"}')
    assert read_script(one, "m").identity != before


def test_answers_can_come_from_a_function(collect, make_request):
    engine = ScriptedEngine(lambda prompt: prompt.text.upper(), {"model": "shout"})
    assert collect(engine, [make_request("k", "hi")])["k"].text == "HI"
