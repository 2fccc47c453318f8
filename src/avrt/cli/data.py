"""The commands around the dataset: its model calls, other forms of it, and lists of known names."""

from __future__ import annotations

from pathlib import Path

import click

from avrt.cli.options import (
    OrderedGroup,
    echo,
    echo_json,
    echo_result,
    json_option,
    load_settings,
    output_type,
    settings_argument,
)

__all__ = ["export", "import_set", "ledger", "list_known", "replay_row"]


@click.group(cls=OrderedGroup)
def ledger() -> None:
    """Count, show and retry the model calls of a run.

    Example: avrt ledger stats configs/paper.yaml
    """


@ledger.command("stats")
@settings_argument
@json_option
def ledger_stats(settings: tuple[str, ...], as_json: bool) -> None:
    """Count calls, tokens, time and failures.

    Example: avrt ledger stats configs/paper.yaml --json
    """
    from avrt.ask.show import load_stats, render_stats

    counted = load_stats(load_settings(settings).run.path)
    echo_json(counted) if as_json else echo(render_stats(counted))


@ledger.command("show")
@click.argument("key")
@settings_argument
@json_option
def ledger_show(key: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Print one call: the exact request, the raw reply, every attempt.

    KEY may be the first characters of a key.

    Example: avrt ledger show 3f9a configs/paper.yaml
    """
    from avrt.ask.show import load_call, render_call

    call = load_call(load_settings(settings).run.path, key)
    echo_json(call) if as_json else echo(render_call(call))


@ledger.command("retry")
@settings_argument
@click.option(
    "--class",
    "error_class",
    required=True,
    metavar="CLASS",
    help="Class of the failures, as `avrt ledger stats` prints it.",
)
def ledger_retry(settings: tuple[str, ...], error_class: str) -> None:
    """Retry calls and media that failed with CLASS, the next time their stage runs.

    Example: avrt ledger retry configs/paper.yaml --class timeout
    """
    from avrt.ask.show import retry

    echo(retry(load_settings(settings).run.path, error_class))


@click.command("replay")
@settings_argument
@click.option("--row", required=True, metavar="ID|KEY", help="Id of a row, or key of a model call.")
@click.option("--send", is_flag=True, help="Make the calls again; nothing is stored.")
def replay_row(settings: tuple[str, ...], row: str, send: bool) -> None:
    """Show the model calls behind a row of the dataset.

    Example: avrt replay configs/paper.yaml --row avqa-train-183
    """
    from avrt.cli import replay

    echo(replay.replay_row(load_settings(settings), row, send))


@click.command("import")
@click.argument("name", metavar="SET")
@click.argument("folder")
@settings_argument
@click.option("--hub", is_flag=True, help="Read FOLDER as the id of a dataset on the Hub.")
def import_set(name: str, folder: str, settings: tuple[str, ...], hub: bool) -> None:
    """Make a published set the dataset of a run.

    SET is avrt-20k or avqa-r1-6k, FOLDER its folder on this machine.

    Example: avrt import avrt-20k data/AVRT-20K run.name=published
    """
    from avrt.exchange.imports import run

    echo(run(load_settings(settings), name, folder, from_hub=hub).summary)


@click.command()
@settings_argument
@click.option(
    "--to",
    "name",
    required=True,
    type=click.Choice(["trl", "ms-swift", "llamafactory", "video-r1", "webdataset", "hf"]),
    help="Tool that will read the files.",
)
@click.option(
    "--output",
    type=output_type,
    help="Write to this folder, which may not exist yet; it may be in a store: s3://BUCKET/FOLDER.",
)
@click.option("--with-media", is_flag=True, help="Put frames, sound or clips into the folder.")
@click.option("--grpo", is_flag=True, help="Write prompts with solutions instead of traces.")
@click.option("--absolute", is_flag=True, help="Write absolute paths, for this machine only.")
def export(
    settings: tuple[str, ...],
    name: str,
    output: Path | None,
    with_media: bool,
    grpo: bool,
    absolute: bool,
) -> None:
    """Write the dataset in the form that another tool reads.

    Example: avrt export configs/paper.yaml --to trl --output build/trl
    """
    from avrt.exchange.exports import run
    from avrt.exchange.exports.formats import ExportOptions

    options = ExportOptions(with_media=with_media, grpo=grpo, absolute=absolute)
    echo_result(run(load_settings(settings), name, options, output))


@click.group("list", cls=OrderedGroup)
def list_known() -> None:
    """List benchmarks, teachers, views, recipes, baselines or experiments.

    Example: avrt list teachers
    """


@list_known.command("benchmarks")
@click.argument("name", required=False)
def list_benchmarks(name: str | None) -> None:
    """List the benchmarks that evaluation reads, or show benchmark NAME.

    Name a benchmark in a configuration as `eval.benchmarks.NAME={format: FORMAT, root: FOLDER}`.

    Example: avrt list benchmarks omnibench
    """
    from avrt.evaluate.benchmarks import render, render_all

    echo(render(name) if name else render_all())


@list_known.command("teachers")
@click.argument("name", required=False)
def list_teachers(name: str | None) -> None:
    """List the presets of teachers and mergers, or show preset NAME.

    Name a preset in a configuration as `teachers.vision.preset=NAME` or `merger.preset=NAME`.

    Example: avrt list teachers qwen3-vl-8b-thinking
    """
    from avrt.config.presets import render, render_all

    echo(render(name) if name else render_all())


@list_known.command("views")
@settings_argument
def list_views(settings: tuple[str, ...]) -> None:
    """List the views with their conditions and columns.

    Example: avrt list views configs/recommended.yaml
    """
    from avrt.generate.views import check_views, describe_views

    config = load_settings(settings)
    echo(describe_views(config.build, config.teachers))
    check_views(config.build, config.teachers)


@list_known.command("recipes")
@click.argument("name", required=False)
def list_recipes(name: str | None) -> None:
    """List the published settings of GRPO with their sources, or show recipe NAME.

    Name a recipe in a configuration as `grpo.recipe=NAME`.

    Example: avrt list recipes dapo
    """
    from avrt.config.recipes import render, render_all

    echo(render(name) if name else render_all())


@list_known.command("baselines")
@click.argument("name", required=False)
def list_baselines(name: str | None) -> None:
    """List published models and their figures, or show model NAME.

    Evaluate a baseline that has a checkpoint as `eval.models.NAME.preset=BASELINE`, and the others
    through `avrt eval --predictions`.

    Example: avrt list baselines echoink-7b
    """
    from avrt.config.baselines import render, render_all

    echo(render(name) if name else render_all())


@list_known.command("experiments")
def list_experiments() -> None:
    """List the packaged experiments with their questions.

    Run one as `avrt experiment NAME`.

    Example: avrt list experiments
    """
    from avrt.experiments import render_all

    echo(render_all())
