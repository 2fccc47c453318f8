"""The commands of `avrt publish`: folders for the Hub, checked, and pushed on request."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from avrt.cli.options import (
    OrderedGroup,
    echo_result,
    folder_type,
    load_settings,
    others_option,
    runs_argument,
    settings_argument,
    split_runs,
)

if TYPE_CHECKING:
    from avrt.publish import Kind

__all__ = ["publish"]


@click.group(cls=OrderedGroup)
def publish() -> None:
    """Build and check a folder for the Hub; push it on request.

    Example: avrt publish dataset configs/paper.yaml
    """


def _parse_licences(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for role, equals, text in pairs:
        if not (role and equals and text.strip()):
            raise click.BadParameter(f"{role!r}: must be ROLE=TEXT, such as merger=Apache-2.0")
    return {role: text.strip() for role, _, text in pairs}


def _publish_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all kinds share, and run `avrt.publish` with them.

    The command gives the kind, its own options, and the argument that names the run.
    """

    @click.option("--repo", metavar="NAME/ID", help="Name the repository on the Hub.")
    @click.option(
        "--output",
        type=folder_type,
        help="Write to this folder, which is new or was written by the same command.",
    )
    @click.option(
        "--licence",
        "licences",
        multiple=True,
        callback=_parse_licences,
        metavar="ROLE=TEXT",
        help="Name the licence of a part, such as audio=MIT, if AVRT does not know it or you have "
        "checked it; may be repeated.",
    )
    @click.option("--push", is_flag=True, help="Upload the folder to --repo.")
    @click.option(
        "--public", is_flag=True, help="Make a new repository public; else it is private."
    )
    @functools.wraps(command)
    def with_options(settings: tuple[str, ...], **options: object) -> None:
        command(settings=settings, **options)

    return with_options


def _run(kind: Kind, settings: tuple[str, ...], **options: object) -> None:
    from avrt.publish import PublishOptions, run

    echo_result(run(load_settings(settings), kind, PublishOptions(**options)))  # pyright: ignore[reportArgumentType]


page_option = click.option(
    "--page",
    metavar="NAME/ID",
    help="Link to the page of the run, the Space that `avrt publish report` pushed.",
)


@publish.command()
@settings_argument
@_publish_options
@page_option
def dataset(settings: tuple[str, ...], **options: object) -> None:
    """Publish the traces, every teacher's answers and the rejected samples, without media.

    Example: avrt publish dataset configs/paper.yaml --repo me/traces --push
    """
    _run("dataset", settings, **options)


@publish.command()
@settings_argument
@_publish_options
@click.option(
    "--student",
    metavar="TRAINING",
    help="Publish this training (`sft`, `grpo`, ...); by default grpo where it was done, else sft.",
)
@click.option(
    "--base", metavar="NAME/ID", help="Name the base on the Hub, if student.model is a folder."
)
@page_option
def model(settings: tuple[str, ...], **options: object) -> None:
    """Publish a trained student in the form that transformers loads.

    Example: avrt publish model configs/paper.yaml --student sft --repo me/student --push
    """
    _run("model", settings, **options)


@publish.command()
@runs_argument
@_publish_options
@click.option(
    "--with-media",
    is_flag=True,
    help="Put pictures and sounds of items in; only where you may give them on.",
)
@others_option
def report(settings: tuple[str, ...], others: tuple[str, ...], **options: object) -> None:
    """Publish the page of a run as a static Space.

    Of several runs, the items are those of the first; the others stand beside it in numbers, as in
    `avrt report`.

    Example: avrt publish report runs/demo runs/other --output build/space
    """
    settings, beside = split_runs(settings)
    _run("report", settings, others=(*beside, *others), **options)
