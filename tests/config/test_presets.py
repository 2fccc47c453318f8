"""Every packaged preset is a valid role with a prompt that exists, and the commands show it."""

from __future__ import annotations

import shlex

import pytest
from click.testing import CliRunner, Result

from avrt.cli import cli
from avrt.config import ModelRole, TeacherRole, load_config
from avrt.config.presets import load_preset, parse_preset, preset_names
from avrt.errors import ConfigError
from avrt.generate.gates import GATES
from avrt.prompts import load_prompt

NAMES = preset_names()
TEACHERS = [name for name in NAMES if "modality" in load_preset(name).role]


def role_from(name: str) -> ModelRole:
    if name in TEACHERS:
        return load_config(None, (f"teachers.mine.preset={name}",)).teachers["mine"]
    return load_config(None, (f"merger.preset={name}",)).merger


GIVEN = {"v": {"n_frames"}, "a": set(), "av": {"n_frames"}, "none": set()}


def text_of(**changes: object) -> str:
    keys = {"role": "{model: m, prompt: merge}", "serve": "s", "parser": "p"}
    keys |= {"title": "t", "licence": "l", "needs": "n", "note": "n"}
    lines = {**keys, **changes}
    return "\n".join(f"{key}: {value}" for key, value in lines.items() if value is not None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (text_of(licens="x"), "licens"),
        (text_of(note=None), "note"),
        (text_of(role="{model: m, prompt: merge, temprature: 1}"), "temprature"),
        (text_of(role="{model: m, prompt: merge, engine: {kind: openapi}}"), "kind"),
        (text_of(role="{model: m, prompt: vision, modality: x}"), "modality"),
        (text_of(role="{prompt: vision, modality: v}"), "model"),
        (text_of(role="{model: m, prompt: merge, k: 4}"), "k\n"),
        ("title: [", "preset mine: "),
        ("", "preset mine: "),
    ],
)
def test_a_file_that_is_no_preset_is_refused_by_name(text, complaint):
    assert parse_preset("mine", text_of()).title == "t"
    with pytest.raises(ConfigError, match=complaint) as error:
        parse_preset("mine", text)
    assert str(error.value).startswith("preset mine: ")


def test_there_are_presets_for_every_place():
    assert {load_preset(name).role["modality"] for name in TEACHERS} == {"v", "a", "av", "none"}
    assert {"qwen2.5-14b-instruct", "gemma-3-12b-it"} <= set(NAMES) - set(TEACHERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_a_role_with_a_prompt_that_fits_it(name):
    preset = load_preset(name)
    role = role_from(name)
    assert role.model_dump(include=set(preset.role), exclude={"engine"}) == {
        key: value for key, value in preset.role.items() if key != "engine"
    }
    prompt = load_prompt(role.prompt)
    assert prompt.uses("question")
    assert prompt.uses("answer") == (name not in TEACHERS), "only the merger knows the answer"
    if isinstance(role, TeacherRole):
        assert prompt.uses("n_frames") == ("n_frames" in GIVEN[role.modality])
        assert role.temperature > 0, "several answers must be able to differ"


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_how_to_serve_it_and_what_is_not_certain(name):
    preset = load_preset(name)
    command = shlex.split(preset.serve)
    assert command[:2] == ["vllm", "serve"]
    renamed = "--served-model-name" in command
    name_at = command.index("--served-model-name") + 1 if renamed else 2
    assert command[name_at] == preset.role["model"]
    if preset.role.get("modality") in ("v", "av"):
        assert '"image": 8' in preset.serve
    assert preset.role["revision"] is None
    assert "revision" in preset.note
    assert ": " in preset.licence


def test_roles_of_the_paper_are_those_of_its_presets(repository):
    config = load_config(repository / "configs" / "paper.yaml")
    roles = {
        "kimi-vl-a3b-thinking": config.teachers["vision"],
        "audio-flamingo-3-think": config.teachers["audio"],
        "qwen2.5-14b-instruct": config.merger,
    }
    for name, role in roles.items():
        preset = role_from(name)
        beside = {"preset", "engine"}
        assert role.model_dump(exclude=beside) == preset.model_dump(exclude=beside)
        assert role.engine.kind == preset.engine.kind


def test_the_recommended_configuration_is_as_it_says(repository):
    config = load_config(repository / "configs" / "recommended.yaml")
    assert {name: role.k for name, role in config.teachers.items()} == {
        "vision": 4,
        "audio": 4,
        "blind": 4,
    }
    assert config.generate.shuffle_options
    assert config.build.balance_letters
    assert set(config.build.gates) == set(GATES)
    judge = config.judges["main"]
    assert (judge.model, judge.engine) == (config.merger.model, config.merger.engine)
    assert (config.generate.leak_retries, config.build.findings) == (1, ("leak",))
    assert (config.build.view, list(config.build.views)) == ("agree", ["agree_hard"])
    assert config.merger.engine.base_url == config.teachers["blind"].engine.base_url


# The commands


def avrt(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_an_unknown_preset_is_answered_with_close_ones():
    result = avrt("list", "teachers", "qwen3-vl-9b-thinking")
    assert result.exit_code == 2
    assert "no preset 'qwen3-vl-9b-thinking'; did you mean qwen3-vl-8b-thinking" in result.output


def test_all_presets_are_listed_with_model_use_and_licence():
    header, *lines = avrt("list", "teachers").output.splitlines()
    assert header.split() == ["PRESET", "MODEL", "FOR", "LICENCE"]
    assert [line.split()[0] for line in lines] == NAMES
    by_name = dict(zip(NAMES, lines, strict=True))
    assert "google/gemma-3-12b-it" in by_name["gemma-3-12b-it"]
    assert "merger" in by_name["gemma-3-12b-it"]
    assert "teacher, a" in by_name["audio-flamingo-3-think"]
    assert by_name["audio-flamingo-3-think"].endswith("NVIDIA OneWay Noncommercial")


def test_one_preset_is_shown_whole():
    output = avrt("list", "teachers", "kimi-vl-a3b-thinking").output
    assert "teachers.NAME.preset=kimi-vl-a3b-thinking" in output
    assert f"  {load_preset('kimi-vl-a3b-thinking').serve}\n" in output
    for title in ("role", "serve", "parser", "licence", "needs", "note"):
        assert f"\n{title}\n" in output


def test_views_are_listed_with_conditions_and_columns_of_this_configuration(repository):
    recommended = repository / "configs" / "recommended.yaml"
    output = avrt("list", "views", recommended, "build.views.mine=vision_k = 4").output
    assert "  paper       vision_first AND audio_first\n" in output
    assert "  mine        vision_k = 4\n" in output
    assert "  agree_hard  vision_right >= 3" in output
    assert "built is: agree\n" in output
    assert "  blind_k blind_answered blind_right blind_first\n" in output
    assert "blind_answered" not in avrt("list", "views").output


def test_a_view_that_does_not_fit_the_teachers_is_listed_and_refused():
    result = avrt("list", "views", "build.view=av_hard")
    assert result.exit_code == 2
    assert "av_hard" in result.output.split("built is:")[0]
    assert "no such column: blind_" in result.output
