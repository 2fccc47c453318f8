"""Facts about the repository, and that the tools of `make check` can fail."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TOOLS = ("check_imports", "check_sizes", "check_texts", "make_config_doc")
NOT_IN_DEV = {"bitsandbytes", "deepspeed"}
"""Extras that the tests do without; what they bring is only known where they are installed."""


def load_tool(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    tool = Path(__file__).parents[1] / "tools" / f"{name}.py"
    command = [sys.executable, str(tool), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


# Sizes


def write_module(root: Path, name: str, n_body_lines: int, n_blank: int = 0) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("def main():\n" + "    pass\n" * n_body_lines + "\n" * n_blank)


@pytest.mark.parametrize(
    ("name", "n_body_lines", "n_blank", "complaint"),
    [
        ("src/avrt/a.py", 99, 0, None),
        ("src/avrt/a.py", 100, 0, "a.py:1: main has 101 lines; at most 100"),
        ("tests/a.py", 1, 498, None),
        ("tests/a.py", 1, 499, "tests/a.py: 501 lines; at most 500"),
        ("src/avrt/train/sft.py", 200, 0, None),
        ("elsewhere/a.py", 200, 0, None),
    ],
)
def test_long_files_and_functions_are_found(tmp_path, name, n_body_lines, n_blank, complaint):
    write_module(tmp_path, name, n_body_lines, n_blank)
    found = list(load_tool("check_sizes").find_oversized(tmp_path))
    assert [bool(complaint)] * len(found) == [True] * bool(complaint)
    assert complaint is None or complaint in found[0]
    assert run_tool("check_sizes", tmp_path).returncode == bool(complaint)


def test_too_many_functions_with_the_whole_configuration_are_found(tmp_path):
    package = tmp_path / "src" / "avrt" / "stage"
    package.mkdir(parents=True)
    takes = 'def f{}(x: int, *, config: "Config | None") -> None: ...\n'
    text = "def g(config: GrpoConfig) -> None: ...\n" + "".join(map(takes.format, range(61)))
    (package / "a.py").write_text(text)
    assert run_tool("check_sizes", tmp_path).returncode == 0
    (package / "b.py").write_text("async def h(config: Config) -> None: ...\n")
    done = run_tool("check_sizes", tmp_path)
    assert done.returncode == 1
    assert "62 functions take the whole Config; at most 61" in done.stdout
    assert "src/avrt/stage/a.py 61, src/avrt/stage/b.py 1" in done.stdout


def test_too_many_modules_outside_of_folders_are_found(tmp_path):
    for name in ("__init__", "__main__", *"abcdefgh"):
        write_module(tmp_path, f"src/avrt/{name}.py", 1)
    write_module(tmp_path, "src/avrt/inside/i.py", 1)
    assert run_tool("check_sizes", tmp_path).returncode == 0
    write_module(tmp_path, "src/avrt/i.py", 1)
    done = run_tool("check_sizes", tmp_path)
    assert done.returncode == 1
    assert "9 modules lie outside of folders; at most 8" in done.stdout
    assert "h.py, i.py" in done.stdout


# Imports


def test_each_circle_of_imports_is_found_once():
    imports = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    circles = list(load_tool("check_imports").find_circles(imports))
    assert sorted(sorted({*circle}) for circle in circles) == [["a", "b", "c"], ["d", "e"]]
    for circle in circles:
        assert circle[0] == circle[-1]
        assert all(end in imports[start] for start, end in itertools.pairwise(circle))
    assert list(load_tool("check_imports").find_circles({"a": {"b"}, "b": set()})) == []


# Texts


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# Changelog\n\n## [Unreleased]\n\n- One thing.\n", None),
        ("# Changelog\n\n## [1.0]\n\n- One thing.\n", "no section"),
        ("# Changelog\n\n## [Unreleased]\n\n### Added\n\n## [1.0]\n\n- One thing.\n", "is empty"),
    ],
)
def test_a_changelog_without_news_is_found(text, complaint):
    found = list(load_tool("check_texts").check_changelog(text))
    assert len(found) == bool(complaint)
    assert complaint is None or complaint in found[0]


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("home/someone/x", True),
        ("root/.cache", True),
        ("Users/someone", True),
        ("work/project", True),
        ("tmp/x", False),
        ("usr/bin/env", False),
    ],
)
def test_paths_of_one_machine_are_found(place, found):
    check = load_tool("check_texts").check_machine_paths
    messages = list(check("notes.md", f"first line\nsee `/{place}` there"))
    assert len(messages) == found
    assert not found or messages[0].startswith("notes.md:2: ")
    assert not list(check("notes.md", f"https://host/{place} and docs/{place}"))


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").touch()
    text = "[a](there.md#part) [b](https://host/x) [c](#here) [d](../docs/there.md) [e](gone.md)"
    found = list(load_tool("check_texts").check_links(tmp_path, "docs/page.md", text))
    assert found == ["docs/page.md: link to 'gone.md' leads nowhere"]


def test_the_text_check_reads_what_git_would_track(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n- News.\n")
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    (tmp_path / "ignored.txt").write_text("/" + "home/someone")
    assert run_tool("check_texts", tmp_path).returncode == 0
    (tmp_path / "new.txt").write_text("/" + "home/someone")
    done = run_tool("check_texts", tmp_path)
    assert done.returncode == 1
    assert "new.txt:1: " in done.stdout


# The page of the configuration


def test_a_page_that_is_not_current_is_found(tmp_path):
    stale = run_tool("make_config_doc", tmp_path, "--check")
    assert stale.returncode == 1
    assert "run `make docs`" in stale.stderr
    assert run_tool("make_config_doc", tmp_path).returncode == 0
    assert run_tool("make_config_doc", tmp_path, "--check").returncode == 0


def test_every_setting_is_explained(repository):
    rows = re.findall(r"^\| `(.*?)` \|.*\| (.*?) \|$", load_tool("make_config_doc").render(), re.M)
    assert len(rows) > 80
    assert [key for key, meaning in rows if not meaning] == []


# The repository itself


@pytest.fixture
def checkout(repository) -> Path:
    """The repository, if git knows it."""
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    return repository


def tracked_files(root: Path) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [root / name for name in listed.split("\0") if name and (root / name).is_file()]


@pytest.mark.parametrize("tool", TOOLS)
def test_the_repository_passes_its_own_checks(checkout, tool):
    done = run_tool(tool, checkout, *(["--check"] if tool == "make_config_doc" else []))
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_holds_the_path_of_this_checkout(checkout):
    place = str(checkout).encode()
    holders = [path.name for path in tracked_files(checkout) if place in path.read_bytes()]
    assert holders == []


def test_every_public_module_says_what_is_public(repository):
    silent = []
    for path in sorted((repository / "src" / "avrt").rglob("*.py")):
        nodes = ast.parse(path.read_text(encoding="utf-8")).body
        defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes)
        names = [target.id for node in nodes if isinstance(node, ast.Assign)
                 for target in node.targets if isinstance(target, ast.Name)]  # fmt: skip
        if defines and "__all__" not in names:
            silent.append(path.name)
    assert silent == []


def test_the_licence_is_apache_2(repository):
    text = (repository / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"


def test_ten_core_dependencies_and_no_more(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    names = [Requirement(line).name for line in project["dependencies"]]
    assert len(names) <= 10


def read_pins(path: Path) -> dict[str, Version]:
    """The versions in a file of constraints, all of which are exact and name no build."""
    lines = path.read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins)
    return {canonicalize_name(pin.name): Version(str(pin.specifier)[2:]) for pin in pins}


def direct_requirements(repository: Path) -> list[Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def test_the_lowest_versions_are_those_that_are_tested(repository):
    floors: dict[str, Version] = {}
    for requirement in direct_requirements(repository):
        (floor,) = (spec for spec in requirement.specifier if spec.operator == ">=")
        name = canonicalize_name(requirement.name)
        assert floors.setdefault(name, Version(floor.version)) == Version(floor.version), name
    assert floors == read_pins(repository / "constraints-lowest.txt")
    newest = read_pins(repository / "constraints.txt")
    assert [name for name, floor in floors.items() if floor > newest[name]] == []


def test_constraints_pin_everything_that_would_be_installed(repository):
    pinned = read_pins(repository / "constraints.txt").keys()
    needed: set[str] = set()
    waiting = direct_requirements(repository)
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        needed.add(name)
        if name in NOT_IN_DEV and importlib.util.find_spec(name) is None:
            continue
        for line in importlib.metadata.requires(name) or []:
            inner = Requirement(line)
            wanted = [{"extra": extra} for extra in ("", *extras)]
            if inner.marker is None or any(inner.marker.evaluate(each) for each in wanted):
                waiting.append(inner)
    assert needed - pinned == set()


def test_shell_scripts_parse_and_can_be_run(repository):
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_every_test_that_make_names_exists(repository):
    named = re.findall(r"tests/[\w/]+(?:\.py)?", (repository / "Makefile").read_text())
    assert [name for name in named if not (repository / name).exists()] == []
    assert len(named) > 20


def test_every_target_of_make_is_explained(repository):
    text = (repository / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):", text, re.M)
    assert {"demo", "test", "check", "setup"} <= set(targets)
    for target in set(targets) - {"help"}:
        assert f"make {target} " in text


def results_in(page: Path) -> str:
    """The first results of the demo in a page, between two comments."""
    found = re.search(
        r"<!-- results of the demo[^>]*-->\n(.*?)<!-- end of results -->",
        page.read_text(),
        re.DOTALL,
    )
    assert found is not None, page
    return found[1]


def test_the_results_in_the_readme_are_those_of_the_newest_experiment(repository):
    """The first in the log, whose entries are in order."""
    shown = results_in(repository / "README.md")
    assert shown == results_in(repository / "docs" / "experiments.md")
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert len(rows) >= 4, "the table"
    assert all(re.search(r"\d \[\d+\.\d, \d+\.\d\]", row) for row in rows[2:])
    assert "docs/figures/demo.svg" in (repository / "README.md").read_text()


def test_the_stages_in_the_readme_are_those_of_the_experiment(repository):
    shown = re.search(
        r"<!-- stages:[^>]*-->\n(.*?)\n<!-- end of stages -->",
        (repository / "README.md").read_text(),
        re.DOTALL,
    )
    log = (repository / "docs" / "experiments.md").read_text()
    measured = re.search(r"<!-- experiment stages -->(.*?)<!-- end -->", log, re.DOTALL)
    assert shown is not None
    assert measured is not None
    assert f"\n\n{shown[1]}\n\n" in measured[1], "the whole table"
    assert len(shown[1].splitlines()) == 7


def test_every_experiment_has_its_date_question_setup_and_lesson(repository):
    text = (repository / "docs" / "experiments.md").read_text()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    dates = [title.partition(" · ")[0] for title in titles]
    assert dates == sorted(dates, reverse=True), "newest first"
    for title, entry in zip(titles, re.split(r"^## ", text, flags=re.MULTILINE)[1:], strict=True):
        assert re.match(r"20\d\d-\d\d-\d\d · \S", title)
        for part in ("*Question.*", "*Set-up.*", "*Lesson"):
            assert part in entry, (title, part)
