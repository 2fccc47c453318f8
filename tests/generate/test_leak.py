"""Facts about gate `leak`."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avrt.generate.exam import HALVES, load_measured
from avrt.generate.gates import GATES, Case

SENTENCES = Path(__file__).parent / "labelled" / "sentences.jsonl"
SEEN = (
    "A woman on a quay throws bread from a paper bag. White birds with orange beaks circle above."
)
HEARD = "Harsh cries come in volleys, wings flap close by and a child laughs. Waves lap."
THINK = (
    "Harsh cries come in volleys while white birds with orange beaks circle above a woman with a "
    "paper bag. {} A horse or a dog would neither fly nor cry like this, and ducks quack. The "
    "animal that is fed is a gull."
)


def add(sentence: str, scene: str = "") -> Case:
    """A good trace with one more sentence, and with one more in the vision teacher's text."""
    return Case(
        text=f"<think>{THINK.format(sentence)}</think>\n<answer>B</answer>",
        question="Which animal is fed?",
        options=("A horse", "A gull", "A dog", "A duck"),
        target="B",
        teacher_texts={
            "v": f"Visual Description: {SEEN} {scene}\nReasoning: Gulls.\nAnswer: (B) A gull",
            "a": f"Audio Description: {HEARD}\nReasoning: Sea birds.\nAnswer: (B) A gull",
        },
    )


def leak(case: Case) -> str | None:
    return GATES["leak"].find(case)


@pytest.mark.parametrize(
    "sentence",
    [
        "Since the provided answer is B, the cries must be those of a gull.",
        "The correct answer is given as (B).",
        "This matches the expected answer.",
        "As B has been marked as correct, the beaks are what counts.",
        "Working backwards from B, the clues fall into place.",
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
        "No mention is made of barking.",
        "It has been noted that the cries come in volleys.",
    ],
)
def test_leaks_are_found(sentence: str) -> None:
    assert leak(add(sentence))


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
    assert leak(add(sentence)) is None


def test_people_and_things_of_the_clip_are_no_sources() -> None:
    sentence = "Both teachers say that the report mentions gulls."
    assert leak(add(sentence))
    assert leak(add(sentence, scene="Two teachers hold a report.")) is None


def test_a_leak_outside_of_the_tags_is_found() -> None:
    case = add("")
    text = f"Here is the merged trace of the two descriptions:\n{case.text}"
    assert leak(replace(case, text=text))


def test_the_phrase_and_its_surroundings_are_quoted() -> None:
    assert "paper bag. both analyses agree on a gull. A horse" in (
        leak(add("Both analyses agree on a gull.")) or ""
    )


def test_the_rules_fit_on_a_page(repository: Path) -> None:
    folder = repository / "src" / "avrt" / "generate" / "gates"
    files = [path.read_text(encoding="utf-8").splitlines() for path in folder.glob("*.py")]
    assert len(files) <= 3
    assert sum(map(len, files)) <= 450
    (rules,) = (lines for lines in files if "LEAKS = (" in lines)
    begin = rules.index("_WORDS = {")
    assert rules.index(")", rules.index("LEAKS = (")) - begin < 60


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / "benchmarks" / "gates.py"))


@pytest.mark.parametrize("half", HALVES)
def test_flagged_leaks_are_leaks_nine_times_in_ten(benchmark: dict[str, Any], half: str) -> None:
    """Nothing but counts is compared, so a failure does not show what is held out."""
    leaks = benchmark["score_gates"](benchmark["read_labelled"](half))["leak"].measured
    assert leaks.precision >= 0.9


def test_the_packaged_results_are_those_of_the_gates(benchmark: dict[str, Any]) -> None:
    halves = {half: benchmark["score_gates"](benchmark["read_labelled"](half)) for half in HALVES}
    measured = load_measured()["gates"]
    for name in benchmark["GATE_FAULTS"]:
        own = {"version": GATES[name].version, **benchmark["to_counts"](halves, name)}
        assert measured[name] == own, "run `python benchmarks/gates.py`"


def test_sentences_about_the_clip_are_rarely_flagged() -> None:
    rows = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines()]
    flagged = [row for row in rows if leak(add(row["sentence"], row["scene"]))]
    wrong = [row["sentence"] for row in flagged if not row["leak"]]
    assert len(wrong) <= 0.02 * len(flagged), wrong
