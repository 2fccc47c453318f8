"""Real clips with real questions through the data part of the method, with the world's models.

The small models know nothing of the real world, so all is dropped; that must be said, by name, for
every question, and an empty dataset ends with exit code 1.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.runs import read_parquet

PARTS = ("train", "validation", "rejected")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """The working directory of both commands."""
    folder = tmp_path_factory.mktemp("real")
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def outputs(place, real_data, repository) -> list[str]:
    """What `avrt prepare` and `avrt generate` print."""
    settings = (
        f"data.root={real_data / 'avqa'}",
        "data.split=val",
        f"run.dir={place / 'runs'}",
        "run.name=real",
    )
    results = [
        CliRunner().invoke(cli, [command, str(repository / "configs" / "demo.yaml"), *settings])
        for command in ("prepare", "generate")
    ]
    assert [result.exit_code for result in results] == [0, 1], results[-1].output
    return [result.output for result in results]


def test_six_real_clips_are_all_accounted_for_by_name(outputs, place):
    prepared, generated = outputs
    assert "6 questions about 6 media files" in prepared
    assert "trace: 6 samples, 6 answered by every teacher with media" in generated
    folder = place / "runs" / "real" / "dataset"
    rows = {name: read_parquet(folder / f"{name}.parquet") for name in PARTS}
    found = [row for part in rows.values() for row in part]
    assert sorted(row["id"] for row in found) == [f"avqa-val-{number}" for number in range(1, 7)]
    assert all(row["vision_text"] and row["audio_text"] for row in found), "both said something"
    lost = Counter((row["stage"], row["reason"]) for row in rows["rejected"])
    for (stage, reason), n in lost.items():
        assert f"{n} {stage}: {reason}" in generated


def test_the_run_holds_no_absolute_path(outputs, place, real_data):
    relative = os.path.relpath(real_data, place).encode()
    written = [path for path in (place / "runs").rglob("*") if path.is_file()]
    assert len(written) > 10
    for path in written:
        content = path.read_bytes().replace(relative, b"")
        assert str(real_data).encode() not in content, path.name
        assert str(place).encode() not in content, path.name
