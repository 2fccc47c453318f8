"""The commands around the dataset: what they print, and the right exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from avrt.cli import cli
from avrt.config import Config
from avrt.generate import build, merge, trace
from scripted_run import MakeConfig, overrides


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture
def config(make_config: MakeConfig) -> Config:
    config = make_config()
    for stage in (trace, merge, build):
        stage.run(config)
    return config


@pytest.mark.parametrize("command", ["export", "import", "replay"])
def test_every_command_has_help(command: str) -> None:
    assert call(command, "--help").output.startswith(f"Usage: cli {command}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["export"],
        ["export", "--to", "csv"],
        ["export", "--to", "hf", "--grpo"],
        ["replay"],
        ["replay", "--row", "x"],
        ["import", "avqa", "."],
        ["import", "avrt-20k", "nowhere"],
    ],
)
def test_wrong_use_exits_with_2_and_without_a_traceback(
    arguments: list[str], tmp_path: Path
) -> None:
    result = call(*arguments, f"run.dir={tmp_path}")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_the_dataset_can_be_exported_described_and_replayed(config: Config) -> None:
    root = config.data.root.parent
    exported = call("export", *overrides(root), "--to", "ms-swift", "--output", root / "out")
    assert exported.exit_code == 0
    assert exported.output.startswith("export: 7 rows -> ")
    assert (root / "out" / "train.jsonl").is_file()
    again = call("export", *overrides(root), "--to", "ms-swift", "--output", root / "out")
    assert again.exit_code == 2
    assert "already exists" in again.output
    assert "Table 7, question types" in call("stats", *overrides(root)).output
    shown = call("replay", *overrides(root), "--row", "avqa-train-2", "--send")
    assert shown.output.count("equal to the stored one") == 3
    unknown = call("replay", *overrides(root), "--row", "avqa-train-22")
    assert unknown.exit_code == 2
    assert "did you mean avqa-train-2" in unknown.output
