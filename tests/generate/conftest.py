from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from avrt.config import Config, load_config
from avrt.datasets import prepare
from avrt.errors import MediaError
from avrt.generate import calls
from scripted_run import MakeConfig, overrides, replies, write_dataset, write_script


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/` and the prepared run `runs/test/`."""
    root = tmp_path_factory.mktemp("prepared")
    write_dataset(root)
    prepare.run(load_config(None, overrides(root)))
    return root


@pytest.fixture(autouse=True)
def _read_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read media in this process, which saves a second in every test.

    Where processes matter, they are there: test_reading.py and test_kill.py.
    """

    def map_files(
        function: Callable[[Any], Any], items: Iterable[Any], **_: Any
    ) -> Iterator[tuple[Any, Any]]:
        for item in items:
            try:
                yield item, function(item)
            except MediaError as error:
                yield item, error

    if "test_reading" not in request.module.__name__:
        monkeypatch.setattr(calls, "map_files", map_files)


@pytest.fixture
def make_config(prepared: Path, tmp_path: Path) -> MakeConfig:
    """A configuration of a fresh copy of the prepared run, with a script of replies."""
    root = tmp_path / "place"
    shutil.copytree(prepared, root)

    def make(script: Mapping[tuple[str, int], str] | None = None, *changes: str) -> Config:
        write_script(root, replies() if script is None else script)
        return load_config(None, (*overrides(root), *changes))

    return make
