"""Arguments and options that commands share, the configuration that they name, printing."""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from avrt.errors import AvrtError, ConfigError
from avrt.ranks import is_main
from avrt.stores import StorePath, to_path
from avrt.texts import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from avrt.ask.budget import Shard
    from avrt.config import Config
    from avrt.runs import Result

__all__ = [
    "OrderedGroup",
    "budget_options",
    "checkpoint_type",
    "dry_run_option",
    "echo",
    "echo_json",
    "echo_result",
    "find_run",
    "folder_type",
    "json_option",
    "load_settings",
    "others_option",
    "output_type",
    "print_plan",
    "run_argument",
    "run_or_plan",
    "runs_argument",
    "settings_argument",
    "split_runs",
    "split_settings",
    "stay_silent",
    "stop_on_fault",
]


class _FolderType(click.Path):
    """A folder of this machine; where `in_stores`, also one of a store."""

    def __init__(self, in_stores: bool = False) -> None:
        super().__init__(file_okay=False, path_type=Path)
        self._in_stores = in_stores

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            path = to_path(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not isinstance(path, StorePath):
            return super().convert(path, param, ctx)
        if not self._in_stores:
            self.fail(f"{path} is in a store; name a folder of this machine", param, ctx)
        return path


folder_type = _FolderType()
output_type = _FolderType(in_stores=True)


_GENERATING = ("teachers", "merger", "judges", "generate", "build")
_USED = {
    "prepare": ("media", "prepare"),
    "trace": ("media", "teachers", "generate"),
    "merge": ("merger", "generate", "build"),
    "judge": ("judges", "generate", "build"),
    "build": ("build",),
    "generate": ("media", *_GENERATING),
    "sft": ("media", "student", "sft"),
    "grpo": ("media", "student", "grpo"),
    "eval": ("media", "student", "eval"),
    "rubric": ("rubric", "generate"),
    "report": ("report",),
}
"""The sections that a command with --dry-run shows whole, besides those that differ."""


_OF_RUN = ("config.yaml", "manifests", "samples.parquet", "ledger.sqlite", "report")
"""Of these, every run directory has one."""


class OrderedGroup(click.Group):
    """A group that lists its commands in the order of the code, each with its whole sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        self.write_commands(formatter, "Commands", self.commands.values())

    def write_commands(
        self, formatter: click.HelpFormatter, title: str, commands: Iterable[click.Command]
    ) -> None:
        """Write some of the commands below a title, all in columns of one width."""
        width = max(map(len, self.commands))
        with formatter.section(title):
            formatter.write_dl(
                [(f"{each.name:<{width}}", each.get_short_help_str(200)) for each in commands]
            )


class CheckpointType(click.Path):
    """A folder, or `world:NAME` for a model inside the package, which becomes its folder."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if isinstance(value, str) and value.startswith("world:"):
            from avrt.engines.weights import resolve

            value = resolve(value)
        return Path(str(super().convert(value, param, ctx)))


checkpoint_type = CheckpointType()


def _complete_settings(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """For the shell: names of settings that begin like this, and files.

    Files beside settings are listed here: click's script for bash drops all else for its own files.
    """
    from avrt.config import Config

    tree: Any = Config().model_dump()
    *sections, _ = incomplete.split(".")
    for section in sections:
        tree = tree.get(section) if isinstance(tree, dict) else None
    prefix = "".join(f"{section}." for section in sections)
    names = [
        f"{prefix}{key}{'.' if value and isinstance(value, dict) else '='}"
        for key, value in (tree if isinstance(tree, dict) else {}).items()
    ]
    items = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    if not items:
        return [CompletionItem(incomplete, type="file")]
    files = [f"{path.name}{'/' * path.is_dir()}" for path in sorted(Path().glob("[!.]*"))]
    return [*items, *(CompletionItem(name) for name in files if name.startswith(incomplete))]


settings_argument = click.argument(
    "settings",
    nargs=-1,
    metavar="[CONFIG.yaml ...] [section.key=value ...]",
    shell_complete=_complete_settings,
)
run_argument = click.argument(
    "settings",
    nargs=-1,
    required=True,
    metavar="RUN | CONFIG.yaml ... [section.key=value ...]",
    shell_complete=_complete_settings,
)
runs_argument = click.argument(
    "settings",
    nargs=-1,
    metavar="[RUN ... | CONFIG.yaml ...] [section.key=value ...]",
    shell_complete=_complete_settings,
)
others_option = click.option(
    "--with",
    "others",
    multiple=True,
    metavar="RUN",
    help="Show this run beside it, by its name in run.dir or its folder; may be repeated.",
)
dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Print the settings that differ from the defaults, the other settings that this command "
    "uses, and the plan; write nothing.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def echo(text: str, err: bool = False) -> None:
    """Print a text whose parts may come from anywhere: nothing in it steers the terminal."""
    click.echo(printable(text), err=err)


def echo_json(value: Any) -> None:
    """Print JSON in ASCII, which every terminal and encoding takes as it is."""
    click.echo(json.dumps(value, indent=2))


def _parse_shard(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Shard | None:
    if value is None:
        return None
    from avrt.ask.budget import Shard

    try:
        shard = Shard.parse(value)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error
    return shard if shard.count > 1 else None  # the only part is all of the work


def budget_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that leave work for another time; the command gets them as `budget`."""

    @click.option(
        "--budget-calls", type=click.IntRange(0), metavar="N", help="Start at most N calls."
    )
    @click.option(
        "--budget-tokens",
        type=click.IntRange(0),
        metavar="N",
        help="Start no further call after N tokens of prompts and replies.",
    )
    @click.option(
        "--limit",
        type=click.IntRange(1),
        metavar="N",
        help="Use the first N samples; the stage is not finished then.",
    )
    @click.option(
        "--shard",
        callback=_parse_shard,
        metavar="I/N",
        help="Do part I of N; several processes or machines can share the run directory.",
    )
    @functools.wraps(command)
    def with_budget(
        *,
        budget_calls: int | None,
        budget_tokens: int | None,
        limit: int | None,
        shard: Shard | None,
        **others: object,
    ) -> None:
        from avrt.ask.budget import Budget

        command(budget=Budget(budget_calls, budget_tokens, limit, shard), **others)

    return with_budget


def split_settings(settings: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The configuration files, which stand first, and the overrides."""
    files = [Path(text) for text in itertools.takewhile(_is_file, settings)]
    return files, list(settings[len(files) :])


def _is_file(text: str) -> bool:
    """Paths may hold "=", and values may end as files do: `student.deepspeed=zero.yaml`."""
    if "=" not in text or os.path.isfile(text):  # noqa: PTH113  # Path refuses a long text
        return True
    return text.endswith((".yaml", ".yml")) and not re.match(r"[\w-]+(\.[\w-]+)+=", text)


def load_settings(settings: Sequence[str]) -> Config:
    """The configuration of `[CONFIG.yaml ...] [section.key=value ...]`; a run directory in the
    first place stands for the configuration in it, wherever the directory lies now.
    """
    from avrt.config import load_config

    files, overrides = split_settings(settings)
    if files and "/" in str(files[0]) and not files[0].exists() and not _is_setting(str(files[0])):
        raise _no_run(files[0])
    if files and files[0].is_dir():
        run = files[0].absolute() if files[0].name in ("", "..") else files[0]
        files[0] = run / "config.yaml"
        own = {"run.dir": str(run.parent), "run.name": run.name}
        overrides = [*(f"{key}={json.dumps(value)}" for key, value in own.items()), *overrides]
    return load_config(files, overrides)


def split_runs(settings: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The settings with the first run directory alone, and the directories that follow it, as
    folders.
    """
    runs = list(itertools.takewhile(os.path.isdir, settings))
    others = tuple(run if "/" in run else f"./{run}" for run in runs[1:])
    return (*runs[:1], *settings[len(runs) :]), others


def find_run(settings: Sequence[str]) -> tuple[Path, Config | None]:
    """The directory of the run that a directory or a configuration names, and the configuration;
    None where a directory has none that can be read.

    Raises:
        ConfigError: there is no such run, or the configuration is wrong.
    """
    if settings and (run := Path(settings[0])).is_dir():
        if not any((run / name).exists() for name in _OF_RUN):
            raise ConfigError(f"{run}: holds no run; name the directory of one, such as runs/demo")
        try:
            return run, load_settings(settings)
        except ConfigError:
            if settings[1:]:
                raise
            return run, None
    if len(settings) == 1 and not _is_setting(settings[0]) and not Path(settings[0]).is_file():
        raise _no_run(Path(settings[0]))
    config = load_settings(settings)
    if not config.run.path.is_dir():
        raise _no_run(config.run.path)
    return config.run.path, config


def _is_setting(text: str) -> bool:
    return "=" in text or text.endswith((".yaml", ".yml"))


def _no_run(run: Path) -> ConfigError:
    known = sorted(each.parent.name for each in run.parent.glob("*/config.yaml"))
    near = difflib.get_close_matches(run.name, known, n=1, cutoff=0.6)
    hint = f"did you mean {run.parent / near[0]}?" if near else "name a run directory, such as "
    hint += "" if near else "runs/demo, or the configuration of a run"
    return ConfigError(f"{run}: no such run; {hint}")


def print_plan(config: Config, *plans: str) -> None:
    """Print the configuration and the plans of a --dry-run; of a launch, the main process does."""
    from avrt.config import describe_config

    if is_main():
        command = click.get_current_context().info_name or ""
        cluster = ("ray",) if config.cluster else ()
        used = ("run", "data", *cluster, *_USED.get(command, ()))
        echo("\n".join([describe_config(config, used), *plans]))


def run_or_plan(stage: ModuleType, config: Config, dry_run: bool, *arguments: object) -> None:
    """Run a stage and print its summary; with --dry-run print its plan."""
    if dry_run:
        print_plan(config, stage.plan(config))
    else:
        echo_result(stage.run(config, *arguments))


def echo_result(result: Result) -> None:
    """Print the summary of a stage, then end as `stop_on_fault`; of a launch, one process prints.

    Raises:
        AvrtError: as `stop_on_fault`.
    """
    if is_main():
        echo(result.summary)
    stop_on_fault(result)


def stay_silent() -> None:
    """Say no more that this command is at work: it stays until it is ended."""
    over = click.get_current_context().find_root().obj
    if over is not None:
        over.set()


def stop_on_fault(*results: Result) -> None:
    """End with exit code 1 when a stage lost something that another attempt may bring.

    Raises:
        AvrtError: with the faults of the stages.
    """
    if faults := [result.fault for result in results if result.fault]:
        raise AvrtError("\n".join(faults))
