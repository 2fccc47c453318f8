"""Every packaged preset is a valid role with a prompt that exists, and the commands show it."""

from __future__ import annotations

import itertools
import json
import shlex

import pytest
from click.testing import CliRunner, Result

from avrt.answers import extract_answer
from avrt.answers.thoughts import after_thought
from avrt.ask.calls import describe_role
from avrt.cli import cli
from avrt.config import MediaConfig, ModelRole, TeacherRole, load_config
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


MEDIA = {"v": "image", "a": "audio"}
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
    assert role_from(name).engine.concurrency == 256, "a GPU keeps as many sequences busy"
    assert role_from(name).engine.timeout_s >= 600, "replies come late when so many are written"
    command = shlex.split(preset.serve.splitlines()[-1])
    assert command[:2] == ["vllm", "serve"]
    options = dict(itertools.pairwise(command))
    assert options["--max-num-seqs"] == "256"
    assert options["--generation-config"] == "vllm", "else repetition penalties in no key apply"
    longest = int(options["--max-model-len"])
    assert longest >= 4096 + preset.role["max_new_tokens"]
    given = preset.role.get("modality", "none").replace("none", "")
    limits = json.loads(options.get("--limit-mm-per-prompt", "{}"))
    assert {"v": 8, "a": 1}.items() >= {half: limits[MEDIA[half]] for half in given}.items()
    renamed = "--served-model-name" in command
    name_at = command.index("--served-model-name") + 1 if renamed else 2
    assert command[name_at] == preset.role["model"]
    assert preset.role["revision"] is None
    assert "revision" in preset.note
    assert ": " in preset.licence


def test_presets_of_one_model_are_served_by_one_command():
    """So that one server can answer for several roles."""
    lines: dict[str, set[str]] = {}
    for name in NAMES:
        lines.setdefault(load_preset(name).role["model"], set()).add(load_preset(name).serve)
    assert len(lines) < len(NAMES)
    assert {model: len(each) for model, each in lines.items() if len(each) > 1} == {}


def test_calls_in_flight_and_waiting_are_in_no_key():
    role = role_from("kimi-vl-a3b-thinking")
    patient = role.engine.model_copy(update={"concurrency": 3, "timeout_s": 7.0})
    other = role.model_copy(update={"engine": patient})
    assert describe_role(role, MediaConfig()) == describe_role(other, MediaConfig())


def test_the_audio_teacher_of_the_paper_is_asked_to_think():
    """The authors' sentence comes last; the rest is the packaged prompt."""
    plain, thinking = load_prompt("audio"), load_prompt("audio_think")
    sentence = "Please think and reason about the input audio before you respond."
    assert thinking.system == plain.system
    assert thinking.user == f"{plain.user}\n{sentence}"
    assert role_from("audio-flamingo-3-think").prompt == "audio_think"


@pytest.mark.parametrize(
    ("ending", "letter"),
    [
        ("Audio Description: two blasts.\nReasoning: a train.\nAnswer: (B) Train horn", "B"),
        ("The blasts are long and steady. Therefore, the answer is (B).", "B"),
        ("Two long blasts rule out a bell.\n\nTrain horn", "B"),
        ("Two long blasts, so this is most likely a locomotive.", None),
    ],
)
def test_a_reply_of_the_thinking_audio_teacher_is_read_as_its_preset_says(ending, letter):
    """It has no marks around its thought."""
    options = ("Church bell", "Train horn", "Alarm clock", "Saxophone")
    reply = f"The sound begins with a rumble that grows. A bell would die away.\n{ending}"
    assert extract_answer(reply, options) == letter
    assert after_thought(reply) == reply


def test_roles_of_the_paper_are_those_of_its_presets(repository):
    config = load_config(repository / "configs" / "paper.yaml")
    assert config.teachers["audio"].preset == "audio-flamingo-3-think"
    assert not config.teachers["vision"].merge_thought, "the merger reads the three labelled parts"
    roles = {
        "kimi-vl-a3b-thinking": config.teachers["vision"],
        "audio-flamingo-3-think": config.teachers["audio"],
        "qwen2.5-14b-instruct": config.merger,
    }
    for name, role in roles.items():
        preset = role_from(name)
        beside = {"engine": {"base_url"}, "preset": True}
        assert role.model_dump(exclude=beside) == preset.model_dump(exclude=beside)


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
    lines = avrt("list", "teachers", "audio-flamingo-3-think").output.splitlines()
    assert any(line.startswith("  avrt checkpoint merge-adapter ") for line in lines)
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
