"""Facts about the patterns of gate `leak`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avrt.generate.gates import GATES, Case
from avrt.generate.gates.leak_pattern import Index, group, normalise

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


def to_case(sentence: str, scene: str) -> Case:
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


def test_a_pattern_is_a_row_of_words_and_classes() -> None:
    index = Index([group("source", None, "the ADJ* <TEXT> ADVERB*\n    REPORTS|LETTER")])

    def nouns(sentence: str) -> list[str]:
        return [match["noun"].strip() for match, _ in index.matches(normalise(sentence))]

    assert nouns("The second, written analysis says so.") == []
    assert nouns("The second written analysis also says so.") == ["analysis"]
    assert nouns("Descriptions: the descriptions (B).") == ["descriptions"]
    with pytest.raises(KeyError):
        group("source", None, "the NONSENSE")


def test_letters_of_options_are_marked_and_articles_are_not() -> None:
    assert normalise("A bird: (A), not B; a 'C', so A has it. Agent A can't.") == (
        " a bird ; §a , not §b ; a ' §c ' , so §a has it agent §a can't "
    )


def test_sentences_are_told_apart() -> None:
    """Written in batches, each before the rules were tried on it; the rules know all by now."""
    missed: list[str] = []
    wrong: list[str] = []
    rows = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        found = GATES["leak"].check(to_case(row["sentence"], row["scene"]))
        if row["leak"] and not found:
            missed.append(row["sentence"])
        if found and not row["leak"]:
            wrong.append(found)
    n_leaks = sum(row["leak"] for row in rows)
    assert len(missed) <= 0.05 * n_leaks, missed
    assert len(wrong) <= 0.01 * (len(rows) - n_leaks), wrong
