from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile.corpus import all_cases, build
from hostile.harness import Worker


@pytest.fixture(scope="session")
def ffmpeg() -> None:
    """The ffmpeg command, an independent decoder, must be there."""
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        if os.environ.get("CI"):
            pytest.fail("no ffmpeg command; on Debian: apt-get install ffmpeg")
        pytest.skip("no ffmpeg command; on Debian: apt-get install ffmpeg")


@pytest.fixture(scope="session")
def corpus(ffmpeg, tmp_path_factory) -> Path:
    """Folder of all hostile files."""
    folder = tmp_path_factory.mktemp("hostile")
    build(folder, all_cases())
    return folder


@pytest.fixture(scope="module")
def worker(corpus) -> Iterator[Worker]:
    """A process that reads, in the folder of the corpus."""
    worker = Worker(corpus)
    yield worker
    worker.close()
