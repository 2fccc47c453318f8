"""The settings of an engine that answers by a script file."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["scripted"]


def scripted(folder: Path, replies: dict[str, str], name: str = "script") -> dict[str, str]:
    """Write a script of replies by the text that they answer; an empty text answers the rest."""
    path = folder / f"{name}.jsonl"
    lines = [json.dumps({"match": match, "reply": reply}) for match, reply in replies.items()]
    path.write_text("\n".join(lines))
    return {"kind": "scripted", "script": str(path)}
