"""Facts about gates."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrt.generate.gates import GATES, Case, check
from avrt.world.content import candidates_heard, candidates_seen, draw_scene
from avrt.world.text import (
    audio_analysis,
    could_be,
    describe_heard,
    describe_seen,
    draw_question,
    reasoning,
    vision_analysis,
)

LABELLED = Path(__file__).parent / "labelled"
SEEN = (
    "Visual Description: A woman in a yellow coat stands on a quay and throws bread from a paper "
    "bag. Large white birds with orange beaks circle above her.\nReasoning: The birds take the "
    "bread. It is a gull that is fed.\nAnswer: (B) A gull"
)
HEARD = (
    "Audio Description: Harsh cries come in volleys from close by, wings flap, and waves slap "
    "against stone. A child laughs and says 'me too'.\nReasoning: The cries over the waves are "
    "those of gulls.\nAnswer: (B) A gull"
)
THINK = (
    "A woman in a yellow coat throws bread from a paper bag, and large white birds with orange "
    "beaks circle above the quay. Their harsh cries come in volleys while waves slap against the "
    "stone and a child laughs. A dog would bark and a horse would neigh, and a duck has no such "
    "voice. The animal that is fed is a gull."
)
GOOD = Case(
    text=f"<think>{THINK}</think>\n<answer>B</answer>",
    question="Which animal is the woman feeding?",
    options=("A dog", "A gull", "A horse", "A duck"),
    target="B",
    teacher_texts={"v": SEEN, "a": HEARD},
)


def with_think(think: str, case: Case = GOOD, **changes: Any) -> Case:
    return replace(case, text=f"<think>{think}</think>\n<answer>B</answer>", **changes)


def add(sentence: str, case: Case = GOOD) -> Case:
    """A good trace with one more sentence before its last."""
    body, _, last = THINK.rpartition(" The animal")
    return with_think(f"{body} {sentence} The animal{last}", case)


def find(name: str, case: Case) -> str | None:
    return GATES[name].find(case)


def test_a_good_trace_passes_every_gate() -> None:
    assert set(check(GOOD).values()) == {None}


def test_the_traces_of_the_world_pass_every_gate() -> None:
    rng = random.Random(1)
    for _ in range(300):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        seen = f"{describe_seen(scene)} {could_be(candidates_seen(scene, question.kind))}"
        heard = f"{describe_heard(scene)} {could_be(candidates_heard(scene, question.kind))}"
        case = Case(
            text=reasoning(seen, heard, question, [question.answer]),
            question=question.text,
            options=question.options,
            target="ABCD"[question.answer_index],
            teacher_texts={
                "v": vision_analysis(scene, question, rng),
                "a": audio_analysis(scene, question, rng),
            },
        )
        found = {name: what for name, what in check(case).items() if what}
        assert not found, case.text


def test_every_gate_has_a_version_and_a_sentence() -> None:
    assert len(GATES) == 9
    assert all(gate.version >= 1 for gate in GATES.values())
    assert all(gate.about.endswith(".") for gate in GATES.values())


@settings(max_examples=150, deadline=None)
@given(
    think=st.text(),
    around=st.sampled_from(
        ["{}", "<think>{}</think><answer>B</answer>", "<think>{}", "{}</think>"]
    ),
    teacher=st.text(),
    times=st.sampled_from([1, 1, 1, 50]),
)
def test_any_text_gets_a_verdict(think: str, around: str, teacher: str, times: int) -> None:
    text = around.format((think + " the answer is given. ") * times)
    case = replace(GOOD, text=text, teacher_texts={"v": teacher, "a": f"Reasoning: {think}"})
    for name, found in check(case).items():
        assert found is None or (found and isinstance(found, str)), name
    assert check(case) == check(replace(case))


@pytest.mark.parametrize(
    "unit",
    ["a", " ", "\n", "\0", "\u202e", "中", "' ", '"', "the answer ", "is really ", "(B) ",
     "Answer: ", "<think>", "<answer>B</answer>", "man also ", "!\n", "a-", "; described"],
)  # fmt: skip
def test_a_hundred_kilobytes_get_a_verdict(unit: str) -> None:
    long = unit * (100_000 // len(unit))
    check(replace(GOOD, text=long, teacher_texts={"v": long, "a": long}))
    found = check(with_think(long))
    assert found["length"] or found["bad_format"] or found["repetition"], unit


# Form


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("truncated", {"finish_reason": "length"}),
        ("empty", {"text": "\n\t "}),
        ("bad_format", {"text": THINK}),
        ("bad_format", {"text": f"<think>{THINK}<answer>B</answer>"}),
        ("bad_format", {"text": f"Sure! {GOOD.text}"}),
        ("bad_format", {"text": f"{GOOD.text}\n<answer>B</answer>"}),
        ("bad_format", {"text": f"```\n{GOOD.text}\n```"}),
        ("bad_format", {"text": GOOD.text.replace(">B<", ">(B)<")}),
        ("bad_format", {"text": GOOD.text.replace(">B<", ">E<")}),
        ("bad_format", {"text": "<think> </think><answer>B</answer>"}),
        ("wrong_letter", {"target": "A"}),
        ("wrong_letter", {"text": THINK}),
        ("length", {"text": "<think>It is a gull.</think><answer>B</answer>"}),
        ("length", {"text": f"<think>{THINK * 20}</think><answer>B</answer>"}),
    ],
)
def test_faulty_forms_are_found(name: str, change: dict[str, Any]) -> None:
    assert find(name, replace(GOOD, **change))


def test_a_faulty_form_is_named() -> None:
    assert find("bad_format", replace(GOOD, text=f"{GOOD.text}<answer>B</answer>")) == (
        "2 times <answer>"
    )
    assert find("bad_format", replace(GOOD, text=GOOD.text.replace(">B<", ">E<"))) == (
        "answer 'E' is no letter of the 4 options"
    )
    assert find("wrong_letter", replace(GOOD, target="A")) == "the answer is B, not A"


@pytest.mark.parametrize(
    "last",
    [
        "So the answer is (A).",
        "Therefore option C is correct.",
        "It must be a horse, which is option C.",
        "The animal that is fed is a dog.",
        "I conclude that she feeds a horse.",
    ],
)
def test_another_conclusion_than_the_answer_is_found(last: str) -> None:
    assert find(
        "inconsistent", with_think(THINK.replace("The animal that is fed is a gull.", last))
    )


@pytest.mark.parametrize(
    "last",
    [
        "The answer is B.",
        "So it is a gull, and neither (A) nor (C).",
        "A horse can be ruled out, and so can a dog.",
        "It is a gull rather than a duck.",
        "The duck in the background is not fed; the gull is.",
        "Thus (B) is more likely than (D).",
        "Option A is out of the question, and (C) does not fit.",
        "Everything fits.",
        "A gull would fly away, so it has to be a duck, which is D.",  # weighs: not read further
    ],
)
def test_options_that_are_dismissed_are_no_conclusion(last: str) -> None:
    case = with_think(THINK.replace("The animal that is fed is a gull.", last))
    assert find("inconsistent", case) is None


# Language and repetition


@pytest.mark.parametrize(
    "part",
    [
        "从画面来看，有很多白色的鸟。",
        "Поэтому это не может быть собака.",
        "鳥の声がとても大きいです。",
        "새들이 크게 울고 있습니다.",
        "والطيور تصرخ فوق الماء بصوت عال.",
        "Außerdem hört man die Wellen, die gegen den Stein schlagen, und ein Kind.",
        "Y se oye también cómo las olas golpean contra la piedra del muelle.",
        "On entend aussi les vagues qui frappent contre la pierre du quai.",
        "Si sente anche il rumore delle onde che battono sulla pietra.",
        "Daarom kan het niet een hond zijn, maar wel een meeuw.",
        "Suara itu terdengar dari burung yang ada di atas air.",
    ],
)
def test_other_languages_are_found(part: str) -> None:
    assert find("language", add(part))


@pytest.mark.parametrize(
    "part",
    [
        "A man calls 'olé', and the instructor says hajime.",
        "A band plays La vie en rose and the Cirque du Soleil theme.",
        "On the sign is written 'Die Möwe und das Meer' in old letters.",
        "The sign 出口 and the name Łódź are visible.",
        'The vendor shouts "¡Helado, helado para los niños y las niñas!".',
        "The Rio de la Plata lies behind the Plaza de Mayo.",
        "She sings la la la la la, do re mi fa so la.",
        "The café serves crème brûlée, sauerkraut, pasta al dente, paella and döner.",
    ],
)
def test_names_and_loan_words_are_english(part: str) -> None:
    assert find("language", add(part)) is None


@pytest.mark.parametrize(
    "part",
    [
        "The animal is a gull. " * 3,
        "The gulls cry, cry, cry, cry, cry, cry, cry, cry, cry.",
        "First the bird circles above the woman on the quay, and so on. " * 3,
        "It is not a dog, so it is a gull; " * 4 + "that is all.",
        "ha" * 600,
    ],
)
def test_loops_are_found(part: str) -> None:
    assert find("repetition", add(part))


@pytest.mark.parametrize(
    "part",
    [
        "The crowd chants 'gull, gull, gull, gull, gull, gull, gull, gull, gull'.",
        "Again and again, louder and louder, they cry.",
        "First one bird comes, then another bird comes, then a third bird comes.",
        "It is not a dog. It is not a horse. It is not a duck.",
        "Knock, knock, knock goes the boat.",
    ],
)
def test_rhythm_is_no_loop(part: str) -> None:
    assert find("repetition", add(part)) is None
