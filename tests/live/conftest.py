"""A run with a small page, its clips beside it, and what must stay private."""

from __future__ import annotations

from pathlib import Path

import pytest

from avrt.datasets import write_samples
from avrt.types import Sample

CLIP = bytes(range(256)) * 4


def sample(number: int, video: str) -> Sample:
    return Sample(
        id=f"q{number}",
        question="What is heard?",
        options=("a dog", "a drum"),
        answer_index=0,
        question_type="Which",
        question_relation="both",
        video_id=f"clip{number}",
        video=video,
        image=None,
        audio=None,
        source=f"train.parquet:{number}",
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`runs/small` with a report, `clips/` with a named and another clip, `secret.txt`."""
    report, clips = tmp_path / "runs" / "small" / "report", tmp_path / "clips"
    for folder in (report / "assets", report / "data", report / "media", clips / "more"):
        folder.mkdir(parents=True)
    (report / "index.html").write_text("<!DOCTYPE html><title>a page</title>")
    (report / "assets" / "app.js").write_text("AVRT;")
    (report / "media" / "sound.flac").write_bytes(CLIP)
    (report / "media" / "empty.wav").write_bytes(b"")
    (report / "notes.bak").write_text("private")
    (report / ".hidden.html").write_text("private")
    for name in ("named.mp4", "other.mp4", "more/letters ä#.mp4"):
        (clips / name).write_bytes(CLIP)
    (tmp_path / "secret.txt").write_text("private")
    (tmp_path / "secret.mp4").write_text("private")
    (report / "media" / "link.flac").symlink_to(tmp_path / "secret.mp4")
    (report / "folder").symlink_to(tmp_path)
    (clips / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    named = ("named.mp4", "more/letters ä#.mp4", "link.mp4", "../secret.mp4")
    write_samples(
        tmp_path / "runs" / "small" / "samples.parquet",
        [sample(number, name) for number, name in enumerate(named)],
    )
    return tmp_path
