"""Resolve experiments in the folder of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avrt.experiments.arms import Runs, resolve_runs
from avrt.experiments.plan import read_experiment
from small_experiment import Resolve, write_experiment


@pytest.fixture
def resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Resolve an experiment in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def resolve(tree: dict[str, Any]) -> Runs:
        return resolve_runs(*read_experiment(str(write_experiment(tmp_path, tree))))

    return resolve
