"""Fixtures of all tests. Helpers that are no fixtures: clips.py (clips), scripted_run.py (runs)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real clips and annotations; they are no part of the repository."""
    folder = Path(os.environ.get("AVRT_REAL_DATA", REPOSITORY.parent / "shared" / "real"))
    if not (folder / "avqa" / "val_qa.json").is_file():
        pytest.skip("no real clips here; set AVRT_REAL_DATA")
    return folder
