from __future__ import annotations

import csv
import io
import json

from avrt.report.table_files import table_data, to_csv, to_json
from avrt.report.tables import Cell, Table

SHARE = Cell("50.0 %", ("[1.3, 98.7], n = 2",), True, "#/items?a=b", "best", 50.0, (1.3, 98.7), 2)
TABLE = Table(
    "t",
    "Caption",
    ("Name", "Share", "Count"),
    (("=SUM(A1)", SHARE, "1,234"), ("b", Cell("–"), "–")),
    ("A note.",),
)


def test_csv_has_a_column_for_each_number():
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == ["Name", "Share", "Share, low", "Share, high", "Share, n", "Count"]
    assert rows[1] == ["'=SUM(A1)", "50.0", "1.3", "98.7", "2", "1234"]
    assert rows[2] == ["b", "", "", "", "", ""]


def test_json_has_numbers_as_numbers_and_texts_as_they_are():
    stored = json.loads(to_json(TABLE))
    assert stored["notes"] == ["A note."]
    assert stored["rows"][0]["Name"] == "=SUM(A1)"
    assert stored["rows"][0]["Share, n"] == 2
    assert stored["rows"][1]["Count"] is None


def test_signs_of_all_kinds_are_read():
    table = Table("t", "", ("", "x"), (("a", "−1.5"), ("b", "+2"), ("c", "-3.0 %"), ("d", "2 ± 1")))
    assert [row["x"] for row in json.loads(to_json(table))["rows"]] == [-1.5, 2, -3.0, "2 ± 1"]


def test_columns_of_one_name_are_told_apart():
    table = Table("t", "", ("", "x", "x"), (("a", "1", "2"),))
    assert json.loads(to_json(table))["rows"] == [{"row": "a", "x": 1, "x (3)": 2}]


def test_the_page_gets_what_a_cell_has_and_no_more():
    assert table_data(TABLE)["rows"][1] == ["b", {"text": "–"}, "–"]
    cell = table_data(TABLE)["rows"][0][1]
    assert (cell["mark"], cell["href"], cell["interval"]) == ("best", "#/items?a=b", [1.3, 98.7])
