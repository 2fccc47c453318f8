from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrt.report.overlap import MIN_RUN, find_quote, mark_sources

SEEN = "A brown dog runs across the wet street and shakes its long tail."
HEARD = "Loud barking of a large animal, then a car horn far away."


def in_utf16(text: str, start: int, end: int) -> str:
    """What a browser shows for these offsets."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units[2 * start : 2 * end].decode("utf-16-le", "surrogatepass")


def marked(text: str, vision: str, audio: str, asked: str = "") -> list[tuple[str, str]]:
    marks = mark_sources(text, vision, audio, asked)
    return [(in_utf16(text, start, end), source) for start, end, source in marks]


def test_each_teacher_has_its_words():
    text = f"I see: {SEEN} I also hear loud barking of a large animal."
    assert marked(text, SEEN, HEARD) == [
        (SEEN[:-1], "vision"),
        ("loud barking of a large animal", "audio"),
    ]


def test_words_of_both_are_marked_as_such():
    both = "the brown dog barks loudly"
    assert marked(f"So {both} here", f"Look: {both}", f"Listen: {both}!") == [(both, "both")]


def test_neighbours_from_two_teachers_are_two_marks():
    text = "brown dog runs. loud barking animal"
    assert marked(text, "brown dog runs", "Loud barking, animal") == [
        ("brown dog runs", "vision"),
        ("loud barking animal", "audio"),
    ]


@pytest.mark.parametrize(
    "common",
    [
        "brown dog",  # too short
        "it could be the sound of a",  # the form of traces
        "because it is in the",
    ],
)
def test_what_any_text_has_is_nobodys(common):
    assert marked(f"first {common} second", common, common) == []


def test_words_of_the_question_are_nobodys():
    asked = "What does the brown dog do?\nruns across the street"
    assert marked("the brown dog runs across the street", asked, "", asked) == []


def test_case_and_punctuation_do_not_matter():
    assert marked("(BROWN dog—runs)", "a brown dog runs", "") == [("BROWN dog—runs", "vision")]


def test_offsets_are_those_of_a_browser():
    text = "🐕🐕 é a brown dog runs 🐕 loud barking animal 𝒳"
    assert marked(text, "brown dog runs", "loud barking animal") == [
        ("brown dog runs", "vision"),
        ("loud barking animal", "audio"),
    ]


def test_a_text_in_a_loop_takes_no_time():
    loop = "brown dog " * 500
    ((start, end, source),) = mark_sources(loop, loop, "")
    assert (start, end, source) == (0, len(loop) - 1, "vision")


WORDS = st.sampled_from(["dog", "runs", "street", "the", "a", "of", "🐕", "é", "\ud83d", "bark"])
TEXTS = st.lists(WORDS, max_size=30).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_marks_are_in_order_inside_the_text_and_true(text, vision, audio, asked):
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2
    at = 0
    for start, end, source in mark_sources(text, vision, audio, asked):
        assert at <= start < end <= length
        at = end
        shown = in_utf16(text, start, end)
        assert shown == shown.strip()
        words = [word for word in shown.split() if word.isalnum()]
        for name, theirs in (("vision", vision), ("audio", audio)):
            if source in (name, "both"):
                assert set(words) <= set(theirs.split())
                assert len([word for word in theirs.split() if word.isalnum()]) >= MIN_RUN


def test_a_quote_is_found_whatever_its_spaces():
    text = "<think>As the  audio\ndescription says, a dog barks.</think>"
    ((start, end),) = find_quote(text, "As the audio description says")
    assert text[start:end] == "As the  audio\ndescription says"


def test_a_quote_may_begin_and_end_inside_a_word():
    text = "I was given the expected answer, so it must be B."
    ((start, end),) = find_quote(text, "ven the expected answer, so it mu")
    assert text[start:end] == "the expected answer, so it"


def test_every_place_of_a_phrase_is_found_on_request():
    text = "🐕 la la la. La la la! la la la"
    assert len(find_quote(text, "la la la", everywhere=True)) == 3
    assert find_quote(text, "la la la") == [(3, 11)]


@pytest.mark.parametrize("quote", ["", " ", "never said", "dog cat"])
def test_a_quote_that_is_not_there_has_no_place(quote):
    assert find_quote("a dog barks", quote) == []


def test_a_quote_without_words_is_found_as_it_is():
    assert find_quote("🐕 what?! no", "?!") == [(7, 9)]
