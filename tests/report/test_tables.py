from __future__ import annotations

import pytest

from avrt.report.tables import Cell, Table, to_latex, to_markdown


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="row of 1, header of 2"):
        Table("t", "T", ("a", "b"), (("only",),))


def test_what_would_break_a_markdown_table_is_escaped():
    text = to_markdown(Table("t", "T", ("a",), (("x | y\nz <b>",),)))
    assert text.splitlines()[-1] == "| x \\| y z &lt;b> |"


def test_a_sign_of_comparison_stays_readable():
    text = to_markdown(Table("t", "T", ("a",), (("p < 0.001",),)))
    assert text.splitlines()[-1] == "| p < 0.001 |"


def test_details_and_emphasis_are_kept():
    cell = Cell("74.0 %", ("[69.5, 78.1], n = 400",), strong=True)
    text = to_markdown(Table("t", "T", ("model", "av"), (("sft", cell),), notes=("a note",)))
    assert "| sft | **74.0 %**; [69.5, 78.1], n = 400 |" in text
    assert text.endswith("- a note\n")


def test_what_latex_would_read_or_draw_as_something_else_is_escaped():
    row = to_latex(Table("t", "T", ("a",), (("5 % p < 0.001, x > y_1 & {z}",),))).splitlines()[-4]
    assert row == r"5 \% p \textless{} 0.001, x \textgreater{} y\_1 \& \{z\} \\"
