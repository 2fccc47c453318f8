"""What a reader does with the page of a run, in Chromium, from the disk."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from avrt.config import RunConfig
from avrt.report import run
from avrt.runs import read_parquet, write_parquet
from browsing import Watched, find_faults, open_browser, watch

VIEWS = ("overview", "items", "item/0", "results", "training", "data", "funnel", "gallery",
         "settings")  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(full_run, tmp_path_factory) -> Path:
    """The page of the finished run."""
    return write_report(full_run, tmp_path_factory.mktemp("finished"))


def write_report(full_run, folder: Path, change: Callable[[Path], None] | None = None) -> Path:
    """The page of a copy of the run, beside a copy of its clips."""
    shutil.copytree(full_run.run.dir.parent, folder, dirs_exist_ok=True)
    if change is not None:
        change(folder / "runs" / "small")
    moved = full_run.model_copy(
        update={
            "run": RunConfig(dir=folder / "runs", name="small"),
            "data": full_run.data.model_copy(update={"root": folder / "world"}),
        }
    )
    run(moved)
    return moved.run.path / "report"


@pytest.fixture
def shown(browser, report) -> Iterator[Watched]:
    with watch(
        browser, report, report.parents[2] / "world", viewport={"width": 1440, "height": 900}
    ) as watched:
        yield watched


def data_of(report: Path, name: str):
    """The value in a file of the page's data."""
    text = (report / "data" / f"{name}.js").read_text(encoding="ascii")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def status_of(page) -> tuple[int, int]:
    """How many items pass the filter, and how many there are."""
    text = page.get_by_role("status").first.inner_text()
    kept, total = re.fullmatch(r"([\d,]+) of ([\d,]+) items", text).groups()
    return int(kept.replace(",", "")), int(total.replace(",", ""))


def cards_of(page):
    return page.locator("main .item-link")


def wait_for_status(page, kept: int) -> None:
    page.get_by_role("status").first.filter(has_text=re.compile(rf"^{kept:,} of ")).wait_for()


def test_every_view_is_reached_by_its_link_and_names_itself(shown):
    page = shown.show("overview")
    links = page.get_by_role("navigation", name="Views").get_by_role("link")
    names = links.all_inner_texts()
    assert len(names) >= 7
    for name in names:
        links.get_by_text(name, exact=True).click()
        page.locator("main h1").first.wait_for()
        page.wait_for_function("name => document.title.startsWith(name)", arg=name)
        assert page.locator("nav [aria-current=page]").inner_text() == name


def test_an_unknown_address_is_answered(shown):
    for view in ("nothing", "constructor", "__proto__", "item/99999", "item/-1", "item/%E0%A4%A"):
        page = shown.show(view)
        assert re.search("no such view|no item|names", page.locator("main").inner_text().lower())


def test_a_filter_counts_and_stands_in_the_address(shown, report):
    index = data_of(report, "index")
    outcomes = index["coded"]["outcome"]
    n_train = outcomes["codes"].count(outcomes["values"].index("train"))
    page = shown.show("items")
    assert status_of(page) == (index["n"], index["n"])
    group = page.get_by_role("group", name="Where it ended")
    group.get_by_label("training set").check()
    wait_for_status(page, n_train)
    assert "outcome=train" in page.url
    assert cards_of(page).count() == n_train
    address = page.url
    page.get_by_role("button", name="Remove filter").first.click()
    wait_for_status(page, index["n"])
    page.go_back()
    wait_for_status(page, n_train)
    page.goto("about:blank")
    page.goto(address)
    wait_for_status(page, n_train)


def test_search_looks_into_questions_and_on_demand_into_all_texts(shown, report):
    page = shown.show("items")
    page.get_by_role("searchbox").fill("Question 3:")
    wanted = [n for n, text in enumerate(data_of(report, "index")["texts"]["question"])
              if "Question 3:" in text]  # fmt: skip
    wait_for_status(page, len(wanted))
    page.get_by_role("searchbox").fill("beep every half second")
    wait_for_status(page, 0)
    page.get_by_label("in all texts").check()
    page.get_by_text("All texts searched").wait_for()
    assert status_of(page)[0] > 0


def test_items_are_sorted_and_shown_as_rows(shown):
    page = shown.show("items")
    page.get_by_label("Sort").select_option("id")
    first = cards_of(page).first.inner_text()
    page.get_by_label("Sort").select_option("-id")
    page.wait_for_function(
        "first => document.querySelector('main .item-link').innerText !== first", arg=first
    )
    page.get_by_label("View as").select_option("list")
    assert page.get_by_role("row").count() == cards_of(page).count() + 1


def test_items_with_pictures_come_first_unless_the_address_says_otherwise(shown, report):
    bare = [strip == "" for strip in data_of(report, "index")["texts"]["strip"]]
    assert bare != sorted(bare)  # in the files, one without pictures stands before one with them
    states = "cards => cards.map(card => card.querySelector('.no-frame') !== null)"
    page = shown.show("items")
    cards = page.locator("main .card")
    cards.first.wait_for()
    assert cards.evaluate_all(states) == sorted(bare)
    page.get_by_label("Sort").select_option(label="as in the files")
    page.wait_for_url(lambda url: "sort=files" in url)
    assert cards.evaluate_all(states) == bare
    page.reload()
    cards.first.wait_for()
    assert cards.evaluate_all(states) == bare


def test_an_item_shows_all_that_is_known_and_the_way_back(shown, report):
    page = shown.show("items?outcome=train&sort=-think_words")
    question = cards_of(page).first.inner_text()
    cards_of(page).first.click()
    page.get_by_role("heading", level=1, name=question).wait_for()
    said = page.locator("main").text_content()
    for part in ("A square moves to the right", "A beep every half second", "I see and hear it",
                 "some/vision", "some/merge", "right answer"):  # fmt: skip
        assert part in said, part
    assert page.locator("main img, main [role=img]").count() >= 8
    boxes = page.locator(".text-box", has=page.get_by_text("Prompt", exact=True))
    assert boxes.count() == 3  # two teachers and the merger
    assert re.search(r"some/merge, \d+\.\d\d s", boxes.last.inner_text())
    boxes.last.get_by_text("Prompt", exact=True).click()
    prompt = boxes.last.locator(".prompt pre").last.inner_text()
    for part in (question, "(A) a dog", "A beep every half second", "A square moves"):
        assert part in prompt, part
    page.go_back()
    page.locator("main .item-link").first.wait_for()
    assert "outcome=train" in page.url


def test_an_answer_shows_what_differs_from_the_base_and_hides_what_is_gone(shown, report):
    place = data_of(report, "index")["texts"]["id"].index("q4", 12)  # as the benchmark has it
    page = shown.show(f"item/{place}")
    removed = page.locator(".text del").first
    assert "removed: " in removed.text_content()
    assert page.locator(".text ins").first.is_visible()
    page.get_by_label("show removed words").uncheck()
    assert removed.is_hidden()
    page.keyboard.press("j")
    page.wait_for_url(lambda url: f"item/{place}" not in url)
    page.get_by_label("show removed words").wait_for()
    assert not page.get_by_label("show removed words").is_checked()


def test_the_sound_plays_and_the_playhead_moves(shown):
    page = shown.show("items?media=there")
    cards_of(page).first.click()
    page.locator("audio").wait_for()
    page.evaluate("document.querySelector('audio').muted = true")
    page.locator("main h1").focus()
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('audio').currentTime > 0.3")
    slider = page.get_by_role("slider", name="Position in the sound")
    page.wait_for_function("() => +document.querySelector('[role=slider]').ariaValueNow > 0")
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('audio').paused")
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('audio').currentTime === 0")


def test_the_clip_is_shown_where_its_file_is_at_hand(shown):
    page = shown.show("items?media=there&outcome=train")
    cards_of(page).first.click()
    page.locator("details.clip summary").click()
    page.evaluate("document.querySelector('video').play()")
    page.wait_for_function("() => document.querySelector('video').currentTime > 0.2")
    size = page.evaluate(CLIP_SIZE)
    assert 0 < size["width"] <= 2 * size["natural"]
    assert size["height"] <= 360


CLIP_SIZE = """() => {
  const clip = document.querySelector("video");
  return { width: clip.clientWidth, height: clip.clientHeight, natural: clip.videoWidth };
}"""


def test_an_address_that_the_page_cannot_read_says_so_until_the_filter_changes(shown):
    page = shown.show("items?finding=nonsense&sort=banana")
    said = "The address has “sort=banana” that this page does not know."
    assert page.locator(".unknown").inner_text() == said
    assert page.locator(".status").inner_text().startswith("0 of ")
    page.locator(".chip").click()
    assert page.locator(".unknown").inner_text() == ""
    assert not page.locator(".status").inner_text().startswith("0 of ")


def test_every_picture_of_an_item_is_there(shown):
    page = shown.show("items?media=there")
    cards_of(page).first.click()
    page.locator("audio").wait_for()
    page.wait_for_function(
        "() => [...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )


def test_keys_go_from_item_to_item(shown):
    page = shown.show("item/0?outcome=train&sort=files")
    page.wait_for_selector("article.item")
    seen = [page.url]
    page.keyboard.press("j")
    page.wait_for_url(lambda url: url != seen[0])
    page.get_by_text(re.compile(r"^2 of ")).wait_for()  # the keys are those of the new item
    page.keyboard.press("k")
    page.wait_for_url(lambda url: url == seen[0])
    page.get_by_text(re.compile(r"^1 of ")).wait_for()
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "#/items?outcome=train" in url)
    page.locator("main .item-link").first.wait_for()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"


def test_the_theme_changes_and_stays(shown):
    page = shown.show("overview")
    colour = "getComputedStyle(document.body).backgroundColor"
    colours = {}
    for theme in ("dark", "light"):
        page.get_by_label("Theme").select_option(theme)
        colours[theme] = page.evaluate(colour)
    assert colours["dark"] != colours["light"]
    page.get_by_label("Theme").select_option("dark")
    page.reload()
    page.locator("main h1").wait_for()
    assert page.evaluate(colour) == colours["dark"]


@pytest.mark.parametrize("view", ["overview", "results", "data", "funnel"])
def test_every_number_leads_to_as_many_items_as_it_says(shown, report, view):
    page = shown.show(view)
    for folded in page.locator("details.folded > summary").all():
        folded.click()
    links = page.locator("main td a[href^='#/items'], main th a[href^='#/items']")
    found = [(link.inner_text().strip(), link.get_attribute("href")) for link in links.all()]
    counts = {href: int(text.replace(",", "")) for text, href in found
              if re.fullmatch(r"[\d,]+", text)}  # fmt: skip
    assert found
    for href, n in counts.items():
        page.goto(f"{shown.address}{href}")
        wait_for_status(page, n)


def test_a_table_is_sorted_by_its_header(shown):
    page = shown.show("results")
    table = page.locator("main table").first
    head = table.locator("thead th").nth(1)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    cells = table.locator("tbody tr").all()
    texts = [row.locator("td").first.inner_text() for row in cells]
    values = [float(re.search(r"\d+\.?\d*", text)[0]) for text in texts]
    assert values == sorted(values, reverse=True)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"


def test_every_table_is_a_file_as_csv_and_json(shown, report):
    page = shown.show("results")
    link = page.get_by_role("link", name=re.compile("as CSV")).first
    addresses = [a.get_attribute("href") for a in page.locator("a[download]").all()]
    assert addresses
    assert [address for address in addresses if not (report / address).is_file()] == []
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename.endswith(".csv")
    for name in (report / "tables").glob("*.json"):
        assert json.loads(name.read_text(encoding="utf-8"))


def test_the_page_prints_with_everything_of_the_view(shown):
    page = shown.show("gallery")
    page.wait_for_load_state()
    document = page.pdf(print_background=False)
    assert document.startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.get_by_role("navigation", name="Views").is_hidden()
    assert page.locator("main h1").is_visible()


@pytest.mark.parametrize("width", [390, 1440, 2560])
def test_nothing_leaves_its_place_at_any_width(browser, report, width):
    size = {"width": width, "height": 900}
    with watch(browser, report, report.parents[2] / "world", viewport=size) as watched:
        for view in (*VIEWS, "items?view=list"):
            page = watched.show(view)
            page.wait_for_timeout(200)  # charts are drawn when the width is known
            assert page.evaluate(OVERFLOW) == [], (view, width)
            assert page.evaluate(OVERLAPS) == [], (view, width)
            assert page.evaluate(LETTERWISE) == [], (view, width)
            if view == "overview" and width > 1000:
                drawn = page.locator(".plot svg").first.bounding_box()
                assert drawn["width"] > 0.4 * width


OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = node => node && (/auto|scroll|hidden/.test(getComputedStyle(node).overflowX)
    && node !== document.body || scrolls(node.parentElement));
  const scrolled = document.documentElement.scrollWidth > width ? ["the page scrolls"] : [];
  return scrolled.concat([...document.querySelectorAll("body *")]
    .filter(node => node.getBoundingClientRect().right > width + 1 && !scrolls(node))
    .map(node => `${node.tagName} ${node.className} ${node.textContent.slice(0, 60)}`)).slice(0, 5);
}"""
"""What leaves the window sideways, unless it stands in a part that scrolls by itself."""
OVERLAPS = """() => [...document.querySelectorAll("main svg")].flatMap(drawing => {
  const texts = [...drawing.querySelectorAll("text")]
    .filter(text => text.textContent.trim() && getComputedStyle(text).visibility !== "hidden")
    .map(text => [text.textContent, text.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0);
  const found = [];
  texts.forEach(([a, one], place) => texts.slice(place + 1).forEach(([b, two]) => {
    const across = Math.min(one.right, two.right) - Math.max(one.left, two.left);
    const down = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
    if (across > 2 && down > 3) found.push(`${a} / ${b}`);
  }));
  return found.slice(0, 5);
})"""
"""Texts of charts that lie over each other."""

LETTERWISE = """() => [...document.querySelectorAll("main th, main td")]
  .filter(cell => cell.clientWidth < 6 * Math.max(...cell.textContent.split(/\\s+/)
    .map(word => word.length <= 12 ? word.length : 0)))
  .map(cell => cell.textContent)"""
"""Cells so narrow that their words are broken letter by letter."""


def test_axe_finds_nothing_serious_in_either_theme(shown):
    found = {}
    for view in VIEWS:
        page = shown.show(view)
        for theme in ("light", "dark"):
            page.get_by_label("Theme").select_option(theme)
            found[view, theme] = find_faults(page)
    assert {place: faults for place, faults in found.items() if faults} == {}


def reject_all(path: Path) -> None:
    """Every question is rejected by the view, as where no teacher is right."""
    folder = path / "dataset"
    rows = [
        row for name in ("train", "validation") for row in read_parquet(folder / f"{name}.parquet")
    ]
    rejected = read_parquet(folder / "rejected.parquet")
    lost = [row | {"stage": "view", "reason": "dropped/all_teachers_wrong"} for row in rows]
    for name, content in (("train", []), ("validation", []), ("rejected", rejected + lost)):
        schema = pq.read_schema(folder / f"{name}.parquet")
        write_parquet(folder / f"{name}.parquet", content, schema)


def test_a_run_of_which_everything_was_rejected_shows_why(browser, full_run, tmp_path):
    report = write_report(full_run, tmp_path, reject_all)
    with watch(browser, report, report.parents[2] / "world") as watched:
        page = watched.show("items?outcome=view")
        kept, _ = status_of(page)
        assert kept >= 8
        cards_of(page).first.click()
        page.get_by_text("A square moves to the right").first.wait_for()
        for view in ("overview", "funnel", "gallery", "data"):
            assert watched.show(view).locator("main").inner_text().strip()


def only_prepared(path: Path) -> None:
    for name in ("dataset", "eval", "sft", "grpo", "traces"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in ("trace", "merge", "judge", "build"):
        (path / "manifests" / f"{name}.json").unlink(missing_ok=True)


def test_a_run_that_has_only_begun_says_what_to_do(browser, full_run, tmp_path):
    report = write_report(full_run, tmp_path, only_prepared)
    with watch(browser, report, report.parents[2] / "world") as watched:
        assert "avrt trace" in watched.show("overview").locator("main").inner_text()
        assert status_of(watched.show("items")) == (12, 12)
        for view in VIEWS:
            assert watched.show(view).locator("main").inner_text().strip()
