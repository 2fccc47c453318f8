"""Write an lmms-eval task out of a benchmark that AVRT reads."""

from __future__ import annotations

from pathlib import Path

import click

from avrt.config import DataConfig
from avrt.errors import AvrtError
from avrt.evaluate.benchmarks import BENCHMARKS
from avrt_lmms_eval.tasks import write_task

_folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("format", type=click.Choice([*BENCHMARKS]))
@click.argument("root", type=_folder)
@click.argument("output", type=_folder)
@click.option("--split", default="val", show_default=True, help="For avqa and parquet.")
@click.option("--prompt", default="student", show_default=True, help="Or `official`, or a file.")
@click.option("--modality", type=click.Choice(["a", "v", "av"]), default="av", show_default=True)
def main(format: str, root: Path, output: Path, split: str, prompt: str, modality: str) -> None:
    """Write a task for the benchmark of FORMAT in ROOT into the folder OUTPUT."""
    try:
        data = DataConfig.model_validate({"format": format, "root": root, "split": split})
        path = write_task(data, output, prompt, modality)  # pyright: ignore[reportArgumentType]
    except AvrtError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {path}; use it with --include_path {output} --tasks {path.stem}")


main()
