"""Facts about the tables of accuracies, of results that are made up."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from avrt.config import EvalConfig
from avrt.evaluate.results import ModelResult
from avrt.evaluate.summary import summary_text
from avrt.report.accuracy import BenchmarkResults, detail_table, headline_table
from avrt.report.tables import Cell
from made_results import result


def notes(*results: ModelResult) -> str:
    models = tuple(of.model for of in results)
    cells = {(of.model, of.modality): of for of in results}
    return " ".join(headline_table(BenchmarkResults("bench", models, cells, {})).notes)


def test_no_test_is_named_where_nothing_is_compared():
    first = result("base", {"x": "A"})
    assert "Differences" not in notes(first)
    assert "Differences" not in notes(first, result("sft", {"x": "B"}, n_frames=4))


def test_models_with_other_prompts_are_compared_where_nothing_else_differs():
    first, other = result("base", {"x": "A"}), result("sft", {"x": "B"}, prompt="another")
    text = notes(first, other)
    assert "Differences to base" in text
    assert "Protocols differ in the prompt alone" in text
    third = result("rl", {"x": "B"}, n_frames=4)
    assert "Protocols differ and numbers under different ones are not" in notes(first, other, third)


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


def bold(*results: ModelResult) -> list[str]:
    models = tuple(of.model for of in results)
    cells = {(of.model, of.modality): of for of in results}
    rows = headline_table(BenchmarkResults("bench", models, cells, {})).rows
    return [str(row[0]) for row in rows if any(isinstance(c, Cell) and c.strong for c in row)]


@pytest.mark.parametrize(
    ("answers", "best"),
    [
        ({"base": "AAB", "sft": "AAA", "rl": "ABB"}, ["sft"]),
        ({"base": "AAA", "sft": "ABB", "rl": "BBB"}, ["base"]),
        ({"base": "AAB", "sft": "BAA", "rl": "BBB"}, ["base", "sft"]),
        ({"base": "BBB", "sft": "BBB"}, []),
        ({"base": "AAA"}, []),
    ],
)
def test_bold_marks_the_best_of_a_column_not_the_last(answers, best):
    results = [
        result(model, dict(zip("xyz", letters, strict=True))) for model, letters in answers.items()
    ]
    assert bold(*results) == best


def test_numbers_that_look_alike_are_both_bold():
    items = {str(n): "A" for n in range(3_000)}
    results = (
        result("base", items),
        result("sft", items | {"0": "B"}),
        result("rl", {**items, **dict.fromkeys("12345678", "B")}),
    )
    assert bold(*results) == ["base", "sft"]


def test_the_best_is_one_of_those_under_one_protocol():
    alone = result("best", {"x": "A", "y": "A"}, prompt="another")
    low, high = result("low", {"x": "B", "y": "B"}), result("high", {"x": "A", "y": "B"})
    assert bold(alone, low, high) == ["high"]


def test_a_model_that_answered_a_part_of_the_items_is_not_the_best():
    part = result("part", {"x": "A"})
    low, high = result("low", {"x": "B", "y": "B"}), result("high", {"x": "A", "y": "B"})
    assert bold(part, low, high) == ["high"]
    assert bold(part, high) == [], "and nothing is the best of itself"


def test_tokens_that_nobody_counted_are_not_zero():
    imported = result("ola", {"x": "A"})
    cells = {("ola", "av"): imported}
    (row,) = detail_table(BenchmarkResults("bench", ("ola",), cells, {})).rows
    assert row[-3:] == ("–", "–", "–")


def test_groups_say_over_how_many_items_each_number_is():
    items: Any = {n: SimpleNamespace(groups={"kind": "a" if n == "z" else "b"}) for n in "xyz"}
    whole, part = (
        replace(result(model, dict.fromkeys(names, "A")), items=items)
        for model, names in {"whole": "xyz", "part": "xz"}.items()
    )
    rows = summary_text([whole, part], EvalConfig()).splitlines()
    assert [row.rpartition("  n = ")[2] for row in rows[-2:]] == ["1", "1 to 2"]


def marks(*results: ModelResult) -> list[str]:
    models = tuple(of.model for of in results)
    cells = {(of.model, of.modality): of for of in results}
    rows = headline_table(BenchmarkResults("bench", models, cells, {})).rows
    return [row[1].mark if isinstance(row[1], Cell) else "" for row in rows]


def test_a_result_within_noise_of_the_best_says_so():
    items = [str(n) for n in range(40)]
    best = result("best", dict.fromkeys(items, "A"))
    near = result("near", {item: "B" if int(item) < 2 else "A" for item in items})
    far = result("far", dict.fromkeys(items, "B"))
    assert marks(best, near, far) == ["best", "within noise of the best, p = 0.500", ""]
