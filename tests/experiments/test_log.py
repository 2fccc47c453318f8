"""The section of an experiment in a page: it replaces its own, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from avrt.errors import ConfigError
from avrt.experiments.log import check_page, with_section, write_section
from avrt.report.figures import Figure

PAGE = """# Experiments

A log.

## 2026-01-01 · By hand

Words.
"""


def test_a_new_section_stands_before_all_others() -> None:
    first = with_section(PAGE, "one", "## One\n\nfound 1")
    page = with_section(first, "two", "## Two\n\nfound 2")
    places = [page.index(text) for text in ("A log.", "found 2", "found 1", "By hand", "Words.")]
    assert places == sorted(places)


def test_a_section_is_replaced_where_it_stands_and_what_people_wrote_stays() -> None:
    page = with_section(with_section(PAGE, "one", "## One\n\nfound 1"), "two", "## Two")
    lesson = page.replace("found 1\n<!-- end -->\n", "found 1\n<!-- end -->\n\n*Lesson.* Much.\n")
    again = with_section(lesson, "one", "## One\n\nfound 9")
    assert again == lesson.replace("found 1", "found 9")


def test_the_same_section_again_changes_nothing() -> None:
    page = with_section(PAGE, "one", "## One")
    assert with_section(page, "one", "## One") == page


def test_a_page_without_any_section_gets_it_at_the_end() -> None:
    assert with_section("# Log\n", "one", "## One").startswith("# Log\n\n<!-- experiment one -->\n")


@pytest.mark.parametrize("after", ["", "<!-- experiment two -->\nx\n<!-- end -->\n"])
def test_a_section_that_does_not_end_is_refused(after: str) -> None:
    with pytest.raises(ConfigError, match=r"<!-- experiment one --> has no <!-- end -->"):
        with_section(f"<!-- experiment one -->\nwords\n{after}", "one", "## One")


def test_markers_in_text_and_in_code_are_no_sections() -> None:
    code = "```\n## Not a heading\n<!-- experiment one -->\n```\n"
    page = f"# Log\n\nSee `<!-- experiment one -->`.\n\n{code}\n## Old\n\nMine. <!-- end -->\n"
    after = with_section(page, "one", "## One")
    block = "<!-- experiment one -->\n## One\n<!-- end -->\n\n"
    assert after == page.replace("## Old", f"{block}## Old")


def test_a_section_that_stands_twice_is_refused() -> None:
    page = with_section(PAGE, "one", "## One")
    with pytest.raises(ConfigError, match="stands there 2 times; leave one of them"):
        with_section(page + page, "one", "## One")


def test_a_page_keeps_its_rights_and_stays_a_link(tmp_path: Path) -> None:
    page, link = tmp_path / "private.md", tmp_path / "page.md"
    page.write_text(PAGE)
    page.chmod(0o600)
    link.symlink_to(page)
    write_section(link, "one", "## One", Figure("one", "One", "<svg/>", b""))
    assert link.is_symlink()
    assert "## One" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    page.chmod(0o400)
    with pytest.raises(ConfigError, match="for reading only"):
        check_page(link, "one")


def test_a_page_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="is no folder to write into; name another page"):
        check_page(file / "page.md", "a")
    page = tmp_path / "page.md"
    page.write_text("<!-- experiment a -->\n")
    with pytest.raises(ConfigError, match=r"page\.md: <!-- experiment a --> has no <!-- end -->"):
        check_page(page, "a")
    check_page(tmp_path / "new" / "page.md", "a")
    assert not (tmp_path / "new").exists()
