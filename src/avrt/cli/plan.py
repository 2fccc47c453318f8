"""`avrt plan`: the work, hours, storage and money of a configuration, before it is started."""

from __future__ import annotations

from pathlib import Path

import click

from avrt.cli.options import echo, echo_json, json_option, load_settings, settings_argument

__all__ = ["plan"]


@click.command()
@settings_argument
@click.option("--clips", type=float, required=True, metavar="N", help="Clips, such as 1e6.")
@click.option("--gpus", type=float, required=True, metavar="N", help="GPUs that all stages have.")
@click.option(
    "--rates",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take rates from a YAML file of NAME: VALUE.",
)
@click.option(
    "--rate",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a rate, such as gpu.price=2.5 or teachers.vision.gpu_s=0.4; may be repeated.",
)
@json_option
def plan(
    settings: tuple[str, ...],
    clips: float,
    gpus: float,
    path: Path | None,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print calls, tokens, hours, storage and money of all stages.

    Rates that the run of the configuration has measured take the place of those that the package
    states; every rate is listed with where it comes from, and can be given.

    Example: avrt plan configs/paper.yaml --clips 1e6 --gpus 64 --rate gpu.price=2.5
    """
    from avrt.planning import check_size, make_plan
    from avrt.planning.rates import given_rates
    from avrt.planning.render import plan_to_json, render_plan

    n_clips, n_gpus = check_size(clips, gpus)
    config = load_settings(settings)
    roles = [
        *(f"teachers.{name}" for name in config.teachers),
        *(f"judges.{name}" for name in config.judges),
        *(f"eval.models.{name}" for name in config.eval.models),
        *("merger", "student"),
    ]
    result = make_plan(config, n_clips, n_gpus, given_rates(path, options, roles))
    if as_json:
        echo_json(plan_to_json(result))
    else:
        echo(render_plan(result, config.run.name))
