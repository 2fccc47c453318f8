"""The world's promises: sets share nothing, and only both senses together settle a question."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from itertools import product

import pytest

from avrt.world.content import (
    COURSES,
    PLACES,
    THINGS,
    WorldSet,
    belongs_to,
    candidates_heard,
    candidates_seen,
    draw_scene,
)
from avrt.world.text import draw_question

SETS: tuple[WorldSet, ...] = ("train", "bench", "audio")


def test_every_set_shows_every_thing_place_and_course():
    combinations = list(product(range(len(THINGS)), range(len(PLACES)), range(len(COURSES))))
    for world_set in SETS:
        own = [c for c in combinations if belongs_to(*c) == world_set]
        assert {c[0] for c in own} == set(range(len(THINGS)))
        assert {c[1] for c in own} == set(range(len(PLACES)))
        assert {c[2] for c in own} == set(range(len(COURSES)))


@pytest.mark.parametrize("world_set", SETS)
def test_scenes_stay_inside_their_set(world_set: WorldSet):
    rng = random.Random(1)
    for _ in range(200):
        scene = draw_scene(rng, world_set)
        assert belongs_to(scene.thing, scene.place, scene.course) == world_set


@pytest.mark.parametrize("world_set", SETS)
def test_both_senses_together_leave_exactly_the_answer(world_set: WorldSet):
    rng = random.Random(2)
    for _ in range(500):
        scene = draw_scene(rng, world_set)
        question = draw_question(scene, rng, world_set)
        seen, heard = candidates_seen(scene, question.kind), candidates_heard(scene, question.kind)
        assert set(seen) & set(heard) == {question.answer}


def test_what_one_sense_leaves_open_is_among_the_options():
    rng = random.Random(3)
    for _ in range(500):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        assert set(candidates_seen(scene, question.kind)) <= set(question.options)
        assert set(candidates_heard(scene, question.kind)) <= set(question.options)
        assert len(set(question.options)) == 4


def test_the_options_alone_do_not_tell_the_answer():
    rng = random.Random(6)
    answers: dict[tuple[str, frozenset[str]], Counter[str]] = defaultdict(Counter)
    for _ in range(6_000):
        question = draw_question(draw_scene(rng, "bench"), rng, "bench")
        answers[question.kind, frozenset(question.options)][question.answer] += 1
    for options, counts in answers.items():
        assert set(counts) == options[1]  # every option is the answer at times
        assert max(counts.values()) / counts.total() < 0.35


def test_training_shows_every_thing_at_every_place():
    shown = {
        (thing, place)
        for thing, place, course in product(range(8), range(4), range(4))
        if belongs_to(thing, place, course) == "train"
    }
    assert len(shown) == 32


def test_neither_sense_alone_is_enough_on_the_benchmark():
    rng = random.Random(4)
    scenes = [draw_scene(rng, "bench") for _ in range(600)]
    sure_by_sight = sum(len(candidates_seen(s, "thing")) == 1 for s in scenes) / len(scenes)
    sure_by_hearing = sum(len(candidates_heard(s, "thing")) == 1 for s in scenes) / len(scenes)
    assert 0.25 < sure_by_sight < 0.42
    assert 0.25 < sure_by_hearing < 0.42


def test_the_audio_set_is_settled_by_hearing_alone():
    rng = random.Random(5)
    for _ in range(300):
        scene = draw_scene(rng, "audio")
        question = draw_question(scene, rng, "audio")
        assert candidates_heard(scene, question.kind) == (question.answer,)
