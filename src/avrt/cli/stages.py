"""The stages from annotations to a trained student and its page, one command each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from avrt.cli.options import (
    budget_options,
    dry_run_option,
    echo,
    echo_json,
    echo_result,
    json_option,
    load_settings,
    others_option,
    print_plan,
    run_or_plan,
    runs_argument,
    settings_argument,
    split_runs,
    stop_on_fault,
)

if TYPE_CHECKING:
    from avrt.ask.budget import Budget

__all__ = [
    "build",
    "generate",
    "grpo",
    "judge",
    "merge",
    "prepare",
    "report",
    "sft",
    "stats",
    "trace",
]


@click.command()
@settings_argument
@dry_run_option
@click.option("--strict", is_flag=True, help="Exit with code 1 when any file has a fault.")
def prepare(settings: tuple[str, ...], dry_run: bool, strict: bool) -> None:
    """Read the annotations and probe every media file.

    Example: avrt prepare configs/paper.yaml data.root=data/avqa
    """
    from avrt.datasets import prepare as stage

    config = load_settings(settings)
    if dry_run:
        print_plan(config, stage.plan(config))
        return
    result = stage.run(config)
    echo_result(result)
    stage.refuse_faults(config.prepare, result.counts, strict)


@click.command()
@settings_argument
@dry_run_option
@budget_options
def trace(settings: tuple[str, ...], dry_run: bool, budget: Budget) -> None:
    """Ask every teacher every question.

    Example: avrt trace configs/paper.yaml --limit 100
    """
    from avrt.generate import trace as stage

    run_or_plan(stage, load_settings(settings), dry_run, budget)


@click.command()
@settings_argument
@dry_run_option
@budget_options
def merge(settings: tuple[str, ...], dry_run: bool, budget: Budget) -> None:
    """Merge the teachers' traces of each kept sample.

    Example: avrt merge configs/paper.yaml --budget-tokens 5000000
    """
    from avrt.generate import merge as stage

    run_or_plan(stage, load_settings(settings), dry_run, budget)


@click.command()
@settings_argument
@dry_run_option
@budget_options
def judge(settings: tuple[str, ...], dry_run: bool, budget: Budget) -> None:
    """Let text models look for faults in the merged traces.

    The section `judges` of the configuration names them; without any there is nothing to do.

    Example: avrt judge configs/recommended.yaml --budget-calls 1000
    """
    from avrt.generate import judge as stage

    run_or_plan(stage, load_settings(settings), dry_run, budget)


@click.command()
@settings_argument
@dry_run_option
def build(settings: tuple[str, ...], dry_run: bool) -> None:
    """Filter the merged traces and split them into the dataset.

    Example: avrt build configs/paper.yaml build.validation_fraction=0.1
    """
    from avrt.generate import build as stage

    run_or_plan(stage, load_settings(settings), dry_run)


@click.command()
@settings_argument
@dry_run_option
@budget_options
def generate(settings: tuple[str, ...], dry_run: bool, budget: Budget) -> None:
    """Run trace, merge, judge and build, one after the other.

    A stage that an option below stops is the last. For a small dataset, set data.limit here and in
    `avrt prepare`.

    Example: avrt generate configs/recommended.yaml run.name=small data.limit=100
    """
    from avrt.generate import build, judge, merge, trace

    config = load_settings(settings)
    if dry_run:
        print_plan(config, *(stage.plan(config) for stage in (trace, merge, judge, build)))
        return
    results = []
    for stage in (trace, merge, judge):
        results.append(stage.run(config, budget))
        echo(results[-1].summary)
        if budget.stopped_by is not None:
            break
    else:
        results.append(build.run(config))
        echo(results[-1].summary)
    stop_on_fault(*results)


@click.command()
@settings_argument
@dry_run_option
@json_option
def stats(settings: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Print the statistics of the dataset.

    Example: avrt stats configs/paper.yaml --json
    """
    from avrt.generate import stats as stage

    config = load_settings(settings)
    if dry_run:
        print_plan(config, stage.plan(config))
        return
    result = stage.run(config)
    if as_json:
        stored = config.run.path / "dataset" / "statistics.json"
        echo_json(json.loads(stored.read_text(encoding="utf-8")))
    else:
        echo_result(result)


@click.command()
@settings_argument
@dry_run_option
def sft(settings: tuple[str, ...], dry_run: bool) -> None:
    """Fine-tune the student on the merged traces.

    Example: avrt sft configs/paper.yaml configs/paper-v2.yaml
    """
    from avrt.train import sft as stage

    run_or_plan(stage, load_settings(settings), dry_run)


@click.command()
@settings_argument
@dry_run_option
@click.option(
    "--reward-check",
    is_flag=True,
    help="First show the rewards of the policy's completions of 32 prompts, and stop when no group "
    "has rewards that differ. With --dry-run, do this alone.",
)
@click.option("--force", is_flag=True, help="Train whatever --reward-check finds.")
def grpo(settings: tuple[str, ...], dry_run: bool, reward_check: bool, force: bool) -> None:
    """Improve the student with GRPO.

    Example: avrt grpo configs/paper.yaml grpo.learning_rate=2e-6 --reward-check
    """
    if force and not reward_check:
        raise click.UsageError("--force goes with --reward-check")
    config = load_settings(settings)
    if reward_check:
        from avrt.train.reward_check import check_rewards

        echo(check_rewards(config, force))
    from avrt.train import grpo as stage

    run_or_plan(stage, config, dry_run)


@click.command()
@runs_argument
@dry_run_option
@others_option
def report(settings: tuple[str, ...], dry_run: bool, others: tuple[str, ...]) -> None:
    """Write the run's page, tables and figures.

    RUN is the directory of a run; a configuration names its run. The page is written into the first
    of several runs, with the others beside it: tables paired, curves overlaid. `avrt view RUN`
    opens it.

    Example: avrt report runs/demo runs/other report.gallery_items=500
    """
    from avrt import report as stage

    settings, beside = split_runs(settings)
    config = load_settings(settings)
    run_or_plan(stage, config, dry_run, None, True, (*beside, *others))
