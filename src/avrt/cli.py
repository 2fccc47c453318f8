"""The command line: one command per stage, each a call of the `run(config)` of one module.

Nothing heavy is imported before a command needs it, so `avrt --help` answers at once. Errors meant
for a person are printed as one message without a traceback; exit codes are 0 done, 1 failed, 2
wrong use, 130 interrupted.
"""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avrt import __version__
from avrt.cli_benchmarks import benchmarks, rubric
from avrt.cli_checkpoint import checkpoint
from avrt.cli_evaluate import COMMANDS
from avrt.cli_group import MethodGroup, load_settings, split_settings
from avrt.cli_options import plain_settings, print_plan, with_settings
from avrt.ranks import is_main

if TYPE_CHECKING:
    from avrt.ask.budget import Budget
    from avrt.config import Config

__all__ = ["main"]

STAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "trace": (("avrt.generate.trace",), "Ask the vision and the audio teacher every question."),
    "merge": (
        ("avrt.generate.merge",),
        "Merge both teachers' traces of each kept sample.",
    ),
    "build": (
        ("avrt.generate.build",),
        "Filter and split the merged traces into the dataset.",
    ),
    "generate": (
        ("avrt.generate.trace", "avrt.generate.merge", "avrt.generate.build"),
        "Run trace, merge and build, one after the other.",
    ),
    "stats": (("avrt.generate.stats",), "Print the statistics of the dataset."),
    "sft": (("avrt.train.sft",), "Fine-tune the student on the merged traces."),
    "grpo": (("avrt.train.grpo",), "Improve the student with GRPO."),
}
"""Name of each stage from generation to training: the modules whose `run(config)` it calls in
order, its help.
"""

CALLING = {"avrt.generate.trace", "avrt.generate.merge"}
"""Modules whose `run` calls models, and takes limits."""


@click.group(cls=MethodGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avrt")
def cli() -> None:
    """Audio-visual reasoning from single-modality teachers: data, training, evaluation.

    Every stage is called as `avrt STAGE [CONFIG.yaml] [section.key=value ...]` and works in the
    run directory `run.dir`/`run.name`. Repeating a command resumes it.
    """


def _run_stage(
    modules: tuple[str, ...], config: Config, dry_run: bool, limits: Budget | None = None
) -> None:
    if dry_run:
        print_plan(config, [importlib.import_module(name).plan(config) for name in modules])
        return
    for name in modules:
        run = importlib.import_module(name).run
        limited = {"budget": limits} if limits is not None and name in CALLING else {}
        result = run(config, **limited)
        if is_main():
            click.echo(result.summary)
        if limits is not None and limits.stopped_by is not None:
            return


def _add_stage(name: str, modules: tuple[str, ...], summary: str) -> None:
    @cli.command(name, help=summary)
    @with_settings
    def command(settings: tuple[str, ...], dry_run: bool) -> None:
        _run_stage(modules, load_settings(settings), dry_run)


@cli.command()
@with_settings
@click.option("--strict", is_flag=True, help="Exit with 1 when any file has a fault.")
def prepare(settings: tuple[str, ...], dry_run: bool, strict: bool) -> None:
    """Read the annotations and probe every media file."""
    from avrt.datasets import prepare as stage

    config = load_settings(settings)
    if dry_run:
        print_plan(config, [stage.plan(config)])
        return
    result = stage.run(config)
    click.echo(result.summary)
    stage.refuse_faults(config.prepare, result.counts, strict)


def _add_calling_stage(name: str, modules: tuple[str, ...], summary: str) -> None:
    @cli.command(name, help=summary)
    @with_settings
    @click.option("--budget-calls", type=click.IntRange(0), help="Start at most so many calls.")
    @click.option(
        "--budget-tokens",
        type=click.IntRange(0),
        help="Start no call after so many tokens, of prompts and replies.",
    )
    @click.option("--limit", type=click.IntRange(1), help="Only the first so many samples.")
    def command(
        settings: tuple[str, ...],
        dry_run: bool,
        budget_calls: int | None,
        budget_tokens: int | None,
        limit: int | None,
    ) -> None:
        from avrt.ask.budget import Budget

        limits = Budget(budget_calls, budget_tokens, limit)
        _run_stage(modules, load_settings(settings), dry_run, limits)


for _name, (_modules, _summary) in STAGES.items():
    if CALLING & {*_modules}:
        _add_calling_stage(_name, _modules, _summary)
    elif _name != "grpo":
        _add_stage(_name, _modules, _summary)


@cli.command()
@with_settings
@click.option(
    "--reward-check",
    is_flag=True,
    help="First show what the policy's completions of 32 prompts earn; stop where that teaches "
    "nothing. With --dry-run, only that.",
)
@click.option("--force", is_flag=True, help="Train whatever --reward-check finds.")
def grpo(settings: tuple[str, ...], dry_run: bool, reward_check: bool, force: bool) -> None:
    """Improve the student with GRPO."""
    if force and not reward_check:
        raise click.UsageError("--force goes with --reward-check")
    config = load_settings(settings)
    if reward_check:
        from avrt.train.reward_check import check_rewards

        click.echo(check_rewards(config, force))
    _run_stage(STAGES["grpo"][0], config, dry_run)


@cli.group()
def ledger() -> None:
    """The model calls of a run: count, show, retry failures."""


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@ledger.command("stats")
@plain_settings
@_as_json
def ledger_stats(settings: tuple[str, ...], as_json: bool) -> None:
    """Count calls, tokens, time and failures."""
    from avrt.ask.show import load_stats, render_stats

    stats = load_stats(load_settings(settings).run.path)
    click.echo(json.dumps(stats, indent=2) if as_json else render_stats(stats))


@ledger.command("show")
@click.argument("key")
@plain_settings
@_as_json
def ledger_show(key: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Print one call: the exact request, the raw reply, every attempt.

    KEY may be the first characters of a key; those of older versions are found too.
    """
    from avrt.ask.show import load_call, render_call

    call = load_call(load_settings(settings).run.path, key)
    click.echo(json.dumps(call, indent=2) if as_json else render_call(call))


@ledger.command("retry")
@plain_settings
@click.option(
    "--class", "error_class", required=True, metavar="CLASS", help="As `avrt ledger stats` says."
)
def ledger_retry(settings: tuple[str, ...], error_class: str) -> None:
    """Mark what failed with a class, calls or media, as to be tried again."""
    from avrt.ask.show import retry

    click.echo(retry(load_settings(settings).run.path, error_class))


for _command in (checkpoint, benchmarks, *COMMANDS, rubric):
    cli.add_command(_command)
_add_stage("report", ("avrt.report",), "Write the run's page and tables.")

_folder = click.Path(file_okay=False, path_type=Path)


@cli.command("import")
@click.argument("name", metavar="SET")
@click.argument("folder")
@plain_settings
@click.option("--hub", is_flag=True, help="FOLDER is the id of a dataset on the Hub.")
def import_set(name: str, folder: str, settings: tuple[str, ...], hub: bool) -> None:
    """Make a published set the dataset of a run.

    SET is avrt-20k or avqa-r1-6k, FOLDER where it lies.
    """
    from avrt.exchange.imports import run

    click.echo(run(load_settings(settings), name, folder, from_hub=hub).summary)


@cli.command()
@plain_settings
@click.option(
    "--to",
    "name",
    required=True,
    type=click.Choice(["trl", "ms-swift", "llamafactory", "video-r1", "webdataset", "hf"]),
    help="Who will read it.",
)
@click.option("--output", type=_folder, help="A folder that is not there yet.")
@click.option("--with-media", is_flag=True, help="Put frames, sound or clips into the folder.")
@click.option("--grpo", is_flag=True, help="Prompts with solutions instead of traces.")
@click.option("--absolute", is_flag=True, help="Write absolute paths, for this machine only.")
def export(
    settings: tuple[str, ...],
    name: str,
    output: Path | None,
    with_media: bool,
    grpo: bool,
    absolute: bool,
) -> None:
    """Write the dataset in the form that another tool reads."""
    from avrt.exchange.exports import run
    from avrt.exchange.exports.formats import ExportOptions

    options = ExportOptions(with_media=with_media, grpo=grpo, absolute=absolute)
    click.echo(run(load_settings(settings), name, options, output).summary)


@cli.command("replay")
@plain_settings
@click.option("--row", required=True, metavar="ID|KEY", help="A row's id, or a call's key.")
@click.option("--send", is_flag=True, help="Make the calls again; nothing is stored.")
def replay_row(settings: tuple[str, ...], row: str, send: bool) -> None:
    """Show the model calls behind a row of the dataset."""
    from avrt.ask.replay import Sender, replay
    from avrt.cli_replay import dataset_roots, engine_of

    config = load_settings(settings)
    sender = Sender(partial(engine_of, config), config.media) if send else None
    click.echo(replay(config.run.path, row, dataset_roots(config), sender))


@cli.command()
@click.argument("name", required=False)
def teachers(name: str | None) -> None:
    """List the presets of teachers and mergers, or show one.

    A preset goes into a configuration as `teachers.vision.preset=NAME` or `merger.preset=NAME`.
    """
    from avrt.presets import render, render_all

    click.echo(render(name) if name else render_all())


@cli.command()
@plain_settings
def views(settings: tuple[str, ...]) -> None:
    """List the views with their conditions and columns."""
    from avrt.generate.views import check_views, describe_views

    config = load_settings(settings)
    click.echo(describe_views(config.build, config.teachers))
    check_views(config.build, config.teachers)


@cli.command()
@plain_settings
def demo(settings: tuple[str, ...]) -> None:
    """Run the whole method on the packaged world.

    From clips to a trained, evaluated student and its page, on two CPU cores.
    """
    from avrt.demo import run

    click.echo(run(*split_settings(settings)).summary)


@cli.group()
def world() -> None:
    """The packaged procedural world and its small models."""


@world.command("make")
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
@click.option("--n-train", default=2000, show_default=True, help="Questions of world-train.")
@click.option("--n-bench", default=400, show_default=True, help="Questions of world-bench.")
@click.option("--n-audio", default=400, show_default=True, help="Questions of world-audio.")
@click.option("--seed", default=0, show_default=True, help="Other seeds give other clips.")
def world_make(root: Path, n_train: int, n_bench: int, n_audio: int, seed: int) -> None:
    """Write the world's clips and questions below ROOT."""
    from avrt.world.make import run

    click.echo(run(root, n_train=n_train, n_bench=n_bench, n_audio=n_audio, seed=seed).summary)


@world.command("train")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/world"),
    show_default=True,
    help="Folder for the models and their checkpoints; an interrupted training resumes there.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Only this model; may be repeated.")
@click.option("--seed", default=0, show_default=True, help="Of the weights and the lessons.")
def world_train(output: Path, only: tuple[str, ...], seed: int) -> None:
    """Train the world's small models.

    In this order: the merger, a perceiver (not shipped; the next three start from it), the base
    student and the two teachers.
    """
    from avrt.world.training import run

    click.echo(run(output, only=only, seed=seed).summary)


@cli.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Check what this machine has and lacks.

    Looks at Python, packages, codecs, memory, disk and the packaged models.
    """
    from avrt.doctor import examine, render

    checks = examine()
    click.echo(render(checks))
    if any(check.status == "fail" for check in checks):
        ctx.exit(1)


def main() -> None:
    """Entry point of the command `avrt`."""
    cli(prog_name="avrt")
