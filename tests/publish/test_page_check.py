"""Facts about the check of a page before it is published: no code but AVRT's, no path, no clip."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from avrt.publish.cards import report_card
from avrt.publish.check import Private, find_problems
from avrt.report.script import read_script, write_script

pytest.importorskip("huggingface_hub")
NOTHING = Private(frozenset(), ())
ITEMS = "data/items-0000.js"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A published page of two items, the first with its media."""
    page = tmp_path / "page"
    (page / "media").mkdir(parents=True)
    (page / "assets").mkdir()
    for asset in (files("avrt.report") / "assets").iterdir():
        (page / "assets" / asset.name).write_bytes(asset.read_bytes())
    script = '<script defer src="assets/app.js"></script><a href="tables/results.md">results</a>'
    (page / "index.html").write_text(script)
    (page / "tables").mkdir()
    (page / "tables" / "results.md").write_text("| a |")
    (page / "tables" / "results.csv").write_text("a\n")
    media = {"clip": None, "strip": "media/1.jpg", "sound": "media/1.flac", "missing": {}}
    for name in ("1.jpg", "1.flac"):
        (page / "media" / name).write_bytes(b"media")
    items = [
        {"id": "q1", "question": "What?", "media": media},
        {"id": "q2", "question": "Where?", "media": {"clip": None, "missing": {}}},
    ]
    write_script(page / ITEMS, "items/0000", items)
    write_script(page / "data" / "report.js", "report", {"run": "small"})
    texts = {"evaluation": "Not evaluated.", "provenance": "## Provenance"}
    (page / "README.md").write_text(report_card("small", [], texts))
    (page / "avrt.json").write_text(json.dumps({"kind": "report"}))
    return page


def problems(page: Path, private: Private = NOTHING, with_media: bool = True) -> list[str]:
    found = list(find_problems(page, "report", private, with_media))
    return [each for each in found if "README.md: the field license" not in each]


def test_a_page_with_all_that_it_names_can_be_published(page):
    assert problems(page) == []
    assert problems(page, with_media=False) == [
        "media/1.flac: media, which may not be given on unasked",
        "media/1.jpg: media, which may not be given on unasked",
    ]


def test_files_that_are_named_must_be_there(page):
    (page / "tables" / "results.md").unlink()
    shutil.rmtree(page / "media")
    assert problems(page) == [
        "index.html: names tables/results.md, which is not there",
        f"{ITEMS}: item 'q1': names media/1.jpg, which is not there",
        f"{ITEMS}: item 'q1': names media/1.flac, which is not there",
    ]


def test_no_escape_hides_a_path_or_a_secret_in_the_data(page):
    key, items = read_script(page / ITEMS)
    items[1]["question"] = 'on\n/data of/Ä/clips and "a\\secret"'
    write_script(page / ITEMS, key, items)
    text = (page / ITEMS).read_text(encoding="ascii")
    folder, secret = Private(frozenset({"/data of/Ä"}), ()), Private(frozenset(), ('"a\\secret"',))
    assert not any(each in text for each in (*folder.folders, *secret.secrets))
    assert problems(page, folder) == [f"{ITEMS}: holds the path /data of/Ä"]
    assert problems(page, secret) == [f"{ITEMS}: holds a secret of this machine"]
    items[1] = {**items[1], "hf_abcdefghijklmnopqrstuvwxyz": "", "question": ""}
    write_script(page / ITEMS, key, items)
    (problem,) = problems(page)
    assert problem.startswith(f"{ITEMS}: holds ")


def test_tables_and_cards_hold_no_path(page):
    (page / "tables" / "results.csv").write_text("model\n/data/models/one\n")
    assert problems(page) == ["tables/results.csv:2: holds the path /data/m…"]


def test_no_clip_is_named(page):
    key, items = read_script(page / ITEMS)
    items[0]["media"]["clip"] = "../../clips/1.mp4"
    write_script(page / ITEMS, key, items)
    assert problems(page) == [f"{ITEMS}: item 'q1': names the clip '../../clips/1.mp4'"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("assets/app.js", "not the page's own code"),
        ("assets/other.css", "not the page's own code"),
        ("data/more.js", "not a data file of a page"),
        ("code.js", "not a data file of a page"),
    ],
)
def test_code_that_is_not_of_the_package_is_not_published(page, name, fault):
    (page / name).write_text("AVRT.put('x',1);fetch('//example.org')\n")
    assert problems(page) == [f"{name}: {fault}"]


def test_data_that_cannot_be_read_back_is_named(page):
    (page / ITEMS).write_text("AVRT.put('x')\n")
    assert problems(page)[0] == f"{ITEMS}: not a data file of a page"
    write_script(page / ITEMS, "items/0000", [{"id": "q1"}])
    assert "cannot be read back" in problems(page)[0]
