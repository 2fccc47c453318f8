"""What is said of results follows from them: what they show, what not, and how much that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from avrt.config import EvalConfig, EvalModel
from avrt.evaluate.logs import Line, Settings
from avrt.evaluate.results import ModelResult
from avrt.evaluate.sentences import SEEDS, sentences_of
from avrt.evaluate.statistics import compare_paired
from avrt.evaluate.summary import interval_text, p_text

MODELS = {"before": "base", "rl": "grpo-base", "taught": "sft", "both": "grpo"}


def result(
    model: str,
    right: Sequence[bool],
    modality: str = "av",
    benchmark: str = "bench",
    **protocol: int,
) -> ModelResult:
    lines = [
        Line(
            sample_id=f"item-{number}",
            text="",
            answer="A" if is_right else "B",
            target="A",
            correct=is_right,
            status="scored",
            error_class=None,
            explanation="",
            finish_reason="stop",
            prompt_digest=None,
            protocol="",
        )
        for number, is_right in enumerate(right)
    ]
    settings = Settings({}, {"n_frames": 8, **protocol})
    return ModelResult(benchmark, model, modality, lines, len(lines), settings)


def rights(*ranges: tuple[int, int], n: int = 400) -> list[bool]:
    """Right on the items in the ranges."""
    return [any(first <= number < last for first, last in ranges) for number in range(n)]


RESULTS = [
    result("before", rights((0, 160))),
    result("rl", rights((10, 165))),
    result("taught", rights((0, 250))),
    result("both", rights((4, 290))),
    result("both", rights((0, 100)), "a"),
    result("both", rights((0, 180)), "v"),
]


def said(results: Sequence[ModelResult], init: str = "sft", **settings: object) -> list[list[str]]:
    found = sentences_of(results, EvalConfig(models=MODELS, **settings), init)  # type: ignore[arg-type]
    assert found is not None
    return [list(found.shown), list(found.not_shown)]


def numbers(first: int, second: int) -> str:
    """The interval and the p value of the comparison of two of the results."""
    found = compare_paired(RESULTS[first].correct, RESULTS[second].correct)
    assert found is not None
    return f"{interval_text(found.low, found.high, '+')} ({p_text(found.p)})."


def test_gains_are_shown_and_what_is_not_takes_so_many_items() -> None:
    shown, not_shown = said(RESULTS)
    hearing = "Sound adds 26.5 points to what both gets right by sight alone, its better sense,"
    assert shown == [
        f"SFT adds 22.5 points to the base {numbers(0, 2)}",
        f"GRPO adds 9.0 points to SFT {numbers(2, 3)}",
        f"SFT before GRPO adds 32.8 points to GRPO alone {numbers(1, 3)}",
        f"SFT with GRPO adds 31.5 points to the base {numbers(0, 3)}",
        f"{hearing} {numbers(5, 3)}",
    ]
    unsure = f"That GRPO without SFT changes the base: -1.2 points {numbers(0, 1)}"
    [text] = not_shown
    assert text.startswith(f"{unsure} To show 1.2 points it takes about ")
    assert text.endswith("00 items, or several seeds.")


def test_the_text_has_both_kinds_and_what_one_training_says() -> None:
    found = sentences_of(RESULTS, EvalConfig(models=MODELS), "sft")
    lines = str(found).splitlines()
    assert lines[0] == "What this shows, on the 400 items of bench:"
    assert lines[6] == "What it does not show:"
    assert lines[-1] == f"  - {SEEDS}"
    alike = [result(model, rights((0, 9), n=12)) for model in ("before", "taught")]
    nothing = str(sentences_of(alike, EvalConfig(models=MODELS), "sft")).splitlines()
    assert nothing[0] == "Nothing is shown on the 12 items of bench:"
    assert nothing[1].startswith("  - That SFT changes the base: +0.0 points")


def test_a_loss_is_called_a_loss() -> None:
    worse = [result("before", rights((0, 160))), result("rl", rights((0, 100)))]
    [[text], []] = said(worse)
    assert text.startswith("GRPO without SFT takes 15.0 points from the base [-18.5, -11.")


def test_as_many_items_as_it_takes_do_show_the_difference() -> None:
    """Three times the items make a difference of this size one that is shown."""
    few = [result("taught", rights((0, 250))), result("both", rights((2, 256)))]
    [[], [text]] = said(few)
    assert "+1.0 points" in text
    n = int(text.split("about ")[1].split(" items")[0].replace(",", ""))
    assert 1_000 < n < 5_000
    scale = n / 400
    many = [
        result("taught", rights((0, int(250 * scale)), n=n)),
        result("both", rights((int(2 * scale), int(256 * scale)), n=n)),
    ]
    assert said(many)[1] == []


@pytest.mark.parametrize(
    ("init", "wanted"), [("base", "GRPO without SFT adds"), ("/a/checkpoint", None)]
)
def test_a_training_is_called_by_where_it_starts(init: str, wanted: str | None) -> None:
    two = [result("before", rights((0, 160))), result("both", rights((0, 250)))]
    found = sentences_of(two, EvalConfig(models=MODELS), init)
    assert found.shown[0].startswith(wanted) if wanted else found is None


def test_only_finished_evaluations_under_one_protocol_are_compared() -> None:
    two = [result("before", rights((0, 160))), result("taught", rights((0, 250)), n_frames=4)]
    assert sentences_of(two, EvalConfig(models=MODELS), "sft") is None
    models = {"before": "base", "other": EvalModel(model="org/other")}
    two = [result("before", rights((0, 160))), result("other", rights((0, 250)))]
    assert sentences_of(two, EvalConfig(models=models), "sft") is None
    assert sentences_of([], EvalConfig(), "sft") is None


def test_the_first_set_in_the_configuration_is_told_about() -> None:
    sets = {name: {"format": "avqa", "root": "data", "split": "val"} for name in ("bench", "a")}
    settings = EvalConfig.model_validate({"models": MODELS, "benchmarks": sets})
    found = sentences_of(
        [*(replace(each, benchmark="a") for each in RESULTS), *RESULTS], settings, "sft"
    )
    assert found is not None
    assert found.about == "the 400 items of bench"
