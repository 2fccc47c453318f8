from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


def question(number: int, **changes: Any) -> dict[str, Any]:
    """A row in AVQA's own format."""
    row = {
        "id": number,
        "video_name": f"-abc_{number:06d}",
        "video_id": number + 100,
        "question_text": "What makes the sound?",
        "multi_choice": ["a dog", "a cat", "a car", "rain"],
        "answer": 1,
        "question_relation": "Both",
        "question_type": "Which",
    }
    return row | changes


@pytest.fixture
def write_avqa(tmp_path) -> Write:
    """Write `{split}_qa.json` from rows; each is the changes of one question."""

    def write(*changes: dict[str, Any], split: str = "train") -> Path:
        rows = [question(number, **change) for number, change in enumerate(changes, start=1)]
        (tmp_path / f"{split}_qa.json").write_text(json.dumps(rows), encoding="utf-8")
        return tmp_path

    return write
