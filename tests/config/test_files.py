"""Configuration files: their encodings, keys that stand twice, `~`, and several files together."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from avrt.config import Config, describe_config, dump_config, load_config
from avrt.config.files import parse_yaml, write_yaml
from avrt.config.presets import load_preset, merge_trees
from avrt.errors import ConfigError

VISION = "qwen3-vl-8b-thinking"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("media: {workers: 1}\nrun: {name: t}\nmedia: {n_frames: 4}\n", "`media` .* 1 and 3"),
        ("sft:\n  epochs: 1\n  save_steps: 5\n  epochs: 2\n", "`epochs` stands at lines 2 and 4"),
        ("eval:\n  models:\n    a: {model: x,\n        model: y}\n", "`model` .* 3 and 4"),
        ("data: {root: a, root: b}\n", "`root` stands at lines 1 and 1"),
    ],
)  # fmt: skip
def test_a_key_that_stands_twice_is_refused_with_file_and_lines(write, text, complaint):
    path = write(text)
    with pytest.raises(ConfigError, match=complaint) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")


def test_an_alias_that_is_merged_in_is_no_key_that_stands_twice(write):
    path = write(
        "teachers:\n  vision: {engine: &here {batch_size: 64, device: cpu}}\n"
        "  audio: {engine: {<<: *here, batch_size: 3}}\n"
    )
    engine = load_config(path).teachers["audio"].engine
    assert (engine.batch_size, engine.device) == (3, "cpu")


def test_an_override_with_a_key_twice_is_refused():
    with pytest.raises(ConfigError, match="is not valid YAML: `root` stands at lines 1 and 1"):
        load_config(None, ("data={root: a, root: b}",))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_other_editors_are_read(tmp_path, encoding):
    path = tmp_path / "config.yaml"
    path.write_bytes("run: {name: t}\ndata: {root: Vidéos}\n".encode(encoding))
    assert str(load_config(path).data.root) == "Vidéos"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_another_encoding_is_refused_with_the_way_out(tmp_path, encoding):
    path = tmp_path / "config.yaml"
    path.write_bytes("data: {root: Vidéos}\n".encode(encoding))
    with pytest.raises(ConfigError, match=r"config\.yaml: line 1: not UTF-8 .*; save it as UTF-8"):
        load_config(path)


def test_the_home_folder_may_be_written_as_a_tilde(write, monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    config = load_config(
        write(
            "data: {root: ~/AVQA}\nrun: {dir: ~/runs}\nstudent: {model: ~/thinker}\n"
            "merger: {prompt: ~/merge.txt, engine: {kind: scripted, script: ~/script.jsonl}}\n"
            "eval: {models: {mine: ~/mine}, difficulty: {b: ~/levels.parquet}}\n"
        ),
        ("grpo.init=~/policy", "teachers.vision.model=org/a~b"),
    )
    assert config.run.path == Path("/somewhere/runs/run")
    assert config.data.root == Path("/somewhere/AVQA")
    assert config.merger.engine.script == Path("/somewhere/script.jsonl")
    assert config.eval.difficulty == {"b": Path("/somewhere/levels.parquet")}
    texts = (
        config.student.model,
        config.merger.prompt,
        config.grpo.init,
        config.eval.models["mine"],
    )
    assert texts == tuple(
        f"/somewhere/{name}" for name in ("thinker", "merge.txt", "policy", "mine")
    )
    assert config.teachers["vision"].model == "org/a~b"


@pytest.mark.parametrize("setting", ["run: {dir: ~}", "data: {root: null}", "merger: {model: ~}"])
def test_a_tilde_without_quotes_is_null_and_the_message_says_so(write, setting):
    with pytest.raises(ConfigError, match=r" = null: expected .*an unquoted ~ is null in YAML"):
        load_config(write(setting))
    assert load_config(write("run: {dir: '~'}")).run.dir == Path.home()


@pytest.mark.parametrize(
    "text", ["media: &a {x: *a}", "teachers: &a\n  vision: {engine: *a}", "eval: &a [1, [*a]]"]
)
def test_an_alias_inside_the_value_that_it_names_is_refused_with_its_line(write, text):
    path = write(f"run: {{name: t}}\n{text}\n")
    complaint = r"config\.yaml: not valid YAML: an alias .* the value that it names \(line 2\)"
    with pytest.raises(ConfigError, match=complaint):
        load_config(path)
    with pytest.raises(ConfigError, match="an alias stands inside the value"):
        load_config(None, ("media=&a {x: *a}",))


# Several files


@pytest.fixture
def write_all(tmp_path):
    def write_texts(*texts: str) -> list[Path]:
        paths = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
        return paths

    return write_texts


def test_later_files_win_section_by_section_and_overrides_over_all(write_all):
    paths = write_all(
        "sft: {epochs: 3, save_steps: 7}\ndata: {limit: 5}", "sft: {epochs: 4}\nrun: {name: b}"
    )
    config = load_config(paths, ("run.name=c",))
    assert (config.sft.epochs, config.sft.save_steps, config.data.limit) == (4, 7, 5)
    assert config.run.name == "c"


def test_sets_by_name_join_and_null_takes_a_member_out(write_all):
    paths = write_all(
        "eval: {models: {a: x, b: y}, benchmarks: {s: {root: s}}}\nteachers: {blind: "
        "{model: m, prompt: blind, modality: none}}",
        "eval: {models: {b: null, c: z}, benchmarks: {t: {root: t}}}\nteachers: {blind: null}",
    )
    config = load_config(paths)
    assert config.eval.models == {"a": "x", "c": "z"}
    assert list(config.eval.benchmarks) == ["s", "t"]
    assert list(config.teachers) == ["vision", "audio"]


def test_a_preset_in_a_later_file_wins_over_earlier_files_and_loses_to_what_stands_beside_it(
    write_all,
):
    paths = write_all(
        "teachers: {vision: {model: org/old, k: 2, temperature: 0.1, engine: {max_attempts: 3}}}",
        f"teachers: {{vision: {{preset: {VISION}, top_p: 0.5}}}}",
    )
    role, preset = load_config(paths).teachers["vision"], load_preset(VISION).role
    assert (role.model, role.temperature) == (preset["model"], preset["temperature"])
    assert (role.k, role.top_p, role.engine.max_attempts) == (2, 0.5, 3)


def test_a_later_file_changes_one_setting_of_a_role(write_all):
    paths = write_all(
        f"teachers: {{vision: {{preset: {VISION}}}}}", "teachers: {vision: {temperature: 0.3}}"
    )
    role = load_config(paths).teachers["vision"]
    assert (role.preset, role.temperature) == (VISION, 0.3)
    assert role.model == load_preset(VISION).role["model"]


def test_a_problem_is_told_with_the_file_that_holds_it(write_all):
    paths = write_all("sft: {epochs: -1, save_steps: 0}\nrn: 1", "sft: {epochs: -2}")
    with pytest.raises(ConfigError) as error:
        load_config(paths, ("grpo.max_steps=0",))
    first, second = map(str, paths)
    lines = str(error.value).splitlines()
    assert [line.partition(": ")[::2] for line in lines] == [
        (second, "sft.epochs = -2: must be greater than 0"),
        (first, "sft.save_steps = 0: must be greater than or equal to 1"),
        ("command line", "grpo.max_steps = 0: must be greater than or equal to 1"),
        (first, lines[3].partition(": ")[2]),
    ]
    assert "unknown key 'rn'" in lines[3]


@pytest.mark.parametrize(
    ("override", "complaints"),
    [
        ("eval.models.x={model: y, temprature: 1}", ["unknown key 'eval.models.x.temprature'"]),
        (
            "eval.models.x=3",
            ["eval.models.x = 3: expected a text; quote it", "eval.models.x = 3: expected"],
        ),
        (
            "eval.models.x={model: y, k: 3}",
            ["eval.models.x: k = 3 answers at temperature 0 would all be the same"],
        ),
        ("data=3", ["data = 3: expected settings by name, such as {key: value}"]),
    ],
)
def test_a_value_of_several_types_is_refused_without_the_names_of_types(override, complaints):
    with pytest.raises(ConfigError) as error:
        load_config(None, (override,))
    lines = str(error.value).splitlines()
    assert len(lines) == len(complaints)
    for line, complaint in zip(lines, complaints, strict=True):
        assert line.startswith(f"command line: {complaint}")


# Words without quotes


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("sft.learning_rate=1e-5", 1e-5),
        ("sft.learning_rate=1.E-5", 1e-5),
        ("sft.epochs=.5", 0.5),
        ("data.limit=08", 8),
        ("data.limit=010", 10),
        ("data.limit=1_000", 1000),
        ("data.limit=1e2", 100),
        ("data.limit=~", None),
        ("student.train_projections=no", False),
        ("student.train_projections=On", True),
        ("run.name=08", "08"),
        ("run.name=2024-01-31", "2024-01-31"),
        ("student.model=12:30", "12:30"),
        ("student.model=1.2.3", "1.2.3"),
        ("student.model=1e", "1e"),
        ("teachers.vision.engine.extra_body={a: no, b: 1e-3, c: 07, d: 2024-01-31}",
         {"a": False, "b": 0.001, "c": "07", "d": "2024-01-31"}),
    ],
)  # fmt: skip
def test_a_word_means_what_its_author_meant(override, value):
    node = load_config(None, (override,))
    for part in override.partition("=")[0].split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    assert node == value


@pytest.mark.parametrize("setting", ["run.name", "data.root", "student.model", "student.prompt"])
@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("no", "unquoted, no, off and false are false in YAML: quote it"),
        ("On", "unquoted, yes, on and true are true in YAML: quote it"),
        ("1.10", 'quote it: "1.1", on the command line \'"1.1"\''),
        ("2024", 'quote it: "2024", on the command line \'"2024"\''),
        ("", "an unquoted ~ is null in YAML"),
        ("null", "an unquoted ~ is null in YAML"),
    ],
)
def test_a_word_that_is_no_text_is_refused_with_the_way_to_write_it(setting, word, remedy):
    with pytest.raises(ConfigError) as error:
        load_config(None, (f"{setting}={word}",))
    assert str(error.value).startswith(f"command line: {setting} = ")
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("media.n_frames=eight", "media.n_frames = 'eight': expected a whole number"),
        ("sft.save_steps=1.5", "sft.save_steps = 1.5: expected a whole number"),
        ("sft.epochs=null", "sft.epochs = null: expected a number"),
        ("sft.learning_rate=.inf", "sft.learning_rate = inf: must be a finite number"),
        ("sft.learning_rate=.nan", "sft.learning_rate = '.nan': expected a number"),
        ("student.train_projections=maybe", "= 'maybe': expected true or false"),
        ("eval.modalities=av", "eval.modalities = 'av': expected a list, such as [a, b]"),
        ("eval.modalities=[b]", "must be 'none', 'a', 'v' or 'av'"),
        ("teachers.other.model=x", "teachers.other.prompt is missing"),
        ("teachers.visoin=null", "teachers.visoin = null takes nothing out; did you mean 'vision'"),
        ("judges.main=null", "judges.main = null takes nothing out; known: none"),
        ("eval.benchmarks={mmar:x}", "null takes nothing out; known: none"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_belongs_there_without_a_type_of_python(override, complaint):
    with pytest.raises(ConfigError) as error:
        load_config(None, (override,))
    assert complaint in str(error.value)
    for word in ("tuple", "dict", "str", "bool", "parse", "NoneType", "Input"):
        assert word not in str(error.value)


TEXTS = (
    "no",
    "Off",
    "08",
    "010",
    "1e-5",
    "1.10",
    "2024-01-31",
    "12:30",
    "null",
    "~",
    "",
    "0x1f",
    "é",
)


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_read_back_as_it_was(text):
    assert parse_yaml(write_yaml({"a": [text]})) == {"a": [text]}
    assert yaml.safe_load(write_yaml({"a": [text]})) == {"a": [text]}, "other programs too"


def test_a_packaged_configuration_that_is_not_there_yet_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"`avrt config copy paper .*paper\.yaml` writes"):
        load_config(tmp_path / "paper.yaml")


def test_what_differs_and_the_rest_are_the_whole_configuration(tmp_path):
    overrides = ("sft.epochs=3", "teachers.audio=null", "judges.main.votes=1", "grpo.beta=0.5")
    config = load_config(None, overrides)
    text = describe_config(config, Config.model_fields)
    changed, rest = (yaml.safe_load(part) for part in text.split("\n\n"))
    assert changed["sft"] == {"epochs": 3.0}
    assert changed["grpo"] == {"beta": 0.5}
    assert changed["teachers"]["audio"] is None
    assert "epochs" not in rest["sft"]
    assert merge_trees(rest, changed) == yaml.safe_load(dump_config(config))


def test_without_a_difference_that_is_said():
    text = describe_config(Config(), ("run",))
    assert text.startswith("# Differs from the defaults:\n# nothing\n\n")
    assert list(yaml.safe_load(text)) == ["run"]


@pytest.mark.parametrize("given", ["frist.yaml", "first.yml", "first", "my-first.yaml"])
def test_the_file_that_was_meant_is_named(tmp_path, given):
    path = tmp_path / "first.yaml"
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"No such .*; did you mean .*first\.yaml\?") as error:
        load_config(path.with_name(given))
    assert str(path) in str(error.value)


def test_a_role_without_its_settings_may_be_one_with_a_typing_error():
    with pytest.raises(
        ConfigError, match=r"teachers\.vison\.prompt is missing; did you mean 'teac"
    ):
        load_config(None, ("teachers.vison.model=x",))
    with pytest.raises(ConfigError, match=r"teachers\.fourth\.prompt is missing$"):
        load_config(None, ("teachers.fourth={model: x, modality: v}",))


def test_what_differs_leaves_out_the_defaults_of_a_role_that_is_given_in_part():
    config = load_config(
        None,
        (
            "teachers.vision.model=mine",
            "teachers.third={model: x, prompt: blind, modality: none}",
        ),
    )
    differs, rest = describe_config(config, ["teachers", "merger"]).split("\n# ")
    assert parse_yaml(differs) == {
        "teachers": {
            "vision": {"model": "mine"},
            "third": {"model": "x", "prompt": "blind", "modality": "none"},
        },
    }
    others = parse_yaml(rest.partition("\n")[2])["teachers"]
    assert others["vision"]["prompt"] == "vision"
    assert others["audio"]["model"] == "nvidia/audio-flamingo-3-hf"
