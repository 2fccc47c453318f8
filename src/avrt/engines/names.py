"""Names of a thinker's tensors in published files, which differ from those in the loaded model."""

from __future__ import annotations

__all__ = ["PREFIX", "published_name"]

PREFIX = "thinker."
"""Beginning of a thinker's names inside a whole model."""
_LIVE_NAMES = {
    "model.language_model.": "model.",
    "model.visual.": "visual.",
    "model.audio_tower.": "audio_tower.",
}


def published_name(name: str) -> str:
    """Give the name of a thinker's tensor in published files.

    A thinker that was loaded out of a whole model keeps the prefix when transformers saves it.
    """
    name = name.removeprefix(PREFIX)
    for live, published in _LIVE_NAMES.items():
        if name.startswith(live):
            return published + name.removeprefix(live)
    return name
