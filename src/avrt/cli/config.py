"""The commands of `avrt config`: the configurations inside the package, as files of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import click

from avrt.cli.options import OrderedGroup, echo

__all__ = ["config"]


@click.group(cls=OrderedGroup)
def config() -> None:
    """List, show or copy the packaged configurations.

    Example: avrt config copy paper
    """


@config.command("list")
def list_configs() -> None:
    """List the packaged configurations, each with the first lines of its comment.

    Example: avrt config list
    """
    from avrt.config.packaged import packaged_configs

    known = packaged_configs()
    width = max(map(len, known), default=0)
    for name, path in known.items():
        echo(f"{name:<{width}}  {_summary(path)}")


@config.command()
@click.argument("name")
def show(name: str) -> None:
    """Print configuration NAME.

    Example: avrt config show recommended
    """
    from avrt.config.packaged import packaged_config

    echo(packaged_config(name).read_text(encoding="utf-8").rstrip("\n"))


@config.command()
@click.argument("name")
@click.argument("path", required=False, type=click.Path(path_type=Path))
def copy(name: str, path: Path | None) -> None:
    """Write configuration NAME to PATH, by default NAME.yaml, to be changed there.

    PATH that does not end in .yaml is a folder. A file that is there stays as it is.

    Example: avrt config copy paper configs/
    """
    from avrt.config.files import read_yaml
    from avrt.config.packaged import packaged_config
    from avrt.errors import ConfigError

    source = packaged_config(name)
    before = read_yaml(source).get("after")
    target = path or Path(source.name)
    if target.suffix not in (".yaml", ".yml"):
        target = target / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError as error:
        raise ConfigError(f"{target}: already exists; name another file") from error
    files = f"{target.with_name(before)} {target}" if before else str(target)
    echo(f"wrote {target}; use it: avrt generate {files} --dry-run")


def _summary(path: Path) -> str:
    """The first words of the comment at the top of a file, up to a full stop or colon."""
    lines = path.read_text(encoding="utf-8").splitlines()
    top = " ".join(line.lstrip("# ") for line in lines[:6] if line.startswith("#"))
    return re.split(r"[.:] |[.:]$", top, maxsplit=1)[0] + "."
