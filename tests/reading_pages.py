"""Write the items of a page, read what it was written from, and move a run that is shared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from avrt.config import Config, RunConfig
from avrt.evaluate.results import read_results
from avrt.report.item import roles_of
from avrt.report.items import ItemSources, Written, write_items
from avrt.report.script import read_script

__all__ = ["files_of", "moved", "read_data", "read_index", "read_items", "written"]


def moved(config: Config, target: Path) -> Config:
    """The same configuration for a copy of its run."""
    shutil.copytree(config.run.path, target / config.run.name)
    return config.model_copy(update={"run": RunConfig(dir=target, name=config.run.name)})


def written(config: Config, report: Path, n_media: int = 0) -> Written:
    sources = ItemSources(
        run=config.run.path,
        root=config.data.root,
        media=config.media,
        evaluation=config.eval,
        roles=roles_of(config.run.path, config.teachers, config.merger),
    )
    return write_items(sources, read_results(config, with_texts=False), report, n_media)


def files_of(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def read_data(path: Path) -> Any:
    """The value in a data file, which is a single line."""
    assert path.read_bytes().count(b"\n") == 1
    return read_script(path)[1]


def read_index(report: Path) -> dict[str, Any]:
    return read_data(report / "data" / "index.js")


def read_items(report: Path) -> list[dict[str, Any]]:
    """All items in their order."""
    paths = sorted((report / "data").glob("items-*.js"))
    return [item for path in paths for item in read_data(path)]
