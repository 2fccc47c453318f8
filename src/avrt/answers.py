"""The one answer parser: filter, format gate, rewards and evaluation all read answers here.

Looked at is only what follows the last `</think>` (Kimi's `◁/think▷` too); a thought that never
ends holds no answer. In there, the first of these that is present decides, even when it then names
no option:

1. the last `<answer>…</answer>`;
2. the last "Answer: …";
3. the last "answer is …" that names an option;
4. bare forms: "(B)", "B) dog", "B. dog", "option B"; two different letters are no answer;
5. the text of exactly one option, as the whole text or the whole last line.

Ambiguous is None, never a guess: "(A) or (B)", or "(B) cat" where cat is option C. A letter counts
only with a mark, an end or a reason behind it, so "A man" and "D minor" are words; a letter beyond
the options is no letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from avrt.types import LETTERS

__all__ = ["PARSER_VERSION", "extract_answer", "is_well_formed", "split_trace"]

PARSER_VERSION = 1
"""Rises whenever some text is read otherwise than before: part of every evaluation's protocol."""

_L = f"[{LETTERS}]"
_TRACE = re.compile(rf"\s*<think>(.*)</think>\s*<answer>({_L})</answer>\s*", re.DOTALL)
_ANY_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_THINK_END = re.compile(r"</think>|◁/think▷", re.IGNORECASE)
_THINK_START = re.compile(r"<think>|◁think▷", re.IGNORECASE)

_ANSWER_TAG = re.compile(r"<answer>([^<>]*)</answer>", re.IGNORECASE)
_ANSWER_COLON = re.compile(r"\banswer[ \t]*:\s*([^\n]*)", re.IGNORECASE)
_ANSWER_IS = re.compile(
    r"\banswer[ \t]+(?:is|must be|should be|would be)\b[ \t:]*([^\n]*)", re.IGNORECASE
)
_STATED = re.compile(
    rf"(?:(?i:option|choice)\s+)?(?:[(\[]\s*((?i:{_L}))\s*[)\]]|((?i:{_L}))(?=\s*[.):;/]|\s+[-–—]\s)"
    rf"|({_L})(?=\s*(?:$|,)|\s+(?:because|since|as)\b))"
)
"""A letter that starts an explicit statement: "(b)", "b.", "option B"; "a" alone is an article."""
_ALTERNATIVE = re.compile(
    rf"[^.\n]*?(?:\bor\s+[(\[]{_L}[)\]]|(?:\bor\b|\band\b|[,/&])\s*[(\[]?{_L}[)\]]?\s*(?:$|[.,;:]))"
)
"""What follows a stated letter when it goes on to state another one: " or (B)", "/B", ", B"."""
_BARE = re.compile(
    rf"(?<!not )(?<!not option )\(({_L})\)|\([^()]*\)|(?<!not )\b(?:[Oo]ption|[Cc]hoice) ({_L})\b"
    rf"|^({_L})[.)](?!\S)|^({_L})$"
)
"""Letters in running text; other brackets are skipped whole, so "(blood type A)" is none."""
_LISTED = re.compile(rf"(?<!\S)({_L})[.)](?!\S)")
_MARKDOWN = str.maketrans("", "", "*`_")


def extract_answer(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option that `text` settles on, or None."""
    text = _after_thinking(text).translate(_MARKDOWN)
    declared = _declared(text, options)
    if declared is not None:
        return _only(declared)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    bare = {letter for line in lines for letter in _bare_letters(line, options)}
    last = lines[-1] if lines else ""
    return _only(_with_text(text, options) or bare or _with_text(last, options))


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


def _after_thinking(text: str) -> str:
    if "think" not in text.casefold():  # most texts are done here, before slow patterns
        return text
    return _THINK_START.split(_THINK_END.split(text)[-1])[0]


def _declared(text: str, options: Sequence[str]) -> set[str] | None:
    """The letters in the first form with the word "answer" that is present; None: none is."""
    folded = text.casefold()
    first = folded.find("answer")
    if first < 0:
        return None
    # Patterns that ignore case are slow, so they begin there, unless folding moved the letters.
    begin = max(0, first - 1) if len(folded) == len(text) else 0
    if blocks := _ANSWER_TAG.findall(text, begin):
        block = blocks[-1].strip()
        return _stated(block.upper() if len(block) == 1 else block, options)
    if statements := _ANSWER_COLON.findall(text, begin):
        return _stated(statements[-1], options)
    statements = reversed(_ANSWER_IS.findall(text, begin))
    return next(filter(None, (_stated(text, options) for text in statements)), None)


def _only(letters: set[str]) -> str | None:
    """The one letter; several contradict each other and none is none."""
    return next(iter(letters)) if len(letters) == 1 else None


def _stated(statement: str, options: Sequence[str]) -> set[str]:
    """The letters an explicit statement names; several when it contradicts itself."""
    statement = statement.strip()
    exact = _with_text(statement, options)
    match = _STATED.match(statement)
    if match is None:
        return exact or _letter_then_text(statement, options)
    letter, rest = (match[1] or match[2] or match[3]).upper(), statement[match.end() :]
    if not _normal(rest):
        return _known({letter}, options)
    if exact:
        return exact
    same_text = _with_text(rest, options)
    if letter in same_text:
        return {letter}
    if not same_text and _ALTERNATIVE.match(rest):
        return _known(set(LETTERS), options)
    return _known({letter}, options) | same_text


def _letter_then_text(statement: str, options: Sequence[str]) -> set[str]:
    """ "B dog", where option B is dog."""
    letter, _, rest = statement.partition(" ")
    return _known({letter}, options) & _with_text(rest, options)


def _bare_letters(line: str, options: Sequence[str]) -> set[str]:
    letters = {letter for groups in _BARE.findall(line) for letter in groups if letter}
    if _LISTED.match(line):  # "A. dog B. cat" on one line lists the options
        letters.update(_LISTED.findall(line))
    return _known(letters, options)


def _known(letters: set[str], options: Sequence[str]) -> set[str]:
    return letters & set(LETTERS[: len(options)])


def _with_text(text: str, options: Sequence[str]) -> set[str]:
    """The letters of all options that read exactly like `text`; two options may read alike."""
    wanted = _normal(text)
    return {
        letter
        for letter, option in zip(LETTERS, options, strict=False)
        if wanted and _normal(option) == wanted
    }


def _normal(text: str) -> str:
    return " ".join(text.translate(_MARKDOWN).casefold().split()).strip(" .:,;)(\"'-–—")
