"""The command `avrt experiment`: run an experiment's arms, and write down what came out."""

from __future__ import annotations

from pathlib import Path

import click

from avrt.cli.options import echo, folder_type
from avrt.errors import AvrtError

__all__ = ["experiment"]


@click.command()
@click.argument("name", metavar="NAME|FILE.yaml")
@click.option("--dry-run", is_flag=True, help="Print arms, settings, folders and jobs; run none.")
@click.option(
    "--jobs",
    "n_jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Run N jobs side by side; by default one for each core, with a GPU one.",
)
@click.option(
    "--dir",
    "root",
    type=folder_type,
    default=Path("runs/experiments"),
    show_default=True,
    help="Folder of all experiments, which share equal arms.",
)
def experiment(name: str, dry_run: bool, n_jobs: int | None, root: Path) -> None:
    """Run an experiment: its arms with all seeds, then the tests of its claims.

    NAME is packaged (`avrt list experiments`); a file is your own. Run the command again to resume.

    Example: avrt experiment stages --dry-run
    """
    from avrt import experiments

    if dry_run:
        echo(experiments.plan(name, root))
        return
    result = experiments.run(name, root, n_jobs)
    echo(result.summary)
    if result.fault:
        raise AvrtError(result.fault)
