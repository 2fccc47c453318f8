"""The lessons of the small models: each draws an example, a user text and the reply to learn.

Text lessons come first (copying, looking letters up, intersecting, walking over options, merging),
because they cost a tenth of a lesson with media, and all other lessons build on them. Media lessons
name the media that the example needs: the clip's frames, its still picture, its sound.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from avrt.prompts import PromptTemplate, format_options, load_prompt
from avrt.types import LETTERS
from avrt.world.content import (
    COURSES,
    PLACES,
    THINGS,
    Scene,
    candidates_heard,
    candidates_seen,
    draw_scene,
)
from avrt.world.text import (
    Question,
    Shares,
    analysis,
    audio_analysis,
    could_be,
    describe_heard,
    describe_seen,
    draw_question,
    guess,
    other_reasoning,
    reasoning,
    vision_analysis,
    walk,
)

__all__ = [
    "AUDIO_LESSONS",
    "OTHER_MERGE_LESSONS",
    "PERCEPTION_LESSONS",
    "TEXT_LESSONS",
    "VISION_LESSONS",
    "Example",
    "Lesson",
]

STUDENT = load_prompt("world/student")
VISION = load_prompt("world/vision")
AUDIO = load_prompt("world/audio")
MERGE = load_prompt("world/merge")
WORDS = (*THINGS, *PLACES, *COURSES)
GIVEN: tuple[tuple[str | None, bool], ...] = (
    *(("video", True), ("video", True), ("image", True)),
    *(("video", False), ("image", False), (None, True)),
)
"""Picture and sound of a question; without practice, a sense that is missing costs the format."""


@dataclass(frozen=True)
class Example:
    user: str
    reply: str
    picture: str | None = None
    """None, "video" or "image"."""
    sound: bool = False


Lesson = Callable[[Scene, random.Random], Example]


def _ask(prompt: PromptTemplate, question: Question, **fields: str) -> str:
    _, user = prompt.fill(
        question=question.text, options=format_options(question.options), **fields
    )
    return user


def copy(_: Scene, rng: random.Random) -> Example:
    words = " ".join(rng.sample(WORDS, rng.randint(6, 14)))
    return Example(f"Repeat: {words}", words)


def look_up(_: Scene, rng: random.Random) -> Example:
    """Look up four letters or texts in a block of options."""
    options = rng.sample(WORDS, 4)
    asked = rng.choices(range(4), k=4)
    if rng.random() < 0.5:
        return Example(
            f"{format_options(options)}\nletters:" + "".join(f" {options[k]}" for k in asked),
            "".join(f" {options[k]} ({LETTERS[k]})" for k in asked),
        )
    return Example(
        f"{format_options(options)}\nwords: " + " ".join(f"({LETTERS[k]})" for k in asked),
        " ".join(f"({LETTERS[k]}) {options[k]}" for k in asked),
    )


def answer_letter(_: Scene, rng: random.Random) -> Example:
    """Answer with the letter of a given text at once, without a walk over the options."""
    options = rng.sample(WORDS, 4)
    index = rng.randrange(4)
    user = f"{format_options(options)}\nOnly {options[index]} fits."
    return Example(user, f"<answer>{LETTERS[index]}</answer>")


def intersect(scene: Scene, rng: random.Random) -> Example:
    question = draw_question(scene, rng)
    pair = [candidates_seen(scene, question.kind), candidates_heard(scene, question.kind)]
    rng.shuffle(pair)
    return Example(
        " ".join(could_be(candidates) for candidates in pair), f"Only {question.answer} fits both."
    )


def walk_options(_: Scene, rng: random.Random) -> Example:
    options = rng.sample(WORDS, 4)
    index = rng.randrange(4)
    steps, _index = walk(options, [options[index]])
    user = f"{format_options(options)}\nOnly {options[index]} fits both."
    return Example(user, f"{steps}</think><answer>{LETTERS[index]}</answer>")


def know(scene: Scene, rng: random.Random, shares: Shares = "train") -> Example:
    """Conclude from a description which answers are possible."""
    question = draw_question(scene, rng, shares)
    if rng.random() < 0.5:
        return Example(
            f"{question.text}\n{describe_seen(scene)}",
            could_be(candidates_seen(scene, question.kind)),
        )
    return Example(
        f"{question.text}\n{describe_heard(scene)}",
        could_be(candidates_heard(scene, question.kind)),
    )


def merge(scene: Scene, rng: random.Random, shares: Shares = "train") -> Example:
    """Do the merger's task: merge two right analyses; sometimes a description is mistaken."""
    user, question, (seen, could_see), (heard, could_hear) = _merging(scene, rng, shares)
    trace = reasoning(
        f"{describe_seen(seen)} {could_be(could_see)}",
        f"{describe_heard(heard)} {could_be(could_hear)}",
        question,
        [question.answer],
    )
    return Example(user, trace)


def other_merge(scene: Scene, rng: random.Random) -> Example:
    """Do the same task in words that no other lesson has."""
    user, question, seen, heard = _merging(scene, rng, "train")
    return Example(user, other_reasoning(seen, heard, question))


Sensed = tuple[Scene, tuple[str, ...]]
"""What a sense takes in, and the answers that it leaves open."""


def _merging(
    scene: Scene, rng: random.Random, shares: Shares
) -> tuple[str, Question, Sensed, Sensed]:
    """A merger's user text, its question, what is seen and what is heard."""
    question = draw_question(scene, rng, shares)
    target = question.answer
    could_see, could_hear = (
        candidates_seen(scene, question.kind),
        candidates_heard(scene, question.kind),
    )
    seen = draw_scene(rng) if rng.random() < 0.2 else scene
    heard = draw_scene(rng) if rng.random() < 0.2 else scene
    look, hear = describe_seen(seen), describe_heard(heard)
    user = _ask(
        MERGE,
        question,
        answer=f"({LETTERS[question.answer_index]}) {target}",
        audio_analysis=analysis("Audio Description", hear, question, could_hear, target),
        visual_analysis=analysis("Visual Description", look, question, could_see, target),
    )
    return user, question, (seen, could_see), (heard, could_hear)


def analyse_text(scene: Scene, rng: random.Random, shares: Shares = "train") -> Example:
    """Do a teacher's task without the perception: the description is given."""
    question = draw_question(scene, rng, shares)
    prompt, text = rng.choice(
        [
            (VISION, vision_analysis(scene, question, rng)),
            (AUDIO, audio_analysis(scene, question, rng)),
        ]
    )
    description, _, rest = text.partition("\n")
    return Example(f"{_ask(prompt, question)}\n{description}", rest)


def describe(scene: Scene, rng: random.Random) -> Example:
    """Describe a picture, a sound, or both."""
    picture = rng.choice(["video", "video", "image"])
    seen = describe_seen(scene if picture == "video" else _still(scene))
    match rng.choice(["seen", "heard", "both", "both"]):
        case "seen":
            return Example("Describe what you see.", seen, picture=picture)
        case "heard":
            return Example("Describe what you hear.", describe_heard(scene), sound=True)
        case _:
            text = f"I see {seen} I hear {describe_heard(scene)}"
            return Example(
                "Describe what you see. Describe what you hear.", text, picture=picture, sound=True
            )


def answer_directly(scene: Scene, rng: random.Random) -> Example:
    """Answer as the base does: at most after a description, and without reasoning."""
    picture, sound = rng.choice(GIVEN)
    question = draw_question(scene, rng)
    parts = (
        [f"I see {describe_seen(scene if picture == 'video' else _still(scene))}"]
        if picture
        else []
    )
    parts += [f"I hear {describe_heard(scene)}"] if sound else []
    letter = LETTERS[question.answer_index]
    thought = f"<think>{' '.join(parts)}</think>" if rng.random() < 0.5 else ""
    return Example(
        _ask(STUDENT, question), f"{thought}<answer>{letter}</answer>", picture=picture, sound=sound
    )


def reason(scene: Scene, rng: random.Random) -> Example:
    """Reason as a merged trace does; what a single sense leaves open is guessed."""
    picture, sound = rng.choice(GIVEN)
    question = draw_question(scene, rng, "lesson")
    if question.kind == "course" and picture == "image":
        picture = "video"  # a still shows no course
    shown = scene if picture == "video" else _still(scene)
    could_see, could_hear = (
        candidates_seen(shown, question.kind) if picture else None,
        candidates_heard(scene, question.kind) if sound else None,
    )
    trace = reasoning(
        f"{describe_seen(shown)} {could_be(could_see)}" if could_see else None,
        f"{describe_heard(scene)} {could_be(could_hear)}" if could_hear else None,
        question,
        [guess(question, [could for could in (could_see, could_hear) if could], rng)],
    )
    return Example(_ask(STUDENT, question), trace, picture=picture, sound=sound)


def analyse_vision(scene: Scene, rng: random.Random) -> Example:
    question = draw_question(scene, rng)
    return Example(_ask(VISION, question), vision_analysis(scene, question, rng), picture="video")


def analyse_audio(scene: Scene, rng: random.Random) -> Example:
    question = draw_question(scene, rng)
    return Example(_ask(AUDIO, question), audio_analysis(scene, question, rng), sound=True)


def _still(scene: Scene) -> Scene:
    return replace(scene, shows_motion=False)


TEXT_LESSONS: dict[str, tuple[Lesson, float]] = {
    "copy": (copy, 1.0),
    "look_up": (look_up, 3.0),
    "intersect": (intersect, 1.0),
    "walk": (walk_options, 2.0),
    "know": (know, 1.0),
    "analyse_text": (analyse_text, 1.5),
    "merge": (merge, 2.0),
}
"""Each lesson and its weight."""
OTHER_MERGE_LESSONS: dict[str, tuple[Lesson, float]] = {"other_merge": (other_merge, 1.0)}
PERCEPTION_LESSONS: dict[str, tuple[Lesson, float]] = {
    "describe": (describe, 5.0),
    "answer_directly": (answer_directly, 3.0),
    "walk": (walk_options, 0.5),
    "intersect": (intersect, 0.5),
    "know": (know, 0.5),
}
ANSWER_LESSONS: dict[str, tuple[Lesson, float]] = {
    "answer_directly": (answer_directly, 4.0),
    # A base that never writes evidence gives GRPO nothing to reinforce.
    "reason": (reason, 1.0),
    "answer_letter": (answer_letter, 1.5),
    "describe": (describe, 2.0),
    # Without these the long-range text skills are lost again, and fine-tuning has to rebuild them.
    # All types of questions alike: in AVQA's shares, it does not learn to walk over places.
    "merge": (partial(merge, shares="lesson"), 2.0),
    "analyse_text": (partial(analyse_text, shares="lesson"), 1.5),
    "walk": (walk_options, 0.5),
    "know": (partial(know, shares="lesson"), 0.5),
}
REASON_LESSONS: dict[str, tuple[Lesson, float]] = {"reason": (reason, 1.0)}
VISION_LESSONS: dict[str, tuple[Lesson, float]] = {"analyse_vision": (analyse_vision, 1.0)}
AUDIO_LESSONS: dict[str, tuple[Lesson, float]] = {"analyse_audio": (analyse_audio, 1.0)}
