"""100,000 generated texts against the answer parser: it never fails, and never answers unlicensed.

A licence is what a reader would accept as naming an option, found here by walking over the text and
without the parser's regular expressions. The parser may refuse what has a licence (contradictions);
it may not answer what has none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from random import Random

from avrt.answers import extract_answer, is_well_formed, split_trace
from avrt.types import LETTERS

N_TEXTS = 100_000
OPTIONS = (
    ("dog", "cat", "A man is talking", "D minor"),
    ("Yes", "No"),
    ("a", "b", "c", "A"),
    ("1", "2", "3", "10", "4", "5", "6", "7"),
    ("the bell", "the bell", "", "B"),
)
OPENING, CLOSING, MARKS = "([<{", ")]>}", ".):;/,-–—]}"
TAG = "\x01"
"""In place of `<answer>` and `</answer>`."""
DROPPED = '*`_"'
"""Marks of Markdown."""


def places(text, word):
    """Where a word is in the text, in any case."""
    return [n for n in range(len(text)) if text[n : n + len(word)].casefold() == word.casefold()]


def after_thinking(text):
    for end in ("</think>", "◁/think▷"):
        if found := places(text, end):
            text = text[found[-1] + len(end) :]
    for start in ("<think>", "◁think▷"):
        text = text[: min(places(text, start), default=len(text))]
    return text


def unified(text):
    """Text in one width, without characters that cannot be seen."""
    text = unicodedata.normalize("NFKC", text)
    return "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace())


def plain(text):
    """Text in the form in which two texts are the same."""
    for mark in DROPPED:
        text = text.replace(mark, "")
    return " ".join(text.casefold().split()).strip(" .:,;)(\"'-–—")


def named(text, place):
    """Whether the character at a place stands as a letter: a mark, an end or a reason is at it."""
    before, after = text[:place].rstrip(), text[place + 1 :]
    rest = after.lstrip()
    if text[:place][-1:].isalnum() or after[:1].isalnum():
        return False
    if before[-1:] == TAG and rest[:1] == TAG:  # all of an answer, in either case
        return True
    if before[-1:] and before[-1:] in OPENING and rest[:1] and rest[:1] in CLOSING:
        return True
    if rest[:1] and rest[:1] in MARKS and rest[0] != ",":
        return True
    same_line = re.split(f"[\n{TAG}]", text[:place])[-1], re.split(f"[\n{TAG}]", after)[0]
    if not any(character.isalnum() for character in same_line[1]):
        said = re.sub(r"(?i)\b(?:option|choice)\b", "", same_line[0])
        is_alone = not any(character.isalnum() for character in said)
        if is_alone or re.search(
            r"answer(?: is| must be)?\W*(?:(?:option|choice)\W*)?$", before, re.IGNORECASE
        ):
            return True  # all of a line or of a statement, in either case
    if not text[place].isupper():
        return False
    after_option = before.rstrip("(").split()[-1:] in (
        [w] for w in ("option", "Option", "choice", "Choice")
    )
    at_end = not after.partition("\n")[0].strip() or rest[:1] in (",", TAG)
    return after_option or at_end or rest.split()[0] in ("because", "since", "as")


def licences(text, options):
    """The letters that anything in the text speaks for: a named letter, or an option's text."""
    text = unified("\n".join(after_thinking(unicodedata.normalize("NFKC", text)).splitlines()))
    for mark in DROPPED:
        text = text.replace(mark, "")
    for tag in ("<answer>", "</answer>"):
        for place in reversed(places(text, tag)):
            text = f"{text[:place]} {TAG} {text[place + len(tag) :]}"
    known = LETTERS[: len(options)]
    found = {c.upper() for place, c in enumerate(text) if c.upper() in known and named(text, place)}
    folded = plain(text)
    found |= {
        letter
        for letter, option in zip(known, options, strict=True)
        if plain(option) and plain(option) in folded
    }
    return found


WORDS = (
    *("a", "A", "an", "the", "I", "it", "is", "was", "not", "and", "or", "because", "since", "so"),
    *(
        "dog",
        "cat",
        "man",
        "talking",
        "minor",
        "bell",
        "the bell",
        "Yes",
        "No",
        "10",
        "7",
        "D minor",
    ),
    *("A man is talking", "Answer:", "answer", "The answer is", "answer must be", "Final answer:"),
    *("option", "Option", "choice", "Choice", "Answer: ", "Hence", "vitamin", "blood type", "plan"),
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "◁think▷",
        "◁/think▷",
        "<ANSWER>",
        "</Answer>",
    ),
    *"ABCDEFGHabcdefgh",
    *(
        "(A)",
        "(B)",
        "(c)",
        "[D]",
        "A.",
        "B)",
        "C:",
        "d)",
        "H.",
        "(E)",
        "A/B",
        "A, B",
        "B -",
        "(A",
        "B]",
    ),
    *(
        "**B**",
        "`A`",
        "*",
        "_",
        "\n",
        "\n\n",
        " ",
        "\t",
        ".",
        ",",
        ":",
        ";",
        "?",
        "(",
        ")",
        "-",
        "–",
    ),
    *(
        "\u00a0",
        "İ",
        "ß",
        "Ａ",
        "\u2028",
        "\x00",
        "\ud800",
        "é",
        "🙂",
        "<",
        ">",
        "{",
        "}",
        "\\",
        '"',
    ),
)


def texts(random, n):
    """Mixtures of words and marks; some are wrapped as traces."""
    for _ in range(n):
        parts = random.choices(WORDS, k=random.choice((1, 2, 2, 3, 4, 5, 7, 10, 16)))
        text = random.choice((" ", " ", "", "\n")).join(parts)
        form = random.random()
        if form < 0.15:
            text = f"<think>{random.choice(WORDS)}</think><answer>{text}</answer>"
        elif form < 0.3:
            text = f"{random.choice(('Answer: ', 'The answer is ', 'Option '))}{text}"
        yield text


def test_no_text_breaks_the_parser_and_no_answer_is_a_guess():
    random, outcomes = Random(0), Counter()
    for number, text in enumerate(texts(random, N_TEXTS)):
        options = OPTIONS[number % len(OPTIONS)]
        answer = extract_answer(text, options)
        outcomes[answer] += 1
        if answer is not None:
            assert answer in licences(text, options), (text, options, answer)
    assert outcomes[None] > N_TEXTS / 4
    assert all(outcomes[letter] > N_TEXTS / 200 for letter in "ABCD"), outcomes


def test_traces_of_any_text_are_split_without_failing():
    for text in texts(Random(1), 10_000):
        parts = split_trace(text)
        assert is_well_formed(text, 8) == (parts is not None)
        assert parts is None or extract_answer(text, OPTIONS[3]) == parts[1]


NOUNS = ("drum", "horn", "plan", "bird", "train", "crowd", "river", "minor key", "major chord")
VERBS = ("plays", "sings near", "is heard behind", "passes", "stops beside", "answers", "calls")
STARTS = (
    "",
    "Answer: ",
    "The answer is ",
    "<answer>",
    "So ",
    "I think the answer is ",
    "In short, ",
)


def test_the_article_is_never_read_as_a_letter():
    """A sentence in which every "a" or "A" stands before a noun names no option."""
    random = Random(2)
    for _ in range(10_000):
        clauses = [
            f"{random.choice('aA')} {random.choice(NOUNS)} {random.choice(VERBS)} "
            f"{random.choice('aA')} {random.choice(NOUNS)}"
            for _ in range(random.choice((1, 1, 2, 3)))
        ]
        text = random.choice(STARTS) + random.choice((" and ", ", ", ". ", "\n")).join(clauses)
        text += random.choice(("", ".", "!", "\n", "</answer>"))
        assert extract_answer(text, OPTIONS[0]) is None, text
        assert extract_answer(text.upper().replace("<ANSWER>", "<answer>"), OPTIONS[0]) is None, (
            text
        )
