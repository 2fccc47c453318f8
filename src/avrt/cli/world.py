"""The commands of `avrt world`: make the procedural world, train its models, read their errors."""

from __future__ import annotations

from pathlib import Path

import click

from avrt.cli.options import OrderedGroup, echo, folder_type

__all__ = ["world"]


@click.group(cls=OrderedGroup)
def world() -> None:
    """Make the small world, train its models, or read their errors.

    Example: avrt world make runs/world
    """


@world.command("make")
@click.argument("root", type=folder_type)
@click.option("--n-train", default=2000, show_default=True, help="Number of training questions.")
@click.option("--n-bench", default=400, show_default=True, help="Number of items of world-bench.")
@click.option("--n-audio", default=400, show_default=True, help="Number of items of world-audio.")
@click.option("--seed", default=0, show_default=True, help="Seed; another makes other clips.")
def world_make(root: Path, n_train: int, n_bench: int, n_audio: int, seed: int) -> None:
    """Write the world's clips and questions below ROOT.

    Example: avrt world make runs/world --n-train 500
    """
    from avrt.world.make import run

    echo(run(root, n_train=n_train, n_bench=n_bench, n_audio=n_audio, seed=seed).summary)


@world.command("train")
@click.option(
    "--output",
    type=folder_type,
    default=Path("build/world"),
    show_default=True,
    help="Folder for the models and their checkpoints; an interrupted training resumes there.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Train this model; may be repeated.")
@click.option("--seed", default=0, show_default=True, help="Seed of the weights and the lessons.")
def world_train(output: Path, only: tuple[str, ...], seed: int) -> None:
    """Train the world's small models.

    In this order: the merger, a merger that writes in other words, a perceiver (not shipped; the
    next three start from it), the base student and the two teachers.

    Example: avrt world train --only merger
    """
    from avrt.world.training import run

    echo(run(output, only=only, seed=seed).summary)


@world.command("errors")
@click.argument("root", type=folder_type)
@click.argument("logs", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
def world_errors(root: Path, logs: tuple[Path, ...]) -> None:
    """Say which step of the reasoning breaks in replies about world-bench.

    ROOT is the folder of the world, LOGS are RUN/eval/world-bench/MODEL/av.jsonl. Every reply is
    counted once, at its first broken step.

    Example: avrt world errors runs/world runs/demo/eval/world-bench/sft/av.jsonl
    """
    from avrt.world.errors import count_errors, describe_errors

    echo(describe_errors({log.parent.name: count_errors(log, root) for log in logs}))
