"""The one answer parser: filter, format gate, rewards and evaluation all read answers here.

Looked at is only what follows the last `</think>` (Kimi's `◁/think▷` too); a thought that never
ends holds no answer. Before any rule the text is made plain: NFKC; format characters, quotes, marks
of Markdown and special tokens go; tags and boxes become marks. Then the first of these that is
present decides, even when it names no option:

1. the last `<answer>…</answer>`; one that never closes, when nothing contradicts it and the reply
   was not cut off;
2. the last box (`\\boxed{B}`, GLM's, `<box>`) or "Answer: …", unless an "answer is …" behind it
   contradicts it;
3. the last "answer is …" that names an option;
4. the text of exactly one option, as the whole text;
5. bare forms: "(B)", "B) dog", "B. dog", "B: dog" where option B is dog, "option B"; and the text
   of an option as the whole last line.

Ambiguous is None, never a guess: "(A) or (B)", "(B) cat" where cat is option C, two different
letters in prose, a letter alone that is the text of another option too (in `<answer>`, where a
letter is asked for, it is the letter). A letter counts only with a mark, an end or a reason behind
it, so "A man" and "D minor" are words; inside an option that is written out it is a part of its
text; one that is denied ("not (A)", "the wrong answer is A") or beyond the options is none.

The table of forms below also finds every letter that stands for an option (`letter_places`), which
`generate/option_order.py` puts back into the stored order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeAlias
from unicodedata import normalize

from avrt.answers.forms import (
    ALSO,
    ARTICLE,
    BLOCK,
    BOXED,
    CLAUSE,
    DENIED_BEHIND,
    GOES_ON,
    HEADS,
    JOINED,
    LABEL,
    LISTED,
    MARK,
    MENTION,
    NO,
    NOT_FINAL,
    NOT_THIS,
    PAIRED,
    SECOND,
    SENTENCE,
    SIDE_BY_SIDE,
    STATED,
    L,
)
from avrt.answers.thoughts import after_thought
from avrt.types import LETTERS

__all__ = ["PARSER_VERSION", "extract_answer", "is_well_formed", "letter_places", "split_trace"]

PARSER_VERSION = 2
"""Rises whenever some text is read otherwise than before: part of every evaluation's protocol."""

_LETTERS = frozenset(LETTERS)
_TRACE = re.compile(rf"\s*<think>(.*)</think>\s*<answer>({L})</answer>\s*", re.DOTALL)
_ANY_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_PLAIN_BLOCK = re.compile(rf"\s*<answer>({L})</answer>\s*")
"""The form of nearly all replies: read at once."""

# --- Plain text. No rule below sees anything else.
_OPEN, _CLOSE, _BOX, _UNBOX, _GONE = "\ue000\ue001\ue002\ue003\ue004"
_FOLD: dict[int, str | None] = {
    **dict.fromkeys(
        chain(
            range(0xE000, 0xF900),  # private characters: the five above stand for marks
            (*range(9), *range(14, 28), *range(0x7F, 0x85), *range(0x86, 0xA0)),  # control
            (0xAD, 0x61C, *range(0x180B, 0x1810), *range(0x200B, 0x2010)),  # format characters
            (*range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF),
            range(0xFFF9, 0xFFFC),
            map(ord, '*`_"“”„‟«»‹›「」『』〝〞〟'),
        )
    ),
    **{ord(mark): "-" for mark in "‐‑‒–—―−"},
    **{ord(mark): "->" for mark in "→⟶➔➜➝⇒⟹"},
    **dict(zip(map(ord, "。、’‘‚‛【】〔〕〖〗《》"), ".,''''[][][]<>", strict=True)),
}
_LINE = re.compile("[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029\ue000-\ue003]+")
_BLANK = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\ue000\ue001\ue002\ue003"
_LIGHT, _HEAVY = " .,:;!?'()[]{}", " .,:;!?'()[]{}<>|/\\$#•·~=-"

_Text: TypeAlias = tuple[str, str, str, str]
"""A text in the forms in which two texts may be the same: exact, in lower case, without light marks
around it, and without any.
"""


def extract_answer(text: str, options: Sequence[str], *, cut: bool = False) -> str | None:
    """The letter of the option that `text` settles on, or None.

    `cut` says that the text ended at a limit, so that an answer block it leaves open is not read.
    """
    options = tuple(options)
    text = after_thought(text if text.isascii() else normalize("NFKC", text))
    if (plain := _PLAIN_BLOCK.fullmatch(text)) is not None:
        return _only(_known({plain[1]}, options))
    text = _marked(text.translate(_FOLD)).replace(_GONE, "")
    declared = _declared(text, options, cut)
    if declared is not None:
        return _only(declared)
    if (core := text.strip(_BLANK + _HEAVY).upper()) in _LETTERS:
        return _only(_alone(core, options))
    lines = [line for line in _LINE.findall(text) if line.strip()]
    if exact := _with_text(text, options):
        pair = _paired(text, options)  # "A dog" where A is dog and B is a dog
        return _only(exact if pair is None else exact | {_letter(pair)[1]})
    lines = _without_list(lines, options)
    last = _with_text(lines[-1], options) if len(lines) > 1 else set()
    return _only(_bare_letters(lines, options) | last)


def is_well_formed(text: str, n_options: int) -> bool:
    """True for one non-empty `<think>` block, then one `<answer>` with an option's letter."""
    parts = split_trace(text)
    return parts is not None and parts[1] in LETTERS[:n_options]


def split_trace(text: str) -> tuple[str, str] | None:
    """The thought and the letter of a trace, or None when it is not exactly those two blocks."""
    match = _TRACE.fullmatch(text)
    if match is None:
        return None
    think = match[1].strip()
    return None if not think or _ANY_TAG.search(think) else (think, match[2])


def letter_places(text: str, options: Sequence[str]) -> list[int]:
    """Where a letter stands for an option anywhere in `text`, stated or only mentioned; sorted.

    A letter inside the written text of an option is none.
    """
    options, (plain, places) = tuple(options), _plain_with_places(text)
    spans = [match.span(1) for form in (BLOCK, BOXED) for match in form.finditer(plain)]
    spans += [span for form in (LABEL, SENTENCE) for span in _statements(form, plain, options)]
    found: set[int] = set()
    paired: set[int] = set()  # with their option's text behind them: part of no other
    for start, end in spans:
        statement = plain[start:end].lstrip(_BLANK)
        if (pair := _paired(statement, options)) is not None:
            paired.add(end - len(statement) + _letter(pair)[0])
        elif (stated := STATED.match(statement)) is not None:
            offset = end - len(statement)
            found.add(offset + _letter(stated)[0])
            found.update(offset + m.start(1) for m in ALSO.finditer(statement, stated.end()))
    for line in _LINE.finditer(plain):
        found.update(line.start() + place for place, _ in _mentions(line[0], options))
    paired.update(place for place in found if not _is_part(plain, place, plain[place], options))
    known = LETTERS[: len(options)]
    return sorted({places[place] for place in paired if plain[place].upper() in known})


# --- From text to plain text.
def _marked(text: str) -> str:
    """The text with tags, boxes and LaTeX as marks; what goes is filled, so that places stay."""
    if not ("<" in text or "\\" in text or "$" in text or "[" in text):
        return text
    closing: list[str] = []  # what each open brace ends with

    def mark(match: re.Match[str]) -> str:
        kind, written = match.lastgroup, match[0]
        if written == "}":
            return closing.pop() if closing else written
        if written == "{":
            closing.append("}")
            return written
        if kind in ("boxed", "styled"):
            closing.append(_UNBOX if kind == "boxed" else _GONE)
        is_end = match["slash"] is not None
        new = {
            "answer": _CLOSE if is_end else _OPEN,
            "box": _UNBOX if is_end else _BOX,
            "begin": _BOX,
            "end": _UNBOX,
            "boxed": _BOX,
            "arrow": "->",
            "bracket": match["bracket"],
        }.get(kind or "", "")
        return new + _GONE * (len(written) - len(new))

    return MARK.sub(mark, text)


def _plain_with_places(text: str) -> tuple[str, list[int]]:
    """Plain text, and the place in `text` of each of its characters."""
    folded = [normalize("NFKC", character).translate(_FOLD) for character in text]
    places = [place for place, new in enumerate(folded) for _ in new]
    marked = _marked("".join(folded))
    kept = [n for n, character in enumerate(marked) if character != _GONE]
    return "".join(marked[n] for n in kept), [places[n] for n in kept]


# --- From plain text to letters.
def _declared(text: str, options: tuple[str, ...], cut: bool) -> set[str] | None:
    """The letters in the first form with a tag, a box or "answer" that is present; None: none."""
    if _OPEN in text and (letters := _last_block(BLOCK, text, options, cut)) is not None:
        return letters
    if _BOX in text and (letters := _last_block(BOXED, text, options, cut)) is not None:
        behind = text[text.rindex(_BOX) :]
        labelled = _announced(behind, options)
        is_label = bool(_statements(LABEL, behind, options))
        return labelled if is_label else letters | (labelled or set())
    return _announced(text, options)


def _announced(text: str, options: tuple[str, ...]) -> set[str] | None:
    """The letters that "Answer: …" or "answer is …" announces; None: neither does."""
    folded = text.casefold()
    if not any(word in folded for word in (*HEADS, "correct ", "right ", "best ")):
        return None
    letters, end = None, 0
    for start, stop in _statements(LABEL, text, options)[-1:]:
        letters, end = _stated(text[start:stop], options), start
    later = [span for span in _statements(SENTENCE, text, options) if span[0] >= end]
    said = (_stated(text[start:stop], options) for start, stop in reversed(later))
    named = next(filter(None, said), None)
    return letters if named is None else named | (letters or set())


def _last_block(
    form: re.Pattern[str], text: str, options: tuple[str, ...], cut: bool
) -> set[str] | None:
    """The letters in the last block of a form; None when there is none."""
    blocks = [match for match in form.finditer(text) if match[2] or match[1].strip(_BLANK)]
    closed = [_block(match, options, form) for match in blocks[-2:] if match[2]]
    if not blocks or blocks[-1][2]:
        if len(closed) > 1 and _are_joined(text[blocks[-2].end() : blocks[-1].start()], form):
            return closed[0] | closed[1]
        return closed[-1] if closed else None
    if cut:
        return set()
    # A block that never closes counts when nothing around it says otherwise.
    first, _, rest = blocks[-1][1].strip(_BLANK).partition("\n")
    letters = _content(first, options, form)
    around = _announced(f"{text[: blocks[-1].start()]}\n{rest}", options) or set()
    return letters and letters.union(around, _bare_letters(_LINE.findall(rest), options), *closed)


def _are_joined(between: str, form: re.Pattern[str]) -> bool:
    """Whether two blocks are one statement: "B or C"; boxes also when nothing is between them."""
    joined = SIDE_BY_SIDE.fullmatch(between)
    return joined is not None and (form is BOXED or bool(between.strip(_BLANK)))


def _block(match: re.Match[str], options: tuple[str, ...], form: re.Pattern[str]) -> set[str]:
    """The letters in a block that is closed and not denied."""
    before, behind = match.string[: match.start()], match.string[match.end() :]
    if NOT_THIS.search(before[-40:]) or DENIED_BEHIND.match(behind[:80].lstrip("$")):
        return set()
    return _content(match[1], options, form)


def _content(text: str, options: tuple[str, ...], form: re.Pattern[str]) -> set[str]:
    """The letters in a block, which may be a sentence, or a reply of its own."""
    if letters := _stated(text, options, form):
        return letters
    return _declared(text, options, False) or _bare_letters(_LINE.findall(text), options)


def _statements(
    form: re.Pattern[str], text: str, options: tuple[str, ...]
) -> list[tuple[int, int]]:
    """Where the statements start and stop that "answer" announces: with the line or the next one.

    An "answer" inside the text of an option announces nothing.
    """
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(character.lower()[0] for character in text)
    heads = [
        match
        for match in form.finditer(lower)
        if not _is_part(text, match.start(), match[match.lastindex or 0], options)
        and not _is_other(text[max(0, match.start() - 80) : match.start()], match[0])
    ]
    spans: list[tuple[int, int]] = []
    for head, stop in zip(heads, [*(h.start() for h in heads[1:]), len(text)], strict=False):
        end = text.find("\n", head.end(), stop)
        end = stop if end < 0 else end
        second = SECOND.match(text, end, stop)
        spans.append((head.end(), second.end() if second else end))
    if form is SENTENCE:  # "the answer is a" breaks off at an article
        return [(start, end) for start, end in spans if text[start:end].strip(_BLANK) != "a"]
    return spans


def _is_other(before: str, head: str) -> bool:
    """Whether "answer" is not the reply's own: denied, supposed, or another one's."""
    clause = _clause(before)
    supposed = "would" in head and re.search(r"\bif\b[^.\n]*$", before, re.IGNORECASE)
    return bool(supposed or NO.search(clause) or NOT_FINAL.search(clause))


def _clause(before: str) -> str:
    """The clause that a text ends in."""
    return before[max((match.end() for match in CLAUSE.finditer(before)), default=0) :]


def _only(letters: set[str]) -> str | None:
    """The one letter; several contradict each other and none is none."""
    return next(iter(letters)) if len(letters) == 1 else None


def _stated(
    statement: str, options: tuple[str, ...], form: re.Pattern[str] | None = None
) -> set[str]:
    """The letters an explicit statement names; several when it contradicts itself."""
    statement = statement.strip(_BLANK)
    match = STATED.match(statement)
    if match is None:
        pair = _paired(statement, options)
        return _with_text(statement, options) | ({_letter(pair)[1]} if pair else set())
    (place, letter), rest = _letter(match), statement[match.end() :]
    if not rest.strip(_BLANK + _HEAVY):
        return _alone(letter, options, form)
    if exact := _with_text(statement, options):
        return exact
    same_text = _with_text(rest, options)
    if letter in same_text:
        return {letter}
    if _is_part(statement, place, letter, options):
        return set()
    begun = _begun(rest, options)
    if letter not in begun and DENIED_BEHIND.match(rest):
        return set()
    named = _known({letter}, options)
    also = named and _also(letter, statement, match.end(), options)
    return named | also | same_text | begun


def _also(letter: str, text: str, start: int, options: tuple[str, ...]) -> set[str]:
    """Another letter that a statement names from `start` on, and does not deny."""
    listed = (
        match
        for match in LISTED.finditer(text, start)
        if match[1] in _begun(text[match.end() : match.end() + 1000], options)
    )
    for match in chain(ALSO.finditer(text, start), listed):
        place, name = match.start(1), match[1]
        if name == letter or not _known({name}, options) or _is_denied(text, place, options):
            continue
        if not _is_part(text, place, name, options):
            return {name}
    return set()


def _begun(text: str, options: tuple[str, ...]) -> set[str]:
    """The letters of the options whose text stands behind a letter: " dog barks", " dog or cat"."""
    letters: set[str] = set()
    forms = _forms(options)
    text = text[: 2 * max(len(form[1]) for form in forms.values()) + 40].casefold()
    start = 0
    while (match := ARTICLE.match(text, start)) is not None:
        ends: dict[str, int] = {}
        for begin in (match.end() if match[1] is None else match.start(1), match.end()):
            is_named = begin > match.start(1) >= 0  # "The dog is not heard" is prose
            ends = ends or {
                name: begin + len(form[2])
                for name, form in forms.items()
                if form[2]
                and text.startswith(form[2], begin)
                and not text[begin + len(form[2]) :][:1].isalnum()
                and not (is_named and GOES_ON.match(text, begin + len(form[2])))
            }
        furthest = max(ends.values(), default=0)
        letters |= {name for name, end in ends.items() if end == furthest}
        joined = JOINED.match(text, furthest)
        if not ends or joined is None:
            break
        start = joined.end()
    return letters


def _is_denied(text: str, place: int, options: tuple[str, ...]) -> bool:
    """Whether a letter is denied: in its clause before it, or right behind it."""
    if NO.search(_clause(text[max(0, place - 80) : place])):
        return True
    behind = text[place + 1 : place + 80]
    return DENIED_BEHIND.match(behind) is not None and text[place].upper() not in _begun(
        behind, options
    )


def _alone(letter: str, options: tuple[str, ...], form: re.Pattern[str] | None = None) -> set[str]:
    """What a letter alone names: its option, and outside of `<answer>` an option that reads so."""
    return _known({letter}, options) | (set() if form is BLOCK else _with_text(letter, options))


def _bare_letters(lines: Sequence[str], options: tuple[str, ...]) -> set[str]:
    """The letters in lines of prose that are not denied."""
    letters: set[str] = set()
    for line in lines:
        for place, letter in _mentions(line, options):
            if letter in letters or _is_part(line, place, letter, options):
                continue
            if not _is_denied(line, place, options):
                letters |= {letter} | _begun(line[place + 1 : place + 1000], options)
    return _known(letters, options)


def _without_list(lines: list[str], options: tuple[str, ...]) -> list[str]:
    """The lines behind the options, where all of them are written out first, each in its line."""
    names = [pair and _letter(pair)[1] for pair in (_paired(line, options) for line in lines)]
    wanted, n = list(LETTERS[: len(options)]), len(options)
    for start in range(len(lines) - n):
        if names[start : start + n] == wanted:
            return lines[:start] + lines[start + n :]
    return lines


def _mentions(line: str, options: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Place and letter of whatever stands for an option in a line."""
    matches = [match for match in MENTION.finditer(line) if match.lastindex]
    if LISTED.match(line):  # "A. dog B. cat" on one line lists the options
        matches += LISTED.finditer(line)
    elif not (matches and matches[0].start() == 0) and (pair := _paired(line, options)):
        matches.append(pair)
    return map(_letter, matches)


def _letter(match: re.Match[str]) -> tuple[int, str]:
    """Where the letter of a form stands, and which it is."""
    group = match.lastindex or 0
    return match.start(group), match[group].upper()


def _paired(line: str, options: tuple[str, ...]) -> re.Match[str] | None:
    """ "B dog", where option B is dog."""
    match = PAIRED.match(line)
    if match is None or _letter(match)[1] not in _with_text(line[match.end() :], options):
        return None
    return match


def _known(letters: set[str], options: tuple[str, ...]) -> set[str]:
    return letters & set(LETTERS[: len(options)])


def _is_part(text: str, place: int, word: str, options: tuple[str, ...]) -> bool:
    """Whether the word at a place of `text` belongs to the text of an option that stands there."""
    for _, folded, _, _ in _forms(options).values():
        if len(folded) > len(word):
            around = text[max(0, place - len(folded) + 1) : place + len(folded)]
            if folded in around.casefold():
                return True
    return False


def _with_text(text: str, options: tuple[str, ...]) -> set[str]:
    """The letters of all options that read like `text`, compared as strictly as leaves any; two
    options may read alike.
    """
    wanted, forms = _compared(text.strip(_BLANK)), _forms(options)
    alike = {name for name, form in forms.items() if form[3] == wanted[3] and wanted[0]}
    for level in (0, 1, 2) if len(alike) > 1 else ():
        if closer := {name for name in alike if forms[name][level] == wanted[level]}:
            return closer
    return alike


@lru_cache(maxsize=1 << 12)
def _forms(options: tuple[str, ...]) -> dict[str, _Text]:
    """The options by their letters, in the forms that are compared."""
    texts = options
    if not all(option.isascii() and option.replace(" ", "").isalnum() for option in options):
        texts = [
            _marked(normalize("NFKC", option).translate(_FOLD)).replace(_GONE, "").strip(_BLANK)
            for option in options
        ]
    return {name: _compared(text) for name, text in zip(LETTERS, texts, strict=False)}


def _compared(text: str) -> _Text:
    exact = " ".join(text.split())
    folded = exact.casefold()
    light = folded.strip(_LIGHT) or folded
    return exact, folded, light, light.strip(_HEAVY) or light
