from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.answers import extract_answer
from avrt.generate.option_order import (
    balanced_order,
    in_order,
    restore_letter,
    restore_letters,
    shuffled_order,
)
from avrt.prompts import format_options
from avrt.types import LETTERS

orders = st.integers(2, 8).flatmap(lambda n: st.permutations(range(n))).map(tuple)
OPTIONS = ("dog", "cat", "cow", "owl", "hen", "pig", "ram", "fox")


@given(st.integers(0, 99), st.text(), st.integers(0, 7), st.integers(2, 8))
def test_an_order_is_a_permutation_that_its_arguments_fix(seed, name, k, n):
    order = shuffled_order(seed, name, "vision", k, n)
    assert sorted(order) == list(range(n))
    assert order == shuffled_order(seed, name, "vision", k, n)


def test_answers_of_one_sample_see_different_orders():
    assert len({shuffled_order(0, "s", "vision", k, 4) for k in range(8)}) > 4
    assert shuffled_order(0, "s", "vision", 0, 8) != shuffled_order(0, "s", "audio", 0, 8)
    assert shuffled_order(0, "s", "vision", 0, 8) != shuffled_order(1, "s", "vision", 0, 8)


@given(st.text(), st.integers(2, 8), st.data())
def test_a_balanced_order_moves_only_the_gold(name, n, data):
    gold = data.draw(st.integers(0, n - 1))
    order = balanced_order(0, name, gold, n)
    assert sorted(order) == list(range(n))
    others = [option for option in order if option != gold]
    assert others == sorted(others)


def test_the_gold_letters_are_even_whatever_they_were():
    places = Counter(balanced_order(0, f"s{i}", 0, 4).index(0) for i in range(4000))
    assert all(abs(places[place] / 4000 - 0.25) < 0.02 for place in range(4))


@given(orders, st.sampled_from(["Answer: ({}) {}", "<answer>{}</answer>", "Option {} it is."]))
def test_a_restored_text_names_the_option_that_was_meant(order, form):
    options = OPTIONS[: len(order)]
    shown = in_order(options, order)
    for place, option in enumerate(shown):
        text = form.format(LETTERS[place], option)
        letter = extract_answer(text, shown)
        assert letter is not None
        assert options[LETTERS.index(restore_letter(letter, order))] == option
        stored = restore_letters(text, order, shown)
        assert extract_answer(stored, options) == restore_letter(letter, order)


FORMS = (
    *("Answer: ({L}) {t}", "Answer: {L}", "**Answer: {L}**", "**Answer:** {L}", "Answer: **{L}**"),
    *("ANSWER: {L}", "answer : {L}", "Answer:{L}", "Answer:\n{L}", "Answer: ({l}) {t}"),
    *("Answer: [{L}] {t}", "Answer: {L}, because", "Answer: {L} - {t}", "Answer: Option {L}: {t}"),
    *("The answer is **{L}**.", "The answer is {L}, {t}.", "The answer is {L} because of it"),
    *("the answer must be {L}.", "The correct answer is: {L}", "answer should be ({L})"),
    *("<answer> {L} </answer>", "<answer>{L}. {t}</answer>", "<answer>{l}</answer>"),
    *("<answer>({L}) {t}</answer>", "{L}", "{L}.", "{L}. {t}", "**{L}. {t}**", "- ({L}) {t}"),
    *("Answer: {L}/", "Answer: {t}", "choice {L} fits", "<think>(A)?</think>Answer: {L} {t}"),
)


@pytest.mark.parametrize("form", FORMS)
def test_a_restored_text_gives_the_restored_answer_in_every_form_that_is_read(form):
    order, options = (2, 0, 3, 1), OPTIONS[:4]
    shown = in_order(options, order)
    for letter, option in zip("ABCD", shown, strict=True):
        text = form.format(L=letter, l=letter.lower(), t=option)
        answer = extract_answer(text, shown)
        wanted = answer and restore_letter(answer, order)
        assert extract_answer(restore_letters(text, order, shown), options) == wanted


@given(orders)
def test_restoring_listed_options_gives_the_stored_list_in_another_order(order):
    options = OPTIONS[: len(order)]
    shown = in_order(options, order)
    listed = restore_letters(format_options(shown), order, shown)
    assert sorted(listed.splitlines()) == format_options(options).splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "A man plays a D minor chord.",
        "Vitamin C. A dog.",
        "(E) is beyond",
        "the option As",
        "Plan B",
    ],
)
def test_a_letter_that_stands_for_no_option_stays(text):
    assert restore_letters(text, (1, 2, 3, 0), OPTIONS[:4]) == text


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("Answer: B minor", "Answer: B minor"),  # the text of option D
        ("Answer: D. B minor", "Answer: C. B minor"),
        ("Option B minor fits, option A does not.", "Option B minor fits, option B does not."),
        ("<answer>Ｄ</answer>", "<answer>C</answer>"),
        ("⒟ B minor", "(C) B minor"),
        ("so $\\boxed{\\text{A}}$", "so $\\boxed{\\text{B}}$"),
        ("<|begin_of_box|>c<|end_of_box|>", "<|begin_of_box|>A<|end_of_box|>"),
        ("\u200bA\u200b", "\u200bB\u200b"),
        ('{"answer": "B"}', '{"answer": "D"}'),
    ],
)
def test_letters_inside_the_texts_of_options_stay_and_every_width_is_restored(text, stored):
    shown = ("A minor", "C minor", "F major", "B minor")
    assert restore_letters(text, (1, 3, 0, 2), shown) == stored


def test_all_mentions_of_a_reasoning_are_restored():
    text = "(A) A bell dies away. Option B fits: not (C).\nD) no.\nAnswer: (B) Train horn"
    assert restore_letters(text, (3, 0, 1, 2), OPTIONS[:4]) == (
        "(D) A bell dies away. Option A fits: not (B).\nC) no.\nAnswer: (A) Train horn"
    )
