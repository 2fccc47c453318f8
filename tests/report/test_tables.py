from __future__ import annotations

import pytest

from avrt.report.tables import Cell, Table, to_markdown


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="row of 1, header of 2"):
        Table("t", "T", ("a", "b"), (("only",),))


def test_what_would_break_a_markdown_table_is_escaped():
    text = to_markdown(Table("t", "T", ("a",), (("x | y\nz <b>",),)))
    assert text.splitlines()[-1] == "| x \\| y z &lt;b> |"


def test_details_and_emphasis_are_kept():
    cell = Cell("74.0 %", ("[69.5, 78.1], n = 400",), strong=True)
    text = to_markdown(Table("t", "T", ("model", "av"), (("sft", cell),), notes=("a note",)))
    assert "| sft | **74.0 %**; [69.5, 78.1], n = 400 |" in text
    assert text.endswith("- a note\n")
