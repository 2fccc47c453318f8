"""What makes the words of a leak innocent: they belong to the clip.

Every function takes a match, the normalised sentence around it and the case, and says whether the
words are about something in the clip: spoken, written or done there, or named by a teacher's text.
"""

from __future__ import annotations

import re

from avrt.generate.gates.case import Case, mask_quotes, quoted, stem, stems, words
from avrt.generate.gates.leak_pattern import normalise
from avrt.generate.gates.leak_words import FAMILIES, words_of

__all__ = [
    "answered_in_clip",
    "by_someone",
    "given_in_clip",
    "guide_in_clip",
    "named_in_clip",
    "not_early",
    "not_first",
    "remark_in_clip",
    "said_in_clip",
    "shown_in_clip",
    "speaker_in_clip",
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
    r"interviewee|moderator|toddler|neighbou?r|magician|clown|minister|mayor|president|tower)"
)
_SENSE = "|".join(words_of("MEDIUM"))
_SOURCE = "|".join(words_of("TEXT") + words_of("LOOSE") + words_of("WHO"))
_BY = re.compile(
    r" (?:\w+ly )?(?:by (?!(?:the |an? |one |both |each |either |our )?(?:"
    rf"{_SENSE}|{_SOURCE}|first|second|other|two|person who|one who|one that|source|prompt|given|"
    r"provided|whoever|user|task|instructions?)\b)|over (?:the|an?) |through (?:the|an?) |via |"
    r"aloud|out loud|in unison|to (?:him|her|them|the (?!us|me)\w+)|from (?:the|an?) (?:stage|"
    r"loudspeakers?|speakers?|desk|crowd|pulpit|bench)|on (?:the|an?|his|her|its|their) (?:\w+ )?"
    r"(?:screen|sign|board|radio|phone|stage|label|poster|box|page|wall|plaque|news|form|ticket|"
    r"card|blackboard|whiteboard|slide|menu|billboard|display|map)|"
    r"in (?:the|an?|his|her|their|its) (?:\w+ )?(?:song|speech|lyrics|"
    r"announcement|news|broadcast|poem|interview|dialogue|lesson|"
    r"conversation|lecture|bulletin|verse|chorus|letter|book|story|play|film|sermon|call|quiz|show|"
    r"museum|brochure|leaflet|recipe|manual|class|exam|test|court)\b)"
)
_BY_SENSE = re.compile(rf" by (?:the |these |what )?(?:{_SENSE}|i|we)\b")
_AND_THEN = re.compile(rf" , (?:the|an?|his|her|both|all) (?:\w+ )?{_PERSON}\b")
_HANDLES = re.compile(
    r"\b(?:types?|typing|writes?|writing|reads?|reading|signs?|holds?|holding|hands?|prints?|"
    r"unfolds|gives?|gave|giving|gives? is|delivers?|recites?|shouts?)"
    r"(?: out| aloud| from| over| down)*$"
)
_SAID_AFTER = re.compile(
    r" , (?:says|said|adds|explains|explained|notes|reports|states|according to)(?: \w+)? "
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
_QUOTES = re.compile(r"(?: \w+)?(?: [;,])? \"…\"")
_OF_PERSON = re.compile(
    r" (?:he|she) \w+| (?:(?:that|which) )?(?:(?:he|she|the \w+|an? \w+) "
    r"(?:gives?|gave|reads?|offers?|shouts?|"
    r"provides?|delivers?|makes?|recites?|writes?|types?)\b|(?:\w+ )?(?:of|from) (?:the|an?|his|"
    rf"her|this) (?:\w+ )?{_PERSON}\b|(?:\w+ )?by (?:the|an?|his|her|one) (?:\w+ "
    rf"){{0,2}}?{_PERSON}\b)"
)
_SPEAKER = re.compile(
    rf"\b(?:{_PERSON}|signs?|banner|poster|lyrics?|song|headline|notice|plaque|board|screen|"
    r"subtitles?|ticker|label|menu|letter|book)(?: (?:\w+ly|also|then|never|once|again|just|had|"
    r"has|have|even|twice|first|and|(?:in|on|at) the \w+))*[ ,]*$"
)
_SPEAKS = re.compile(rf"\b(?:{_PERSON}|question|options?|choices?|voice|song|story)\b")
_SPEECH = re.compile(
    rf"\b(?!expert|agent|assistant|teacher|witness|colleague|narrator|who ){_PERSON} "
    r"(?:\w+ ){0,3}?(?:says|said|saying|tells|telling|told|explains|explaining|"
    r"announces|asks|shouts|adds|reads|states|insists|jokes|"
    r"whispers|claims|replies|calls)\b"
)
_POSSESSIVE = re.compile(r"(?: 's|s '|\b(?:his|her|their|your|my))(?: \w+)? ?$")
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
    r"\b(?:announcer|commentator|narrator|presenter|anchor\w*|newsreader|reporter|lecturer|"
    r"guide|news|broadcast|bulletin|documentary|voice ?over)\b"
)
_SAYING = re.compile(r"\b(?:said|reported|stated|told|claimed|announced|named|called|given)\b")
_BY_PERSON = re.compile(
    rf"[^;]*? by (?:one of )?(?:the|an?|his|her|one) (?:\w+ ){{0,2}}?{_PERSON}\b"
)
_BEFORE = re.compile(r" (?:above|earlier|before|so far|previously)\b")
_PASSIVE = re.compile(r"(?:is|are|was|were|been|being|gets?|got|as|it)\b")
_IN_PLACE = re.compile(r" (?:of|by|for|from|to) (?:the|an?|his|her|their|every|each) (\w+)")
_PLACE = "in|with|behind|at|on|by|near|beside|under"
_MACHINE = re.compile(r" (?:video|sound|image|picture) \w+$")
_QUIZ = frozenset(map(stem, ("quiz", "trivia", "contestant", "exam", "examiner")))
_FAMILY = {stem(word): frozenset(map(stem, family)) for family in FAMILIES for word in family}


def clip_stems(case: Case) -> set[str]:
    """As `Case.in_clip`, but for "not", whose stem is that of "note"."""
    texts = [*case.scenes.values(), case.question, *case.options]
    return {stem(word) for text in texts for word in words(text) if word != "not"}


def _ends_with(before: re.Pattern[str], match: re.Match[str], sentence: str) -> bool:
    """What stands directly before the match fits a pattern that ends in "$"."""
    return before.search(sentence, max(0, match.start() - 80), match.start()) is not None


def _after(match: re.Match[str]) -> int:
    """Where the noun of a match ends, or else the match."""
    return match.end("noun") if match.re.groupindex else match.end()


def by_someone(match: re.Match[str], sentence: str, _: Case) -> bool:
    """Somebody in the clip does it: "told by the announcer", "given over the phone"."""
    return any(after.match(sentence, match.end()) for after in (_BY, _BY_SENSE, _AND_THEN))


def _broadcasts(case: Case) -> bool:
    """Somebody in the clip tells listeners or visitors something."""
    return any(_BROADCAST.search(scene) for scene in case.scenes.values())


def given_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """As `by_someone`, or the noun belongs to the clip."""
    return by_someone(match, sentence, case) or named_in_clip(match, sentence, case)


def not_early(_: re.Match[str], sentence: str, case: Case) -> bool:
    """It is not said in the first third of the thought."""
    early = case.sentences[: (len(case.sentences) + 2) // 3]
    return all(normalise(mask_quotes(one)) != sentence for one in early)


def not_first(_: re.Match[str], sentence: str, case: Case) -> bool:
    """It is not said in the first sentence of the thought."""
    return not case.sentences or normalise(mask_quotes(case.sentences[0])) != sentence


def speaker_in_clip(match: re.Match[str], _: str, case: Case) -> bool:
    """Somebody or something that speaks or can be read in the clip; or it is the question."""
    if _SPEAKS.search(match[0]) or _SCREEN.search(match[0]):
        return True
    clip = clip_stems(case)
    return any(stem(word) in clip for word in match[0].split()[1:-1])


def named_in_clip(match: re.Match[str], _: str, case: Case) -> bool:
    """A teacher's text or the question has the noun of the match, or a word of its family."""
    if not match.re.groupindex:
        return False
    last = match["noun"].split()[-1]
    if re.search(
        rf"\b{re.escape(last)},? (?:{_PLACE}) (?:an?|the|his|her) (?!{_SENSE})", case.think
    ):
        return True
    noun = stem(last)
    clip = clip_stems(case)
    return noun in clip or not clip.isdisjoint(_FAMILY.get(noun, ()))


def guide_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """A recording in the clip: "the audio description of the painting", "the video assistant"."""
    if _MACHINE.search(match[0]) and named_in_clip(match, sentence, case):
        return True
    about = _IN_PLACE.match(sentence, _after(match))
    return (
        about is not None
        and about[1] not in _SENSE.split("|")
        and named_in_clip(match, sentence, case)
    )


def answered_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """Answers are given in the clip itself, in a quiz or a lesson."""
    return (
        by_someone(match, sentence, case)
        or _ends_with(_POSSESSIVE, match, sentence)
        or _ends_with(_SPEAKER, match, sentence)
        or _SPEECH.search(sentence, 0, match.end()) is not None
        or ("§" not in sentence and not _QUIZ.isdisjoint(case.in_clip))
        or ("§" not in sentence and named_in_clip(match, sentence, case))
    )


def text_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """Somebody in the clip speaks or writes the text, or it can be read there."""
    return (
        any(after.match(sentence, _after(match)) for after in (_SHOWN, _OF_PERSON, _IDIOM))
        or any(_ends_with(before, match, sentence) for before in (_POSSESSIVE, _HANDLES))
        or named_in_clip(match, sentence, case)
    )


def shown_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """As `text_in_clip`, or the sentence speaks of a screen or a sign, or quotes."""
    return (
        _SCREEN.search(sentence) is not None
        or _QUOTES.match(sentence, _after(match)) is not None
        or text_in_clip(match, sentence, case)
    )


def said_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """Somebody in the clip says it, or it is said in general: "best described as"."""
    speaks = _PASSIVE.match(match[0].lstrip(" ,")) is None and _ends_with(_SPEAKER, match, sentence)
    return (
        speaks
        or _BROADCAST.search(sentence) is not None
        or (_SAYING.search(match[0]) is not None and _broadcasts(case))
        or _SAID_AFTER.search(sentence, match.end()) is not None
        or _BY_PERSON.search(sentence, match.end(), match.end() + 60) is not None
        or any(after.match(sentence, match.end()) for after in (_BY, _BEFORE))
        or _ends_with(_IN_GENERAL, match, sentence)
        or named_in_clip(match, sentence, case)
    )


def remark_in_clip(match: re.Match[str], sentence: str, case: Case) -> bool:
    """What the remark is about is spoken of in the clip: the teachers quote it."""
    if (
        by_someone(match, sentence, case)
        or named_in_clip(match, sentence, case)
        or _BY_PERSON.match(sentence, match.end(), match.end() + 60) is not None
    ):
        return True
    if _SPEECH.search(sentence, 0, match.end()) or _QUOTES.match(sentence, match.end()):
        return True
    about = [one for one in stems(sentence[match.end() : match.end() + 60]) if len(one) > 3][:4]
    said = {one for text in case.bodies.values() for part in quoted(text) for one in stems(part)}
    return any(one in said for one in about)
