from __future__ import annotations

from dataclasses import replace

import pytest

from avrt.engines.base import failure
from avrt.evaluate.scoring import score
from avrt.types import Completion, Sample

QUESTION = Sample(
    "q", "Which?", ("dog", "cat"), 1, "Which", "both", "v", "v.mp4", None, None, "x:1"
)


def reply(text: str) -> Completion:
    return Completion(text, "stop")


def test_the_target_letter_scores_one():
    result = score(reply("<think>it meows</think><answer>B</answer>"), QUESTION)
    assert (result.value, result.answer, result.status) == (1.0, "B", "scored")


def test_another_letter_scores_zero_and_names_the_target():
    result = score(reply("<think>it barks</think><answer>A</answer>"), QUESTION)
    assert (result.value, result.answer, result.status) == (0.0, "A", "scored")
    assert "target is B" in result.explanation


def test_an_unreadable_answer_is_wrong_and_never_guessed():
    result = score(reply("a man is doing something"), QUESTION)
    assert (result.value, result.answer, result.status) == (0.0, None, "unparsable")


def test_a_cut_answer_says_so():
    result = score(Completion("<think>it mi", "length"), QUESTION)
    assert result.status == "unparsable"
    assert "max_new_tokens" in result.explanation


def test_a_failed_call_is_wrong_by_name():
    result = score(failure("timeout", "no reply after 300 s"), QUESTION)
    assert (result.value, result.answer, result.status) == (0.0, None, "failed")
    assert "timeout" in result.explanation


def test_of_equal_options_either_letter_is_right():
    twice = replace(QUESTION, options=("cat", "dog", "cat", "cow"), answer_index=0)
    assert [score(reply(f"({letter})"), twice).value for letter in "ABCD"] == [1.0, 0.0, 1.0, 0.0]
    assert score(reply("the answer is cat"), twice).status == "unparsable"


@pytest.mark.parametrize("other", ["Cat", " cat ", "ｃａｔ", "CAT\u00a0"])
def test_options_that_read_alike_are_equal_as_everywhere(other):
    twice = replace(QUESTION, options=("cat", "dog", other), answer_index=0)
    assert [score(reply(f"({letter})"), twice).value for letter in "ABC"] == [1.0, 0.0, 1.0]
