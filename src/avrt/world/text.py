"""The texts of the world: questions, descriptions, analyses and the merged reasoning.

All reasoning ends in a walk over the options that stops at the first that fits. A small model
can then take the answer's letter from the line it just wrote, which is far easier to learn than
looking the letter up in the question.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from avrt.types import LETTERS
from avrt.world.content import (
    COURSES,
    PLACES,
    THINGS,
    Scene,
    WorldSet,
    candidates_heard,
    candidates_seen,
    group_of,
)

__all__ = [
    "Question",
    "Shares",
    "analysis",
    "audio_analysis",
    "describe_heard",
    "describe_seen",
    "draw_question",
    "guess",
    "other_reasoning",
    "reasoning",
    "vision_analysis",
    "walk",
]

QUESTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Which": ("thing", ("Which thing is in the video?", "Which thing do you see and hear?")),
    "Come From": (
        "thing",
        ("What does the sound in the video come from?", "Where does the sound come from?"),
    ),
    "Happening": (
        "course",
        ("What is happening in the video?", "What is the thing in the video doing?"),
    ),
    "Where": ("place", ("Where was the video taken?", "Where is the thing in the video?")),
}
"""Each question type: the kind of its answer, and its wordings."""

Shares = WorldSet | Literal["lesson"]
SHARES: dict[Shares, dict[str, float]] = {
    "train": {"Which": 0.45, "Come From": 0.31, "Happening": 0.16, "Where": 0.08},
    "bench": {"Which": 0.55, "Come From": 0.37, "Where": 0.08},
    "audio": {"Come From": 0.6, "Happening": 0.4},
    "lesson": dict.fromkeys(QUESTIONS, 0.25),
}
"""Share of each question type, as in AVQA; but a still shows no course, a sound no place.

`lesson`: all types alike.
"""


@dataclass(frozen=True)
class Question:
    type: str
    kind: str
    """Kind of the answer: "thing", "course" or "place"."""
    text: str
    options: tuple[str, ...]
    answer_index: int

    @property
    def answer(self) -> str:
        return self.options[self.answer_index]


def draw_question(scene: Scene, rng: random.Random, shares_of: Shares = "train") -> Question:
    """Draw a question; its options hold all answers that a single sense cannot rule out."""
    shares = SHARES[shares_of]
    question_type = rng.choices(list(shares), weights=list(shares.values()))[0]
    kind, wordings = QUESTIONS[question_type]
    answers: dict[str, tuple[str, Sequence[str]]] = {
        "thing": (THINGS[scene.thing], group_of(scene.thing)),
        "course": (COURSES[scene.course], COURSES),
        "place": (PLACES[scene.place], PLACES),
    }
    answer, known = answers[kind]
    options = list(known)
    rng.shuffle(options)
    return Question(
        question_type, kind, rng.choice(wordings), tuple(options), options.index(answer)
    )


def describe_seen(scene: Scene) -> str:
    place = PLACES[scene.place]
    return (
        f"a {scene.shape} {scene.colour or 'dark'} thing at the {place}, {scene.motion or 'still'}."
    )


def describe_heard(scene: Scene) -> str:
    return f"a {scene.rhythm} {scene.pitch or 'rough'} sound, {scene.loudness or 'even'}."


def could_be(candidates: Sequence[str]) -> str:
    return f"It could be {_either(candidates)}."


def _either(candidates: Sequence[str]) -> str:
    return "anything" if len(candidates) > 2 else " or ".join(candidates)


def walk(options: Sequence[str], fits: Sequence[str]) -> tuple[str, int]:
    """Go through the options up to the first that fits; return the text and its index."""
    lines = []
    for index, option in enumerate(options):
        if option in fits:
            return "\n".join([*lines, f"({LETTERS[index]}) {option} yes"]), index
        lines.append(f"({LETTERS[index]}) {option} no")
    raise ValueError(f"no option of {options} is among {fits}")


def analysis(
    heading: str, description: str, question: Question, candidates: Sequence[str], chosen: str
) -> str:
    """Write a teacher's text: description, candidates, a walk over the options, the answer."""
    steps, index = walk(question.options, [chosen])
    return (
        f"{heading}: {description}\nReasoning: {could_be(candidates)}\n{steps}\n"
        f"Answer: ({LETTERS[index]}) {chosen}"
    )


def guess(question: Question, left: Sequence[Sequence[str]], rng: random.Random) -> str:
    """Choose an option at random among those that every sense leaves open."""
    # A choice by position instead ("the first option that fits") would make most kept answers A:
    # where both teachers must be right, their luck would depend on the letter.
    return rng.choice([o for o in question.options if all(o in candidates for candidates in left)])


def vision_analysis(scene: Scene, question: Question, rng: random.Random) -> str:
    """Write the vision teacher's text; of several candidates it guesses one."""
    candidates = candidates_seen(scene, question.kind)
    chosen = guess(question, [candidates], rng)
    return analysis("Visual Description", describe_seen(scene), question, candidates, chosen)


def audio_analysis(scene: Scene, question: Question, rng: random.Random) -> str:
    """Write the audio teacher's text; of several candidates it guesses one."""
    candidates = candidates_heard(scene, question.kind)
    chosen = guess(question, [candidates], rng)
    return analysis("Audio Description", describe_heard(scene), question, candidates, chosen)


def reasoning(seen: str | None, heard: str | None, question: Question, fits: Sequence[str]) -> str:
    """Write a trace out of the descriptions and candidates of sight and hearing."""
    parts = [f"I see {seen}"] if seen else []
    parts += [f"I hear {heard}"] if heard else []
    conclusion = f"Only {fits[0]} fits both." if seen and heard else ""
    steps, index = walk(question.options, fits)
    body = " ".join([*parts, conclusion] if conclusion else parts)
    return f"<think>{body}\n{steps}</think><answer>{LETTERS[index]}</answer>"


def other_reasoning(
    seen: tuple[Scene, Sequence[str]], heard: tuple[Scene, Sequence[str]], question: Question
) -> str:
    """Write what `reasoning` says in other words and another order: sound first, properties
    backwards, letters without brackets. `seen` and `heard`: the scene of the description, and the
    candidates that it leaves.
    """
    (shown, could_see), (sounding, could_hear) = seen, heard
    letter = LETTERS[question.answer_index]
    clues = (
        f"Listen: {sounding.loudness or 'even'}, {sounding.pitch or 'rough'} and "
        f"{sounding.rhythm}. The sound fits {_either(could_hear)}. "
        f"Look: {shown.motion or 'still'} at the {PLACES[shown.place]}, {shown.colour or 'dark'} "
        f"and {shown.shape}. The video fits {_either(could_see)}. Both agree on {question.answer}."
    )
    others = zip(LETTERS, question.options[: question.answer_index], strict=False)
    lines = [clues, *(f"{other}, {option}? no." for other, option in others)]
    body = "\n".join([*lines, f"{letter}, {question.answer}? yes."])
    return f"<think>{body}</think><answer>{letter}</answer>"
