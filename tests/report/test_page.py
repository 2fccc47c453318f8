"""The folder of the page: its shell, its tables, what it says is missing, and that it is whole."""

from __future__ import annotations

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from avrt.cli.packages import extra_of
from avrt.config import Config, RunConfig
from avrt.errors import ConfigError
from avrt.report import plan, run
from reading_pages import files_of, moved, read_data


@pytest.fixture(scope="module")
def report(full_run, tmp_path_factory) -> Path:
    config = moved(full_run, tmp_path_factory.mktemp("page"))
    run(config)
    return config.run.path / "report"


def report_of(config: Config) -> dict:
    run(config)
    return read_data(config.run.path / "report" / "data" / "report.js")


class Outline(HTMLParser):
    """Tags closed in another order, scripts and handlers inside the page, and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        self.problems += [f"handler {name}" for name in values if name.startswith("on")]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes another element")

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style") and data.strip():
            self.problems.append(f"{self.open[-1]} inside the page")


def test_a_run_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such run"):
        run(Config(run=RunConfig(dir=tmp_path, name="nope")))


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_one_that_the_command_line_can_name(a_run, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as error:
        run(a_run)
    assert extra_of(error.value.name or "") == "report"


def test_an_empty_run_says_what_to_do(tmp_path):
    (tmp_path / "new").mkdir()
    said = " ".join(report_of(Config(run=RunConfig(dir=tmp_path, name="new")))["missing"])
    for command in ("prepare", "trace", "merge", "build", "sft", "grpo", "eval"):
        assert f"`avrt {command}` make" in said


def test_the_shell_is_well_formed_and_holds_no_script_of_its_own(report):
    outline = Outline()
    outline.feed((report / "index.html").read_text(encoding="utf-8"))
    assert outline.problems == []
    assert outline.open == []


def test_everything_that_the_shell_names_lies_in_the_folder(report):
    outline = Outline()
    outline.feed((report / "index.html").read_text(encoding="utf-8"))
    assert {"assets/app.js", "assets/app.css", "data/report.js"} <= set(outline.addresses)
    assert all((report / address).is_file() for address in outline.addresses)


def test_the_shell_allows_scripts_of_the_folder_alone(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' file:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"


def test_no_file_holds_a_path_of_the_machine(full_run, report):
    for name, content in files_of(report).items():
        if name.startswith(("data/", "tables/", "index.html")):
            for folder in (full_run.data.root, full_run.run.dir, report.parents[2]):
                assert str(folder).encode() not in content, name


def test_the_funnel_accounts_for_every_question(report):
    table = (report / "tables" / "funnel.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")]
    found = [(a.strip(), b.strip(), int(c.strip(" *"))) for a, b, c, *_ in rows[2:]]
    assert found[0] == ("Read", "", 12)
    assert ("Prepare: the media", "failed: not media", 1) in found
    assert sum(n for _, _, n in found[1:]) == 12
    assert found[-1][:2] == ("Dataset", "kept")


def test_the_headline_has_n_intervals_and_paired_p(report):
    table = (report / "tables" / "bench-results.md").read_text(encoding="utf-8")
    assert "n = 12" in table
    assert "to base, p = " in table
    assert "1 without media" in table
    assert "1 failed" in table
    assert "Guessing would be right on 25.0 %" in table


def test_the_plan_writes_nothing(tmp_path):
    assert "index.html" in plan(Config(run=RunConfig(dir=tmp_path, name="new")))
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_elsewhere_gives_equal_bytes_and_leaves_nothing_stale(
    full_run, report, tmp_path
):
    shutil.copytree(report.parent, tmp_path / full_run.run.name)
    config = full_run.model_copy(update={"run": RunConfig(dir=tmp_path, name=full_run.run.name)})
    own = config.run.path / "report"
    stale = [own / "media" / "old.flac", own / "data" / "items-9999.js", own / "assets" / "x.js"]
    for path in stale:
        path.write_bytes(b"")
    (own / "media" / "0123456789abcdef.jpg").write_bytes(b"")
    run(config)
    assert files_of(own) == files_of(report)
    assert {name.partition("/")[0] for name in files_of(own)} == {
        "assets", "data", "figures", "index.html", "media", "tables"
    }  # fmt: skip


def test_an_unfinished_run_with_long_settings_says_what_is_left(a_run):
    path = a_run.run.path
    shutil.rmtree(path / "grpo")
    log = path / "eval" / "bench" / "sft_rl" / "av.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:5]))
    names = "\n".join(f"    own{n}: vision_first" for n in range(3_000))
    (path / "config.yaml").write_text(f"build:\n  views:\n{names}\n")
    data = report_of(a_run)
    assert "No GRPO run yet. `avrt grpo` makes it." in data["missing"]
    assert not any("No SFT run" in each for each in data["missing"])
    assert "own2999: vision_first" in data["settings"]
    table = (path / "report" / "tables" / "bench-results.md").read_text(encoding="utf-8")
    assert "7 of 12 not evaluated yet" in table
