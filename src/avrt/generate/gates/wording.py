"""Gates on wording: `language` and `repetition`. Speech in quotation marks does not count.

`language` finds a stretch in another script, or a stretch of words without English ones that holds
function words of another language. Names, loan words, song titles and short exclamations pass; so
does a foreign phrase of a few words, and a long one in a language without a list and without
foreign letters.

`repetition` finds loops: a sentence that comes three times, a phrase of eight words that comes
three times, one word or phrase again and again without a break, and a text that compresses far too
well. A chant that is told once or twice passes.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from avrt.generate.gates.case import Case, sentences, words

__all__ = ["find_language", "find_repetition"]

# Language

MAX_DENSE, MAX_OTHER = 6, 16
"""Letters in a row that a name may have: of scripts where a letter is a syllable, and of others."""
MIN_FOREIGN_WORDS, MIN_FUNCTION_WORDS = 5, 3
"""Words of a stretch without English, and different function words of one language in it."""

_DENSE_LETTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0eff\u1780-\u17ff"
_OTHER_LETTERS = "\u0370-\u058f\u0590-\u08ff\u0900-\u0dff\u10a0-\u11ff"
_DENSE = re.compile(f"[{_DENSE_LETTERS}][{_DENSE_LETTERS}\\s\u3000-\u303f\uff00-\uffef]*")
_OTHER = re.compile(f"[{_OTHER_LETTERS}][{_OTHER_LETTERS}\\s,;.'-]*")
_FUNCTION_WORDS = {
    "German": (
        "der das und ist nicht ein eine einen einem einer dem mit auf für von zu sich auch wie dass"
        " wird werden wir sie es aus bei nach über unter kann noch oder aber sind im vom zum zur"
        " sehr durch wenn weil hier dann diese dieser dieses ihr sein haben hört sieht außerdem"
    ),
    "French": (
        "le la les des une et est dans pas pour qui que ce cette ces sur avec par mais ou où nous"
        " vous ils elles il elle sa ses leur aux du au de un se ne comme très aussi tout être fait"
        " c'est d'un d'une l'on qu'il qu'on donc entend voit"
    ),
    "Spanish": (
        "el la los las una y que en un por con para es se su sus como más pero del al lo este esta"
        " está muy también cuando sobre entre hay porque ya todo desde donde oye ve cómo"
    ),
    "Italian": (
        "il lo la gli le un una che di e è non con del della dei delle nel nella sono più ma anche"
        " questo questa si da al alla dal dalla quindi molto quando sente vede mentre perché"
    ),
    "Portuguese": (
        "os um uma que e é não para com por da das na nos nas em se mais mas também está são ao"
        " à pelo pela isso este esta muito quando ouve enquanto porque seu sua"
    ),
    "Dutch": (
        "de het een en van niet dat op zijn met voor er aan ook maar bij uit wordt naar deze dit"
        " hij zij ze wij hun haar nog onder geen kan hoort ziet daarom"
    ),
    "Scandinavian": (
        "och att det är som på för med av till inte har om ett jag han hon så från eller ut vi og"
        " er ikke til en et af de å også fra når høres hører ved mot siden"
    ),
    "Polish": (
        "w nie na się że z jest jak po tak za od przez dla są być przy tym ta te który która które"
        " oraz też więc słychać widać"
    ),
    "Turkish": (
        "ve bir bu için ile de da olarak çok ne gibi daha olan kadar sonra değil ama ise duyuluyor"
        " görülüyor sesi çünkü"
    ),
    "Indonesian": (
        "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut"
        " bisa ada mereka adalah oleh suara terdengar terlihat sebuah seorang"
    ),
    "Vietnamese": (
        "và là của có không được trong cho một những các với này đó khi người như từ cũng đang"
        " tiếng thấy nghe"
    ),
}
_LANGUAGES: dict[str, list[str]] = {}
"""The languages of each function word."""
for _language, _list in _FUNCTION_WORDS.items():
    for _word in _list.split():
        _LANGUAGES.setdefault(_word, []).append(_language)
_FUNCTIONS = frozenset(_LANGUAGES)
# Not in this list: English words that are words of those languages too ("a", "in", "was", "her").
_ENGLISH = frozenset(
    words(
        "the of and is are were being with that this these those from for by his its they which "
        "while who what when where there here have not but because into than then their our it "
        "she him them would could can must does did only just behind before after between through "
        "off each every all any some another very about around against during until though "
        "although whereas whose my your you"
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
        if len(stretch) >= MIN_FOREIGN_WORDS and (language := _language_of(stretch)):
            return f"{language}: {' '.join(stretch)[:120]}"
    return None


def _language_of(stretch: list[str]) -> str | None:
    """The language of which a stretch of words has enough different function words."""
    found = _FUNCTIONS.intersection(stretch)
    if len(found) < MIN_FUNCTION_WORDS:
        return None
    counts = Counter(language for word in sorted(found) for language in _LANGUAGES[word])
    language, n = counts.most_common(1)[0]
    return language if n >= MIN_FUNCTION_WORDS and n * 6 >= len(stretch) else None


# Repetition

MAX_SAME_SENTENCE, MAX_SAME_PHRASE, PHRASE_WORDS = 2, 2, 8
MAX_PERIOD, MAX_ROUNDS, MIN_LOOP_WORDS = 6, 4, 8
"""A phrase of up to `MAX_PERIOD` words may come `MAX_ROUNDS` times without a break."""
MIN_RATIO, MIN_CHARS = 0.30, 400
"""Smallest share of its length that a text of some length may be compressed to; prose has 0.5."""


def find_repetition(case: Case) -> str | None:
    """A loop."""
    text, found = case.own_text, case.own_words
    data = text.encode(errors="replace")
    if len(data) >= MIN_CHARS and (ratio := len(zlib.compress(data, 1)) / len(data)) < MIN_RATIO:
        return f"compresses to {ratio:.2f} of its length: {text[-80:]}"
    if max(Counter(_phrases(found, 4)).values(), default=0) <= MAX_SAME_PHRASE:
        return None  # no four words come so often, so nothing longer does
    said = Counter(sentence.lower() for sentence in sentences(text) if len(words(sentence)) > 2)
    for sentence, n in said.most_common(1):
        if n > MAX_SAME_SENTENCE:
            return f"{n} times the sentence: {sentence[:120]}"
    for phrase, n in Counter(_phrases(found, PHRASE_WORDS)).most_common(1):
        if n > MAX_SAME_PHRASE:
            return f"{n} times the phrase: {' '.join(phrase)}"
    for period in range(1, MAX_PERIOD + 1):
        same = (word == other for word, other in zip(found, found[period:], strict=False))
        longest = max((sum(run) for repeats, run in groupby(same) if repeats), default=0)
        if longest >= max(MAX_ROUNDS * period, MIN_LOOP_WORDS - period):
            return f"the same {period} words again and again, {longest + period} words long"
    return None


def _phrases(found: list[str], n_words: int) -> Iterable[tuple[str, ...]]:
    return zip(*(found[i:] for i in range(n_words)), strict=False)
