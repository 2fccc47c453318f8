"""What the commands share: the arguments of a stage, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from avrt.ranks import is_main

if TYPE_CHECKING:
    from collections.abc import Callable

    from avrt.config import Config

__all__ = ["plain_settings", "print_plan", "with_budget", "with_settings"]

plain_settings = click.argument(
    "settings", nargs=-1, metavar="[CONFIG.yaml] [section.key=value ...]"
)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add what all stage commands take: a configuration file, overrides and --dry-run."""
    command = click.option(
        "--dry-run",
        is_flag=True,
        help="Print the resolved configuration and what would be done; write nothing.",
    )(command)
    return plain_settings(command)


def with_budget(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of commands that call models: limits of calls, tokens and samples."""
    for option in (
        click.option("--limit", type=click.IntRange(1), help="Use the first N samples."),
        click.option(
            "--budget-tokens",
            type=click.IntRange(0),
            help="Start no call after N tokens, of prompts and replies.",
        ),
        click.option("--budget-calls", type=click.IntRange(0), help="Start at most N calls."),
    ):
        command = option(command)
    return command


def print_plan(config: Config, plans: list[str]) -> None:
    """Print what --dry-run shows; of a launch, one process does."""
    from avrt.config import dump_config

    if not is_main():
        return
    click.echo(dump_config(config))
    for plan in plans:
        click.echo(plan)
