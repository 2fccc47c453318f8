"""The content of the world: things with a look and a sound, scenes, and the clues of each sense.

Eight things share four shapes and four rhythms so that two things with the same shape never have
the same rhythm, and that the things which a single sense can confuse form two closed groups of
four. A question's options are such a group: nothing in it tells which is the answer.

A scene may hide the colour (darkness), the pitch (noise), the motion (a fixed size) or the loudness
course (an even level). Then a single sense leaves two candidates, or all, and only both senses
together leave a single candidate.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "COURSES",
    "PLACES",
    "SHAPES",
    "THINGS",
    "Scene",
    "WorldSet",
    "belongs_to",
    "candidates_heard",
    "candidates_seen",
    "draw_scene",
    "group_of",
]

THINGS = ("dog", "bird", "car", "train", "bell", "clock", "drum", "phone")
SHAPES = ("round", "square", "pointed", "crossed")
COLOURS = ("red", "blue")
RHYTHMS = ("slow", "fast", "paired", "long")
RHYTHM_OF = (0, 1, 1, 0, 2, 3, 3, 2)
"""The rhythm of each thing: with the shapes, which pair neighbours, a ring through each group."""
PITCHES = ("low", "high")
PLACES = ("beach", "forest", "street", "lake")
COURSES = ("arriving", "leaving", "passing", "circling")


@dataclass(frozen=True)
class Scene:
    """The content of a clip; `None` means that the clip does not show it."""

    thing: int
    place: int
    course: int
    shows_colour: bool
    shows_pitch: bool
    shows_motion: bool
    shows_loudness: bool
    seed: int
    """Seed of the properties that do not matter: position, jitter, grain."""

    @property
    def shape(self) -> str:
        return SHAPES[self.thing // 2]

    @property
    def colour(self) -> str | None:
        return COLOURS[self.thing % 2] if self.shows_colour else None

    @property
    def rhythm(self) -> str:
        return RHYTHMS[RHYTHM_OF[self.thing]]

    @property
    def pitch(self) -> str | None:
        return PITCHES[self.thing % 2] if self.shows_pitch else None

    @property
    def motion(self) -> str | None:
        return COURSES[self.course] if self.shows_motion else None

    @property
    def loudness(self) -> str | None:
        return COURSES[self.course] if self.shows_loudness else None


WorldSet = Literal["train", "bench", "audio"]


def belongs_to(thing: int, place: int, course: int) -> WorldSet:
    """Give the only set that may show this combination: the three sets share no content.

    For every thing, one course in four is kept for `audio`; of the other three, at every place one
    for `bench`. So `train` shows every thing at every place: were a pair kept from it, a student
    that learns where things never are would be misled on `bench`.
    """
    rest = (thing + thing // 4 + course) % len(COURSES)
    if rest == 0:
        return "audio"
    return "bench" if rest == 1 + place % 3 else "train"


def draw_scene(rng: random.Random, world_set: WorldSet = "train") -> Scene:
    """Draw a scene of a set.

    A scene never hides both motion and loudness. A `bench` scene always hides the colour or the
    pitch, or both; an `audio` scene hides no audible property.
    """
    while True:
        thing, place, course = (
            rng.randrange(len(THINGS)),
            rng.randrange(len(PLACES)),
            rng.randrange(len(COURSES)),
        )
        if belongs_to(thing, place, course) == world_set:
            break
    shown = [(True, True), (True, False), (False, True), (False, False)]
    shows_colour, shows_pitch = rng.choice(shown[1:] if world_set == "bench" else shown)
    shows_motion, shows_loudness = rng.choice(shown[:3])
    return Scene(
        thing=thing,
        place=place,
        course=course,
        shows_colour=shows_colour,
        shows_pitch=shows_pitch or world_set == "audio",
        shows_motion=shows_motion,
        shows_loudness=shows_loudness or world_set == "audio",
        seed=rng.getrandbits(32),
    )


def candidates_seen(scene: Scene, kind: str) -> tuple[str, ...]:
    """List the answers that sight leaves open; `kind` is "thing", "course" or "place"."""
    if kind == "place":
        return (PLACES[scene.place],)
    if kind == "course":
        return (scene.motion,) if scene.motion else COURSES
    first = scene.thing // 2 * 2
    return (THINGS[scene.thing],) if scene.colour else (THINGS[first], THINGS[first + 1])


def candidates_heard(scene: Scene, kind: str) -> tuple[str, ...]:
    """List the answers that hearing leaves open for a question of `kind`."""
    if kind == "place":
        return PLACES
    if kind == "course":
        return (scene.loudness,) if scene.loudness else COURSES
    if scene.pitch:
        return (THINGS[scene.thing],)
    same_rhythm = [t for t, rhythm in enumerate(RHYTHM_OF) if rhythm == RHYTHM_OF[scene.thing]]
    return tuple(THINGS[t] for t in same_rhythm)


def group_of(thing: int) -> tuple[str, ...]:
    """The four things of which a single sense may leave several open, `thing` among them."""
    first = thing // 4 * 4
    return THINGS[first : first + 4]
