"""What docs/generation.md says is what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from avrt.cli import cli
from avrt.config import load_config
from avrt.generate.findings import REPLY_SCHEMA
from avrt.generate.gates import GATES
from avrt.generate.views import VIEWS, check_views
from avrt.prompts import load_prompt

TEXT = (Path(__file__).parents[2] / "docs" / "generation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if "world make" not in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_page_is_accepted(command, repository, monkeypatch):
    monkeypatch.chdir(repository)
    name, *arguments = shlex.split(command)[1:]
    if name != "list" and "--dry-run" not in arguments:
        arguments.append("--dry-run")
    result = CliRunner().invoke(cli, [name, *arguments], catch_exceptions=False)
    without_data = name == "prepare" and "set data.root" in result.output
    assert result.exit_code == 0 or without_data, result.output


def test_the_configuration_in_the_page_is_valid(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(TEXT.split("```yaml\n")[1].split("```")[0])
    config = load_config(path)
    assert list(config.teachers) == ["vision", "audio", "second", "blind"]
    assert load_prompt(config.merger.prompt).uses("analyses")
    check_views(config.build, config.teachers)


def test_the_schema_in_the_page_is_that_of_a_judges_reply():
    block = next(part for part in TEXT.split("```yaml\n") if part.startswith("extra_body"))
    body = yaml.safe_load(block.split("```")[0])["extra_body"]
    assert body == {"structured_outputs": {"json": REPLY_SCHEMA}}


def test_the_tables_list_every_view_and_every_gate():
    # Tables of two columns; that of the gates' precision and recall has three.
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|$", TEXT, re.MULTILINE))
    assert {name: rows[name].strip("`") for name in VIEWS} == VIEWS
    assert {name: rows[name] for name in GATES} == {
        name: gate.about for name, gate in GATES.items()
    }
