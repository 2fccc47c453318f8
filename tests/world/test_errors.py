"""The first broken step of a reply: on replies of trained students, and on perfect ones, broken."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from avrt.cli.main import cli
from avrt.errors import DataError
from avrt.evaluate.logs import LogMeta, Settings, to_line, write_log
from avrt.evaluate.scoring import score
from avrt.types import LETTERS, Completion
from avrt.world.content import (
    PLACES,
    SHAPES,
    THINGS,
    Scene,
    candidates_heard,
    candidates_seen,
    draw_scene,
)
from avrt.world.errors import classify, count_errors
from avrt.world.make import FORMAT, _draw_items, items_of
from avrt.world.text import (
    Question,
    could_be,
    describe_heard,
    describe_seen,
    draw_question,
    reasoning,
)


def scene_of(thing: str, place: str, colour: bool, pitch: bool) -> Scene:
    return Scene(
        thing=THINGS.index(thing),
        place=PLACES.index(place),
        course=0,
        shows_colour=colour,
        shows_pitch=pitch,
        shows_motion=True,
        shows_loudness=False,
        seed=0,
    )


def asking(kind: str, options: str, answer: str) -> Question:
    words = tuple(options.split())
    return Question("Which", kind, "Which thing is in the video?", words, words.index(answer))


PHONE = (
    scene_of("phone", "beach", colour=False, pitch=False),
    asking("thing", "bell drum clock phone", "phone"),
)
DRUM = (
    scene_of("drum", "forest", colour=False, pitch=True),
    asking("place", "beach forest lake street", "forest"),
)
SEEN = "I see a crossed dark thing at the beach, still. It could be drum or phone."
HEARD = "I hear a paired rough sound, even. It could be bell or phone."
AT_FOREST = "I see a crossed dark thing at the forest, still."
LOW = "I hear a long low sound, even. It could be anything."
REPLIES = {
    "": ("no_evidence", PHONE, "A"),
    " ": ("right", PHONE, "D"),
    "I see a crossed dark thing at the beach, still. I hear a paired rough sound, even.": (
        *("no_evidence", PHONE, "A"),
    ),
    f"{SEEN} {HEARD} Only phone fits both.\n(A) bell yes": ("walk", PHONE, "A"),
    f"{SEEN} {HEARD} Only drum fits both.\n(A) bell no\n(B) drum yes": ("intersection", PHONE, "B"),
    f"{SEEN} {HEARD} (A) bell yes": ("intersection", PHONE, "A"),
    f"{SEEN} I hear a paired rough sound, even. It could be bell. Only bell fits both.": (
        *("candidates", PHONE, "A"),
    ),
    f"{SEEN} I hear a long rough sound, even. It could be clock or drum. Only drum fits both.": (
        *("perception", PHONE, "B"),
    ),
    f"{AT_FOREST} It could be beach. {LOW} Only beach fits both.": ("candidates", DRUM, "A"),
    f"{AT_FOREST} It could be forest. {LOW} Only anything. Only beach, arriving. Only lake fits "
    "both.\n(A) forest no\n(B) forest yes": ("intersection", DRUM, "D"),
    f"I see a crossed dark thing at the lake, It could be lake. {LOW} Only lake fits both.": (
        *("perception", DRUM, "C"),
    ),
    # That the thing is wrong does not matter to where it is.
    f"I see a round red thing at the forest, still. It could be forest. {LOW} Only forest fits "
    "both.\n(A) beach yes": ("walk", DRUM, "A"),
}
"""What a reply thinks: its class, the item, and the letter that it answers."""


@pytest.mark.parametrize("thought", REPLIES)
def test_a_reply_is_blamed_on_its_first_broken_step(thought: str) -> None:
    wanted, item, letter = REPLIES[thought]
    assert classify(f"<think>{thought}</think><answer>{letter}</answer>", *item) == wanted


def test_a_reply_without_an_answer_has_no_other_fault() -> None:
    assert classify(f"<think>{SEEN}", *PHONE) == "format"
    assert classify("<answer>D", *PHONE, cut=True) == "format"


def test_perfect_replies_are_right_and_one_broken_step_is_found() -> None:
    rng = random.Random(0)
    for _ in range(200):
        scene = draw_scene(rng, "bench")
        question = draw_question(scene, rng, "bench")
        left = candidates_seen(scene, question.kind), candidates_heard(scene, question.kind)
        seen, heard = describe_seen(scene), describe_heard(scene)
        perfect = reasoning(
            f"{seen} {could_be(left[0])}",
            f"{heard} {could_be(left[1])}",
            question,
            [question.answer],
        )
        assert classify(perfect, scene, question) == "right"
        other = LETTERS[(question.answer_index + 1) % 4]
        wrong = f"{perfect.partition('<answer>')[0]}<answer>{other}</answer>"
        assert classify(wrong, scene, question) == "walk"
        conclusion = f"Only {question.answer} fits both."
        out = next(
            option for option in question.options if not all(option in side for side in left)
        )
        broken = {
            "intersection": wrong.replace(conclusion, f"Only {out} fits both."),
            "candidates": wrong.replace(could_be(left[0]), could_be([out, *left[0]])),
            "no_evidence": wrong.replace(could_be(left[1]), ""),
        }
        worse = wrong.replace(conclusion, "")
        if question.kind == "thing":
            shape = next(shape for shape in SHAPES if shape != scene.shape)
            broken["perception"] = worse.replace(f" {scene.shape} ", f" {shape} ")
        found = {name: classify(reply, scene, question) for name, reply in broken.items()}
        assert found == {name: name for name in broken}


def world(root: Path, n_bench: int = 12) -> Path:
    """What a finished world leaves of itself beside its clips."""
    root.mkdir()
    numbers = {"format": FORMAT, "n_train": 1, "n_bench": n_bench, "n_audio": 1, "seed": 5}
    (root / "world.json").write_text(json.dumps(numbers))
    return root


def write_replies(path: Path, letters: str) -> Path:
    """A log of world-bench in which every item is answered at once, in turn by these letters."""
    lines = []
    for number, (sample, _) in enumerate(_draw_items("bench", 12, 5)):
        completion = Completion(f"<answer>{letters[number % len(letters)]}</answer>", "stop")
        lines.append(to_line(sample, completion, score(completion, sample), "protocol"))
    lines[-1] = to_line(sample, Completion("", "error"), score(Completion("", "error"), sample), "")
    write_log(path, LogMeta(Settings({}, {}), 12, 12, (), None), lines)
    return path


def test_the_replies_of_a_log_are_counted_and_shown(tmp_path: Path) -> None:
    root = world(tmp_path / "world")
    logs = [write_replies(tmp_path / name / "av.jsonl", name) for name in ("ABCD", "xyz")]
    items = list(items_of(root, "bench").values())
    n_right = sum(
        LETTERS[question.answer_index] == "ABCD"[n % 4]
        for n, (_, question) in enumerate(items[:11])
    )
    assert count_errors(logs[0], root) == Counter(right=n_right, no_evidence=11 - n_right)
    assert count_errors(logs[1], root) == Counter(format=11)
    result = CliRunner().invoke(cli, ["world", "errors", str(root), *map(str, logs)])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert rows[0][:4] == ["model", "replies", "right", "format"]
    assert rows[1][:5] == ["ABCD", "11", str(n_right), "0", str(11 - n_right)]
    assert rows[2][:5] == ["xyz", "11", "0", "11", "0"]


def test_a_log_of_another_world_is_refused(tmp_path: Path) -> None:
    log = write_replies(tmp_path / "log" / "av.jsonl", "A")
    with pytest.raises(DataError, match="not of the world in"):
        count_errors(log, world(tmp_path / "small", n_bench=3))
    with pytest.raises(DataError, match=r"world\.json: cannot be read"):
        count_errors(log, tmp_path)
    older = world(tmp_path / "older")
    marker = older / "world.json"
    marker.write_text(marker.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(DataError, match="another version"):
        count_errors(log, older)
