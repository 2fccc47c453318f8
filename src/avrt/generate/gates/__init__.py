"""Gates: pure, versioned rules over stored text that find faulty merged traces.

A gate looks at one `Case` and says what it found, or None. Nothing else goes in: no file, setting
or chance. So a verdict can be had again from the stored texts, and a change of a verdict is a
change of a version. What a gate can and cannot find stands at the head of its module.

The decision to question: all gates are rules, not models. They are fast, equal everywhere and say
which words they object to, but find no fault that needs understanding.
"""

from __future__ import annotations

from avrt.generate.gates.case import Case, Gate
from avrt.generate.gates.conflict import find_contradiction
from avrt.generate.gates.facts import find_ungrounded, find_unsupported
from avrt.generate.gates.form import (
    MAX_WORDS,
    MIN_WORDS,
    find_bad_format,
    find_empty,
    find_inconsistent,
    find_length,
    find_truncated,
    find_wrong_letter,
)
from avrt.generate.gates.leak import find_leak
from avrt.generate.gates.wording import find_language, find_repetition

__all__ = ["GATES", "Case", "Gate", "judge"]

GATES: dict[str, Gate] = {
    "truncated": Gate(1, "The reply was cut at its limit of tokens.", find_truncated),
    "empty": Gate(1, "The reply is empty.", find_empty),
    "bad_format": Gate(
        1,
        "The reply is not one thought and one answer block with the letter of an option.",
        find_bad_format,
    ),
    "wrong_letter": Gate(1, "The answer is not the right one.", find_wrong_letter),
    "inconsistent": Gate(
        1, "The thought concludes another option than the answer names.", find_inconsistent
    ),
    "leak": Gate(
        2,
        "The thought lets on that the answer was given, or talks about its sources.",
        find_leak,
    ),
    "language": Gate(1, "A part of the thought is not in English.", find_language),
    "repetition": Gate(1, "The thought says the same again and again.", find_repetition),
    "length": Gate(
        1, f"The thought has fewer than {MIN_WORDS} or more than {MAX_WORDS} words.", find_length
    ),
    "grounding": Gate(
        1,
        "The thought does not use what is seen or heard, which the question needs.",
        find_ungrounded,
    ),
    "contradiction": Gate(
        1, "The teachers' texts contradict each other on a fact of the clip.", find_contradiction
    ),
    "unsupported": Gate(
        1, "The thought states facts that no teacher's text has.", find_unsupported
    ),
}
"""Every gate, those first that explain what later ones find."""


def judge(case: Case) -> dict[str, str | None]:
    """What every gate found in a trace; None where it passes."""
    return {name: gate.check(case) for name, gate in GATES.items()}
