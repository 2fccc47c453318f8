"""The commands of `avrt checkpoint`: convert checkpoints, and print their parts."""

from __future__ import annotations

from pathlib import Path

import click

from avrt.cli.options import (
    OrderedGroup,
    checkpoint_type,
    echo,
    folder_type,
    load_settings,
    settings_argument,
)

__all__ = ["checkpoint"]


@click.group(cls=OrderedGroup)
def checkpoint() -> None:
    """Take thinkers out of Qwen2.5-Omni and put them back; merge a teacher's adapter.

    A checkpoint is a folder on this machine, or world:NAME for a model inside the package.

    Example: avrt checkpoint describe world:student
    """


@checkpoint.command()
@click.argument("omni", type=checkpoint_type)
@click.argument("out", type=folder_type)
def extract(omni: Path, out: Path) -> None:
    """Write the thinker of the whole model OMNI to OUT, for training to start from.

    Example: avrt checkpoint extract models/Qwen2.5-Omni-3B models/thinker
    """
    from avrt.checkpoints.convert import extract as run

    echo(run(omni, out))


@checkpoint.command()
@click.argument("thinker", type=checkpoint_type)
@click.argument("omni", type=checkpoint_type)
@click.argument("out", type=folder_type)
@click.option("--cast", is_flag=True, help="Round the thinker to OMNI's number formats.")
def merge(thinker: Path, omni: Path, out: Path, cast: bool) -> None:
    """Write OMNI with THINKER in place of its own to OUT.

    Example: avrt checkpoint merge runs/paper/sft models/Qwen2.5-Omni-3B models/mine
    """
    from avrt.checkpoints.convert import merge as run

    echo(run(thinker, omni, out, cast))


@checkpoint.command("export-vllm")
@click.argument("thinker", type=checkpoint_type)
@click.argument("out", type=folder_type)
def export_vllm(thinker: Path, out: Path) -> None:
    """Write THINKER to OUT in the form that vLLM serves.

    Example: avrt checkpoint export-vllm runs/paper/sft models/served
    """
    from avrt.checkpoints.convert import export_vllm as run

    echo(run(thinker, out))


@checkpoint.command("merge-adapter")
@click.argument("base", type=folder_type)
@click.argument("adapter", type=folder_type)
@click.argument("out", type=folder_type)
@click.option(
    "--ignore-unknown",
    is_flag=True,
    help="Leave out tensors of non_lora_trainables.bin that BASE does not have.",
)
def merge_adapter(base: Path, adapter: Path, out: Path, ignore_unknown: bool) -> None:
    """Write the Audio Flamingo 3 in BASE, with ADAPTER merged in, to OUT.

    ADAPTER is a folder with adapter_config.json, adapter_model.safetensors and
    non_lora_trainables.bin: `think` of nvidia/audio-flamingo-3-hf, the paper's audio teacher.
    Tensors are written one by one; a GPU is not needed.

    Example: avrt checkpoint merge-adapter models/af3 models/af3/think models/af3-think
    """
    from avrt.checkpoints.adapter import merge_adapter as run

    echo(run(base, adapter, out, ignore_unknown))


@checkpoint.command()
@click.argument("folder", type=checkpoint_type)
@settings_argument
def describe(folder: Path, settings: tuple[str, ...]) -> None:
    """Print the parts of the checkpoint in FOLDER, and which of them train.

    FOLDER may be world:NAME. Only the headers of its files are read.

    Example: avrt checkpoint describe models/thinker configs/paper.yaml
    """
    from avrt.train.describe import describe as run

    echo(run(folder, load_settings(settings).student))
