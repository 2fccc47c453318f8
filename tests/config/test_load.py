"""The configuration refuses what it does not know, keeps defaults, and comes back as written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from avrt.cli import cli
from avrt.cli.options import split_settings
from avrt.config import Config, Section, dump_config, load_config
from avrt.config.presets import load_preset
from avrt.errors import ConfigError
from avrt.prompts import load_prompt

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def files_of(name: str) -> list[Path]:
    """The files that are given together: those of the paper hold what differs from paper.yaml."""
    names = ["paper", name] if name.startswith("paper-") else [name]
    return [FOLDER / f"{name}.yaml" for name in names]


def _sections(section: Section, prefix: str = "") -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        parts = {name: value}
        if isinstance(value, dict):
            parts = {f"{name}.{key}": part for key, part in value.items()}
        for place, part in parts.items():
            if isinstance(part, Section):
                yield f"{prefix}{place}"
                yield from _sections(part, f"{prefix}{place}.")


def test_there_are_sections_to_check():
    names = list(_sections(Config()))
    assert "teachers.vision.engine" in names
    assert len(names) > 10


@pytest.mark.parametrize("section", list(_sections(Config())))
def test_an_unknown_key_is_refused_in_every_section(section):
    complaint = rf"unknown key '{section}\.zzz'; known keys: \w+"
    with pytest.raises(ConfigError, match=complaint) as error:
        load_config(None, (f"{section}.zzz=1",))
    assert error.value.exit_code == 2


def test_a_misspelt_key_is_answered_with_the_right_one(write):
    path = write("grpo: {learning_rat: 1.0e-6}\ntraining: {epochs: 2}")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    problems = str(error.value).splitlines()
    assert problems[0] == (
        f"{path}: unknown key 'grpo.learning_rat'; did you mean 'grpo.learning_rate'?"
    )
    assert problems[1].startswith(f"{path}: unknown key 'training'; known keys: run, data")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("media.n_frames=0", r"media\.n_frames = 0: .*greater than or equal to 1"),
        ("teachers.vision.k=4", r"line: teachers\.vision: k = 4 answers at temperature 0 would"),
        ("teachers.Blind.model=x", r"teachers\.Blind.*: a name may have small letters, digits and"),
        ("teachers.blind.model=x", r"teachers\.blind\.prompt"),
        ("grpo.group_size=1", r"grpo\.group_size = 1"),
        ("grpo.per_device_batch_size=5", r"= 32 is not a multiple of per_device_batch_size = 5"),
        ("grpo.per_device_batch_size=2", r"= 2 holds no whole groups of group_size = 4; make it"),
        ("run.name=a/b", r"run\.name = 'a/b': a name may have letters, digits, `\.`, `_` and `-`"),
        ("run.name=.a", r"run\.name = '\.a': .* begins with a letter or digit"),
        ("grpo.output=rl", r"grpo\.output = 'rl': the folder's name begins with `grpo`"),
        ("run.dir=3", r"run\.dir = 3: expected a path"),
        ("teachers.vision=3", r"teachers\.vision = 3"),
        ("eval.modalities=[a,x]", r"eval\.modalities\.1 = 'x'"),
        ("eval.benchmarks.b.rooot=x", r"unknown key 'eval\.benchmarks\.b\.rooot'"),
    ],
)
def test_an_impossible_value_is_named_with_its_key(override, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_config(None, (override,))


@pytest.mark.parametrize("override", ["grpo.epsilon", "=3", "--epochs"])
def test_an_override_must_be_an_assignment(override):
    with pytest.raises(ConfigError, match=r"is not of the form section\.key=value"):
        load_config(None, (override,))


@pytest.mark.parametrize("name", ["runs/lr=1/x.yaml", "../lr=1.yml", "lr=1.yaml"])
def test_a_path_with_an_equals_sign_is_a_file_whether_it_exists_or_not(name):
    assert split_settings([name, "sft.epochs=1"]) == ([Path(name)], ["sft.epochs=1"])


def test_an_existing_file_is_a_file_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "sft.learning_rate=1.yaml"
    assert split_settings([name]) == ([], [name])
    Path(name).write_text("sft: {epochs: 3}")
    assert split_settings([name]) == ([Path(name)], [])


@pytest.mark.parametrize(
    "override", ["student.deepspeed=zero/2.yaml", "run.name=a", f"data.hub={'x' * 9000}"]
)
def test_a_setting_is_no_file_whatever_its_value(override):
    assert split_settings([override]) == ([], [override])


def test_an_override_cannot_pass_through_a_value():
    with pytest.raises(ConfigError, match="'limit' is a value, not a section"):
        load_config(None, ("data.limit=3", "data.limit.x=4"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run: [", "not valid YAML"),
        ("- run", "expected sections such as `run:` and `data:`, found list"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(write, text, complaint):
    path = write(text)
    with pytest.raises(ConfigError, match=complaint) as error:
        load_config(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such"):
        load_config(tmp_path / "absent.yaml")


def test_overrides_are_yaml_and_win_over_the_file(write):
    path = write("grpo: {learning_rate: 1.0e-3, epsilon: 0.1}")
    config = load_config(
        path, ("grpo.learning_rate=2e-6", "eval.modalities=[a,av]", "data.limit=5")
    )
    assert (config.grpo.learning_rate, config.grpo.epsilon) == (2e-6, 0.1)
    assert (config.eval.modalities, config.data.limit) == (("a", "av"), 5)


def test_an_override_reaches_into_names_with_dashes(write):
    path = write("eval: {benchmarks: {world-bench: {format: parquet, root: here, split: bench}}}")
    config = load_config(
        path, ("eval.benchmarks.world-bench.root=there", "eval.models.rl-2=grpo-2")
    )
    bench = config.eval.benchmarks["world-bench"]
    assert (bench.format, str(bench.root), bench.split) == ("parquet", "there", "bench")
    assert config.eval.models == {"rl-2": "grpo-2"}, "a given set of models replaces the default"


@pytest.mark.parametrize("role", ["teachers.vision", "teachers.audio", "merger"])
def test_a_role_that_is_given_in_part_keeps_its_own_defaults(role):
    def get(config: Config) -> dict[str, object]:
        tree = config.model_dump()
        for part in role.split("."):
            tree = tree[part]
        return tree

    changed = get(load_config(None, (f"{role}.engine.base_url=http://there:1/v1",)))
    default = get(Config())
    assert changed["engine"] == default["engine"] | {"base_url": "http://there:1/v1"}
    assert changed | {"engine": None} == default | {"engine": None}


def test_giving_one_teacher_leaves_the_other(write):
    config = load_config(write("teachers: {audio: {model: org/ear}}"))
    assert config.teachers["vision"] == Config().teachers["vision"]
    assert (config.teachers["audio"].model, config.teachers["audio"].prompt) == ("org/ear", "audio")


def test_a_teacher_is_taken_out_by_null_and_stays_out(write):
    config = load_config(write("teachers: {audio: null}"))
    assert list(config.teachers) == ["vision"]
    assert load_config(write(dump_config(config))) == config


@pytest.mark.parametrize("section", ["teachers", "judges", "eval.models", "eval.benchmarks"])
def test_null_for_all_of_them_is_refused_with_the_way_to_take_each_out(section):
    complaint = rf"{section} = null: null takes nothing out; .* as {section}\.NAME=null"
    with pytest.raises(ConfigError, match=complaint):
        load_config(None, (f"{section}=null",))


def test_an_empty_mapping_changes_no_teacher(write):
    assert load_config(write("teachers: {}")).teachers == Config().teachers
    path = write("teachers: {audio: null, vision: {k: 2, temperature: 1}}")
    assert load_config(path, ("teachers={}",)) == load_config(path)


def test_a_further_teacher_joins_the_others(write):
    blind = "{model: org/text, prompt: student, modality: none, k: 4, temperature: 0.7}"
    config = load_config(write(f"teachers: {{blind: {blind}}}"))
    assert list(config.teachers) == ["vision", "audio", "blind"]
    assert load_config(write(dump_config(config))) == config


# Presets

VISION, AUDIO, MERGER = "qwen3-vl-8b-thinking", "audio-flamingo-3-think", "gemma-3-12b-it"


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("teachers.vision.preset=qwen3-vl-8b-thinkng", r"no preset .* mean qwen3-vl-8b-thinking"),
        ("teachers.vision.preset=qwen", "`avrt list teachers` lists all"),
        ("merger={preset: zzzz}", "`avrt list teachers` lists all"),
        ("teachers.other={preset: zzzz}", "`avrt list teachers` lists all"),
        (f"merger.preset={VISION}", "is for a teacher, not for the merger; `avrt list teachers`"),
        (
            f"merger={{preset: {VISION}}}",
            "is for a teacher, not for the merger; `avrt list teachers`",
        ),
        (f"teachers.vision.preset={MERGER}", "is for the merger, not for a teacher"),
        (f"teachers.other={{preset: {MERGER}}}", "is for the merger, not for a teacher"),
        (f"teachers.vision.preset={AUDIO}", "has modality a and would replace .* modality v"),
        (f"teachers.audio={{preset: {VISION}}}", "has modality v and would replace .* modality a"),
        ("teachers.vision.preset=3", r"teachers\.vision\.preset = 3"),
        ("teachers.vision.preset=[x]", r"teachers\.vision\.preset = \['x'\]"),
        (f"teachers.vision={{preset: {VISION}, temprature: 1}}", r"'teachers\.vision\.temprature'"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused(override, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_config(None, (override,))


@pytest.mark.parametrize(
    ("setting", "preset", "complaint"),
    [
        ("teachers.vision", AUDIO, "has modality a"),
        ("teachers.mine", MERGER, "is for the merger, not for a teacher"),
        ("judges.strict", VISION, "is for a teacher, not for a judge"),
        ("merger", VISION, "is for a teacher, not for the merger"),
        ("rubric", VISION, "is for a teacher, not for the model that grades by rubrics"),
        ("eval.models.mine", MERGER, "is for the merger, which sees no clip"),
        ("judges.strict", "zzzz", "lists all"),
    ],
)
def test_a_refused_preset_is_named_with_its_setting_and_its_origin(
    write, setting, preset, complaint
):
    path, tree = write(""), {"preset": preset}
    for name in reversed(setting.split(".")):
        tree = {name: tree}
    path.write_text(yaml.safe_dump(tree))
    for origin, arguments in (
        (str(path), (path,)),
        ("command line", (None, (f"{setting}.preset={preset}",))),
        ("command line", (None, (f"{setting}={{preset: {preset}}}",))),
    ):
        with pytest.raises(ConfigError, match=complaint) as error:
            load_config(*arguments)
        assert str(error.value).startswith(f"{origin}: {setting}.preset: ")
        assert repr(preset) in str(error.value)


def test_a_preset_takes_the_place_of_the_default_and_what_is_given_wins(write):
    engine = "engine: {base_url: 'http://there:1/v1'}"
    config = load_config(
        write(f"teachers: {{vision: {{preset: {VISION}, k: 4, temperature: 0.5, {engine}}}}}")
    )
    role, preset = config.teachers["vision"], load_preset(VISION).role
    assert (role.model, role.top_p, role.max_new_tokens) == (
        preset["model"],
        preset["top_p"],
        preset["max_new_tokens"],
    )
    assert (role.modality, role.k, role.temperature) == ("v", 4, 0.5)
    assert (role.engine.base_url, role.engine.kind) == ("http://there:1/v1", "openai")
    assert config.teachers["audio"] == Config().teachers["audio"]


def test_a_teacher_may_be_a_preset_and_nothing_else(write):
    blind = "{preset: qwen2.5-14b-instruct-blind}"
    config = load_config(write(f"teachers: {{blind: {blind}}}\nmerger: {{preset: {MERGER}}}"))
    assert (config.teachers["blind"].modality, config.teachers["blind"].prompt) == ("none", "blind")
    assert config.merger.model == "google/gemma-3-12b-it"


def test_a_preset_on_the_command_line_wins_over_the_file_and_loses_to_other_overrides(write):
    path = write(
        "teachers: {vision: {model: org/old, revision: abc, k: 2, temperature: 0.1, "
        "engine: {kind: scripted, base_url: 'http://there:1/v1', concurrency: 3}}}"
    )
    overrides = ("teachers.vision.engine.concurrency=5", "teachers.vision.temperature=0.3")
    role = load_config(path, (*overrides, f"teachers.vision.preset={VISION}")).teachers["vision"]
    assert (role.model, role.revision) == ("Qwen/Qwen3-VL-8B-Thinking", None)
    assert (role.k, role.temperature, role.engine.kind) == (2, 0.3, "openai")
    assert (role.engine.base_url, role.engine.concurrency) == ("http://there:1/v1", 5)


def test_overrides_never_change_the_packaged_preset():
    override = f"teachers.vision.preset={VISION}"
    load_config(None, (override, "teachers.vision.engine.base_url=http://there:1/v1"))
    role = load_config(None, (override,)).teachers["vision"]
    assert role.engine.base_url == Config().teachers["vision"].engine.base_url


def test_an_override_changes_one_of_the_roles_that_share_an_alias(write):
    path = write(
        "teachers: {vision: {engine: &here {batch_size: 64}}, audio: {engine: *here}}\n"
        "merger: {engine: *here}"
    )
    config = load_config(path, ("teachers.audio.engine.batch_size=3",))
    assert config.teachers["audio"].engine.batch_size == 3
    assert config.teachers["vision"].engine.batch_size == config.merger.engine.batch_size == 64


def test_a_dump_holds_the_preset_with_its_values_and_takes_another_one(write):
    config = load_config(None, (f"teachers.vision.preset={VISION}", f"merger.preset={MERGER}"))
    text = dump_config(config)
    assert f"preset: {VISION}" in text
    assert "model: Qwen/Qwen3-VL-8B-Thinking" in text
    assert load_config(write(text)) == config
    other = load_config(write(text), ("teachers.vision.preset=kimi-vl-a3b-thinking",))
    assert other.teachers["vision"].model == "moonshotai/Kimi-VL-A3B-Thinking"


def test_the_default_prompts_exist():
    config = Config()
    for role in (*config.teachers.values(), config.merger):
        load_prompt(role.prompt)
    load_prompt(config.student.prompt)


def test_there_are_configurations():
    assert set(CONFIGS) >= {"demo", "paper", "paper-eval", "paper-v2", "recommended"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_configuration_loads_and_comes_back_as_written(name, write):
    config = load_config(files_of(name))
    assert load_config(write(dump_config(config))) == config
    for role in (*config.teachers.values(), config.merger, config.student):
        load_prompt(role.prompt)


def test_a_dump_holds_every_setting():
    assert yaml.safe_load(dump_config(Config())).keys() == Config.model_fields.keys()
    assert "per_device_batch_size: 1" in dump_config(Config())


PATHS = (
    "run.dir",
    "data.root",
    "student.model",
    "student.prompt",
    "teachers.vision.model",
    "teachers.audio.prompt",
    "merger.engine.script",
    "grpo.init",
    "eval.models.mine",
    "eval.benchmarks.b.root",
)


def test_a_dump_holds_no_absolute_path_and_means_the_same_files(tmp_path, monkeypatch, write):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    config = load_config(None, tuple(f"{key}={tmp_path / key}" for key in PATHS))
    text = dump_config(config)
    assert str(tmp_path) not in text
    assert text.count("../") == len(PATHS)
    again = load_config(write(text))
    assert Path(again.student.model).resolve() == tmp_path / "student.model"
    assert again.data.root.resolve() == tmp_path / "data.root"


def test_addresses_and_hub_ids_are_dumped_as_they_are():
    text = dump_config(load_config(None, ("student.model=org/name",)))
    assert "model: org/name" in text
    assert "base_url: http://127.0.0.1:8000/v1" in text


def test_the_papers_presets_hold_its_numbers():
    paper, second = (load_config(files_of(name)) for name in ("paper", "paper-v2"))
    sft = paper.sft
    assert sft.per_device_batch_size * sft.gradient_accumulation_steps * 4 == 32
    assert (sft.epochs, sft.learning_rate, sft.warmup_steps) == (1, 2e-6, 100)
    assert sft.weight_decay == 0.01
    grpo = paper.grpo
    assert (grpo.group_size, grpo.epsilon, grpo.beta, grpo.temperature) == (4, 0.2, 0.01, 1.0)
    assert (grpo.format_weight, grpo.accuracy_weight, grpo.length_weight) == (1.0, 1.0, 0.0)
    assert (paper.media.n_frames, paper.media.max_audio_s) == (8, 10.0)
    assert paper.student.lora is None
    assert not paper.student.train_projections

    assert (second.grpo.data, second.grpo.length_weight) == ("samples", 1.0)
    assert (second.grpo.length_mean, second.grpo.length_std) == (100, 20)
    assert second.grpo.length_window == (100, 200)
    alike = {"run", "grpo"}
    assert second.model_dump(exclude=alike) == paper.model_dump(exclude=alike)
    changed = {"data", "max_steps", "length_weight"}
    assert second.grpo.model_dump(exclude=changed) == paper.grpo.model_dump(exclude=changed)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("paper-")])
def test_files_behind_the_papers_hold_only_what_differs(name):
    paper, own = load_config(files_of("paper")), yaml.safe_load(files_of(name)[1].read_text())
    assert own.pop("after") == "paper.yaml"
    stated = {(section, key): value for section in own for key, value in own[section].items()}
    # The later paper states its whole length reward, also the values that are AVRT's defaults.
    of_reward = {key for key in stated if key[1].startswith("length_")}
    tree = paper.model_dump(mode="json")
    alike = [key for key, value in stated.items() if tree[key[0]][key[1]] == value]
    assert set(alike) <= of_reward


@pytest.mark.parametrize("name", CONFIGS)
def test_the_commands_at_the_head_of_a_configuration_are_accepted(name):
    text = files_of(name)[-1].read_text()
    commands = re.findall(r"^# +(?:torchrun .* -m )?(avrt .*)$", text, re.MULTILINE)
    for command in commands:
        arguments = shlex.split(command)[1:]
        with cli.make_context("avrt", arguments) as context:
            stage = cli.commands[arguments[0]].make_context(arguments[0], arguments[1:], context)
        paths, overrides = split_settings(stage.params["settings"])
        load_config([FOLDER.parent / path for path in paths], overrides)


def test_a_section_that_the_file_switches_off_is_switched_on_by_an_override(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(Config()))
    assert "lora: null" in path.read_text()
    config = load_config(path, ("student.lora.rank=4",))
    assert config.student.lora is not None
    assert (config.student.lora.rank, config.student.lora.alpha) == (4, 32)
