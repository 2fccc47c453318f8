"""Gates on form: `truncated`, `empty`, `bad_format`, `wrong_letter`, `inconsistent`, `length`.

All but `inconsistent` are exact. `inconsistent` reads the concluding sentence alone: the letter it
states, or else the one option whose own words it holds. It passes when that sentence denies,
weighs or holds words of the answer too, so a conclusion in words that are not the option's passes.
"""

from __future__ import annotations

import re

from avrt.answers import is_well_formed
from avrt.generate.gates.case import Case, stems, words
from avrt.types import LETTERS

__all__ = [
    "MAX_WORDS",
    "MIN_WORDS",
    "find_bad_format",
    "find_empty",
    "find_inconsistent",
    "find_length",
    "find_truncated",
    "find_wrong_letter",
]

MIN_WORDS, MAX_WORDS = 20, 400
"""Words that a thought may have; traces of the method have 100 to 200."""

_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")

_STATED = re.compile(
    r"\(([A-H])\)|\b(?:answer|option|choice|letter)(?: (?:is|must be|has to be|should be|would be|"
    r"will be))?(?: (?:therefore|thus|hence|clearly|then))?:? ([A-H])(?![\w'])|\b([A-H]) (?:is|"
    r"must be|has to be)(?: (?:the|therefore|thus|hence|clearly|my|our|it))* (?:right|correct|"
    r"answer|only|best)|(?:, |\b(?:is|be|so|hence|thus|therefore|choose|pick|leaves|remains) "
    r")([A-H])(?: it is)?[.!]?$"
)
_DENIED = re.compile(
    r"(?:\bnot|\bnor|\bneither|\bnever|rather than|instead of|\bover|against|unlike|\bthan|"
    r"exclud\w+|rul\w+ out|eliminat\w+|dismiss\w+|reject\w+|discard\w+|without)(?: \w+){0,3}[ (]*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[^.;,]{0,60}?\b(?:not|cannot|no|out|excluded|eliminated|dismissed|rejected|wrong|unlikely|"
    r"impossible|fails?|drops?|would|could)\b"
)
_WEIGHING = frozenset(
    words(
        "not no nor neither never none cannot nobody nothing without rather instead unlike than "
        "would could might may if although though while whereas but however exclude excludes "
        "excluded excluding eliminate eliminates eliminated rule rules ruled dismiss dismissed "
        "unlikely improbable impossible absent missing"
    )
)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|conclud\w*|conclusion|consequently|answer|option|overall|means|"
    r"must be)\b",
    re.IGNORECASE,
)
_IS = re.compile(r"\b(?:is|are|was|were|be|remains?|means|leaves|points? to)\b")
_LITTLE = frozenset(
    stems(
        "a an the in on at to of and or by with from for it its is are was were be being he she "
        "they his her their him them someone somebody something people person one that this there "
        "as"
    )
)


def find_truncated(case: Case) -> str | None:
    """The reply was cut at the limit of tokens."""
    return "the reply was cut at its limit of tokens" if case.finish_reason == "length" else None


def find_empty(case: Case) -> str | None:
    """The reply is nothing but white space."""
    return None if case.text.strip() else "the reply is empty"


def find_bad_format(case: Case) -> str | None:
    """Anything but one thought and one answer block with the letter of an option."""
    if is_well_formed(case.text, len(case.options)):
        return None
    for tag in _TAGS:
        if (n := case.text.count(tag)) != 1:
            return f"{n} times {tag}"
    blocks = _BLOCK.findall(case.text)
    letter = blocks[0] if blocks else ""
    if letter not in list(LETTERS[: len(case.options)]):
        return f"answer {letter[:40]!r} is no letter of the {len(case.options)} options"
    return "an empty thought, or text outside of the two blocks"


def find_wrong_letter(case: Case) -> str | None:
    """The answer is not the gold one, or there is none to read."""
    if case.answer == case.target:
        return None
    return f"the answer is {case.answer or 'no letter'}, not {case.target}"


def find_length(case: Case) -> str | None:
    """The thought has too few or too many words."""
    n_words = len(words(case.think))
    if MIN_WORDS <= n_words <= MAX_WORDS:
        return None
    return f"{n_words} words; {MIN_WORDS} to {MAX_WORDS} are allowed"


def find_inconsistent(case: Case) -> str | None:
    """The thought concludes another option than the answer names."""
    if case.answer is None:
        return None
    for n_back, sentence in enumerate(reversed(case.sentences[-3:])):
        if n_back and not _CONCLUDES.search(sentence):
            continue
        letters = _stated_letters(sentence, len(case.options)) or _concluded(sentence, case.options)
        if len(letters) == 1 and case.answer not in letters:
            return f"concludes {min(letters)}, answers {case.answer}: {sentence[:160]}"
        if letters or (n_back == 0 and _CONCLUDES.search(sentence)):
            return None
    return None


def _stated_letters(sentence: str, n_options: int) -> set[str]:
    """The letters that a sentence states without denying them."""
    found: set[str] = set()
    for match in _STATED.finditer(sentence):
        before = sentence[max(0, match.start() - 60) : match.start()]
        if not _DENIED.search(before) and not _DENIED_AFTER.match(sentence, match.end()):
            found.update(letter for letter in match.groups() if letter)
    return found & set(LETTERS[:n_options])


def _concluded(sentence: str, options: tuple[str, ...]) -> set[str]:
    """The options named by a sentence or, if it weighs several things, by its last clause."""
    if not _weighs(sentence):
        return _named_options(sentence, options)
    last = re.split(r"[,;:]", sentence)[-1]
    return set() if _weighs(last) or not _IS.search(last) else _named_options(last, options)


def _weighs(sentence: str) -> bool:
    """Whether a sentence denies or weighs something."""
    return not _WEIGHING.isdisjoint(words(sentence)) or "n't" in sentence


def _named_options(sentence: str, options: tuple[str, ...]) -> set[str]:
    """The letter of the option that a sentence names, or those of several that it touches.

    "Table tennis" is named although "tennis" is an option too. Half of an option's words name it
    when no other option is touched: "it rains heavily" for "heavy rain".
    """
    said = set(stems(sentence))
    contents = [set(stems(option)) - _LITTLE for option in options]
    touched = {i: content & said for i, content in enumerate(contents) if content & said}
    for i, named in touched.items():
        if named == contents[i] and all(other <= named for other in touched.values()):
            return {LETTERS[i]}
    if len(touched) == 1:
        (i, named), *_ = touched.items()
        return {LETTERS[i]} if 2 * len(named) >= len(contents[i]) else set()
    return {LETTERS[i] for i in touched}
