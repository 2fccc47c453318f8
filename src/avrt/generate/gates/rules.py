"""The gates: pure rules over stored text, each for a fault that needs no understanding.

`truncated`, `empty`, `bad_format`, `wrong_letter` and `length` are exact. `inconsistent` reads the
last sentence alone. `language` flags a stretch in another script, or of another language's function
words; names, loan words and short exclamations pass. `repetition` flags loops. `leak` is a list of
phrases that nearly always give a leak away; leaks in other words pass, and are the judges' part.
Speech of the clip, in quotation marks, counts for none of the last three.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from avrt.answers import is_well_formed
from avrt.generate.gates.case import Case, sentences, words
from avrt.types import LETTERS

__all__ = [
    "LEAKS",
    "MAX_WORDS",
    "MIN_WORDS",
    "find_bad_format",
    "find_empty",
    "find_inconsistent",
    "find_language",
    "find_leak",
    "find_length",
    "find_repetition",
    "find_truncated",
    "find_wrong_letter",
]

# Form

MIN_WORDS, MAX_WORDS = 20, 400
"""Words that a thought may have; traces of the method have 100 to 200."""


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
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        if (n := case.text.count(tag)) != 1:
            return f"{n} times {tag}"
    block = re.search(r"<answer>(.*?)</answer>", case.text, re.DOTALL)
    letter = block[1] if block else ""
    if letter not in list(LETTERS[: len(case.options)]):
        return f"answer {letter[:40]!r} is no letter of the {len(case.options)} options"
    return "an empty thought, or text outside of the two blocks"


def find_wrong_letter(case: Case) -> str | None:
    """The answer is not the gold letter, or there is none to read."""
    if case.answer == case.target:
        return None
    return f"the answer is {case.answer or 'no letter'}, not {case.target}"


def find_length(case: Case) -> str | None:
    """The thought has too few or too many words."""
    n_words = len(words(case.think))
    if MIN_WORDS <= n_words <= MAX_WORDS:
        return None
    return f"{n_words} words; {MIN_WORDS} to {MAX_WORDS} are allowed"


# Letter

_CONCLUDED = re.compile(
    r"\(([A-H])\)|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)(?: (?:is|must be|has to be|should be))?:? "
    r"([A-H])\b|\b(?:so|is|hence|that) ([A-H])(?: is (?:right|correct))?[.!]?$"
)
_WEIGHING = frozenset(
    words(
        "not no nor neither never none cannot nothing without rather instead unlike than would "
        "could might may if although though while whereas but however only best out"
    )
)
"""Words with which a sentence weighs options; it may then name several."""
_ARTICLE = re.compile(r"^(?:an?|the) ")


def find_inconsistent(case: Case) -> str | None:
    """The last sentence concludes another option than the answer names."""
    last = (case.sentences or [""])[-1]
    if case.answer is None or not _WEIGHING.isdisjoint(words(last)):
        return None
    letters = {letter for match in _CONCLUDED.findall(last) for letter in match if letter}
    if not letters:
        said = f" {' '.join(words(last))} "
        contents = [" ".join(words(_ARTICLE.sub("", each.lower()))) for each in case.options]
        letters = {letter for letter, text in zip(LETTERS, contents, strict=False) if text in said}
    if len(letters) != 1 or case.answer in letters:
        return None
    return f"concludes {min(letters)}, answers {case.answer}: {last[:160]}"


# Language

MAX_DENSE, MAX_OTHER = 6, 16
"""Letters in a row that a name may have: of scripts where a letter is a syllable, and of others."""
MIN_FOREIGN_WORDS, MIN_FUNCTION_WORDS = 5, 3
"""Words of a stretch without English, and different function words of the same language in it."""

_DENSE_LETTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0eff\u1780-\u17ff"
_OTHER_LETTERS = "\u0370-\u058f\u0590-\u08ff\u0900-\u0dff\u10a0-\u11ff"
_DENSE = re.compile(f"[{_DENSE_LETTERS}][{_DENSE_LETTERS}\\s\u3000-\u303f\uff00-\uffef]*")
_OTHER = re.compile(f"[{_OTHER_LETTERS}][{_OTHER_LETTERS}\\s,;.'-]*")
_FUNCTION_WORDS = tuple(
    frozenset(line.split())
    for line in (
        "der die das und ist nicht ein eine einem den mit auf für von zu sich auch wie dass sie es",
        "le la les des une et est dans pas pour qui que ce sur avec par mais il elle au du un à",
        "el la los las una y que en un por con para es se su más pero del al también cómo contra",
        "il lo la gli le una che di e è non con del della dei delle nel nella sono più anche si da",
        "os um uma que e é não para com por da das na nas em se mais mas também está são ao pelo",
        "de het een en van niet dat op zijn met voor er aan ook maar bij uit hij zij ze kan wel",
        "och att det som på för med till inte har om ett jag han hon så från vi og er ikke en et",
        "w nie na się że z jest jak po tak za od przez dla są być przy tym ta te który oraz też",
        "ve bir bu için ile de da olarak çok ne gibi daha olan kadar sonra değil ama ise sesi",
        "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga ada oleh suara terdengar",
        "và là của có không được trong cho một những các với này đó khi người như từ cũng đang",
    )
)
"""German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian, Polish, Turkish, Indonesian
and Vietnamese."""
# Without English words that are words of those languages too ("a", "in", "was", "her").
_ENGLISH = frozenset(
    words(
        "the of and is are were being with that this these those from for by his its they which "
        "while who what when where there here have not but because into than then their our it "
        "she him them would could can must does did only just behind before after between through "
        "off each every all any another very about around against during until though although my"
    )
)


def find_language(case: Case) -> str | None:
    """A stretch that is not English."""
    for script, limit in ((_DENSE, MAX_DENSE), (_OTHER, MAX_OTHER)):
        for match in () if case.own_text.isascii() else script.finditer(case.own_text):
            if sum(map(str.isalpha, match[0])) > limit:
                return f"another script: {match[0].strip()[:80]}"
    for is_english, group in groupby(case.own_words, _ENGLISH.__contains__):
        stretch = [] if is_english else list(group)
        if len(stretch) < MIN_FOREIGN_WORDS:
            continue
        n_function_words = max(len(language.intersection(stretch)) for language in _FUNCTION_WORDS)
        if n_function_words >= MIN_FUNCTION_WORDS and n_function_words * 6 >= len(stretch):
            return f"another language: {' '.join(stretch)[:120]}"
    return None


# Repetition

MAX_SAME_SENTENCE, MAX_SAME_PHRASE, PHRASE_WORDS = 2, 2, 8
MAX_PERIOD, MAX_ROUNDS, MIN_LOOP_WORDS = 6, 4, 8
"""A phrase of up to `MAX_PERIOD` words may come `MAX_ROUNDS` times without a break."""
MIN_RATIO, MIN_BYTES = 0.30, 400
"""Smallest share of its length that a text of `MIN_BYTES` may be compressed to; prose has 0.5."""


def find_repetition(case: Case) -> str | None:
    """A loop."""
    text, said = case.own_text, case.own_words
    data = text.encode(errors="replace")
    ratio = len(zlib.compress(data, 1)) / len(data) if len(data) >= MIN_BYTES else 1.0
    if ratio < MIN_RATIO:
        return f"compresses to {ratio:.2f} of its length: {text[-80:]}"
    if max(Counter(_phrases(said, 4)).values(), default=0) <= MAX_SAME_PHRASE:
        return None  # no four words come so often, so nothing longer does
    counts = Counter(line.lower() for line in sentences(text) if len(words(line)) > 2)
    for sentence, n in counts.most_common(1):
        if n > MAX_SAME_SENTENCE:
            return f"{n} times the sentence: {sentence[:120]}"
    for phrase, n in Counter(_phrases(said, PHRASE_WORDS)).most_common(1):
        if n > MAX_SAME_PHRASE:
            return f"{n} times the phrase: {' '.join(phrase)}"
    for period in range(1, MAX_PERIOD + 1):
        same = (word == later for word, later in zip(said, said[period:], strict=False))
        longest = max((sum(run) for repeats, run in groupby(same) if repeats), default=0)
        if longest >= max(MAX_ROUNDS * period, MIN_LOOP_WORDS - period):
            return f"the same {period} words again and again, {longest + period} words long"
    return None


def _phrases(said: list[str], n_words: int) -> Iterable[tuple[str, ...]]:
    return zip(*(said[i:] for i in range(n_words)), strict=False)


# Leak

_WORDS = {
    "SENSE": r"(?:visual|vision|video|audio|auditory|acoustic|sound|hearing|listening|picture|"
    r"image|frames?|footage|soundtrack)(?:[- ](?:based|only|side))?",
    "TEXTS": r"(?:analyses|descriptions|accounts|captions|summaries|transcripts|reports|traces|"
    r"reasonings|write-ups|annotations|rationales)",
    "TEXT": r"(?:analysis|description|account|caption|summary|transcript|transcription|report|"
    r"trace|reasoning|write-up|annotation|rationale|notes|findings|texts?)",
    "WRITER": r"(?:agent|analyst|expert|teacher|model|assistant|annotator|captioner|describer|"
    r"specialist|observer|reviewer)s?",
    "SEVERAL": r"(?:both|two|neither|either|all|provided|given|supplied|input|separate|merg\w+|"
    r"combin\w+|first|second|other|these|those)",
    "THEREBY": r"(?:according to|based on|as (?:stated|described|noted|mentioned) in|per)",
    "SAYS": r"(?:say|said|state|mention|note|describe|report|suggest|indicate|identif|conclude|"
    r"confirm|claim|point|detail|specif|list|speak|contain|agree|show|reveal|name)\w*",
    "ANSWER": r"(?:(?:correct |right |target )?(?:answer|option|choice|letter|label|solution))",
    "SINCE": r"(?:(?:since|because|as|knowing|given)(?: that)?)",
    "BEING": r"(?:am|is|are|was|were|has been|have been|being)",
    "GIVEN": r"(?:given|provided|supplied|known|expected|predetermined|specified|stated|told|"
    r"required|reference|official|designated|annotated|labelled|marked|fixed|revealed)",
}
"""Words that stand for each other in the phrases below."""
LEAKS = (
    # A text, or its writer, of a single sense: "the audio description", "the vision-only expert".
    r"\bSENSE(?: \w+)? (?P<source>TEXTS|TEXT|WRITER)\b",
    r"\b(?P<source>TEXTS|TEXT) (?:of|about|from|on|for) the (?:SENSE|visuals|pictures|clip)\b",
    r"\b(?P<source>agent|model|teacher|expert) who (?:only )?(?:heard|listened|saw|watched)\b",
    # Several texts or writers: "the descriptions", "both teachers", "the first model", "Agent 2".
    r"\b(?P<source>analyses|descriptions|summaries|transcripts|annotations|captions|annotators)\b",
    r"\bSEVERAL(?: of)?(?: the)?(?: \w+)? (?P<source>TEXTS|WRITER)\b",
    r"\b(?P<source>WRITER|TEXT) (?:[12]|A|B|one|two)\b",
    # A text as an authority: "the transcript provided", "based on the input", "the prompt says".
    r"\b(?P<source>TEXTS|TEXT) (?:provided|given|supplied|handed|available)\b",
    r"\bTHEREBY the(?: \w+){0,2} (?P<source>TEXTS|TEXT|WRITER|prompt|input)\b",
    r"\bTHEREBY the (?P<source>information) (?:provided|given)\b",
    r"\bthe (?:\w+ )?(?P<source>TEXT|TEXTS|input|prompt) (?:\w+ly |also |already )?SAYS\b",
    # Hearsay: "is described as", "no mention is made", "it was stated".
    r"\b(?:is|are|was|were|been) (?:also )?(?:described|reported|noted) (?:as|to be|to have)\b",
    r"\bno (?:mention|reference) (?:is|was|of|to)\b",
    r"\b(?:as|it) (?:was|has been) (?:also |further )?(?:noted|stated|reported|pointed out)\b",
    # The answer as a premise: "the expected answer", "since B is correct", "we are told".
    r"\b(?:the|this|my|our|an?) GIVEN ANSWER\b|\banswer key\b|\bground[- ]truth\b|\bgold ANSWER\b",
    r"\b(?:correct|right|target) ANSWER (?:is|was|has been|had been|being)(?: \w+)? GIVEN\b",
    r"\bANSWER (?:(?:has|had) been|(?:was|is) already|is given as|(?:that )?(?:we|I) were) GIVEN\b",
    r"\b(?:know|knew|knowing) (?:\w+ )?(?:the|that the|what the) ANSWER\b",
    r"\bSINCE(?: option|(?: the)? ANSWER is)? \(?[A-H]\)? BEING (?:the )?(?:correct|right|GIVEN)\b",
    r"\b(?:we|I) BEING(?: already| also)? (?:told|informed|instructed|asked to|handed|given the)\b",
    r"\b(?:asked|instructed|supposed|meant|have|has|need|task is) to (?:be )?(?:justif|defend)\w*",
    r"\bmy (?:task|instructions?|prompt)\b|\bworking back(?:wards?)? from\b",
)
"""Phrases that give away that the answer or somebody's texts about the clip were given. Where a
phrase names a `source` that the clip, the question or an option has too, it is no leak."""
_LEAKS = tuple(re.compile(re.sub("[A-Z]{4,}", lambda m: _WORDS[m[0]], leak)) for leak in LEAKS)
_CAPITAL = re.compile(r"\b[A-Z][\w'-]+")
_LABEL = re.compile(
    r"\W{0,8}(?:(?:visual|audio) )?(?:description|analysis|reasoning)\W{0,4}:", re.IGNORECASE
)


def find_leak(case: Case) -> str | None:
    """A phrase that gives away that the answer or texts about the clip were given."""
    text = _CAPITAL.sub(lambda match: match[0].lower(), " ".join(case.own_text.split()))
    clip: str | None = None
    for leak in _LEAKS:
        for match in leak.finditer(text):
            source = match.groupdict().get("source")
            if source is not None:
                clip = clip or _clip_words(case)
                if source.rstrip("s") in clip:
                    continue
            return text[max(0, match.start() - 40) : match.end() + 40]
    return None


def _clip_words(case: Case) -> str:
    """Question, options and the teachers' texts without their labels ("Visual Description:")."""
    texts = [case.question, *case.options, *case.teacher_texts.values()]
    return "\n".join(_LABEL.sub("", line) for text in texts for line in text.split("\n")).lower()
