"""The commands about benchmarks that evaluate nothing: what there is, and rubrics."""

from __future__ import annotations

import click

from avrt.cli_group import load_settings
from avrt.cli_options import print_plan, with_budget, with_settings

__all__ = ["benchmarks", "rubric"]


@click.command()
@click.argument("name", required=False)
def benchmarks(name: str | None) -> None:
    """List the benchmarks, or show one.

    A benchmark goes into a configuration as `eval.benchmarks.NAME={format: FORMAT, root: FOLDER}`.
    """
    from avrt.evaluate.benchmarks import render, render_all

    click.echo(render(name) if name else render_all())


@click.command()
@with_settings
@with_budget
def rubric(
    settings: tuple[str, ...],
    dry_run: bool,
    budget_calls: int | None,
    budget_tokens: int | None,
    limit: int | None,
) -> None:
    """Let a text model score the replies to MMAR by its rubrics."""
    from avrt.ask.budget import Budget
    from avrt.evaluate import rubric as stage

    config = load_settings(settings)
    if dry_run:
        print_plan(config, [stage.plan(config)])
    else:
        budget = Budget(budget_calls, budget_tokens, limit)
        click.echo(stage.run(config, budget).summary)
