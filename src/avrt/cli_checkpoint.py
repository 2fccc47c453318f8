"""The commands of `avrt checkpoint`: convert checkpoints, and say what one consists of."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["checkpoint"]

_folder = click.Path(file_okay=False, path_type=Path)


@click.group()
def checkpoint() -> None:
    """Take thinkers out of Qwen2.5-Omni and put them back."""


@checkpoint.command()
@click.argument("omni", type=_folder)
@click.argument("out", type=_folder)
def extract(omni: Path, out: Path) -> None:
    """Write the thinker of the whole model OMNI to OUT, which training starts from."""
    from avrt.checkpoints.convert import extract as run

    click.echo(run(omni, out))


@checkpoint.command()
@click.argument("thinker", type=_folder)
@click.argument("omni", type=_folder)
@click.argument("out", type=_folder)
@click.option("--cast", is_flag=True, help="Round the thinker to OMNI's number formats.")
def merge(thinker: Path, omni: Path, out: Path, cast: bool) -> None:
    """Write OMNI with THINKER in the place of its own to OUT."""
    from avrt.checkpoints.convert import merge as run

    click.echo(run(thinker, omni, out, cast))


@checkpoint.command("export-vllm")
@click.argument("thinker", type=_folder)
@click.argument("out", type=_folder)
def export_vllm(thinker: Path, out: Path) -> None:
    """Write THINKER to OUT in the form that vLLM serves."""
    from avrt.checkpoints.convert import export_vllm as run

    click.echo(run(thinker, out))


@checkpoint.command()
@click.argument("folder", type=_folder)
@click.argument("settings", nargs=-1, metavar="[CONFIG.yaml] [section.key=value ...]")
def describe(folder: Path, settings: tuple[str, ...]) -> None:
    """Print the parts of the checkpoint in FOLDER and what of them trains.

    Nothing but the headers of its files is read.
    """
    from avrt.checkpoints.describe import describe as run
    from avrt.cli_group import load_settings

    click.echo(run(folder, load_settings(settings).student))
