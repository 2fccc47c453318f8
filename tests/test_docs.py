"""Every command, setting, path and configuration in the documents is real.

Commands stand in blocks of ```bash and in `code` that begins with a known program. Those of AVRT go
through the real command line: every one is parsed and its configuration loaded, and those that need
no data are run. Of other programs, scripts, options, targets and extras must exist.
"""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from avrt.cli import cli
from avrt.cli.options import load_settings
from avrt.config import Config, load_config
from avrt.engines.scripted import read_script
from avrt.errors import ConfigError
from avrt.experiments.arms import resolve_runs
from avrt.experiments.plan import packaged_experiments, read_experiment
from avrt.generate.exam import format_share, load_measured
from avrt.generate.findings import FINDINGS, REPLY_SCHEMA
from avrt.generate.gates import GATES
from avrt.generate.views import VIEWS, check_views
from avrt.prompts import load_prompt
from avrt.types import Prompt, Request, Sampling
from test_repository import load_tool

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "benchmarks" / "README.md",
        ROOT / "integrations" / "lmms_eval" / "README.md",
    )
)
FOREIGN = (
    "cd",
    "git",
    "vllm",
    "llama-server",
    "source",
    "docker",
    "kubectl",
    "ray",
    "sbatch",
    "sky",
)
"""Programs whose commands are not checked."""
TOPS = ("src", "tests", "benchmarks", "tools", "integrations")
"""Folders with code."""
PLAIN_STAGES = ("trace", "merge", "judge", "build", "generate")
"""Stages whose plan needs no data and no torch, so that their commands run with --dry-run."""


@dataclass(frozen=True)
class Shown:
    """A command that a page shows."""

    page: str
    text: str
    is_block: bool
    """Whether it stands in a block, to be copied as it is."""


def read_page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """The contents of a page's code blocks in a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", read_page(name), re.MULTILINE | re.DOTALL)


def spans(name: str) -> list[str]:
    """The `code` in the text of a page, outside of blocks."""
    prose = re.sub(r"^ *```.*?^ *```", "", read_page(name), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def shown_commands() -> Iterator[Shown]:
    """All commands of all pages, without comments."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for text in re.sub(r"\s#\s.*|^#.*", "", line).split("&&"):
                    if text.strip():
                        yield Shown(page, " ".join(text.split()), is_block=True)
        for span in spans(page):
            if re.match(r"(avrt|make|pip|torchrun) \S|python (-m|benchmarks|tools)\b", span):
                yield Shown(page, span, is_block=False)


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command of AVRT that words begin with, and its arguments."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]!r} in {[*command.commands]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check_avrt(shown: Shown, words: list[str]) -> None:
    """The command line accepts the command, and its configuration loads; of a run directory, which
    stands for one, that of the demo.
    """
    words = [
        re.sub(r"^(?:RUN|runs/(?!world$)[\w-]+)$", "configs/demo.yaml", word) for word in words
    ]
    command, arguments = find_command(words)
    if not shown.is_block:
        named = [word.replace("CONFIG.yaml", "configs/recommended.yaml") for word in arguments]
        arguments = [re.sub(r"^CONFIG$", "configs/recommended.yaml", word) for word in named]
    try:
        context = command.make_context(command.name, list(arguments))
    except click.exceptions.Exit:  # --help
        return
    except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
        assert not shown.is_block, "an argument or option is missing"
        return
    config = load_settings(context.params["settings"]) if "settings" in context.params else None
    if shown.is_block and config is not None and command.name in PLAIN_STAGES:
        run_avrt([*words, *(() if "--dry-run" in words else ("--dry-run",))])
    if shown.is_block and words[0] == "list":
        run_avrt(words)


def run_avrt(words: list[str]) -> None:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.output


def check_python(words: list[str]) -> None:
    """The script or module exists and knows the options; a command of AVRT is one."""
    if words[0] == "-m":
        module, words = words[1], words[2:]
        if module == "avrt":
            check_avrt(Shown("", "", is_block=True), words)
            return
        folder = ROOT / "integrations" / "lmms_eval" / module
        if not folder.is_dir():
            assert module in ("lmms_eval", "pytest", "venv"), f"no module {module}"
            assert module != "pytest" or all((ROOT / w).exists() for w in words if "/" in w)
            return
        source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    elif words[0] == "-c":
        return
    else:
        assert (ROOT / words[0]).is_file(), f"no script {words[0]}"
        source = (ROOT / words[0]).read_text(encoding="utf-8")
        words = words[1:]
    missing = [word for word in words if word.startswith("-") and f'"{word}"' not in source]
    assert missing == []


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads(read_page("pyproject.toml"))["project"]


def check_pip(words: list[str]) -> None:
    """Files and extras of AVRT exist, and packages that it pins are asked for as pinned."""
    pins = read_page("constraints.txt").splitlines()
    for extras in re.findall(r"\.\[(.*?)\]", " ".join(words)):
        assert set(extras.split(",")) <= pyproject()["optional-dependencies"].keys()
    for word in words:
        assert word not in ("constraints.txt", "integrations/lmms_eval") or (ROOT / word).exists()
        if re.fullmatch(r"(torch|torchvision)==.*", word):
            assert word in pins


@pytest.fixture(autouse=True)
def in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    "shown", list(shown_commands()), ids=lambda shown: f"{shown.page}: {shown.text}"
)
def test_every_command_is_accepted(shown: Shown, tmp_path: Path) -> None:
    first = tmp_path / "first.yaml"  # that of the page for the first hour
    first.write_text(blocks("docs/start.md", "yaml")[0])
    text = re.sub(r"\$[A-Z_]+", "1", shown.text).replace(" first.yaml", f" {first}")
    words = shlex.split(text.partition(" > ")[0])
    while words[0] == "srun" or re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # how it is started
        words = words[1:]
    program = Path(words[0]).name
    if program == "avrt":
        check_avrt(shown, words[1:])
    elif program in ("python", "torchrun"):
        start = words.index("-m") if program == "torchrun" else 1
        check_python(words[start:])
    elif program == "pip":
        check_pip(words[2:])
    elif program == "make":
        known = re.findall(r"^([a-z-]+):", read_page("Makefile"), re.MULTILINE)
        known += [f"experiment-{name}" for name in packaged_experiments()]
        known += re.findall(r"^([A-Z]+ [:?]?=)", read_page("Makefile"), re.MULTILINE)
        names = {re.sub(r"=.*", " :=", word, flags=re.DOTALL) for word in words[1:]}
        assert names <= set(known)
    elif program == "pre-commit":
        assert (ROOT / ".pre-commit-config.yaml").is_file()
    elif not (ROOT / words[0]).is_file():
        assert program in FOREIGN, f"unknown program {program!r}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("teachers", AssertionError),
        ("list teacher", AssertionError),
        ("trace configs/gone.yaml", ConfigError),
        ("trace configs/paper.yaml media.frames=8", ConfigError),
        ("trace configs/paper.yaml --limits 3", click.NoSuchOption),
        ("export configs/paper.yaml --to csv", click.BadParameter),
        ("replay configs/paper.yaml", AssertionError),
    ],
)
def test_a_wrong_command_is_noticed(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_avrt(Shown("a page", text, is_block=True), text.split())


# Settings, paths, configurations


@cache
def setting_names() -> frozenset[str]:
    """Every setting and section in docs/config.md."""
    names: set[str] = set()
    for part in load_tool("make_config_doc").render().split("\n## ")[1:]:
        sections = re.findall(r"`(.*?)`", part.partition("\n")[0])
        rows = re.findall(r"^\| `(.*?)`", part, re.MULTILINE)
        names |= {row for row in rows if "." in row}
        names |= {f"{section}.{row}" for section in sections for row in rows if "." not in row}
    parents = {name.rsplit(".", n)[0] for name in names for n in range(name.count(".") + 1)}
    return frozenset({*names, *parents, *Config.model_fields})


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_exists(page: str) -> None:
    unknown = []
    for span in spans(page):
        match = re.fullmatch(r"((?:\w+\.)+\w+)(=.*|: .*)?", span)
        if not match or match[1].split(".")[0] not in Config.model_fields:
            continue
        if match[1].endswith((".parquet", ".jsonl")):
            continue
        name = re.sub(r"^(judges|eval\.models|eval\.benchmarks)\.\w+", r"\1.NAME", match[1])
        name = re.sub(r"^teachers\.\w+", "teachers.NAME", name)
        name = re.sub(r"^build\.decontaminate\.\w+", "data", name)
        name = re.sub(r"^(build\.views|eval\.difficulty|eval\.pools)\.\w+", r"\1", name)
        name = name.replace("_NAME", "").replace("grpo.NAME_weight", "grpo.format_weight")
        if name not in setting_names() and not (ROOT / "src" / "avrt" / span).exists():
            unknown.append(span)
    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_the_repository_that_is_named_exists(page: str) -> None:
    folders = "|".join((*TOPS, "configs", "docs"))
    package = "|".join(path.name for path in (ROOT / "src" / "avrt").iterdir() if path.is_dir())
    gone = []
    for span in spans(page):
        if re.fullmatch(rf"(?:{folders})/[\w./-]+", span):
            gone += [] if (ROOT / span).exists() else [span]
        elif re.fullmatch(rf"(?:{package})/(?:[\w/]+\.py|[\w/]+/)?", span):
            gone += [] if (ROOT / "src" / "avrt" / span).exists() else [span]
        elif re.fullmatch(r"\w+\.py", span):
            gone += [] if any(list((ROOT / top).rglob(span)) for top in TOPS) else [span]
    assert [name for name in gone if "NAME" not in name] == []


@pytest.mark.parametrize(
    ("page", "number", "block"),
    [(page, n, block) for page in PAGES for n, block in enumerate(blocks(page, "yaml"))],
)
def test_every_configuration_loads(page: str, number: int, block: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(block)
    if block.startswith("title:"):
        resolve_runs(*read_experiment(str(path)))
        return
    if block.startswith("extra_body"):  # of an engine
        path.write_text(yaml.safe_dump({"judges": {"main": {"engine": yaml.safe_load(block)}}}))
    config = load_config(path)
    check_views(config.build, config.teachers)
    for role in (*config.teachers.values(), *config.judges.values(), config.merger):
        load_prompt(role.prompt)


def test_the_examples_do_what_the_text_around_them_says(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(blocks("docs/generation.md", "yaml")[0])
    config = load_config(path)
    assert list(config.teachers) == ["vision", "audio", "second", "blind"]
    assert load_prompt(config.merger.prompt).uses("analyses")
    path.write_text(blocks("docs/engines.md", "yaml")[0])
    config = load_config(path)
    assert config.teachers["vision"].engine.concurrency == 32
    assert config.merger.engine.batch_size == 64
    path.write_text(blocks("docs/engines.md", "yaml")[1])
    assert load_config(path).merger.engine.variables == ("", "AZURE_KEY")
    path.write_text(blocks("docs/engines.md", "yaml")[2])
    assert len(load_config(path).teachers["vision"].engine.base_urls) == 2


def test_the_script_of_replies_in_the_page_answers(tmp_path: Path) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text(blocks("docs/engines.md", "json")[0])
    replies: list[str] = []
    request = Request("key", Prompt("What is heard in the video?"), Sampling(0.0, 1.0, 9))
    read_script(path, "m").generate([request], lambda _, reply: replies.append(reply.text))
    assert replies == ["Audio Description: a dog. Reasoning: it barks. Answer: (B) dog"]


# Tables


def rows_of(page: str) -> dict[str, str]:
    """The rows of a page's tables of two columns, by the first."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|$", read_page(page), re.MULTILINE))


def test_generation_lists_every_view_gate_and_finding() -> None:
    rows = rows_of("docs/generation.md")
    assert {name: rows[name].strip("`") for name in VIEWS} == VIEWS
    gates = read_page("docs/generation.md").split("## Gates")[1].split("## Judges")[0]
    assert re.findall(r"^\| `(\w+)` \| [A-Z]", gates, re.MULTILINE) == [*GATES]
    for name, gate in GATES.items():
        assert f"| `{name}` | {gate.about} |" in gates
    judges = read_page("docs/generation.md").split("## Judges")[1]
    assert re.findall(r"^\| `(\w+)` \| [A-Z]", judges, re.MULTILINE) == [*FINDINGS]


def test_the_figures_of_the_gates_are_the_measured_figures() -> None:
    text = read_page("docs/generation.md")
    for name, result in load_measured()["gates"].items():
        counts = result["held_out"]
        right, wrong, missed = counts["right"], counts["wrong"], counts["missed"]
        precision, recall = format_share(right, right + wrong), format_share(right, right + missed)
        assert f"| `{name}` | {precision} | {recall} |" in text


def test_the_schema_of_a_judges_reply_is_that_of_the_code() -> None:
    block = next(b for b in blocks("docs/generation.md", "yaml") if b.startswith("extra_body"))
    body = yaml.safe_load(block)["extra_body"]
    assert body == {"structured_outputs": {"json": REPLY_SCHEMA}}


def test_the_readme_lists_every_command_in_the_order_of_the_help() -> None:
    table = read_page("README.md").split("## Commands")[1].split("## ")[0]
    listed = [
        name
        for row in re.findall(r"^\| (`avrt .*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`avrt (\w+)`", row)
    ]
    order = [name for name in cli.list_commands(click.Context(cli)) if name in listed]
    assert set(listed) == set(cli.commands)
    assert listed == order


def test_training_counts_the_overridden_methods_of_trl() -> None:
    source = (ROOT / "src" / "avrt" / "train" / "omni_grpo.py").read_text(encoding="utf-8")
    hooks = next(
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HOOKS"
    )
    number = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")[len(hooks)]
    assert f"overrides {number} private methods" in read_page("docs/training.md")


def test_the_readme_lists_every_configuration() -> None:
    text = read_page("README.md")
    assert [path.name for path in (ROOT / "configs").iterdir() if path.name not in text] == []


def test_the_glossary_has_fifteen_words_at_most() -> None:
    glossary = read_page("CONTRIBUTING.md").split("## Glossary")[1].split("## ")[0]
    assert 10 <= len(re.findall(r"^\| (?!---|word)", glossary, re.MULTILINE)) <= 15
