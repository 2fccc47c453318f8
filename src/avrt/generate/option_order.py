"""The order in which options are shown, and letters put back into the stored order.

Models prefer some letters. Asked with the options in another order each time, a teacher that is
right is right about the text, not about the letter. An order is a tuple: place i shows option
`order[i]`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from unicodedata import normalize

from avrt.answers import letter_places
from avrt.types import LETTERS

__all__ = [
    "balanced_order",
    "in_order",
    "places_in",
    "restore_letter",
    "restore_letters",
    "shuffled_order",
]


def shuffled_order(seed: int, sample_id: str, role: str, k: int, n_options: int) -> tuple[int, ...]:
    """The order in which answer `k` of a role sees the options; equal arguments, equal order."""
    order = list(range(n_options))
    random.Random(_digest(f"{seed}:{sample_id}:{role}:{k}")).shuffle(order)
    return tuple(order)


def balanced_order(seed: int, sample_id: str, gold: int, n_options: int) -> tuple[int, ...]:
    """An order that brings the gold option to a place which is uniform over the samples.

    The others keep their order. The place follows from the sample alone, so that more data moves no
    sample; the shares of the letters are even up to chance, 0.3 % at 18,000 samples.
    """
    position = _digest(f"{seed}:{sample_id}:gold") % n_options
    others = [option for option in range(n_options) if option != gold]
    return (*others[:position], gold, *others[position:])


def in_order(options: Sequence[str], order: Sequence[int]) -> tuple[str, ...]:
    """The options as they are shown."""
    return tuple(options[option] for option in order)


def places_in(order: Sequence[int]) -> list[int]:
    """Where each option of the stored order is shown: the order that puts `order` back."""
    return [order.index(option) for option in range(len(order))]


def restore_letter(letter: str, order: Sequence[int]) -> str:
    """The stored letter of the option that was shown under `letter`."""
    return LETTERS[order[LETTERS.index(letter)]]


def restore_letters(text: str, order: Sequence[int], shown: Sequence[str]) -> str:
    """The text with every letter that stands for an option put back into the stored order.

    `shown` are the options as the text's author saw them: a letter inside the text of an option
    stays, and so does one beyond them.
    """
    if list(order) == sorted(order):
        return text
    parts: list[str] = []
    end = 0
    for place in letter_places(text, shown):
        written = normalize("NFKC", text[place])  # such as a letter in full width or in brackets
        letter = next(character for character in written if character.upper() in LETTERS)
        new = restore_letter(letter.upper(), order)  # in upper case: "a" alone may be an article
        parts += [text[end:place], written.replace(letter, new)]
        end = place + 1
    return "".join([*parts, text[end:]])


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
