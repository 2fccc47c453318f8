"""The commands of evaluation: `eval`, `rubric`, `difficulty` and `tables`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from avrt.cli.options import (
    budget_options,
    dry_run_option,
    echo,
    echo_json,
    echo_result,
    folder_type,
    json_option,
    load_settings,
    print_plan,
    run_or_plan,
    settings_argument,
    stop_on_fault,
)

if TYPE_CHECKING:
    from avrt.ask.budget import Budget
    from avrt.config.baselines import State
    from avrt.evaluate import Choice
    from avrt.types import Given

__all__ = ["difficulty", "evaluate", "rubric", "tables"]


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


@click.command("eval")
@settings_argument
@dry_run_option
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="Evaluate this model; may be repeated."
)
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="NAME",
    help="Use this set; may be repeated.",
)
@click.option(
    "--modality",
    "modalities",
    callback=_parse_modalities,
    metavar="LIST",
    help="Give these modalities, such as `av` or `none,a,v,av`.",
)
@click.option(
    "--checkpoints",
    "trainings",
    multiple=True,
    metavar="TRAINING",
    help="Evaluate the kept checkpoints of this training (`sft`, `grpo`, ...); may be repeated.",
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
@json_option
@budget_options
def evaluate(
    settings: tuple[str, ...],
    dry_run: bool,
    models: tuple[str, ...],
    benchmarks: tuple[str, ...],
    modalities: tuple[Given, ...] | None,
    trainings: tuple[str, ...],
    predictions: Path | None,
    compare: tuple[str, str] | None,
    force: bool,
    as_json: bool,
    budget: Budget,
) -> None:
    """Evaluate models on text alone, sound, vision and both.

    Example: avrt eval configs/paper.yaml configs/paper-eval.yaml --model sft --modality av
    """
    from avrt import evaluate as evaluation
    from avrt.ask.budget import Budget

    choice = evaluation.Choice(models or None, modalities, benchmarks or None, trainings)
    asks = (dry_run and not predictions) or budget != Budget()
    _check_usage(choice, asks, predictions, compare, force)
    if as_json and (dry_run or compare):
        raise click.UsageError("--json prints results, so it goes with no --dry-run or --compare")
    config = load_settings(settings)
    if compare:
        echo(evaluation.compare(config, *compare, force=force))
        return
    if dry_run and predictions:
        echo(evaluation.plan_predictions(config, predictions, choice))
        return
    if dry_run:
        print_plan(choice.restrict(config), evaluation.plan(config, choice))
        return
    # Notes on the sets are printed as they are read; they may not stand in the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        if predictions:
            result = evaluation.score_predictions(config, predictions, choice)
        else:
            result = evaluation.run(config, choice, budget)
    if as_json:
        from avrt.evaluate.to_json import results_to_json

        echo_json(results_to_json(config))
        stop_on_fault(result)
    else:
        echo_result(result)


def _check_usage(
    choice: Choice,
    asks: bool,
    predictions: Path | None,
    compare: tuple[str, str] | None,
    force: bool,
) -> None:
    from avrt.evaluate import Choice

    if compare and (choice != Choice() or asks or predictions):
        raise click.UsageError(
            "--compare evaluates nothing: leave out --model, --benchmark, --modality, "
            "--checkpoints, --predictions, --dry-run, --limit, --shard and budgets"
        )
    if force and not compare:
        raise click.UsageError("--force goes with --compare alone")
    if predictions and choice.checkpoints:
        raise click.UsageError("--predictions calls no model: leave out --checkpoints")
    if predictions and asks:
        raise click.UsageError(
            "--predictions calls no model: leave out --limit, --shard and budgets"
        )


@click.command()
@settings_argument
@dry_run_option
@budget_options
def rubric(settings: tuple[str, ...], dry_run: bool, budget: Budget) -> None:
    """Grade the replies to MMAR by its rubrics, with a text model.

    Example: avrt rubric configs/paper.yaml configs/paper-eval.yaml rubric.model=org/grader
    """
    from avrt.evaluate import rubric as stage

    run_or_plan(stage, load_settings(settings), dry_run, budget)


@click.command()
@settings_argument
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="NAME",
    help="Count this model of a single modality; repeat the option for two or more.",
)
def difficulty(settings: tuple[str, ...], teachers: tuple[str, ...]) -> None:
    """Sort a benchmark's items by how many teachers are right.

    easy: all teachers; medium: some; hard: none. Without --teacher, every model whose modality is
    `a` or `v` counts.

    Example: avrt difficulty configs/paper.yaml configs/paper-eval.yaml
    """
    from avrt.evaluate.difficulty import make_difficulty

    config = load_settings(settings)
    single = tuple(
        name
        for name, model in config.eval.models.items()
        if not isinstance(model, str) and model.modality in ("a", "v")
    )
    echo(make_difficulty(config, teachers or single).summary)


@click.command()
@settings_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "latex", "csv"]),
    default="markdown",
    show_default=True,
    help="Form of the tables.",
)
@click.option("--output", type=folder_type, help="Write a file per table to this folder.")
@click.option(
    "--state",
    "states",
    type=click.Choice(["v1", "v2", "eccv"]),
    multiple=True,
    help="Show the figures of this state of the paper: first submission, arXiv, or page of the "
    "published version; may be repeated. Without it, of all.",
)
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="RUN",
    help="Add the models of this run, as RUN/MODEL; may be repeated.",
)
@click.option(
    "--v1-difficulty",
    is_flag=True,
    help="Also print table 6 of the first version, whose accuracies contradict its totals.",
)
@json_option
def tables(
    settings: tuple[str, ...],
    form: str,
    output: Path | None,
    states: tuple[State, ...],
    others: tuple[str, ...],
    v1_difficulty: bool,
    as_json: bool,
) -> None:
    """Print the paper's tables with the values of this run.

    Example: avrt tables configs/paper.yaml configs/paper-eval.yaml --state v1 --with paper-gemma
    """
    from avrt.config.baselines import STATES
    from avrt.report import paper

    if as_json and (output or form != "markdown"):
        raise click.UsageError("--json prints all tables: no --format and no --output")
    config = load_settings(settings)
    wanted = paper.Wanted(states or STATES, others, v1_difficulty)
    if as_json:
        echo_json(paper.tables_to_json(paper.read_runs(config, others), wanted))
    else:
        echo(paper.run(config, form, output, wanted).summary)
