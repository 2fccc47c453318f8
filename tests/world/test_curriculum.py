"""The two mergers' lessons say the same about the same question, in words that nothing shares."""

from __future__ import annotations

import random
import re

from avrt.generate.gates import Case, check
from avrt.types import LETTERS
from avrt.world.content import (
    COLOURS,
    COURSES,
    PITCHES,
    PLACES,
    RHYTHMS,
    SHAPES,
    THINGS,
    draw_scene,
)
from avrt.world.curriculum import Example, merge, other_merge
from avrt.world.networks import new_tokenizer

LONGEST = 96
"""Tokens that the demo's student may write."""
HIDDEN = ("dark", "rough", "still", "even")
FACTS = {*THINGS, *PLACES, *COURSES, *SHAPES, *COLOURS, *RHYTHMS, *PITCHES, *HIDDEN}
N = 100


def pairs() -> list[tuple[Example, Example]]:
    """Both lessons about the same scenes."""
    return [
        (
            merge(draw_scene(random.Random(k)), random.Random(k)),
            other_merge(draw_scene(random.Random(k)), random.Random(k)),
        )
        for k in range(N)
    ]


def facts(reply: str) -> set[str]:
    return FACTS & set(re.findall(r"[a-z]+", reply))


def test_both_mergers_are_asked_the_same_and_say_the_same_facts():
    for own, other in pairs():
        assert own.user == other.user
        assert facts(own.reply) == facts(other.reply)
        assert own.reply[-len("<answer>A</answer>") :] == other.reply[-len("<answer>A</answer>") :]


def test_the_other_mergers_lines_stand_in_no_other_lesson():
    own = {line for example, _ in pairs() for line in re.split(r"[\n.] ?", example.reply)}
    other = {line for _, example in pairs() for line in re.split(r"[\n.] ?", example.reply)}
    shared = {line for line in own & other if not line.endswith("</answer>")}
    assert shared == {""}
    assert len(other) > N


def test_the_other_mergers_traces_pass_all_gates_and_fit_into_a_students_reply():
    tokenizer = new_tokenizer()
    for _, other in pairs():
        question, *lines = other.user.split("\n")
        options = tuple(line[4:] for line in lines[:4])
        case = Case(other.reply, question, options, target=other.reply[-len("A</answer>")])
        assert case.target in LETTERS[:4]
        assert {gate: fault for gate, fault in check(case).items() if fault} == {}
        assert len(tokenizer.encode(other.reply)) < LONGEST
