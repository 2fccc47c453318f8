"""How long the page of a large run takes to be written, and to answer in Chromium: one table.

    python benchmarks/page.py [--items 10000 100000] [--folder FOLDER]

Runs are synthetic, but in the files of real ones, with texts as long as those of real models; a
tenth of the items is a benchmark with twelve logs. `avrt report` writes the page in a process of
its own. Chromium then opens it from the disk, without a cache, and does what a reader does; the
time of a click runs until the number of items is on the screen. Of what is done several times, the
median counts.

Bars, at 10,000 items: the grid is there in 3 s, a filter in 200 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

from avrt.config import Config
from probing import encode
from synthetic_run import Text, write_run

BAR_ITEMS, BAR_OPEN_S, BAR_FILTER_S = 10_000, 3.0, 0.2
LINKS_PER_FILE = 20_000
WORDS = [*filter(str.isalpha, Path(__file__).with_name("README.md").read_text("utf-8").split())]
LENGTHS = {"question": 14, "option": 3, "vision": 180, "audio": 160, "merged": 140, "answer": 60,
           "gate": 6, "quote": 12}  # fmt: skip
"""Words of a text."""
CHROMIUM = "/usr/bin/chromium"
OPENED = 5
"""How many items are opened, each from a file of its own."""


def prose() -> Text:
    """Texts of the usual lengths, out of some thousand sentences."""
    rng = random.Random(0)
    sentences = [" ".join(rng.choices(WORDS, k=10)).lower() for _ in range(4_000)]

    def write(field: str, number: int) -> str:
        if field in ("id", "source", "setting", "group", "clip"):
            return f"{field}-{number}"
        if field == "type":
            return ("Which", "Come From", "Happening", "Where", "Why", "When")[number]
        if field == "video":
            return f"videos/{number}.mp4"
        n_words = LENGTHS[field]
        first = zlib.crc32(f"{field}{number}".encode()) % len(sentences)
        said = ". ".join(sentences[(first + n) % len(sentences)] for n in range(-(-n_words // 10)))
        return " ".join(said.split()[:n_words])

    return write


def make_run(folder: Path, n_items: int) -> Path:
    """A run with that many items, a tenth of them in a benchmark, and its clips."""
    n_asked = n_items // 10
    data = {"format": "parquet", "root": str(folder / "data"), "split": "train"}
    models = {name: "base" if name == "base" else f"some/{name}" for name in
              ("base", "rl", "sft", "sft_rl")}  # fmt: skip
    config = Config.model_validate(
        {
            "run": {"dir": str(folder / "runs"), "name": "large"},
            "data": data,
            "student": {"model": "some/student"},
            "eval": {"benchmarks": {"bench": data}, "models": models},
        }
    )
    (folder / "data" / "videos").mkdir(parents=True)
    for number in range(n_items // 3 + 1):
        path = folder / "data" / "videos" / f"{number}.mp4"
        if number % LINKS_PER_FILE == 0:
            encode(path, seed=number)
        else:
            os.link(path.with_name(f"{number - number % LINKS_PER_FILE}.mp4"), path)
    write_run(config, n_items - n_asked, n_asked, prose())
    return config.run.path


def write_page(run: Path) -> Iterator[tuple[str, str]]:
    """Time, memory and size of `avrt report`."""
    started = time.monotonic()
    command = [sys.executable, "-m", "avrt", "report", str(run)]
    pid = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit("avrt report failed")
    wall_s, cpu_s = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    yield "write: s (of CPU)", f"{wall_s:.0f} ({cpu_s:.0f})"
    yield "write: peak MB of the process", f"{usage.ru_maxrss / 1024:.0f}"
    sizes = {path: path.stat().st_size for path in (run / "report").rglob("*") if path.is_file()}
    for name in ("data/report.js", "data/index.js"):
        yield f"{name}: MB", f"{sizes[run / 'report' / name] / 1e6:.2f}"
    yield "folder: MB", f"{sum(sizes.values()) / 1e6:.0f}"
    yield "folder: files", f"{len(sizes):,}"


CLICK = """selector => new Promise(resolve => {
  const status = document.querySelector("main [role=status]");
  const target = document.querySelector(selector);
  const before = status.textContent;
  const started = performance.now();
  new MutationObserver((_, observer) => {
    if (status.textContent === before) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - started)));
  }).observe(status, {childList: true, characterData: true, subtree: true});
  if (target.type === "checkbox") target.click();
  else {
    target.value = "moment";
    target.dispatchEvent(new InputEvent("input", {bubbles: true}));
  }
})"""
"""Milliseconds from a click, or a typed word, to the next picture with another number of items."""


def timed(act: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    started = time.monotonic()
    act()
    return time.monotonic() - started


def use_page(browser: Any, report: Path, n_items: int) -> Iterator[tuple[str, float]]:
    """Seconds of what a reader waits for."""
    address = (report / "index.html").as_uri()
    for view, shown in (("overview", "main svg"), ("items", ".item-link")):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(600_000)
        page = context.new_page()

        def opens(page: Any = page, view: str = view, shown: str = shown) -> None:
            page.goto(f"{address}#/{view}", wait_until="commit")
            page.locator(shown).first.wait_for()

        yield f"open: {view}", timed(opens)
        if view == "overview":
            context.close()
    page.wait_for_timeout(1_000)
    boxes = [f"#filters details:nth-of-type({group}) li:nth-child({row}) input"
             for group in (2, 3) for row in (1, 2, 3)]  # fmt: skip
    times = [page.evaluate(CLICK, box) for box in boxes for _ in ("tick", "untick")]
    yield "filter, median", median(times) / 1000
    yield "filter, longest", max(times) / 1000
    yield "search, with 0.15 s of waiting for the next key", page.evaluate(CLICK, "#search") / 1000

    def searches() -> None:
        page.get_by_label("in all texts").check()
        page.get_by_text("All texts searched").wait_for()

    yield "search in all texts", timed(searches)

    def item(place: int) -> None:
        page.evaluate(f"location.hash = '#/item/{place}'")
        page.locator("article.item").wait_for()
        page.evaluate("location.hash = '#/settings'")

    yield (
        "item, median",
        median(
            timed(lambda place=place: item(place)) for place in range(0, n_items, n_items // OPENED)
        ),
    )
    context.close()


def measure(folder: Path, n_items: int) -> dict[str, str]:
    """All figures about a run of that size."""
    run = make_run(folder, n_items)
    figures = dict(write_page(run))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        seconds = dict(use_page(browser, run / "report", n_items))
        browser.close()
    figures |= {f"{name}: s": f"{value:.2f}" for name, value in seconds.items()}
    if n_items <= BAR_ITEMS:
        kept = seconds["open: items"] < BAR_OPEN_S and seconds["filter, median"] < BAR_FILTER_S
        figures["bars"] = "kept" if kept else "missed"
    return figures


def main() -> None:
    """Parse the command line, print one table, exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="keep the runs in this new folder")
    options = parser.parse_args()
    tables: dict[int, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for n_items in options.items:
            folder = (options.folder or Path(temporary)) / str(n_items)
            tables[n_items] = measure(folder, n_items)
            print(json.dumps({n_items: tables[n_items]}), file=sys.stderr, flush=True)
    print(f"| | {' | '.join(f'{n:,} items' for n in tables)} |")
    print(f"| --- |{' ---: |' * len(tables)}")
    for name in dict.fromkeys(name for table in tables.values() for name in table):
        print(f"| {name} | {' | '.join(table.get(name, '') for table in tables.values())} |")
    sys.exit(any(table.get("bars") == "missed" for table in tables.values()))


if __name__ == "__main__":
    main()
