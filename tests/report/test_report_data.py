"""Facts about data/report.js: its numbers lead to as many items, its charts have their tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from avrt.config import Config, RunConfig
from avrt.evaluate.statistics import Accuracy
from avrt.report import run
from avrt.report.charts import dot

VERDICTS = ("right", "wrong", "no_answer", "failed", "no_media")


def put(path: Path) -> Any:
    """The value of a data file."""
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index(",") + 1 : text.rindex(");")])


@pytest.fixture(scope="module")
def report(full_run: Config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report-data")
    shutil.copytree(full_run.run.path, folder / "small")
    place = RunConfig(dir=folder, name="small")
    run(full_run.model_copy(update={"run": place}), folder / "page", with_media=False)
    return folder / "page"


@pytest.fixture(scope="module")
def data(report: Path) -> dict[str, Any]:
    return put(report / "data" / "report.js")


def count_items(index: dict[str, Any], href: str) -> int:
    """How many items an address of the page shows."""
    wanted: dict[str, list[str]] = {}
    for name, value in parse_qsl(href.removeprefix("#/items?")):
        wanted.setdefault(name, []).append(value)
    places = set(range(index["n"]))
    for name in wanted.keys() & index["coded"].keys():
        column = index["coded"][name]
        codes = [column["values"].index(v) for v in wanted.pop(name) if v in column["values"]]
        places &= {place for place, code in enumerate(column["codes"]) if code in codes}
    for name in wanted.keys() & index["numbers"].keys():
        low, _, high = wanted[name].pop().partition("..")
        column = index["numbers"][name]
        places &= {i for i, x in enumerate(column) if x is not None and float(low) <= x}
        places &= {i for i, x in enumerate(column) if x is not None and x <= float(high or low)}
        del wanted[name]
    for name in wanted.keys() & index["sets"].keys():
        column = index["sets"][name]
        codes = {column["values"].index(v) for v in wanted.pop(name) if v in column["values"]}
        places &= {place for place, of in enumerate(column["codes"]) if codes & {*of}}
    places &= found_by_models(index, wanted, places)
    assert not wanted.keys() - {*VERDICTS, "answered"}, href
    return len(places)


def found_by_models(
    index: dict[str, Any], wanted: dict[str, list[str]], places: set[int]
) -> set[int]:
    keys: dict[str, set[int]] = {}
    for code, verdict in enumerate(VERDICTS):
        for key in wanted.get(verdict, ()):
            keys.setdefault(key, set()).add(code)
    columns = {}
    for each in index["models"]:
        columns.setdefault(f"{each['model']}:{each['modality']}", []).append(each)
    for key, codes in keys.items():
        places = places & {
            i
            for column in columns[key]
            for i, c in enumerate(column["codes"], column["first"])
            if c in codes
        }
    for entry in wanted.get("answered", ()):
        key, _, letter = entry.rpartition(":")
        places = places & {
            i
            for column in columns[key]
            for i, x in enumerate(column["letters"], column["first"])
            if x == letter
        }
    return places


def linked_counts(data: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Where a count stands, the count, and where it leads."""
    for name, table in data["tables"].items():
        for row in table["rows"]:
            for cell in row:
                if isinstance(cell, dict) and "href" in cell:
                    if "n" in cell:
                        yield name, round(cell["value"] * cell["n"] / 100), cell["href"]
                    elif cell["text"].replace(",", "").isdigit():
                        yield name, int(cell["text"].replace(",", "")), cell["href"]
    for name, chart in data["charts"].items():
        for row in chart.get("rows", ()):
            if "href" in row:
                yield name, row.get("k", round(row["value"] * row["n"] / 100)), row["href"]
        for panel in chart.get("panels", ()):
            for cell in panel["cells"]:
                if "href" in cell:
                    yield name, cell["n"], cell["href"]


def test_every_count_leads_to_as_many_items(report, data):
    index = put(report / "data" / "index.js")
    counts = list(linked_counts(data))
    assert len(counts) > 100
    wrong = [
        (name, n, found, href)
        for name, n, href in counts
        if (found := count_items(index, href)) != n
    ]
    assert wrong == []


def test_every_chart_has_its_numbers_as_a_table(data):
    names = [name for section in data["sections"] for name in section["charts"]]
    assert {"bench-accuracy", "bench-confusion", "errors", "funnel", "strata"} <= {*names}
    assert {*names} == {*data["charts"]}
    assert {chart["table"] for chart in data["charts"].values()} <= data["tables"].keys()
    shown = {n for s in data["sections"] for part in ("tables", "folded") for n in s[part]}
    alternatives = {chart["table"] for chart in data["charts"].values()}
    assert shown | alternatives == {*data["tables"]}


def test_a_mark_says_its_share_as_its_table_does(data):
    charts = {name: chart for name, chart in data["charts"].items() if chart["kind"] != "lines"}
    for name, chart in charts.items():
        table = json.dumps(data["tables"][chart["table"]]["rows"], ensure_ascii=False)
        panels = [cell for panel in chart.get("panels", ()) for cell in panel["cells"]]
        marks = [*chart.get("rows", ()), *chart.get("nodes", ()), *panels]
        shown = {mark["text"] for mark in marks if mark.get("kind") != "kept"}
        said = {text.removesuffix(" points") for text in shown}
        assert said, name
        assert [text for text in said if text not in table] == [], name


def test_a_share_is_rounded_once():
    shown = dot("a", "b", Accuracy(5, 73))
    assert (shown["text"], shown["interval"]) == ("6.8 %", "[3.0, 15.1]")


def test_every_table_and_figure_lies_in_the_folder_in_every_form(report, data):
    for folder, endings, names in (
        ("tables", ("md", "csv", "json"), data["tables"]),
        ("figures", ("svg", "pdf"), data["figures"]),
    ):
        found = {path.name for path in (report / folder).iterdir()}
        assert found == {f"{name}.{ending}" for name in names for ending in endings}
    for path in (report / "figures").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
        assert b"CreationDate" not in path.read_bytes()


def test_the_streams_of_the_funnel_add_up(data):
    flow = data["charts"]["funnel"]
    ends = {node["id"] for node in flow["nodes"]} - {link["source"] for link in flow["links"]}
    n_read = sum(link["n"] for link in flow["links"] if link["source"] == "read")
    assert n_read == 12
    assert sum(link["n"] for link in flow["links"] if link["target"] in ends) == n_read


def test_the_claim_is_the_gain_over_the_base_with_its_interval(data):
    low, high = data["claim"]["interval"]
    assert "SFT with GRPO" in data["claim"]["sentence"]
    assert f"[{low:+.1f}, {high:+.1f}]" in data["claim"]["sentence"]


def test_cost_is_that_of_the_ledger(data):
    rows = {row[0] + "/" + row[1]: row for row in data["tables"]["cost"]["rows"]}
    assert [rows["trace/vision"][2], rows["eval/base"][2]] == ["11", "33"]
    assert "cores" in data["made"]["hardware"]
    assert data["made"]["date"].startswith("20")


def test_a_new_run_says_what_to_do(tmp_path):
    (tmp_path / "new").mkdir()
    run(Config(run=RunConfig(dir=tmp_path, name="new")))
    data = put(tmp_path / "new" / "report" / "data" / "report.js")
    missing = " ".join(data["missing"])
    for command in ("prepare", "trace", "merge", "build", "sft", "grpo", "eval"):
        assert f"`avrt {command}` makes it." in missing
    assert data["claim"]["sentence"] == "Nothing is measured yet."
