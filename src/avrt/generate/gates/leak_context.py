"""What makes the words of a leak innocent: they belong to the clip.

Every function takes a match, the sentence around it and the case, and says whether the words are
about something in the clip: spoken, written or done there, or named by a teacher's text.
"""

from __future__ import annotations

import re

from avrt.generate.gates.case import Case, quoted, stem, stems
from avrt.generate.gates.leak_pattern import SENSE

__all__ = [
    "answered_in_clip",
    "by_someone",
    "named_in_clip",
    "remark_in_clip",
    "said_in_clip",
    "shown_in_clip",
    "text_in_clip",
]

_PERSON = (
    r"(?:he|she|who|man|men|woman|women|boys?|girls?|child|children|kids?|people|person|somebody|"
    r"someone|lady|guy|couple|mother|father|mum|mom|dad|parents?|grand\w+|brother|sister|friends?|"
    r"teacher|pupils?|students?|lecturer|professor|instructor|trainer|coach|referee|umpire|judges?|"
    r"jury|lawyer|clerk|witness|officer|police\w*|guard|soldier|guide|tourists?|visitors?|host\w*|"
    r"contestants?|candidates?|players?|presenter|announcer|commentators?|narrator|reporter|"
    r"journalist|anchor\w*|speakers?|singers?|rapper|actors?|actress|director|musician|conductor|"
    r"doctor|nurse|dentist|surgeon|patient|chemist|scientist|expert|engineer|mechanic|technician|"
    r"driver|pilot|captain|sailor|crew|passengers?|vendor|seller|buyer|shopkeeper|cashier|"
    r"customers?|waiter|waitress|barista|chef|cook|baker|farmer|gardener|fisherman|agent|realtor|"
    r"salesman|auctioneer|bidder|priest|pastor|rabbi|imam|bride|groom|caller|operator|assistant|"
    r"boss|colleague|worker|painter|sculptor|artist|crowd|audience|listeners|fans|team|voices?|"
    r"loudspeaker|megaphone|radio|broadcast|newsreader|bulletin|announcement|interviewer|"
    r"interviewee|moderator|toddler|neighbou?r|magician|clown|minister|mayor|president)"
)
_TEACHING = (
    r"(?:first|second|other|two|agents?|models?|teachers?|annotators?|captioners?|analysts?|"
    r"listener|viewer|observer|descriptions?|analys[ei]s|captions?|transcripts?|reports?|accounts?|"
    r"person who|one who|one that|source|prompt|given|provided|whoever)"
)
_BY = re.compile(
    r" (?:\w+ly )?(?:by (?!(?:the |an? |one |both |each |either |our "
    rf")?(?:{SENSE}|{_TEACHING})\b)|over (?:the|an?) |through (?:the|an?) |via |aloud|out loud|in "
    r"unison|to (?:him|her|them|the (?!us|me)\w+)|from (?:the|an?) (?:stage|loudspeakers?|"
    r"speakers?|desk|crowd|pulpit|bench)|on (?:the|an?|his|her|its|their) (?:\w+ )?(?:screen|sign|"
    r"board|radio|phone|stage|label|poster|box|page|wall|plaque|news|form|ticket|card|blackboard|"
    r"whiteboard|slide|menu|billboard|display|map)|in (?:the|an?|his|her|their|its) (?:\w+ "
    r")?(?:song|speech|lyrics|announcement|news|broadcast|poem|interview|dialogue|conversation|"
    r"lecture|bulletin|verse|chorus|letter|book|story|play|film|sermon|call|quiz|show|museum|"
    r"brochure|leaflet|recipe|manual|lesson|class|exam|test|court)\b)"
)
_BY_SENSE = re.compile(rf" by (?:the |these |what )?(?:{SENSE}|visuals|sounds|pictures|i|we)\b")
_HANDLES = re.compile(
    r"\b(?:types?|typing|writes?|writing|reads?|reading|signs?|holds?|holding|hands?|prints?|"
    r"unfolds)(?: out| aloud| from| over| down)*$"
)
_SAID_AFTER = re.compile(
    r", (?:says|said|adds|explains|explained|notes|reports|states|according to)(?: \w+)? "
    rf"{_PERSON}\b"
)
_SHOWN = re.compile(
    r" (?:(?:\w+ ){0,2}?(?:painted|printed|carved|chalked|displayed|shown|posted|engraved|hanging|"
    r"pinned|taped|scrolling|running along|beside|beneath|under|underneath|next to|below|"
    r"at the (?:bottom|top|foot|side|edge)|in the (?:corner|lower|upper|left|right|museum)|"
    r"across (?:the|his|her))|on (?:the|an?|his|her|its) (?!visual|audio|sound|picture|image|video|"
    r"soundtrack|footage|frames|clip)\w+)"
)
_SCREEN = re.compile(
    r"\b(?:screen|bottom|corner|sign|banner|overlay|subtitles?|display|monitor|poster|letters|"
    r"reads|photo\w*|painting|exhibit|museum|plate|panel|plaque|television|tv|news|ticker|slide|"
    r"page|lower third|title|graphic|chyron|label|billboard|board)\b"
)
_QUOTES = re.compile(r"(?: \w+)?[:,]? \"…\"")
_OF_PERSON = re.compile(
    r" (?:(?:that|which) )?(?:(?:he|she|the \w+|an? \w+) (?:gives?|gave|reads?|offers?|shouts?|"
    r"provides?|delivers?|makes?|recites?|writes?|types?)\b|(?:\w+ )?(?:of|from) (?:the|an?|his|"
    rf"her|this) (?:\w+ )?{_PERSON}\b|(?:\w+ )?by (?:the|an?|his|her|one) (?:\w+ "
    rf"){{0,2}}?{_PERSON}\b)"
)
_SPEAKER = re.compile(
    rf"\b(?:{_PERSON}|signs?|banner|poster|lyrics?|song|headline|notice|plaque|board|screen|"
    r"subtitles?|ticker|label|menu|letter|book)(?: (?:\w+ly|also|then|never|once|again|just|had|"
    r"has|have|even|twice|first|and|(?:in|on|at) the \w+))*[ ,]*$"
)
_POSSESSIVE = re.compile(r"(?:'s|s'|\b(?:his|her|their|your))(?: \w+)? ?$")
_IN_GENERAL = re.compile(
    r"\b(?:can|could|may|might|would|should|must|be|best|well|only|cannot|worth)(?: (?:only|best|"
    r"be|well|perhaps|simply|almost|both|\w+ly))* ?$"
)
_IDIOM = re.compile(
    r" of an? | (?:of|in|on|left|from|along) (?:the )?(?:paint|mud|snow|blood|flour|dirt|smoke|"
    r"dust|oil|food|ink|light|water|salt|wax|colou?r|lipstick|soot|sand|grease|chalk|grass|rust|"
    r"life|tyres?|tires?|skis?|feet|floor|ground|wall)\b"
)
_BROADCAST = re.compile(
    r"\b(?:announcer|commentator|narrator|presenter|anchor\w*|newsreader|reporter|lecturer|tour "
    r"guide|news|broadcast|bulletin|documentary|voice-?over)\b"
)
_BY_PERSON = re.compile(rf"[^.;]*? by (?:the|an?|his|her|one) (?:\w+ ){{0,2}}?{_PERSON}\b")
_BEFORE = re.compile(r" (?:above|earlier|before|so far|previously)\b")
_PASSIVE = re.compile(r"(?:is|are|was|were|been|being|gets?|got|as|it)\b")
_QUIZ = frozenset(map(stem, ("quiz", "trivia", "contestant", "exam", "examiner")))


def _ends_with(before: re.Pattern[str], match: re.Match[str], sentence: str) -> bool:
    """What stands directly before the match fits a pattern that ends in "$"."""
    return before.search(sentence, max(0, match.start() - 80), match.start()) is not None


def by_someone(match: re.Match[str], sentence: str, _: Case) -> bool:
    """Somebody in the clip does it: "told by the announcer", "given over the phone"."""
    return any(after.match(sentence, match.end()) for after in (_BY, _BY_SENSE))


def named_in_clip(match: re.Match[str], _: str, case: Case) -> bool:
    """A teacher's text or the question has the word that the pattern names `noun`."""
    noun = match.groupdict().get("noun")
    return noun is not None and stem(noun.lower()) in case.in_clip


def answered_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """Answers are given in the clip itself, in a quiz or a lesson."""
    return (
        by_someone(match, sentence, case)
        or _ends_with(_POSSESSIVE, match, sentence)
        or _ends_with(_SPEAKER, match, sentence)
        or ("§" not in sentence and not _QUIZ.isdisjoint(case.in_clip))
    )


def text_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """Somebody in the clip speaks or writes the text, or it can be read there."""
    end = match.end("noun") if "noun" in match.re.groupindex else match.end()
    return (
        any(after.match(sentence, end) for after in (_SHOWN, _OF_PERSON, _IDIOM, _QUOTES))
        or any(_ends_with(before, match, sentence) for before in (_POSSESSIVE, _HANDLES))
        or named_in_clip(match, sentence, case)
    )


def shown_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """As `text_in_clip`, or the sentence speaks of a screen or a sign, or quotes."""
    return _SCREEN.search(sentence) is not None or text_in_clip(match, sentence, case)


def said_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """Somebody in the clip says it, or it is said in general: "best described as"."""
    speaks = _PASSIVE.match(match[0].lstrip(" ,")) is None and _ends_with(_SPEAKER, match, sentence)
    return (
        speaks
        or _BROADCAST.search(sentence) is not None
        or _SAID_AFTER.search(sentence, match.end()) is not None
        or _BY_PERSON.search(sentence, match.end(), match.end() + 60) is not None
        or any(after.match(sentence, match.end()) for after in (_BY, _BEFORE))
        or _ends_with(_IN_GENERAL, match, sentence)
        or named_in_clip(match, sentence, case)
    )


def remark_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """What the remark is about is spoken of in the clip: the teachers quote it."""
    if by_someone(match, sentence, case) or named_in_clip(match, sentence, case):
        return True
    about = [one for one in stems(sentence[match.end() : match.end() + 60]) if len(one) > 3][:4]
    said = {one for text in case.bodies.values() for part in quoted(text) for one in stems(part)}
    return any(one in said for one in about)
