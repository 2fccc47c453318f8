"""What a model thinks to itself before it answers, apart from its answer."""

from __future__ import annotations

import re

__all__ = ["after_thought"]

_THINK_END = re.compile(r"<\s*/\s*think(?:ing)?\s*>|◁/think▷", re.IGNORECASE)
_THINK_START = re.compile(r"<\s*think(?:ing)?\s*>|◁think▷", re.IGNORECASE)


def after_thought(text: str) -> str:
    """What follows the last private thought: all of a text without one, nothing of a text that
    breaks off inside its thought.
    """
    for end in ("</think>", "◁/think▷"):  # long thoughts go before slow patterns
        text = text.rpartition(end)[2]
    if "think" not in text.casefold():
        return text
    return _THINK_START.split(_THINK_END.split(text)[-1])[0]
