"""Whatever a model or a data set writes is text on the page: nothing runs, nothing is fetched."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from avrt.config import Config
from avrt.report import run
from browsing import open_browser, watch
from report.poison import BROKEN, HOST, POISONS, RAN, poisoned_run

VIEWS = ("overview", "items", "items?view=list", "results", "training", "data", "funnel",
         "gallery", "settings")  # fmt: skip
FOREIGN = """[...document.querySelectorAll(`iframe, object, embed, base, form, animate, textarea,
  template, foreignObject, script:not([src]), meta[http-equiv=refresh], link:not([href^=assets])`)]
  .map(node => node.outerHTML.slice(0, 100))"""
"""Elements that the page has not of its own."""
ODD = """[...document.querySelectorAll("*")].flatMap(node => [...node.attributes]
  .filter(({name, value}) => /^on/i.test(name) || name === "srcdoc"
    || (/^(href|src|action|poster|xlink:href)$/i.test(name)
        && !/^(#|(\\.\\.\\/)*[\\w%.][^:\\\\]*$)/.test(value)))
  .map(({name, value}) => `${node.localName} ${name}=${value}`)).slice(0, 5)"""
"""Handlers in attributes, and addresses that are no path below the page."""
POLLUTED = "Object.keys(Object.prototype).concat(Object.keys(Array.prototype))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory) -> Config:
    config = poisoned_run(tmp_path_factory.mktemp("poisoned"))
    run(config)
    return config


@pytest.fixture(scope="module")
def report(poisoned) -> Path:
    return poisoned.run.path / "report"


def numbers_of_items(report: Path) -> int:
    return int(re.search(r'"n": ?(\d+)', (report / "data" / "index.js").read_text())[1])


def query_of(url: str) -> str | None:
    """What the address searches for."""
    _, _, query = urlsplit(url).fragment.partition("?")
    return parse_qs(query).get("q", [None])[0]


def check(page: Any, where: str) -> None:
    """Nothing ran, and the page has no element, handler or address but its own."""
    assert page.evaluate(f"window.{RAN}") is None, where
    assert page.evaluate(FOREIGN) == [], where
    assert page.evaluate(ODD) == [], where
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
    assert page.evaluate(POLLUTED) == [], where


def visit(browser: Any, report: Path, **settings: Any) -> None:
    """Go through every view and twenty items, and touch what can be touched."""
    with watch(browser, report, viewport={"width": 1000, "height": 800}, **settings) as watched:
        for view in VIEWS:
            page = watched.show(view)
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            page.wait_for_timeout(100)
            check(page, view)
        n = numbers_of_items(report)
        for place in {*range(0, n, 5), 0, 1, 2, n - 1}:
            page = watched.show(f"item/{place}")
            page.locator("main article, main .item").first.wait_for()
            check(page, f"item {place}")


def test_nothing_runs_and_nothing_is_fetched(browser, report):
    visit(browser, report)


def test_it_is_text_and_not_only_forbidden_by_the_policy(browser, report):
    """Without the policy, whatever were markup would run."""
    with watch(browser, report, bypass_csp=True) as watched:
        for view in ("overview", "items", "results", "gallery", "settings", "item/0", "item/3"):
            page = watched.show(view)
            page.wait_for_timeout(100)
            check(page, view)


def test_the_policy_forbids_scripts_of_the_page_itself(browser, report):
    with watch(browser, report) as watched:
        page = watched.show("settings")
        page.evaluate(
            f"""const script = document.createElement("script");
            script.textContent = "window.{RAN} = 1"; document.body.append(script);"""
        )
        assert page.evaluate(f"window.{RAN}") is None
        assert any("policy: script-src" in fault for fault in watched.faults)
        watched.faults.clear()


def test_every_text_is_searched_and_filtered_as_it_is(browser, report):
    with watch(browser, report) as watched:
        page = watched.show("items")
        status = page.get_by_role("status").first
        some = status.filter(has_text=re.compile(r"^[1-9]\d* of "))
        for text in POISONS:
            words = " ".join(text.split())
            if words and "\0" not in words and len(words) < 300:
                page.get_by_role("searchbox").fill(words)
                page.wait_for_url(lambda url, words=words: query_of(url) == words)
                some.wait_for()
        page.get_by_role("searchbox").fill("")
        page.wait_for_url(lambda url: query_of(url) is None)
        group = page.get_by_role("group", name="Question type")
        for tick in group.get_by_role("checkbox").all():
            tick.check()
            some.wait_for()
            tick.uncheck()
        check(page, "after the search")


def test_ids_that_every_object_has_are_items_like_others(browser, report):
    with watch(browser, report) as watched:
        for name in ("__proto__", "constructor", "hasOwnProperty"):
            page = watched.show(f"item/{name}")
            page.locator("main dd").filter(has_text=name).first.wait_for()


def test_an_address_is_as_hostile_as_a_text(browser, report):
    with watch(browser, report) as watched:
        for view in (
            "items?q=<script>window.avrtRan=1</script>&sort=__proto__&type=constructor",
            "items?right=__proto__:constructor&page=1e9&think_words=NaN..Infinity&view=javascript:",
            "item/0?outcome=%00&q=%E0%A4%A",
            "<img src=x onerror=window.avrtRan=1>",
            "javascript:window.avrtRan=1",
        ):
            check(watched.show(view), view)


def test_data_files_are_ascii_and_hold_no_end_of_a_script(report):
    for path in (report / "data").glob("*.js"):
        content = path.read_bytes()
        assert content.isascii(), path.name
        assert content.count(b"\n") <= 1
        assert max(map(len, content.split(b'"'))) < 70_000, "a text was not cut"
    said = "".join(path.read_text() for path in (report / "data").glob("items-*.js"))
    assert BROKEN.encode("ascii", "backslashreplace").decode() in said


def test_no_cell_of_a_csv_file_is_a_formula(report):
    paths = list((report / "tables").glob("*.csv"))
    assert paths
    for path in paths:
        assert path.resolve().parent == (report / "tables").resolve()
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                assert [c for c in row if re.match(r"[=@\t\r]|[+-](?![\d.,∞]+)", c)] == [], (
                    path.name
                )


def test_the_page_names_no_outer_address(report):
    shell = (report / "index.html").read_text(encoding="utf-8")
    assert HOST not in shell.replace("&lt;", "<") or "<img src=x" not in shell
    assert "unsafe-eval" not in shell
    assert "'unsafe-inline'" not in re.search(r"script-src([^;]*)", shell)[1]
