"""Every form of an answer, about every kind of option: the letter that is meant, or none."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from avrt.answers import extract_answer
from avrt.datasets import read_items
from avrt.generate.option_order import in_order, restore_letter, restore_letters
from avrt.types import LETTERS
from benchmark_sets import SETS, write_set
from reply_forms import BOTH, LETTERED, OPTIONS, TEXTS, WRAPPERS, filled


def replies(letter, text):
    """Every form about an option, in everything that it can stand in."""
    forms = (*LETTERED, *(BOTH + TEXTS if text else ()))
    for form, wrapper in product(forms, WRAPPERS):
        if letter == "A" and "{l}" in form and "answer is" in wrapper:
            continue  # "the answer is a" breaks off at an article
        yield wrapper.format(filled(form, letter, text))


@pytest.mark.parametrize("name", SETS)
def test_every_gold_option_of_every_reader_is_read_in_every_form(tmp_path, name):
    for item in read_items(write_set(tmp_path, name)):
        for reply in replies(item.sample.target, item.sample.target_text):
            assert extract_answer(reply, item.sample.options) == item.sample.target, reply


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options[0])
def test_options_that_look_like_forms_are_read_or_not_never_as_another(options):
    n_read, n_replies = 0, 0
    for letter, text in zip(LETTERS, options, strict=False):
        for reply in replies(letter, text):
            answer = extract_answer(reply, options)
            assert answer in (letter, None), (reply, letter)
            n_read, n_replies = n_read + (answer == letter), n_replies + 1
    assert n_read > 0.98 * n_replies


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options[0])
def test_a_reply_about_options_in_another_order_means_the_same_when_it_is_put_back(options):
    n_same, n_replies = 0, 0
    for order in list(permutations(range(4)))[1::5]:
        shown = in_order(options, order)
        for letter, text in zip(LETTERS, shown, strict=False):
            for reply in list(replies(letter, text))[::7]:
                answer = extract_answer(reply, shown)
                stored = restore_letters(reply, order, shown)
                wanted = answer and restore_letter(answer, order)
                again = extract_answer(stored, options)
                assert again in (wanted, None), (reply, stored)
                n_same, n_replies = n_same + (again == wanted), n_replies + 1
    assert n_same > 0.98 * n_replies


HOSTILE = (
    *("<", "< ", "<answer>", "<answer>B", "</answer>", "<answer ", "<|", "<b x=", "<think>", "</"),
    *("answer:", "answer: ", "answer is ", "the answer is B or ", "answer:\n", "correct option "),
    *(
        "(",
        "(A)",
        "[(",
        "\\",
        "\\boxed{",
        "\\text{",
        "{",
        "}",
        "$",
        " ",
        "\n",
        "B\n",
        "B. ",
        "A or ",
    ),
    *(
        ", ",
        "option ",
        "not (",
        "is not ",
        "- ",
        "'",
        "['",
        "Ａ",
        "\u200b",
        "a\u0301",
        "<box>",
        "ﬃ",
    ),
)


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("frame", ["{}", "Answer: B{}", "<answer>{}</answer>", "option{}x", "<{}"])
def test_no_text_of_100_kb_stops_the_parser(piece, frame):
    """A pattern that is more than linear would take minutes for each of these."""
    text = frame.format(piece * (100_000 // len(piece)))
    assert extract_answer(text, OPTIONS[0]) in (None, *"ABCD")
    assert len(restore_letters(text, (1, 0, 3, 2), OPTIONS[0])) >= len(text)
