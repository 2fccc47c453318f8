"""Facts about the settings of judges."""

from __future__ import annotations

import pytest

from avrt.config import Config, dump_config, load_config
from avrt.config.presets import load_preset
from avrt.errors import ConfigError

MERGER = "gemma-3-12b-it"


@pytest.mark.parametrize("form", ["grammar", "response_format", "structured_outputs"])
def test_a_judge_that_would_be_held_to_the_form_of_a_trace_is_refused(write, form):
    merger = f"merger: {{engine: {{extra_body: {{{form}: {{type: x}}, top_k: 5}}}}}}\n"
    where = rf"judges\.main\.engine\.extra_body\.{form}: the judge takes the merger's engine"
    with pytest.raises(ConfigError, match=f"{where}.*set it to null"):
        load_config(write(f"{merger}judges: {{main: {{}}}}"))
    free = load_config(
        write(f"{merger}judges: {{main: {{engine: {{extra_body: {{{form}: null}}}}}}}}")
    )
    assert free.judges["main"].engine.fields == {"top_k": 5}
    assert load_config(write(dump_config(free))).judges == free.judges
    load_config(write(f"{merger}judges: {{main: {{model: org/judge}}}}"))


def test_without_judges_there_are_none_and_null_takes_a_judge_out(write):
    assert Config().judges == load_config().judges == {}
    assert load_config(write("judges: {main: {}, other: null}")).judges.keys() == {"main"}


def test_a_judge_without_a_model_takes_that_of_the_merger(write):
    path = write(
        f"merger: {{preset: {MERGER}, revision: abc, engine: {{base_url: 'http://m:1/v1'}}}}\n"
        "judges: {main: {}, other: {model: org/judge}, more: {engine: {concurrency: 2}}}"
    )
    judges = load_config(path).judges
    main, other, more = judges["main"], judges["other"], judges["more"]
    assert (main.model, main.revision) == ("google/gemma-3-12b-it", "abc")
    assert main.engine.base_url == more.engine.base_url == "http://m:1/v1"
    assert more.engine.concurrency == 2
    assert (main.prompt, main.temperature, main.max_new_tokens) == ("judge", 0.0, 1024)
    assert (other.model, other.revision) == ("org/judge", None)
    assert other.engine == Config().merger.engine
    assert load_config(write(dump_config(load_config(path)))).judges == judges


def test_a_mergers_preset_gives_a_judge_its_model_but_not_prompt_and_sampling():
    role = load_preset(MERGER).role
    judge = load_config(None, (f"judges.main.preset={MERGER}",)).judges["main"]
    rubric = load_config(None, (f"rubric.preset={MERGER}",)).rubric
    assert judge.model == rubric.model == role["model"]
    assert (judge.prompt, rubric.prompt) == ("judge", "rubric")
    assert judge.temperature == rubric.temperature == 0.0


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("judges.main.votes=3", "votes = 3 answers at temperature 0 would all be the same"),
        ("judges.main={preset: qwen3-vl-8b-thinking}", "is for a teacher, not for a judge"),
        ("judges.Main={}", r"judges\.Main"),
        ("judges.main.votes=0", r"judges\.main\.votes = 0"),
        ("build.findings=[leek]", r"build\.findings\.0 = 'leek'"),
        ("generate.leak_retries=-1", r"generate\.leak_retries = -1"),
    ],
)
def test_an_impossible_judge_is_refused(override, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_config(None, (override,))
