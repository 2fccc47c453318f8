"""What is printed is safe on every terminal; the shell completes; messages have a level."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from scripted_run import overrides, replies, write_dataset, write_script

# Terminals


HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b1m\u202etxt\r\u2028"


def hostile_run(tmp_path: Path, text: str) -> list[str]:
    """A run whose questions, answers and replies hold a text."""
    write_dataset(tmp_path)
    path = tmp_path / "data" / "train_qa.json"
    rows = json.loads(path.read_text())
    for row in rows:
        row["question_text"] = f"{row['question_text']} {text}"
    path.write_text(json.dumps(rows))
    write_script(tmp_path, {key: f"{reply} {text}" for key, reply in replies().items()})
    return [str(override) for override in overrides(tmp_path)]


def steers(text: str) -> list[str]:
    return [c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl")]


def test_no_text_from_outside_steers_the_terminal(avrt, tmp_path):
    settings = hostile_run(tmp_path, HOSTILE)
    sets = f"{{x: {{format: avqa, root: {tmp_path / 'data'}}}}}"
    texts = tmp_path / f"{HOSTILE}.jsonl"
    texts.write_text(json.dumps({"id": "avqa-train-1", "text": "A"}))
    printed = [avrt("prepare", *settings), avrt("generate", *settings)]
    with sqlite3.connect(tmp_path / "runs" / "test" / "ledger.sqlite") as ledger:
        ((key,), *_) = ledger.execute("SELECT key FROM calls")
    printed += [
        avrt("ledger", "show", key, *settings),
        avrt("replay", *settings, "--row", key),
        avrt("ledger", "stats", *settings),
        avrt("stats", *settings),
        avrt("sft", f"run.name={HOSTILE}"),
        avrt("sft", f"sft.{HOSTILE}=3"),
        avrt("sft", f"{HOSTILE}.yaml"),
        avrt("config", "show", HOSTILE),
        avrt("export", *settings, "--to", "trl", "--output", HOSTILE),
        avrt("checkpoint", "describe", HOSTILE),
        avrt("list", "teachers", HOSTILE),
        avrt("list", "benchmarks", HOSTILE),
        avrt("replay", *settings, "--row", HOSTILE),
        avrt("ledger", "retry", *settings, "--class", HOSTILE),
        avrt("tables", f"run.dir={tmp_path}/{HOSTILE}"),
        avrt(
            "eval",
            "--predictions",
            str(texts),
            "--model",
            "m",
            "--dry-run",
            f"eval.benchmarks={sets}",
        ),
    ]
    assert any("\\x1b[31mred" in result.output for result in printed), "shown, but escaped"
    for result in printed:
        assert steers(result.output) == [], result.output


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252:strict"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_encoding_of_a_terminal_is_too_narrow(tmp_path, name):
    folder = "Läufe-声"
    commands = [
        (["list", "teachers"], 0),
        (["stats", f"run.dir={folder}", "student.prompt=声"], 2),
        (["build", f"run.dir={folder}", 'student.prompt="\\u58f0"', "--dry-run"], 0),
    ]
    environment = {**os.environ, **ENCODINGS[name]}
    for arguments, exit_code in commands:
        done = subprocess.run(
            [sys.executable, "-m", "avrt", *arguments], capture_output=True, check=False,
            cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == exit_code, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["C", "POSIX"])
def test_names_of_files_are_utf8_whatever_the_locale_says(tmp_path, name):
    settings = hostile_run(tmp_path, "dog")
    for clip in list((tmp_path / "data" / "videos").iterdir()):
        clip.rename(clip.with_stem(f"café-声-{clip.stem}"))
    annotations = tmp_path / "data" / "train_qa.json"
    rows = json.loads(annotations.read_text())
    named = [row | {"video_name": f"café-声-{row['video_name']}"} for row in rows]
    annotations.write_text(json.dumps(named))
    done = subprocess.run(
        [sys.executable, "-m", "avrt", "prepare", *settings], capture_output=True, check=True,
        env={**os.environ, **ENCODINGS[name]},
    )  # fmt: skip
    assert b"missing" not in done.stdout
    assert b"undecodable" not in done.stdout


@pytest.mark.parametrize(
    "command", ["list teachers", "list baselines", "doctor", "--help", "config show paper",
                "sft --dry-run", "stats"]
)  # fmt: skip
def test_a_reader_that_goes_away_is_no_traceback(tmp_path, command):
    line = f"{shlex.quote(sys.executable)} -m avrt {command} | head -c 1 >/dev/null"
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path, check=True)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_json_is_ascii_and_holds_the_same_text(avrt, tmp_path):
    settings = hostile_run(tmp_path, HOSTILE)
    avrt("prepare", *settings)
    avrt("generate", *settings)
    with sqlite3.connect(tmp_path / "runs" / "test" / "ledger.sqlite") as ledger:
        ((key,), *_) = ledger.execute("SELECT key FROM calls")
    result = avrt("ledger", "show", key, *settings, "--json")
    assert result.output.isascii()
    assert HOSTILE in json.loads(result.output)["text"]


# The shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete(avrt, shell):
    script = avrt("completion", shell).output
    assert "_AVRT_COMPLETE" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("avrt tr", "plain,trace"),
        ("avrt sft --dr", "plain,--dry-run"),
        ("avrt sft grpo.group", "plain,grpo.group_size="),
        ("avrt sft gr", "plain,grpo."),
        ("avrt sft teachers.vision.eng", "plain,teachers.vision.engine."),
        ("avrt sft configs/pa", "file,configs/pa"),
        ("avrt checkpoint describe mo", "dir,mo"),
        ("avrt config ", "plain,copy"),
    ],
)
def test_commands_options_settings_and_files_are_completed(tmp_path, words, expected):
    environment = {
        **os.environ,
        "_AVRT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from avrt.cli import main; main()"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert expected in done.stdout.splitlines(), done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_offers_settings_and_the_files_beside_them(avrt, tmp_path):
    (tmp_path / "avrt").write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from avrt.cli import main; main()' \"$@\"\n"
    )
    (tmp_path / "avrt").chmod(0o755)
    (tmp_path / "demo.yaml").touch()
    (tmp_path / "data").mkdir()
    script = avrt("completion", "bash").output
    asked = (
        "\ncompopt() { echo files; }\nfor word in d data.ro configs/; do COMPREPLY=()\n"
        'COMP_WORDS=(avrt sft $word) COMP_CWORD=2; _avrt_completion avrt; echo "${COMPREPLY[@]}"\n'
        "done\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script + asked],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.stdout.split("\n") == ["data. data/ demo.yaml", "data.root=", "files", "", ""]


# The level of messages


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
@pytest.mark.parametrize("by_variable", [True, False])
def test_the_log_level_reaches_the_libraries(tmp_path, level, by_variable):
    arguments = ["tables"] if by_variable else ["--log-level", level, "tables"]
    code = (
        "import os, logging\n"
        "from avrt.cli import cli\n"
        "cli.commands['tables'].callback = lambda **_: print(os.environ['TRANSFORMERS_VERBOSITY'],"
        " os.environ['VLLM_LOGGING_LEVEL'], logging.getLevelName(logging.getLogger().level))\n"
        f"cli({arguments}, standalone_mode=False)"
    )
    environment = {**os.environ, **({"AVRT_LOG": level} if by_variable else {})}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"{level} {level.upper()} {level.upper()}"


def test_without_a_level_the_libraries_keep_their_own_setting(run_python, monkeypatch):
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    code = (
        "import os\n"
        "from avrt.cli import cli\n"
        "cli(['list', 'teachers'], standalone_mode=False)\n"
        "print()\n"
        "print(os.environ['TRANSFORMERS_VERBOSITY'], os.environ['VLLM_LOGGING_LEVEL'])"
    )
    assert run_python(code).stdout.splitlines()[-1] == "warning INFO"


def test_libraries_draw_no_bar_into_a_file(run_python, monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    code = (
        "from avrt.cli import cli\n"
        "cli(['list', 'views'], standalone_mode=False)\n"
        "from transformers.utils import logging\n"
        "print()\n"
        "print(logging.is_progress_bar_enabled())"
    )
    assert run_python(code).stdout.splitlines()[-1] == "False"


def test_an_unknown_level_names_the_known_ones(avrt, monkeypatch):
    assert "'loud' is not one of 'debug', 'info'" in avrt("--log-level", "loud", "sft").output
    monkeypatch.setenv("AVRT_LOG", "loud")
    assert avrt("list", "teachers").exit_code == 2
