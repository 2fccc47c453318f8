from __future__ import annotations

import re
import shutil
import sys
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest

from avrt.cli.packages import extra_of
from avrt.config import Config, RunConfig
from avrt.errors import ConfigError, DataError, MediaError
from avrt.report import gallery, plan, run
from avrt.runs import read_parquet, write_parquet

VOID = {"meta", "img", "link", "br", "hr", "input", "use", "path", "rect"}


def moved(config: Config, source, target) -> Config:
    """The same configuration for a copy of the run."""
    shutil.copytree(source, target / config.run.name)
    return config.model_copy(update={"run": RunConfig(dir=target, name=config.run.name)})


@pytest.fixture
def a_run(full_run, tmp_path) -> Config:
    """A copy that a test may change."""
    return moved(full_run, full_run.run.path, tmp_path)


def page_of(config: Config) -> str:
    run(config)
    return (config.run.path / "report" / "index.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Ids, unclosed tags, images without a text, tables without headers."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.open: list[str] = []
        self.problems: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.sources += [values["src"]] if "src" in values else []
        if tag == "img" and not values.get("alt"):
            self.problems.append("img without alt")
        if tag == "audio" and not values.get("aria-label"):
            self.problems.append("audio without a name")
        if tag == "th" and "scope" not in values:
            self.problems.append("th without scope")
        if tag == "svg" and not values.get("aria-label"):
            self.problems.append("svg without a name")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes another element")


@pytest.fixture(scope="module")
def page(full_run, tmp_path_factory) -> str:
    return page_of(moved(full_run, full_run.run.path, tmp_path_factory.mktemp("page")))


def test_a_run_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such run"):
        run(Config(run=RunConfig(dir=tmp_path, name="nope")))


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_one_that_the_command_line_can_name(a_run, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as error:
        run(a_run)
    assert extra_of(error.value.name or "") == "report"


def test_an_empty_run_says_what_to_do(tmp_path):
    (tmp_path / "new").mkdir()
    text = page_of(Config(run=RunConfig(dir=tmp_path, name="new")))
    for command in ("prepare", "trace", "merge", "build", "sft", "grpo", "eval"):
        assert f"<code>avrt {command}</code> make" in text


def test_a_run_without_grpo_says_which_command_makes_it(a_run):
    shutil.rmtree(a_run.run.path / "grpo")
    text = page_of(a_run)
    assert "No GRPO run yet. <code>avrt grpo</code> makes it." in text
    assert "sft-curves" in text
    assert "No SFT run" not in text


def test_a_broken_training_log_is_named_by_file_and_row(a_run):
    log = a_run.run.path / "sft" / "log.jsonl"
    log.write_text('{"step": 1, "loss": 1.0}\n{"loss": 2.0}\n')
    with pytest.raises(DataError, match=r"log\.jsonl:2: not a row of a training log"):
        run(a_run)


def test_a_broken_manifest_is_named(a_run):
    (a_run.run.path / "manifests" / "merge.json").write_text("{")
    with pytest.raises(DataError, match=r"merge\.json: not valid JSON.*; delete the file"):
        run(a_run)


def test_equal_runs_give_equal_bytes(full_run, tmp_path):
    reports = []
    for name in ("one", "two"):
        config = moved(full_run, full_run.run.path, tmp_path / name)
        run(config)
        run(config)
        report = config.run.path / "report"
        files = sorted(path for path in report.rglob("*") if path.is_file())
        reports.append({str(path.relative_to(report)): path.read_bytes() for path in files})
    assert reports[0] == reports[1]
    assert {name.partition("/")[0] for name in reports[0]} == {
        "figures", "index.html", "media", "tables"
    }  # fmt: skip


def test_stale_media_of_an_earlier_report_are_removed(a_run):
    stale = a_run.run.path / "report" / "media" / "old.wav"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    run(a_run)
    assert not stale.exists()


def test_what_models_wrote_is_escaped(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;img src=x onerror" in page
    assert "a bell &amp; &lt;b&gt;more&lt;/b&gt;" in page


def test_the_page_is_well_formed_and_accessible(page):
    outline = Outline()
    outline.feed(page)
    assert outline.problems == []
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert "script" not in outline.tags


def test_the_page_holds_no_absolute_path_and_no_address(full_run, page):
    assert str(full_run.data.root) not in page
    assert str(full_run.run.dir) not in page
    assert "../" not in page
    outline = Outline()
    outline.feed(page)
    assert outline.sources
    assert all(re.fullmatch(r"media/[0-9a-f]{16}\.(jpg|wav)", source) for source in outline.sources)
    links = re.findall(r"https?://[^\"'<\s]+", page)
    assert {link for link in links if "w3.org" not in link} <= {"http://127.0.0.1:8000/v1"}


def test_the_funnel_accounts_for_every_question(a_run):
    run(a_run)
    table = (a_run.run.path / "report" / "tables" / "funnel.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")]
    found = [(a.strip(), b.strip(), int(c.strip(" *"))) for a, b, c, _ in rows[2:]]
    assert found[0] == ("Read", "", 12)
    assert ("Prepare: the media", "failed: not media", 1) in found
    assert sum(n for _, _, n in found[1:]) == 12
    assert found[-1][:2] == ("Dataset", "kept")


def test_the_headline_has_n_intervals_and_paired_p(page):
    assert "n = 12" in page
    assert "to base, p = " in page
    assert "1 without media" in page
    assert "1 failed" in page
    assert "Guessing would be right on 25.0 %" in page


def test_what_the_results_show_is_said_in_words(page):
    assert re.search(
        "<h3>(What this shows, on|Nothing is shown on) the 12 items of bench:</h3>", page
    )
    assert "<li>Each interval is over these items and says nothing about other seeds" in page


def test_the_gallery_shows_traces_and_answers_before_and_after(page):
    assert "Vision teacher, frames alone" in page
    assert "Audio teacher, sound alone" in page
    assert "Merged trace" in page
    gallery = page[page.index('id="gallery"') :]
    assert gallery.count("<article") == 8
    assert re.search(r"<h4>base <span", gallery)
    assert re.search(r"<h4>sft_rl <span", gallery)


def test_media_that_are_gone_are_said_not_raised(a_run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    data = a_run.data.model_copy(update={"root": empty})
    benchmarks = {"bench": a_run.eval.benchmarks["bench"].model_copy(update={"root": empty})}
    config = a_run.model_copy(
        update={"data": data, "eval": a_run.eval.model_copy(update={"benchmarks": benchmarks})}
    )
    assert "no frames: missing" in page_of(config)


def test_media_that_cannot_be_read_now_end_the_command_with_a_fault(a_run, monkeypatch):
    def fail(sample, *_):
        raise MediaError("killed", sample.picture_path or "", "by the kernel")

    assert not run(a_run).fault
    monkeypatch.setattr(gallery, "load_media", fail)
    assert re.search(r"\d+ files .* cannot be read now \(\d+ killed; the first", run(a_run).fault)
    assert "no frames: killed" in page_of(a_run)


def test_an_unfinished_evaluation_says_so(a_run):
    log = a_run.run.path / "eval" / "bench" / "sft_rl" / "av.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:5]))
    assert "7 of 12 not evaluated yet" in page_of(a_run)


def test_the_plan_writes_nothing(tmp_path):
    assert "index.html" in plan(Config(run=RunConfig(dir=tmp_path, name="new")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("av_reasoning", "word " * 100_000),
        ("vision_text", "é" * 30_000),
        ("audio_text", "<b>" * 10_000 + "\ud83d"),
        ("question", "why " * 20_000),
    ],
)
def test_a_text_that_would_fill_the_page_is_cut_and_its_length_said(a_run, column, text):
    for split in ("train", "validation"):
        path = a_run.run.path / "dataset" / f"{split}.parquet"
        schema = pq.read_schema(path)
        rows = [row | {column: text.replace("\ud83d", "?")} for row in read_parquet(path)]
        write_parquet(path, rows, schema)
    page = page_of(a_run)
    assert f" of {len(text):,} characters]" in page
    assert len(max(re.findall(r"<(?:pre|h3)[^>]*>([^<]*)", page), key=len)) < 90_000


def test_settings_are_whole_however_long(a_run):
    path = a_run.run.path / "config.yaml"
    names = "\n".join(f"    own{n}: vision_first" for n in range(3_000))
    path.write_text(f"build:\n  views:\n{names}\n")
    assert "own2999: vision_first" in page_of(a_run)
