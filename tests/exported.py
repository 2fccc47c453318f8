"""The rules of other trainers about rows, written from their documentation and their code."""

from __future__ import annotations

from typing import Any

LISTS = {"<image>": "images", "<video>": "videos", "<audio>": "audios"}
"""The list that each placeholder stands for."""


def check_messages(one: dict[str, Any], ends_with: str = "assistant") -> None:
    """The rules of ms-swift and LLaMA-Factory about turns and placeholders."""
    turns = one["messages"]
    roles = [turn["role"] for turn in turns]
    assert roles in (["user"], ["system", "user"], ["user", "assistant"],
                     ["system", "user", "assistant"])  # fmt: skip
    assert roles[-1] == ends_with
    assert all(set(turn) == {"role", "content"} and turn["content"] for turn in turns)
    text = "".join(turn["content"] for turn in turns)
    for mark, name in LISTS.items():
        assert text.count(mark) == len(one.get(name, ()))


def check_trl(rows: list[dict[str, Any]]) -> None:
    """What TRL's own checks say, and that parts and columns agree in number."""
    from trl.data_utils import is_conversational

    for one in rows:
        assert is_conversational(one)
        parts = [part for turn in one["prompt"] for part in turn["content"]]
        assert sum(part == {"type": "image"} for part in parts) == len(one.get("images") or ())
