"""The command `avrt experiment`: run an experiment's arms, and write down what came out."""

from __future__ import annotations

from pathlib import Path

import click

from avrt.cli.options import echo, echo_result, folder_type

__all__ = ["experiment"]


@click.command()
@click.argument("name", metavar="NAME|FILE.yaml")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the arms with their settings, folders and jobs; write nothing.",
)
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
@click.option(
    "--write",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PAGE",
    help="Also write the experiment's section into this Markdown page, in place of an older one.",
)
@click.option("--by-seed", is_flag=True, help="Also print the accuracies of each seed.")
def experiment(
    name: str, dry_run: bool, n_jobs: int | None, root: Path, page: Path | None, by_seed: bool
) -> None:
    """Run an experiment: its arms with every seed, then the tests of its claims.

    NAME is packaged (`avrt list experiments`), a file is your own. What is done is not done again:
    repeat the command to resume. Tables, figure and results are written to DIR/NAME.

    Example: avrt experiment stages --dry-run
    """
    from avrt import experiments

    if dry_run:
        echo(experiments.plan(name, root))
    else:
        echo_result(experiments.run(name, root, n_jobs, page, by_seed))
