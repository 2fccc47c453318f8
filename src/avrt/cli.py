"""The command line: one command per stage, each a call of the `run(config)` of one module.

Nothing heavy is imported before a command needs it, so `avrt --help` answers at once. Errors meant
for a person are printed as one message without a traceback; exit codes are 0 done, 1 failed, 2
wrong use, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from avrt import __version__
from avrt.errors import AvrtError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from avrt.config import Config
    from avrt.types import Modality

__all__ = ["EXTRAS", "main"]

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

EXTRAS = {
    "train": (
        "accelerate",
        "datasets",
        "huggingface_hub",
        "safetensors",
        "tokenizers",
        "torch",
        "torchvision",
        "transformers",
        "trl",
    ),
    "report": ("jinja2", "matplotlib"),
}
"""Optional groups of packages, and what a command that needs one of them imports."""

_DISK_ERRORS = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)
"""What a full, locked or misnamed place answers: no defect of AVRT."""


class _Cli(click.Group):
    """A group that turns the errors meant for a person into one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the method."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AvrtError as error:
            _stop(ctx, str(error), error.exit_code)
        except ModuleNotFoundError as error:
            _stop(ctx, _install_advice(error), 2)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            _stop(ctx, f"{error.filename or 'write'}: {error.strerror}", 1)
        except KeyboardInterrupt:
            _stop(ctx, "interrupted; the same command goes on or starts this stage again", 130)


def _stop(ctx: click.Context, message: str, exit_code: int) -> None:
    click.echo(f"avrt: error: {message}", err=True)
    ctx.exit(exit_code)


def _install_advice(error: ModuleNotFoundError) -> str:
    missing = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if missing in packages), None)
    if extra is None:
        raise error
    return (
        f"{missing} is not installed and this command needs it; in a checkout of AVRT run "
        f"`make setup`, or: pip install -c constraints.txt -e '.[{extra}]'"
    )


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avrt")
def cli() -> None:
    """Audio-visual reasoning from single-modality teachers: data, training, evaluation.

    Every stage is called as `avrt STAGE [CONFIG.yaml] [section.key=value ...]` and works in the
    run directory `run.dir`/`run.name`. Repeating a command resumes it.
    """


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add what all stage commands take: a configuration file, overrides and --dry-run."""
    command = click.option(
        "--dry-run",
        is_flag=True,
        help="Print the resolved configuration and what would be done; write nothing.",
    )(command)
    return click.argument("settings", nargs=-1, metavar="[CONFIG.yaml] [section.key=value ...]")(
        command
    )


def _split_settings(settings: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """The configuration file, if the first setting is one, and the overrides."""
    if not settings or "=" in settings[0]:
        return None, settings
    return Path(settings[0]), settings[1:]


def _load(settings: tuple[str, ...]) -> Config:
    from avrt.config import load_config

    path, overrides = _split_settings(settings)
    return load_config(path, overrides)


def _run_stage(modules: tuple[str, ...], config: Config, dry_run: bool) -> None:
    if dry_run:
        _print_plan(config, [importlib.import_module(name).plan(config) for name in modules])
        return
    for name in modules:
        click.echo(importlib.import_module(name).run(config).summary)


def _print_plan(config: Config, plans: list[str]) -> None:
    from avrt.config import dump_config

    click.echo(dump_config(config))
    for plan in plans:
        click.echo(plan)


def _add_stage(name: str, modules: tuple[str, ...], summary: str) -> None:
    @cli.command(name, help=summary)
    @_settings
    def command(settings: tuple[str, ...], dry_run: bool) -> None:
        _run_stage(modules, _load(settings), dry_run)


@cli.command()
@_settings
@click.option("--strict", is_flag=True, help="Exit with 1 when any file has a fault.")
def prepare(settings: tuple[str, ...], dry_run: bool, strict: bool) -> None:
    """Read the annotations and probe every media file."""
    from avrt.datasets import prepare as stage

    config = _load(settings)
    if dry_run:
        _print_plan(config, [stage.plan(config)])
        return
    result = stage.run(config)
    click.echo(result.summary)
    stage.refuse_faults(config, result.counts, strict)


for _name, (_modules, _summary) in STAGES.items():
    _add_stage(_name, _modules, _summary)


def _parse_modalities(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[Modality, ...] | None:
    from avrt.types import Modality

    if value is None:
        return None
    known: dict[str, Modality] = {name: name for name in get_args(Modality)}
    try:
        return tuple(known[name] for name in value.split(","))
    except KeyError as error:
        raise click.BadParameter(f"{error} is none of {', '.join(known)}") from error


@cli.command("eval")
@_settings
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated.")
@click.option(
    "--modality",
    "modalities",
    callback=_parse_modalities,
    help="Only these modalities, such as `av` or `a,v,av`.",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    help="Evaluate nothing; compare models A and B on the items that both have answered.",
)
def evaluate(
    settings: tuple[str, ...],
    dry_run: bool,
    models: tuple[str, ...],
    modalities: tuple[Modality, ...] | None,
    compare: tuple[str, str] | None,
) -> None:
    """Evaluate the models on sound, vision and both."""
    if compare and (models or modalities or dry_run):
        raise click.UsageError(
            "--compare evaluates nothing, so it goes with none of --model, --modality, --dry-run"
        )
    from avrt import evaluate as evaluation

    config = _load(settings)
    if dry_run:
        config = _restrict_evaluation(config, models, modalities)
        _print_plan(config, [evaluation.plan(config)])
    elif compare:
        click.echo(evaluation.compare(config, *compare))
    else:
        click.echo(evaluation.run(config, models or None, modalities).summary)


def _restrict_evaluation(
    config: Config, models: tuple[str, ...], modalities: tuple[Modality, ...] | None
) -> Config:
    """The configuration with only the named models and modalities left to evaluate."""
    known = config.eval.models
    for name in models:
        if name not in known:
            raise ConfigError(f"model {name!r} is not in eval.models; known: {', '.join(known)}")
    chosen = {
        "models": {name: known[name] for name in models or known},
        "modalities": modalities or config.eval.modalities,
    }
    return config.model_copy(update={"eval": config.eval.model_copy(update=chosen)})


_add_stage("report", ("avrt.report",), "Write the run's page and tables.")


@cli.command()
@click.argument("settings", nargs=-1, metavar="[CONFIG.yaml] [section.key=value ...]")
def demo(settings: tuple[str, ...]) -> None:
    """Run the whole method on the packaged world.

    From clips to a trained, evaluated student and its page, on two CPU cores.
    """
    from avrt.demo import run

    click.echo(run(*_split_settings(settings)).summary)


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
