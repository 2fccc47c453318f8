"""Arguments and options that commands share, the configuration that they name, printing."""

from __future__ import annotations

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
    "folder_type",
    "json_option",
    "load_settings",
    "print_plan",
    "run_or_plan",
    "settings_argument",
    "split_settings",
    "stop_on_fault",
]

folder_type = click.Path(file_okay=False, path_type=Path)


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
    """The configuration of `[CONFIG.yaml ...] [section.key=value ...]`."""
    from avrt.config import load_config

    return load_config(*split_settings(settings))


def print_plan(config: Config, *plans: str) -> None:
    """Print the configuration and the plans of a --dry-run; of a launch, the main process does."""
    from avrt.config import describe_config

    if is_main():
        command = click.get_current_context().info_name or ""
        used = ("run", "data", *_USED.get(command, ()))
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


def stop_on_fault(*results: Result) -> None:
    """End with exit code 1 when a stage lost something that another attempt may bring.

    Raises:
        AvrtError: with the faults of the stages.
    """
    if faults := [result.fault for result in results if result.fault]:
        raise AvrtError("\n".join(faults))
