"""What is inside the package is reached without a checkout."""

from __future__ import annotations

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
