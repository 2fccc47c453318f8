"""The configuration refuses what it does not know, keeps defaults, and comes back as written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from avrt.config import Config, Section, dump_config, load_config
from avrt.errors import ConfigError
from avrt.prompts import load_prompt

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def _sections(section: Section, prefix: str = "") -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield f"{prefix}{name}"
            yield from _sections(value, f"{prefix}{name}.")


@pytest.fixture
def write(tmp_path):
    def write_text(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


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
        ("build.view=best", r"build\.view = 'best': .*'paper', 'either' or 'unfiltered'"),
        ("grpo.group_size=1", r"grpo\.group_size = 1"),
        ("grpo.per_device_batch_size=5", r"= 32 is not a multiple of per_device_batch_size = 5"),
        ("run.name=a/b", r"run\.name = 'a/b'"),
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
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot read the configuration: No such"):
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
    assert config.teachers.vision == Config().teachers.vision
    assert (config.teachers.audio.model, config.teachers.audio.prompt) == ("org/ear", "audio")


def test_the_default_prompts_exist():
    config = Config()
    for role in (config.teachers.vision, config.teachers.audio, config.merger):
        load_prompt(role.prompt)
    load_prompt(config.student.prompt)


def test_there_are_configurations():
    assert {path.name for path in CONFIGS} >= {"demo.yaml", "paper.yaml"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_loads_and_comes_back_as_written(path, write):
    config = load_config(path)
    assert load_config(write(dump_config(config))) == config
    for role in (config.teachers.vision, config.teachers.audio, config.merger, config.student):
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
