"""Facts about the tables of accuracies, of results that are made up."""

from __future__ import annotations

import pytest

from avrt.evaluate.logs import Line, Settings
from avrt.evaluate.results import ModelResult
from avrt.report.accuracy import BenchmarkResults, headline_table


def result(model: str, answers: dict[str, str], prompt: str = "p") -> ModelResult:
    """The answers (right: A) to each item, in both modalities together."""
    lines = [
        Line(
            sample_id=sample_id, text=letter, answer=letter, target="A", correct=letter == "A",
            status="scored", error_class=None, explanation="", finish_reason="stop",
            prompt_digest=None, protocol="", k=k,
        )
        for sample_id, letters in answers.items()
        for k, letter in enumerate(letters)
    ]  # fmt: skip
    return ModelResult("bench", model, "av", lines, len(answers), Settings({}, {"prompt": prompt}))


def notes(*results: ModelResult) -> str:
    models = tuple(of.model for of in results)
    cells = {(of.model, of.modality): of for of in results}
    return " ".join(headline_table(BenchmarkResults("bench", models, cells, {})).notes)


def test_no_test_is_named_where_nothing_is_compared():
    first = result("base", {"x": "A"})
    assert "Differences" not in notes(first)
    assert "Differences" not in notes(first, result("sft", {"x": "B"}, prompt="another"))


@pytest.mark.parametrize(
    ("letters", "test"), [("A", "exact McNemar"), ("AB", "sign-flip permutation of item means")]
)
def test_the_headline_names_the_test_that_was_made(letters, test):
    text = notes(result("base", {"x": letters, "y": "B"}), result("sft", {"x": "B", "y": "B"}))
    assert f"Differences to base on the same items; test: {test}." in text


def test_a_headline_of_two_tests_names_both():
    first = result("base", {"x": "A", "y": "B"})
    text = notes(first, result("sft", {"x": "B", "y": "B"}), result("rl", {"x": "AB", "y": "BB"}))
    assert "test: exact McNemar or sign-flip permutation of item means." in text
