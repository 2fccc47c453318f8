"""What is inside the package is reached without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Packaged configurations


def test_packaged_configurations_are_listed_shown_and_copied(avrt, tmp_path):
    names = {path.stem for path in (Path(__file__).parents[2] / "configs").glob("*.yaml")}
    lines = avrt("config", "list").output.splitlines()
    assert {line.split()[0] for line in lines} == names
    assert all(len(line) < 100 and line.endswith(".") for line in lines)
    for name in names:
        shown = avrt("config", "show", name).output
        assert avrt("config", "copy", name, "configs").exit_code == 0
        assert (tmp_path / "configs" / f"{name}.yaml").read_text(encoding="utf-8") == shown
    assert avrt("config", "copy", "demo").output.startswith("wrote demo.yaml; use it: ")
    assert avrt("config", "copy", "demo", "new/mine.yaml").exit_code == 0
    assert avrt("stats", "new/mine.yaml", "--dry-run").exit_code == 0


def test_the_copy_of_a_file_of_differences_is_named_with_the_file_before_it(avrt):
    result = avrt("config", "copy", "paper-v2", "configs")
    assert "use it: avrt generate configs/paper.yaml configs/paper-v2.yaml --dry-run" in (
        result.output
    )


def test_a_copy_overwrites_nothing(avrt, tmp_path):
    (tmp_path / "paper.yaml").write_text("run: {name: mine}\n")
    refused = avrt("config", "copy", "paper")
    assert (refused.exit_code, refused.output) == (
        2,
        "avrt: error: paper.yaml: already exists; name another file\n",
    )
    assert (tmp_path / "paper.yaml").read_text() == "run: {name: mine}\n"


@pytest.mark.parametrize("command", ["show", "copy"])
def test_an_unknown_configuration_is_answered_with_the_known_ones(avrt, command):
    result = avrt("config", command, "papr")
    assert result.exit_code == 2
    assert "papr: no such configuration in the package; known: " in result.output
    assert "paper-eval" in result.output


@pytest.mark.parametrize("name", ["configs/paper.yaml", "paper.yaml", "paper", "x/demo.yml"])
def test_a_packaged_configuration_that_was_not_copied_yet_is_named(avrt, name):
    result = avrt("sft", name, "--dry-run")
    assert result.exit_code == 2
    stem = Path(name).stem
    assert f"`avrt config copy {stem} {Path(name).with_suffix('.yaml')}` writes" in result.output


# Models inside the package


@pytest.mark.parametrize("name", ["world:student"])
def test_a_packaged_model_is_a_checkpoint(avrt, name):
    assert "127 tensors" in avrt("checkpoint", "describe", name).output
    assert avrt("checkpoint", "export-vllm", name, "served").exit_code == 0
    assert "a whole Qwen2.5-Omni" in avrt("checkpoint", "describe", "served").output
    assert avrt("checkpoint", "merge", name, "served", "merged").exit_code == 0
    assert avrt("checkpoint", "extract", "served", "thinker").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [["describe", "world:x"], ["export-vllm", "world:x", "o"], ["extract", "world:x", "o"]],
)
def test_a_packaged_model_that_is_not_there_is_answered_with_the_known_ones(avrt, arguments):
    result = avrt("checkpoint", *arguments)
    assert result.exit_code == 2
    assert "world:x: no such model in the package; known: audio_teacher, " in result.output


@pytest.mark.parametrize("command", [["export-vllm", "world:student", "out"]])
def test_a_command_on_checkpoints_works_in_a_process_of_its_own(run_python, command):
    """Nothing that it needs was imported by another command before."""
    done = run_python(f"from avrt.cli import cli; cli({['checkpoint', *command]})")
    assert done.returncode == 0, done.stderr
    assert "serve it with" in done.stdout


# Without a checkout


@pytest.fixture
def installed(tmp_path):
    """Run commands of a copy of the package that lies as in an installation."""
    package, checkout = tmp_path / "site" / "avrt", Path(__file__).parents[2]
    package.mkdir(parents=True)
    for path in (checkout / "src" / "avrt").iterdir():
        (package / path.name).symlink_to(path)
    (package / "configs").symlink_to(checkout / "configs")
    (tmp_path / "here").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(package.parent)}
        command = [sys.executable, "-m", "avrt", *arguments]
        folder = tmp_path / "here"
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, env=environment
        )

    return run


def test_an_installed_copy_has_its_configurations_and_models(installed):
    assert installed("config", "list").stdout.startswith("demo ")
    assert installed("config", "copy", "paper", "configs").returncode == 0
    assert installed("sft", "configs/paper.yaml", "--dry-run").returncode == 0
    assert "127 tensors" in installed("checkpoint", "describe", "world:student").stdout
    refused = installed("demo", "sft.epoch=3")
    assert refused.stderr.endswith("unknown key 'sft.epoch'; did you mean 'sft.epochs'?\n")


def test_no_message_asks_for_a_checkout():
    """Nothing that is printed names make, an editable installation or the constraints."""
    root = Path(__file__).parents[2] / "src" / "avrt"
    wrong = re.compile(r"make (setup|docs|test)|pip install .*-e |constraints\.txt|-c constraints")
    found = [path for path in root.rglob("*.py") if wrong.search(path.read_text("utf-8"))]
    assert found == []
