"""A page of several runs is published as it is written."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.report.script import read_script

pytest.importorskip("huggingface_hub")


def test_a_page_of_two_runs_is_published_with_the_numbers_of_both(full_run, tmp_path):
    first, other = full_run.run.path, tmp_path / "other"
    shutil.copytree(first, other, ignore=shutil.ignore_patterns("report", "publish"))
    out = tmp_path / "space"
    done = CliRunner().invoke(
        cli, ["publish", "report", str(first), str(other), "--output", str(out)]
    )
    assert done.exit_code == 0, done.output
    data = read_script(out / "data" / "report.js")[1]
    assert {row[0]["text"] if isinstance(row[0], dict) else row[0]
            for row in data["tables"]["runs"]["rows"]} == {"small", "other"}  # fmt: skip
    assert "runs" in [section["view"] for section in data["sections"]]
    index = read_script(out / "data" / "index.js")[1]
    assert index["n"] == 24  # the items of the first run
    assert "numbers of other runs: `other`" in (out / "README.md").read_text()
    assert json.loads((out / "avrt.json").read_text())["run"] == "small"


def test_a_second_run_that_is_none_is_refused_before_anything_is_written(full_run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "space"
    done = CliRunner().invoke(
        cli, ["publish", "report", str(full_run.run.path), str(empty), "--output", str(out)]
    )
    assert done.exit_code == 2
    assert f"{empty}: no such run" in done.output
    assert not out.exists()
