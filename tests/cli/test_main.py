"""The command line: help at once, one message instead of a traceback, and the right exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from avrt.cli import cli
from avrt.cli.packages import extra_of, requirements
from avrt.config import Config
from clips import encode_clip, tone
from scripted_run import overrides, replies, right, write_dataset, write_script

STAGES = (
    "prepare",
    "trace",
    "merge",
    "judge",
    "build",
    "generate",
    "stats",
    "sft",
    "grpo",
    "report",
)
HEAVY = ("torch", "numpy", "pydantic", "transformers", "pyarrow", "av", "yaml")


def commands(group: click.Group = cli, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands())


def files_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# Help


def test_help_lists_every_command_in_the_order_of_the_method(avrt):
    result = avrt("--help")
    parts = re.findall(r"^(\w[\w ]+):\n((?:  .*\n)+)", result.output, re.MULTILINE)
    parts = {title: re.findall(r"^  (\w+) ", lines, re.MULTILINE) for title, lines in parts}
    del parts["Options"]
    assert parts == {
        "Data": ["plan", "prepare", "import", "export"],
        "Asking models": [
            *("serve", "trace", "merge", "judge", "build", "generate", "stats", "ledger", "replay")
        ],
        "Training": ["sft", "grpo", "checkpoint"],
        "Evaluation": ["eval", "rubric", "difficulty", "tables"],
        "Report": ["report", "view", "watch", "publish"],
        "Tools": ["demo", "experiment", "config", "list", "world", "doctor", "completion"],
    }
    assert [name for names in parts.values() for name in names] == list(cli.commands)


@pytest.mark.parametrize("command", cli.commands.values(), ids=lambda c: c.name)
def test_the_first_line_of_every_help_is_a_whole_sentence(command):
    text = command.get_short_help_str(80)
    assert text.endswith(".")
    assert not text.endswith("...")


@pytest.mark.parametrize(
    "name", [name for name, command in cli.commands.items() if isinstance(command, click.Group)]
)
def test_every_group_has_help_with_an_example_of_its_own(avrt, name):
    example = avrt(name, "--help").output.split("Example: ")[1].split("\n\n")[0].split()
    assert example[:2] == ["avrt", name]
    assert " ".join(example[1:3]) in COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_it_accepts(avrt, name):
    result = avrt(*name.split(), "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: cli {name}")
    example = result.output.split("Example: ")[1].split("\n\n")[0]
    program, *arguments = shlex.split(example.partition(" > ")[0])
    words = name.split()
    assert [program, *arguments[: len(words)]] == ["avrt", *words]
    COMMANDS[name].make_context(name, arguments[len(words) :])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_option_is_a_sentence(name):
    for option in COMMANDS[name].params:
        text = option.help or "" if isinstance(option, click.Option) else "An argument has none."
        assert text[:1].isupper() or text.startswith("-"), option.name
        assert text.endswith("."), option.name


@pytest.mark.parametrize("command", ["teachers", "views", "benchmarks", "baselines"])
def test_lists_stand_below_one_command(avrt, command):
    assert avrt(command).exit_code == 2
    assert avrt("list", command).exit_code == 0


def test_help_imports_nothing_heavy(run_python):
    code = f"import sys, avrt.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = run_python(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_dry_run_of_data_stages_imports_no_torch(run_python, tmp_path):
    write_dataset(tmp_path)
    arguments = ["prepare", *overrides(tmp_path), "--dry-run"]
    code = (
        "import sys; from avrt.cli import cli; "
        f"cli({arguments}, standalone_mode=False); print('torch' in sys.modules)"
    )
    assert run_python(code).stdout.splitlines()[-1] == "False"


def test_the_module_is_the_command(tmp_path):
    command = [sys.executable, "-m", "avrt", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("avrt, version ")


# Wrong use: exit code 2, what, where, what to do


def test_an_unknown_key_is_answered_with_the_right_one(avrt):
    result = avrt("sft", "sft.epoch=3")
    assert result.exit_code == 2
    assert result.output == (
        "avrt: error: command line: unknown key 'sft.epoch'; did you mean 'sft.epochs'?\n"
    )


@pytest.mark.parametrize("command", [*STAGES, "eval", "demo"])
def test_a_missing_configuration_is_named(avrt, command):
    result = avrt(command, "absent.yaml")
    assert result.exit_code == 2
    assert "absent.yaml: cannot be read: No such file" in result.output


def test_a_setting_without_a_value_is_no_configuration_file(avrt):
    result = avrt("sft", "sft.learning_rate")
    assert result.exit_code == 2
    assert "give a value of a setting as section.key=value" in result.output


def test_several_files_and_overrides_are_laid_over_each_other(avrt, tmp_path):
    (tmp_path / "a.yaml").write_text("run: {name: a}\nmedia: {n_frames: 4, max_audio_s: 3}\n")
    (tmp_path / "b.yaml").write_text("run: {name: b}\nmedia: {n_frames: 6}\n")
    output = avrt("stats", "a.yaml", "b.yaml", "media.jpeg_quality=80", "--dry-run").output
    settings = yaml.safe_load(output.split("\n\n", 1)[0])
    assert settings == {
        "run": {"name": "b"},
        "media": {"n_frames": 6, "max_audio_s": 3.0, "jpeg_quality": 80},
    }
    late = avrt("stats", "a.yaml", "run.name=c", "b.yaml")
    assert late.exit_code == 2
    assert "files stand before all overrides" in late.output


def test_an_override_without_a_value_is_refused(avrt):
    result = avrt("sft", "sft.epochs=1", "sft.learning_rate")
    assert result.exit_code == 2
    assert "'sft.learning_rate' is not of the form section.key=value" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["sft", "--fast"], ["eval", "--modality", "av,x"], ["eval", "--compare", "a"]],
)
def test_unknown_commands_and_options_exit_with_2(avrt, arguments):
    assert avrt(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["trace", "merge", "judge", "generate", "eval", "rubric"])
@pytest.mark.parametrize("shard", ["9/8", "0/2", "2", "a/b", "1/0"])
def test_a_shard_that_does_not_exist_is_refused(avrt, command, shard):
    result = avrt(command, "--shard", shard)
    assert result.exit_code == 2
    assert "write PART/PARTS, such as 1/4" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--force"], "--force goes with --compare alone"),
        (["--predictions", "p.jsonl", "--shard", "1/2"], "leave out --limit, --shard"),
        (["--compare", "a", "b", "--shard", "1/2"], "--compare evaluates nothing"),
    ],
)
def test_options_of_eval_that_do_not_go_together_are_refused(avrt, options, message):
    result = avrt("eval", *options)
    assert result.exit_code == 2
    assert message in result.output


def test_an_unknown_modality_names_the_known_ones(avrt):
    assert "'x' is not one of none, a, v, av" in avrt("eval", "--modality", "av,x").output


def test_an_unknown_model_names_the_known_ones(avrt):
    result = avrt("eval", "--dry-run", "--model", "best")
    assert result.exit_code == 2
    assert "'best' is not in eval.models; known: base, sft, sft_rl" in result.output


@pytest.mark.parametrize("other", [["--model", "base"], ["--modality", "av"], ["--dry-run"]])
def test_a_comparison_takes_no_option_that_it_would_ignore(avrt, other):
    result = avrt("eval", "--compare", "base", "sft", *other)
    assert result.exit_code == 2
    assert "--compare evaluates nothing" in result.output


def test_a_missing_dataset_is_named_with_the_setting(avrt, tmp_path):
    result = avrt("prepare", "data.root=nowhere")
    assert result.exit_code == 2
    assert "nowhere: no such folder; set data.root" in result.output
    assert files_in(tmp_path) == {}


def test_a_folder_without_media_is_named_with_the_setting(avrt, tmp_path):
    write_dataset(tmp_path)
    (tmp_path / "data" / "videos").rename(tmp_path / "elsewhere")
    result = avrt("prepare", *overrides(tmp_path))
    assert result.exit_code == 2
    assert "none of the 4 media files is here" in result.output
    assert "data.root" in result.output
    assert not (tmp_path / "runs").exists()


def test_a_malformed_annotation_is_named_by_file_and_row(avrt, tmp_path):
    write_dataset(tmp_path)
    path = tmp_path / "data" / "train_qa.json"
    rows = json.loads(path.read_text())
    rows[4]["answer"] = 7
    path.write_text(json.dumps(rows))
    result = avrt("prepare", *overrides(tmp_path))
    assert result.exit_code == 2
    assert "train_qa.json: row 5: answer is 7; expected" in result.output


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("trace", "prepare"),
        ("merge", "prepare"),
        ("build", "prepare"),
        ("stats", "generate"),
        ("report", "prepare"),
        ("export", "generate"),
    ],
)
def test_a_stage_before_its_time_says_what_to_run_first(avrt, command, first, tmp_path):
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    options = ["--to", "trl"] if command == "export" else []
    result = avrt(command, *overrides(tmp_path), *options)
    assert result.exit_code == 2
    assert f"run `avrt {first}`" in result.output


@pytest.mark.parametrize(
    ("package", "command"), [("jinja2", "report"), ("torch", "sft"), ("trl", "grpo")]
)
def test_a_missing_extra_is_answered_with_the_install_command(
    run_python, tmp_path, package, command
):
    (tmp_path / "runs" / "run").mkdir(parents=True)
    extra = extra_of(package)
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['avrt', {command!r}]; "
        "from avrt.cli import main; main()"
    )
    done = run_python(code)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"avrt: error: {package} is not installed and this command needs it; "
        f'run: pip install "avrt[{extra}]"'
    )


@pytest.mark.parametrize("command", ["sft", "grpo", "report"])
def test_without_any_extra_a_command_asks_for_its_own(run_python, tmp_path, command):
    (tmp_path / "runs" / "run").mkdir(parents=True)
    packages = [one.name for one in requirements() if one.extra not in ("", "dev")]
    packages += ["huggingface_hub", "tokenizers"]  # come with transformers
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({packages})); "
        f"sys.argv = ['avrt', {command!r}]; from avrt.cli import main; main()"
    )
    done = run_python(code)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    extra = "report" if command == "report" else "train"
    assert done.stderr.endswith(f'run: pip install "avrt[{extra}]"\n')


def test_a_defect_is_not_hidden(monkeypatch, tmp_path):
    monkeypatch.delattr("avrt.generate.stats", raising=False)
    monkeypatch.setitem(sys.modules, "avrt.generate.stats", None)
    result = CliRunner().invoke(cli, ["stats", f"run.dir={tmp_path}"])
    assert isinstance(result.exception, ModuleNotFoundError), "no extra holds this module"


# Failures: exit code 1


def test_a_run_folder_that_is_a_file_is_named(avrt, tmp_path):
    write_dataset(tmp_path)
    (tmp_path / "runs").write_text("not a folder")
    result = avrt("prepare", *overrides(tmp_path))
    assert result.exit_code == 1
    assert f"avrt: error: {tmp_path / 'runs'}" in result.output


def test_a_full_disk_is_one_message_and_leaves_no_half_file(avrt, monkeypatch, tmp_path):
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_dataset(tmp_path)
    monkeypatch.setattr("os.fsync", refuse)
    result = avrt("prepare", *overrides(tmp_path))
    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


def test_an_interrupt_says_how_to_go_on(avrt, monkeypatch):
    def interrupt(*_: object) -> Config:
        raise KeyboardInterrupt

    monkeypatch.setattr("avrt.cli.stages.load_settings", interrupt)
    result = avrt("sft")
    assert result.exit_code == 130
    assert "the same command goes on or starts this stage again" in result.output


# Dry runs


@pytest.mark.parametrize("command", STAGES)
def test_a_dry_run_prints_settings_and_plan_and_writes_nothing(avrt, tmp_path, command):
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    before = files_in(tmp_path)
    result = avrt(command, *overrides(tmp_path), "run.name=dry", "--dry-run")
    assert result.exit_code == 0, result.output
    changed, rest, plan = result.output.split("\n\n", 2)
    assert changed.startswith("# Differs from the defaults:\n")
    assert yaml.safe_load(changed)["run"]["name"] == "dry"
    unchanged = yaml.safe_load(rest)
    assert unchanged["run"] == {"on": "local", "seed": 0, "report_to": [], "calls_from": None}
    own = {"generate": "build", "stats": "data"}.get(command, command)
    section = {"trace": "teachers", "merge": "merger", "judge": "judges"}.get(own, own)
    assert section in unchanged
    names = ("trace", "merge", "judge", "build") if command == "generate" else (command,)
    assert all(f"{name}: " in plan for name in names)
    assert files_in(tmp_path) == before


def test_a_dry_run_of_eval_shows_only_what_was_asked_for(avrt, tmp_path):
    write_dataset(tmp_path)
    write_script(tmp_path, {})
    engine = {"kind": "scripted", "script": str(tmp_path / "script.jsonl")}
    bench = {"format": "avqa", "root": str(tmp_path / "data"), "split": "train"}
    given = (
        f"eval.models={json.dumps({'one': {'model': 'scripted', 'engine': engine}, 'two': 'sft'})}",
        f"eval.benchmarks={json.dumps({'bench': bench})}",
    )
    result = avrt("eval", *given, "--dry-run", "--model", "one", "--modality", "v,av")
    settings = yaml.safe_load(result.output.split("\n\n", 1)[0])
    assert settings["eval"]["models"].keys() == {"one"}
    assert settings["eval"]["modalities"] == ["v", "av"]


# The whole data part, through the command line


def test_generation_accounts_for_every_sample_whatever_its_media(avrt, tmp_path):
    write_dataset(tmp_path)
    videos = tmp_path / "data" / "videos"
    whole = (videos / "clip1_000001.mp4").read_bytes()
    (videos / "clip1_000001.mp4").write_bytes(whole[: len(whole) // 2])
    encode_clip(videos / "clip2_000001.mp4", n_frames=0, sound=tone(0.5))
    write_script(tmp_path, replies({("AUDIO", 3): f"Answer: ({right(4)})"}))
    prepared = avrt("prepare", *overrides(tmp_path))
    generated = avrt("generate", *overrides(tmp_path))
    assert (prepared.exit_code, generated.exit_code) == (0, 0)
    for text in ("3 truncated, such as videos/clip1", "2 no_video", "1 no_audio", "2 ok"):
        assert text in prepared.output
    for text in (
        "8 samples -> 1 train, 0 validation, 7 rejected",
        "3 prepare: failed/truncated",
        "2 prepare: failed/no_video",
        "1 prepare: failed/no_audio",
        "1 view: dropped/one_teacher_wrong",
    ):
        assert text in generated.output


def test_faults_that_are_not_borne_end_with_1_after_everything_is_written(avrt, tmp_path):
    write_dataset(tmp_path)
    strict = avrt("prepare", *overrides(tmp_path), "--strict")
    assert strict.exit_code == 1
    assert "7 ok" in strict.output
    assert strict.output.endswith("with faults: 1 no_audio; --strict allows no fault\n")
    assert (tmp_path / "runs" / "test" / "samples.parquet").is_file()
    assert avrt("prepare", *overrides(tmp_path)).exit_code == 0
    again = avrt("prepare", *overrides(tmp_path), "--strict")
    assert (again.exit_code, "nothing to do" in again.output) == (1, True)
    failing = (*overrides(tmp_path), "run.name=failing", "prepare.no_audio=fail")
    assert avrt("prepare", *failing, "--strict", "--dry-run").exit_code == 0
    refused = avrt("prepare", *failing)
    assert refused.exit_code == 1
    assert refused.output.endswith("1 no_audio; their policy in the section `prepare` is fail\n")


def test_shards_of_a_stage_are_finished_by_the_command_without_a_shard(avrt, tmp_path):
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    avrt("prepare", *overrides(tmp_path))
    for shard in ("1/2", "2/2"):
        part = avrt("generate", *overrides(tmp_path), "--shard", shard)
        assert part.exit_code == 0
        assert f"stopped by its shard, {shard} of" in part.output
        assert "merge" not in part.output, "the next stage needs all parts"
    whole = avrt("generate", *overrides(tmp_path), "--budget-calls", 0)
    assert "trace: stopped by" not in whole.output, "the shards made all calls of the stage"
    assert "merge: stopped by the budget of 0 calls" in whole.output
    finished = avrt("generate", *overrides(tmp_path))
    assert "judge: skipped" in finished.output
    assert "build: " in finished.output


def test_the_only_shard_is_the_whole_work(avrt, tmp_path):
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    avrt("prepare", *overrides(tmp_path))
    whole = avrt("generate", *overrides(tmp_path), "--shard", "1/1")
    assert "build: " in whole.output
    assert [path.name for path in (tmp_path / "runs" / "test").glob("ledger*.sqlite")] == [
        "ledger.sqlite"
    ]


def test_repeating_a_command_does_nothing_and_other_settings_are_refused(avrt, tmp_path):
    write_dataset(tmp_path)
    write_script(tmp_path, replies())
    assert avrt("prepare", *overrides(tmp_path)).exit_code == 0
    assert avrt("generate", *overrides(tmp_path)).exit_code == 0
    before = files_in(tmp_path / "runs" / "test" / "dataset")
    assert avrt("generate", *overrides(tmp_path)).output.count("nothing to do") == 3
    assert files_in(tmp_path / "runs" / "test" / "dataset") == before
    refused = avrt("trace", *overrides(tmp_path), "teachers.vision.temperature=0.5")
    assert refused.exit_code == 2
    assert "other settings (vision); choose another run.name" in refused.output
    again = avrt("build", *overrides(tmp_path), "build.validation_fraction=0")
    assert "0 validation" in again.output, "what costs no call is done again"
