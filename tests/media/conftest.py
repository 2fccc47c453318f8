from __future__ import annotations

from pathlib import Path

import pytest

from clips import REAL, encode_clip, tone


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Two seconds: 50 numbered frames with B-frames, and a 440 Hz tone."""
    return encode_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", sound=tone(2.0))


@pytest.fixture(scope="session")
def real_clips() -> list[Path]:
    found = sorted((REAL / "avqa" / "videos").glob("*.mp4"))
    if not found:
        pytest.skip("no real clips here; set AVRT_REAL_DATA")
    return found
