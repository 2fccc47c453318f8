"""Arguments and options that commands share, the configuration that they name, printing."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avrt.errors import AvrtError, ConfigError
from avrt.ranks import is_main

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from avrt.ask.budget import Shard
    from avrt.config import Config
    from avrt.runs import Result

__all__ = [
    "budget_options",
    "dry_run_option",
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

settings_argument = click.argument(
    "settings", nargs=-1, metavar="[CONFIG.yaml ...] [section.key=value ...]"
)
dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Print the resolved configuration and the plan; write nothing.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


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
    from avrt.config import dump_config

    if is_main():
        click.echo("\n".join([dump_config(config), *plans]))


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
        click.echo(result.summary)
    stop_on_fault(result)


def stop_on_fault(*results: Result) -> None:
    """End with exit code 1 when a stage lost something that another attempt may bring.

    Raises:
        AvrtError: with the faults of the stages.
    """
    if faults := [result.fault for result in results if result.fault]:
        raise AvrtError("\n".join(faults))
