"""Gate `contradiction`: the teachers' texts exclude each other on a fact of the clip.

Compared are place, time of day and weather. Where the teachers also settle on different options,
compared are animals, what drives a vehicle, numbers, a person's sex, and whether one of them says
that there is nothing but its own thing. Different answers alone are no contradiction: a teacher may
guess what its sense does not show.

Limits: built for precision. Clauses that deny or hedge do not count, and most contradictions that
need understanding (a calm face, an angry voice) pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from avrt.answers import extract_answer
from avrt.generate.gates.case import Case, clauses, mask_quotes, stem, stems, words
from avrt.generate.gates.fact_words import KINDS
from avrt.types import LETTERS

__all__ = ["find_contradiction"]

_Ends = tuple[re.Pattern[str], re.Pattern[str]]


@dataclass(frozen=True)
class _Fact:
    """Two ends of a fact that exclude each other, in the words of each sense."""

    name: str
    seen: _Ends
    heard: _Ends


def _ends(one: str, other: str) -> _Ends:
    # They begin at a space, which is found fast; `_asserted` puts one before each word.
    return re.compile(rf" (?:{one}) "), re.compile(rf" (?:{other}) ")


_FACTS = (
    _Fact(
        "place",
        seen=_ends(
            r"fields?|meadows?|horizon|sky|sunshine|beach|forest|woods|mountains?|pasture|desert|"
            r"hillside|open air|outdoors?|vineyard|glacier|prairie|dunes?",
            r"rooms?|kitchen|bathroom|bedroom|office|classroom|corridor|studio|indoors|ceiling|"
            r"sofa|carpet|cellar|elevator|stairwell|library|workshop",
        ),
        heard=_ends(
            r"outdoors|open air|out in the open|open field|on the beach|at sea|"
            r"in the (?:forest|woods|mountains|desert|open)",
            r"indoors|(?:closed|small|tiled|carpeted|boxy|narrow) (?:\w+ )?(?:room|space)|cellar|"
            r"basement|bathroom|living room|bedroom|classroom|stairwell|elevator",
        ),
    ),
    _Fact(
        "time of day",
        seen=_ends(
            r"sun|sunshine|sunlight|sunny|daylight|noon|midday|blue sky",
            r"night|midnight|moon|moonlight|stars|starry|street ?lamps?|darkness|dark sky",
        ),
        heard=_ends(
            r"noon|midday|broad daylight|middle of the day|early morning|breakfast time",
            r"midnight|middle of the night|dead of night|at night|night-?time|nocturnal",
        ),
    ),
    _Fact(
        "weather",
        seen=_ends(
            r"dust|dusty|drought|cloudless|sunny|sunshine|bright sun|blue sky|"
            r"dry (?:road|street|ground|asphalt|pavement|soil|grass)",
            r"rain|raindrops|downpour|flood\w*|snowstorm|blizzard|umbrellas|puddles|storm",
        ),
        heard=_ends(
            r"completely (?:calm|dry|still)|bone-dry",
            r"rain|downpour|flood\w*|deep water|thunderstorm|hailstorm|blizzard",
        ),
    ),
)
_HEDGES = frozenset(
    words(
        "may might could would possibly perhaps probably likely suggest suggests suggesting seem "
        "seems if unclear guess no not nor neither never without cannot can't isn't doesn't "
        "excludes excluded ruled instead"
    )
)
_ALONE = re.compile(
    r"\b(?:alone|nobody else|no one else|no other \w+|nothing else|clearly the only|of any kind|"
    r"(?:only|single|sole) (?:person|one|voice|man|woman|sound|noise|thing|machine|animal|vehicle|"
    r"instrument|source))\b",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(r"\bhow many\b", re.IGNORECASE)
_FEMALE = frozenset(map(stem, ("woman", "women", "she", "girl", "lady", "female")))
_MALE = frozenset(map(stem, ("man", "men", "he", "boy", "gentleman", "male")))


def find_contradiction(case: Case) -> str | None:
    """The teachers' texts exclude each other on a fact of the clip."""
    if not {"v", "a"} <= case.bodies.keys():
        return None
    answers = _answers(case)
    differ = None not in answers and answers[0] != answers[1]
    # Reasoning goes through all options; it counts only where the texts end at different ones.
    texts = case.bodies if differ else case.scenes
    seen, heard = _asserted(texts["v"]), _asserted(texts["a"])
    for fact in _FACTS:
        for end, other in ((0, 1), (1, 0)):
            if (
                (sound := fact.heard[other].search(heard))
                and (sight := fact.seen[end].search(seen))
                and not fact.seen[other].search(seen)
                and not fact.heard[end].search(heard)
            ):
                return f"{fact.name}: {sight[0].strip()!r} seen, {sound[0].strip()!r} heard"
    return _find_rivals(case, seen, heard, answers) if differ else None


def _find_rivals(
    case: Case, seen: str, heard: str, answers: tuple[str | None, str | None]
) -> str | None:
    """What makes two different answers exclude each other."""
    see, hear = set(stems(seen)), set(stems(heard))
    for what, kinds in KINDS.items():
        sight, sound = (
            sorted(kind for kind, names in kinds.items() if names & said) for said in (see, hear)
        )
        if sight and sound and set(sight).isdisjoint(sound):
            return f"{what}: {sight[0]!r} seen, {sound[0]!r} heard"
    alone = [match[0] for text in case.scenes.values() for match in _ALONE.finditer(text)]
    if _HOW_MANY.search(case.question):
        numbers = [case.options[LETTERS.index(letter)] for letter in answers if letter]
        both_count = see.issuperset(stems(numbers[0])) and hear.issuperset(stems(numbers[1]))
        return f"number: {' seen, '.join(numbers)} heard" if alone or both_count else None
    if not alone:
        return None
    for sex, opposite in ((_FEMALE, _MALE), (_MALE, _FEMALE)):
        if see & sex and not see & opposite and hear & opposite and not hear & sex:
            return f"sex: {alone[0]!r}, and the other text has a person of the other sex"
    return f"other answer: {alone[0]!r}, and the other text has something else"


def _answers(case: Case) -> tuple[str | None, str | None]:
    """The letters that the two teachers settle on; equal last lines are not read further."""
    seen, heard = (case.teacher_texts[modality].rstrip() for modality in ("v", "a"))
    if seen.rsplit("\n", 1)[-1] == heard.rsplit("\n", 1)[-1]:
        return None, None
    return extract_answer(seen, case.options), extract_answer(heard, case.options)


def _asserted(text: str) -> str:
    """The words of the clauses that neither deny nor hedge, without what is quoted."""
    sure = (clause for clause in clauses(mask_quotes(text)) if _HEDGES.isdisjoint(clause))
    return f" {' ; '.join(map(' '.join, sure))} "
