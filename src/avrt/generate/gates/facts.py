"""Gates on facts, which compare the trace with what it was merged from.

`grounding`: a thought for a question that needs a sense must use that sense. Counted are words that
only that sense's description has, and words of perception, outside of what is denied or supposed.
It passes without that teacher's text, and with as little as one sentence of the sense.

`unsupported`: what the thought states as fact is in no teacher's text. Counted are concrete words,
names, numbers and quotations that no teacher, question or option has, by their stems and a short
list of synonyms; clauses that suppose, deny or compare are left out. One invented word in a true
sentence passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

from avrt.generate.gates.case import Case, quoted, stem, stems, supposes, words
from avrt.generate.gates.fact_words import FAMILIAR, HEARD, NUMBERS, SEEN, SYNONYMS
from avrt.generate.gates.wording import find_language
from avrt.types import LETTERS

__all__ = ["find_ungrounded", "find_unsupported"]

# Grounding

MIN_SHARED = 2
"""Words that only one sense's description has and the thought uses, enough to call it used."""

_SENSES = {"both": ("v", "a"), "visual": ("v",), "sound": ("a",)}


def find_ungrounded(case: Case) -> str | None:
    """The thought does not use a sense that the question needs."""
    used = {stem(word) for clause in case.facts for word in clause}
    for modality, name, perception in (("v", "seen", SEEN), ("a", "heard", HEARD)):
        if modality not in _SENSES.get(case.question_relation, ()) or not used:
            continue
        if modality not in case.scenes or not used.isdisjoint(perception):
            continue
        others = (said for other, said in case.scene_stems.items() if other != modality)
        own = case.scene_stems[modality].difference(FAMILIAR, case.asked, *others)
        if len(own) >= MIN_SHARED and len(own & used) < MIN_SHARED:
            return f"nothing in the thought is {name}"
    return None


# Unsupported

MIN_NEW_IN_SENTENCE, MIN_NEW_IN_CLAUSE, MIN_NEW_IN_ALL = 5, 3, 6
"""New words that are enough in one sentence; or in one clause and, with it, in all clauses."""
MIN_SHARE = 0.75
"""Share of the concrete words of a sentence or clause that must be new for it to count."""
MIN_MARKS = 2
"""Invented names, numbers and (each twice) quotations that are enough by themselves."""

_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")


def find_unsupported(case: Case) -> str | None:
    """The trace states facts that are in no teacher's text; foreign words are not looked up."""
    if not ({"v", "a"} <= case.bodies.keys() or "av" in case.bodies):
        return None
    known = set(case.known)
    n_new = len(_concrete(word for clause in case.facts for word in clause) - known)
    if n_new < MIN_NEW_IN_SENTENCE and not _invented_marks(case, known):
        return None  # most traces are done here
    known.update(other for one in tuple(known) for other in SYNONYMS.get(one, ()))
    known.update(one[:5] for one in tuple(known) if len(one) >= 5)
    invented = _invented_marks(case, known) or _invented_words(case, known)
    if not invented or find_language(case):
        return None
    return f"in no teacher's text: {', '.join(invented)[:160]}"


def _invented_words(case: Case, known: Set[str]) -> list[str]:
    """What is new in some clauses or a sentence, if it is most of what they state as fact."""
    others = (
        option
        for letter, option in zip(LETTERS, case.options, strict=False)
        if letter != case.target
    )
    # What is about another option ("crows caw") rejects it and states nothing about the clip.
    rejected = set(stems("\n".join(others))) - FAMILIAR
    stated = [clause for clause in case.facts if rejected.isdisjoint(map(stem, clause))]
    found = [new for clause in stated if (new := _new_words(clause, known))]
    every = sorted({root for new in found for root in new})
    if len(every) >= MIN_NEW_IN_ALL and max(map(len, found)) >= MIN_NEW_IN_CLAUSE:
        return every
    for sentence in case.sentences:
        new = _new_words(words(sentence), known)
        if len(new) < MIN_NEW_IN_SENTENCE or supposes(sentence):
            continue
        if rejected.isdisjoint(stems(sentence)):
            return new
    return []


def _invented_marks(case: Case, known: Set[str]) -> list[str]:
    """Names, numbers and quotations that are not known, if they are enough by themselves."""
    marks = [name for name in _NAME.findall(case.think) if not _is_known(stem(name.lower()), known)]
    if known.isdisjoint(NUMBERS):  # "fifty-eight" may well be told as 58
        marks += [word for word in case.own_words if word.isdigit() and word not in known]
    quotations = []
    for quotation in quoted(case.think):
        roots = [stem(word) for word in words(quotation)]
        new = [root for root in roots if not _is_known(root, known)]
        if len(roots) >= 2 and len(new) >= MIN_SHARE * len(roots):
            quotations.append(repr(quotation))
    return marks + quotations if len(marks) + 2 * len(quotations) >= MIN_MARKS else []


def _new_words(found: Iterable[str], known: Set[str]) -> list[str]:
    """The concrete words that are not known, if they are most of the concrete words."""
    concrete = _concrete(found)
    new = sorted(root for root in concrete if not _is_known(root, known))
    return new if len(new) >= MIN_SHARE * len(concrete) else []


def _concrete(found: Iterable[str]) -> set[str]:
    """The stems of the words that can prove a fact."""
    return {
        root for root in set(map(stem, found)) - FAMILIAR if len(root) > 2 and not root.isdigit()
    }


def _is_known(root: str, known: Set[str]) -> bool:
    return (
        root in known
        or root[:5] in known
        or ("-" in root and any(stem(part) in known for part in root.split("-")))
    )
