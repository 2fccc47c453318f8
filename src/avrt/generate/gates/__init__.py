"""Gates: pure, versioned rules over stored text that flag faulty merged traces.

A gate reads a `Case` and says what is wrong with it, or None. Nothing else goes in: no file,
setting or chance. So a verdict can be had again from the stored texts, and a change of a verdict is
a change of a version.

The decision to question: a gate is a rule that is right nine times in ten on traces that it was not
written for. Faults that only a reader notices are left to the judges (`generate/judge.py`).
"""

from __future__ import annotations

from avrt.generate.gates.case import Case, Gate
from avrt.generate.gates.rules import (
    MAX_WORDS,
    MIN_WORDS,
    find_bad_format,
    find_empty,
    find_inconsistent,
    find_language,
    find_leak,
    find_length,
    find_repetition,
    find_truncated,
    find_wrong_letter,
)

__all__ = ["GATES", "Case", "Gate", "check"]

GATES: dict[str, Gate] = {
    "truncated": Gate(find_truncated, 1, "The reply was cut at its limit of tokens."),
    "empty": Gate(find_empty, 1, "The reply is empty."),
    "bad_format": Gate(
        find_bad_format,
        1,
        "The reply is not one thought and one answer block with the letter of an option.",
    ),
    "wrong_letter": Gate(find_wrong_letter, 1, "The answer is not the right letter."),
    "inconsistent": Gate(
        find_inconsistent, 1, "The last sentence concludes another option than the answer names."
    ),
    "leak": Gate(
        find_leak, 1, "The thought gives away that the answer, or texts about the clip, were given."
    ),
    "language": Gate(find_language, 1, "A part of the thought is not in English."),
    "repetition": Gate(find_repetition, 1, "The thought says the same again and again."),
    "length": Gate(
        find_length, 1, f"The thought has fewer than {MIN_WORDS} or more than {MAX_WORDS} words."
    ),
}
"""Every gate, those first that explain what later gates flag."""


def check(case: Case) -> dict[str, str | None]:
    """The fault of a trace by gate; None where it passes."""
    return {name: gate.find(case) for name, gate in GATES.items()}
