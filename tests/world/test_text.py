"""What is written in the world parses with the one answer parser."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from avrt.answers import extract_answer, is_well_formed
from avrt.world.content import candidates_heard, candidates_seen, draw_scene
from avrt.world.text import (
    audio_analysis,
    describe_heard,
    describe_seen,
    draw_question,
    reasoning,
    vision_analysis,
    walk,
)


def test_walk_stops_at_the_first_option_that_fits():
    assert walk(("dog", "car", "bell"), ["bell", "car"]) == ("(A) dog no\n(B) car yes", 1)


def test_walk_without_a_fitting_option_is_refused():
    with pytest.raises(ValueError, match="no option"):
        walk(("dog", "car"), ["bell"])


def test_reasoning_is_well_formed_and_ends_in_the_gold_letter():
    rng = random.Random(0)
    for _ in range(200):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        trace = reasoning(describe_seen(scene), describe_heard(scene), question, [question.answer])
        assert is_well_formed(trace, len(question.options))
        assert extract_answer(trace, question.options) == "ABCD"[question.answer_index]


def test_a_teacher_is_right_when_its_sense_leaves_one_candidate():
    rng = random.Random(1)
    for _ in range(300):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        gold = "ABCD"[question.answer_index]
        if len(candidates_seen(scene, question.kind)) == 1:
            assert extract_answer(vision_analysis(scene, question, rng), question.options) == gold
        if len(candidates_heard(scene, question.kind)) == 1:
            assert extract_answer(audio_analysis(scene, question, rng), question.options) == gold


def test_a_guessing_teacher_is_right_as_often_whatever_the_letter():
    rng = random.Random(2)
    right, asked = Counter[str](), Counter[str]()
    for _ in range(6_000):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        gold = "ABCD"[question.answer_index]
        text = vision_analysis(scene, question, rng)
        asked[gold] += 1
        right[gold] += extract_answer(text, question.options) == gold
    shares = [right[letter] / asked[letter] for letter in "ABCD"]
    assert max(shares) - min(shares) < 0.06
