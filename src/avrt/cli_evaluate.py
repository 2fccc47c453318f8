"""The commands of evaluation: `eval`, `difficulty`, `tables` and `baselines`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from avrt.cli_group import load_settings
from avrt.cli_options import plain_settings, print_plan, with_settings

if TYPE_CHECKING:
    from avrt.config import Config
    from avrt.evaluate import Choice, Shard
    from avrt.types import Given

__all__ = ["COMMANDS"]


def _parse_modalities(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[Given, ...] | None:
    from avrt.types import Given

    if value is None:
        return None
    known: dict[str, Given] = {name: name for name in get_args(Given)}
    try:
        return tuple(known[name] for name in value.split(","))
    except KeyError as error:
        raise click.BadParameter(f"{error} is not one of {', '.join(known)}") from error


def _parse_shard(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Shard:
    from avrt.evaluate import Shard

    match = re.fullmatch(r"(\d+)/(\d+)", value or "1/1")
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count:
        raise click.BadParameter(f"{value!r} is not of the form 2/8: the second of eight parts")
    return Shard(index, count)


@click.command("eval")
@with_settings
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated.")
@click.option("--benchmark", "benchmarks", multiple=True, help="Only this set; may be repeated.")
@click.option(
    "--modality",
    "modalities",
    callback=_parse_modalities,
    help="Only these, such as `av` or `none,a,v,av`.",
)
@click.option(
    "--shard",
    callback=_parse_shard,
    metavar="I/N",
    help="Only part I of N, for several processes or machines with one run directory.",
)
@click.option(
    "--predictions",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Call no model; score the texts in this JSONL or CSV file (id, text) as --model.",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    help="Evaluate nothing; compare models A and B on the items that both have answered.",
)
@click.option("--force", is_flag=True, help="Compare in spite of different protocols.")
def evaluate(
    settings: tuple[str, ...],
    dry_run: bool,
    models: tuple[str, ...],
    benchmarks: tuple[str, ...],
    modalities: tuple[Given, ...] | None,
    shard: Shard,
    predictions: Path | None,
    compare: tuple[str, str] | None,
    force: bool,
) -> None:
    """Evaluate models on text alone, sound, vision and both."""
    from avrt import evaluate as evaluation

    choice = evaluation.Choice(models or None, modalities, benchmarks or None, shard)
    _check_usage(choice, dry_run, predictions, compare, force)
    config = load_settings(settings)
    if compare:
        click.echo(evaluation.compare(config, *compare, force=force))
    elif predictions:
        click.echo(evaluation.score_predictions(config, predictions, choice).summary)
    elif dry_run:
        print_plan(choice.restrict(config), [evaluation.plan(config, choice)])
    else:
        click.echo(evaluation.run(config, choice=choice).summary)


def _check_usage(
    choice: Choice,
    dry_run: bool,
    predictions: Path | None,
    compare: tuple[str, str] | None,
    force: bool,
) -> None:
    from avrt.evaluate import Choice

    if compare and (choice != Choice() or dry_run or predictions):
        raise click.UsageError(
            "--compare evaluates nothing, so it goes with none of --model, --benchmark, "
            "--modality, --shard, --predictions, --dry-run"
        )
    if force and not compare:
        raise click.UsageError("--force goes with --compare alone")
    if predictions and (dry_run or choice.shard.count > 1):
        raise click.UsageError("--predictions calls no model: no --dry-run and no --shard")


@click.command()
@plain_settings
@click.option(
    "--teacher", "teachers", multiple=True, help="A model of one modality; name two or more."
)
def difficulty(settings: tuple[str, ...], teachers: tuple[str, ...]) -> None:
    """Sort a benchmark's items by how many teachers are right.

    easy: all teachers; medium: some; hard: none.
    """
    from avrt.evaluate.difficulty import make_difficulty

    config = load_settings(settings)
    click.echo(make_difficulty(config, teachers or _single_modality(config)).summary)


def _single_modality(config: Config) -> tuple[str, ...]:
    """The models that have a modality of their own."""
    models = config.eval.models.items()
    return tuple(
        name
        for name, model in models
        if not isinstance(model, str) and model.modality in ("a", "v")
    )


@click.command()
@plain_settings
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "latex", "csv"]),
    default="markdown",
    show_default=True,
    help="How they are written.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for one file per table; otherwise they are printed.",
)
def tables(settings: tuple[str, ...], form: str, output: Path | None) -> None:
    """Print the paper's tables 3 to 6, published beside ours."""
    from avrt.report.paper import run

    click.echo(run(load_settings(settings), form, output).summary)


@click.command()
@click.argument("name", required=False)
def baselines(name: str | None) -> None:
    """List published models and their figures, or show one.

    A baseline with a checkpoint is evaluated as `eval.models.NAME.preset=BASELINE`, the others
    through `avrt eval --predictions`.
    """
    from avrt.config.baselines import render, render_all

    click.echo(render(name) if name else render_all())


COMMANDS = (evaluate, difficulty, tables, baselines)
