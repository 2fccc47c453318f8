"""Facts about gates."""

from __future__ import annotations

import random
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrt.generate.gates import GATES, Case, judge
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


def check(name: str, case: Case) -> str | None:
    return GATES[name].check(case)


@pytest.mark.parametrize("relation", ["both", "visual", "sound"])
def test_a_good_trace_passes_every_gate(relation: str) -> None:
    assert set(judge(replace(GOOD, question_relation=relation)).values()) == {None}


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
        found = {name: what for name, what in judge(case).items() if what}
        assert not found, case.text


def test_every_gate_has_a_version_and_a_sentence() -> None:
    assert len(GATES) == 12
    assert all(gate.version >= 1 for gate in GATES.values())
    assert all(gate.reason.endswith(".") for gate in GATES.values())


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
    for name, found in judge(case).items():
        assert found is None or (found and isinstance(found, str)), name
    assert judge(case) == judge(replace(case))


@pytest.mark.parametrize(
    "unit",
    ["a", " ", "\n", "\0", "\u202e", "中", "' ", '"', "the answer ", "is really ", "(B) ",
     "Answer: ", "<think>", "<answer>B</answer>", "man also ", "!\n", "a-", "; described"],
)  # fmt: skip
def test_a_hundred_kilobytes_get_a_verdict(unit: str) -> None:
    long = unit * (100_000 // len(unit))
    judge(replace(GOOD, text=long, teacher_texts={"v": long, "a": long}))
    found = judge(with_think(long))
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
    assert check(name, replace(GOOD, **change))


def test_what_is_wrong_with_a_form_is_told() -> None:
    assert check("bad_format", replace(GOOD, text=f"{GOOD.text}<answer>B</answer>")) == (
        "2 times <answer>"
    )
    assert check("bad_format", replace(GOOD, text=GOOD.text.replace(">B<", ">E<"))) == (
        "answer 'E' is no letter of the 4 options"
    )
    assert check("wrong_letter", replace(GOOD, target="A")) == "the answer is B, not A"


@pytest.mark.parametrize(
    "last",
    [
        "So the answer is (A).",
        "Therefore option C is correct.",
        "It must be a horse, which is option C.",
        "The animal that is fed is a dog.",
        "I conclude that she feeds a horse.",
        "A gull would fly away, so it has to be a duck, which is D.",
    ],
)
def test_another_conclusion_than_the_answer_is_found(last: str) -> None:
    assert check(
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
    ],
)
def test_options_that_are_dismissed_are_no_conclusion(last: str) -> None:
    case = with_think(THINK.replace("The animal that is fed is a gull.", last))
    assert check("inconsistent", case) is None


# Leak


@pytest.mark.parametrize(
    "sentence",
    [
        "Since the provided answer is B, the cries must be those of a gull.",
        "The correct answer is given as (B).",
        "This matches the expected answer.",
        "As B has been marked as correct, the beaks are what counts.",
        "Working backwards from B, the clues fall into place.",
        "With the answer already known to be B, the rest is easy.",
        "We are told that a bird is fed.",
        "My task is to explain why it is a gull.",
        "The prompt names B.",
        "Both analyses agree on a gull.",
        "According to the audio description, there are cries.",
        "The **visual analysis** mentions orange beaks.",
        "The vision agent noted a paper bag.",
        "As stated in the audio reasoning, the cries are harsh.",
        "In the transcript provided, a child says 'me too'.",
        "The caption says that birds circle.",
        "Based on the information provided, this is a quay.",
        "The first model saw bread, and the second one heard wings.",
        "Combining the two accounts, only a gull is left.",
        "Whoever listened to the recording noticed waves.",
        "The bird, described as large, has an orange beak.",
        "The waves are said to be close.",
        "No mention is made of barking.",
        "The remark about flapping wings settles it.",
        "It has been noted that the cries come in volleys.",
        "The sounds listed include a flap of wings.",
        "Neither source mentions a dog.",
    ],
)
def test_leaks_are_found(sentence: str) -> None:
    found = check("leak", add(sentence))
    assert found
    assert sentence.replace("*", "").split("'")[0][:30] in found


@pytest.mark.parametrize(
    "sentence",
    [
        "The correct answer is therefore (B), a gull.",
        "So B is the answer.",
        "The evidence supports option B and rules out the others.",
        "Among the options provided, only a gull cries like this.",
        "Both the sights and the sounds agree.",
        "The audio is dominated by cries, and visually there are white birds.",
        "From what is heard, it could be a gull; the frames show it.",
        "Both sources of sound are close.",
        "The source of the cries is above her.",
        "That provides a strong clue.",
        "The cries can best be described as harsh.",
        "It is worth noting that no dog is in view.",
        "As mentioned above, the beaks are orange.",
        "There are traces of paint on the quay.",
        "The description painted on the sign names the harbour.",
        "The caption at the bottom of the screen reads 'Lisbon'.",
        "The guide provides information about the birds.",
        "'The correct answer is given as B', says a child.",
        "As the guide describes it, the birds are tame.",
        "The news anchor states that the harbour is closed.",
        "The announcer's description of the birds is long.",
        "The wind is said to be rising, according to the presenter.",
        "The notes of a flute come from afar.",
        "In my analysis only a gull has such a beak.",
        "Based on this information, the animal is a gull.",
        "Since the beaks are orange, a pigeon is out of the question.",
        "Since A and C have four legs, they do not circle above her.",
        "Knowing the sea, one expects such cries here.",
        "The instructions provided over the megaphone are calm.",
        "His prompt reply is a laugh.",
    ],
)
def test_words_about_the_clip_are_no_leak(sentence: str) -> None:
    assert check("leak", add(sentence)) is None


def test_people_and_things_of_the_clip_are_no_sources() -> None:
    sentence = "Both teachers say that the report mentions gulls."
    assert check("leak", add(sentence))
    seen = SEEN.replace("A woman", "Two teachers hold a report. A woman")
    assert check("leak", replace(add(sentence), teacher_texts={"v": seen, "a": HEARD})) is None


def test_a_leak_outside_of_the_tags_is_found() -> None:
    text = f"Here is the merged trace of the two descriptions:\n{GOOD.text}"
    assert check("leak", replace(GOOD, text=text))


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
    assert check("language", add(part))


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
    assert check("language", add(part)) is None


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
    assert check("repetition", add(part))


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
    assert check("repetition", add(part)) is None


# Facts

ONLY_SEEN = (
    "A woman in a yellow coat stands on the quay. From a paper bag she throws bread, and large "
    "white birds with orange beaks circle above. A dog would bark and a horse would neigh. It is "
    "a gull."
)
ONLY_HEARD = (
    "Harsh cries come in volleys from close by, wings flap, and waves slap against stone while a "
    "child laughs. A dog would bark, a horse would neigh. It is a gull."
)


@pytest.mark.parametrize(
    ("think", "relation", "missing"),
    [
        (ONLY_SEEN, "both", "heard"),
        (ONLY_SEEN, "sound", "heard"),
        (ONLY_SEEN, "visual", None),
        (ONLY_HEARD, "both", "seen"),
        (ONLY_HEARD, "visual", "seen"),
        (ONLY_HEARD, "sound", None),
        (f"{ONLY_SEEN} I hear it.", "both", None),
        (f"{ONLY_HEARD} The frames show it.", "both", None),
    ],
)
def test_a_needed_sense_that_is_not_used_is_found(
    think: str, relation: str, missing: str | None
) -> None:
    found = check("grounding", with_think(think, question_relation=relation))
    assert found == (missing and f"nothing in the thought is {missing}")


def test_without_a_teachers_text_its_sense_is_not_asked_for() -> None:
    case = with_think(ONLY_SEEN)
    assert check("grounding", replace(case, teacher_texts={"v": SEEN})) is None
    assert check("unsupported", replace(case, teacher_texts={})) is None
    assert check("contradiction", replace(case, teacher_texts={"a": HEARD})) is None


@pytest.mark.parametrize(
    ("seen", "heard", "same_answer", "fact"),
    [
        ("A field under a blue sky.", "Voices in a small closed room.", True, "place"),
        ("A kitchen with a low ceiling.", "Steps in the open air.", True, "place"),
        (
            "People in bright sunshine.",
            "An owl. It is the middle of the night.",
            True,
            "time of day",
        ),
        ("Dust rises on a country road.", "Heavy rain beats down.", True, "weather"),
        ("A brown spaniel at a door.", "A long meow and scratching.", False, "animal"),
        ("Two white horses before a carriage.", "An engine howls.", False, "drive"),
        ("A woman is alone in a shop.", "A man with a deep voice calls.", False, "sex"),
        ("A brown spaniel at a door.", "A long meow and scratching.", True, None),
        ("A kitchen with a window.", "Birds sing, perhaps in the open air.", True, None),
        ("A field. A barn with a dark room.", "Voices in a small closed room.", True, None),
        ("People in bright sunshine.", "A man says 'good night, it was midnight'.", True, None),
        ("A sunny road.", "There is no rain.", True, None),
        ("A woman in a shop.", "A man calls.", False, None),
    ],
)
def test_teachers_that_exclude_each_other_are_found(
    seen: str, heard: str, same_answer: bool, fact: str | None
) -> None:
    texts = {
        "v": f"Visual Description: {seen}\nReasoning: It fits.\nAnswer: (B) A gull",
        "a": f"Audio Description: {heard}\nReasoning: It fits.\nAnswer: "
        + ("(B) A gull" if same_answer else "(A) A dog"),
    }
    found = check("contradiction", replace(GOOD, teacher_texts=texts))
    assert (found and found.split(":")[0]) == fact


@pytest.mark.parametrize(
    "sentence",
    [
        "Behind her a red tractor pulls a trailer with barrels and a monk rides a bicycle.",
        "A poster says 'Circus tonight at nine'.",
        "She lives in Rotterdam and paid 35 for it.",
    ],
)
def test_invented_facts_are_found(sentence: str) -> None:
    assert check("unsupported", add(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "A tractor would rattle, a circus would have drums, and no monk or barrel is in sight.",
        "Usually such birds follow trawlers and steal fish from nets.",
        "The lady feeds several seabirds from her sack.",
        "A youngster giggles: 'me too'.",
        "All this taken together leaves one conclusion.",
    ],
)
def test_what_is_supposed_or_said_in_other_words_is_no_invention(sentence: str) -> None:
    assert check("unsupported", add(sentence)) is None


# Labelled traces


@pytest.mark.parametrize(
    ("name", "precision", "recall", "n_format_errors"),
    [("open.jsonl", 0.99, 0.98, 1), ("held_out.jsonl", 0.87, 0.76, 1)],
)
def test_labelled_faults_are_found(
    repository: Path, name: str, precision: float, recall: float, n_format_errors: int
) -> None:
    """The rules' authors saw only the open file; on the other they are weaker, as docs say.

    Nothing but counts is compared, so a failure does not show what is held out.
    """
    benchmark = runpy.run_path(str(repository / "benchmarks" / "gates.py"))
    scores = benchmark["score"](benchmark["read_labelled"](LABELLED / name))
    leak, form = scores["leak"], scores["bad_format"]
    share_right = leak.right / (leak.right + len(leak.wrong))
    share_found = leak.right / (leak.right + len(leak.missed))
    assert share_right >= precision
    assert share_found >= recall
    n_errors = len(form.wrong) + len(form.missed)
    assert n_errors == n_format_errors
