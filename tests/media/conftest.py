from __future__ import annotations

from pathlib import Path

import pytest

from clips import encode_clip, tone


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Two seconds: 50 numbered frames with B-frames, and a 440 Hz tone."""
    return encode_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", sound=tone(2.0))


@pytest.fixture(scope="session")
def real_clips(real_data) -> list[Path]:
    return sorted((real_data / "avqa" / "videos").glob("*.mp4"))
