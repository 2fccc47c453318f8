"""Facts about several runs on one page, of results that are made up."""

from __future__ import annotations

import pytest

from avrt.config import EvalConfig
from avrt.evaluate.results import ModelResult
from avrt.report.paper import Evaluated
from avrt.report.side_by_side import runs_sections
from avrt.report.tables import Cell
from made_results import result


def run(folder, model: str, letters: str, prompt: str = "p") -> Evaluated:
    answers = dict(zip("uvwxyz", letters, strict=True))
    results: list[ModelResult] = [result(model, answers, prompt)]
    folder.mkdir()
    return Evaluated(results, EvalConfig(), folder)


def texts(row) -> list[str]:
    return [cell.text if isinstance(cell, Cell) else cell for cell in row]


def tables_of(*runs: Evaluated):
    sections = runs_sections(runs)
    return {t.name: t for s in sections for t in (*s.tables, *s.folded) if t is not None}


def test_one_run_has_nothing_beside_it(tmp_path):
    assert runs_sections([run(tmp_path / "a", "sft", "AAAAAA")]) == []


def test_models_of_one_name_are_compared_on_the_same_items(tmp_path):
    first, second = run(tmp_path / "a", "sft", "AAABBB"), run(tmp_path / "b", "sft", "AABAAA")
    tables = tables_of(first, second)
    (row,) = tables["runs-bench-comparisons"].rows
    assert texts(row)[:3] == ["b/sft − a/sft", "AV", "+33.3"]
    assert texts(row)[4:7] == ["6", "1", "3"]
    assert row[7].startswith("0.625")
    assert [texts(r)[0] for r in tables["runs-bench-results"].rows] == ["a/sft", "b/sft"]


def test_nothing_leads_to_items_that_the_page_does_not_have(tmp_path):
    sections = runs_sections(
        [run(tmp_path / "a", "sft", "AAABBB"), run(tmp_path / "b", "sft", "AABAAA")]
    )
    charts = [chart for section in sections for chart in section.charts if chart]
    assert charts
    assert all(chart.name.startswith("runs-") for chart in charts)
    assert not any("href" in row for chart in charts for row in chart.data["rows"])


def test_runs_under_other_protocols_are_not_compared(tmp_path):
    first = run(tmp_path / "a", "sft", "AAABBB")
    second = run(tmp_path / "b", "rl", "AABAAA")
    assert "runs-bench-comparisons" not in tables_of(first, second)


@pytest.mark.parametrize(("rate", "shown"), [("2", True), ("1", False)])
def test_settings_that_differ_are_listed(tmp_path, rate, shown):
    first, second = run(tmp_path / "a", "sft", "AAABBB"), run(tmp_path / "b", "sft", "AABAAA")
    (first.folder / "config.yaml").write_text("grpo:\n  rate: 1\n")
    (second.folder / "config.yaml").write_text(f"grpo:\n  rate: {rate}\n")
    tables = tables_of(first, second)
    assert ("runs-settings" in tables) == shown
    if shown:
        assert tables["runs-settings"].rows == (("grpo.rate", "1", "2"),)
