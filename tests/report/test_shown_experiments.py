from __future__ import annotations

import json

import pytest

from avrt.errors import ConfigError
from avrt.report.shown_experiments import check_experiments, experiment_sections
from avrt.report.tables import Cell, Table, rows_to_markdown

CLAIMS = Table(
    "claims",
    "Claims.",
    ("Claim", "Difference", "Verdict"),
    (("a | b <i>", "+1.0 [+0.5, +1.5]", Cell("shown", strong=True)),),
)


@pytest.fixture
def folder(tmp_path):
    stored = {"experiment": "cold", "title": "Cold start", "seeds": [0, 1], "commits": [],
              "ended": "2026-01-02T03:04:05+00:00"}  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(stored))
    (tmp_path / "figure.svg").write_text("<svg></svg>")
    table = "\n".join(["Accuracy.", "", "|  | AV |", "| :-- | --: |", "| sft | 55.7 |"])
    claims = "\n".join([CLAIMS.caption, "", *rows_to_markdown(CLAIMS)])
    (tmp_path / "table.md").write_text(f"{table}\n\n{claims}\n\nCost: 5 core-minutes.\n")
    return tmp_path


def test_the_tables_are_read_as_they_were_written(folder):
    (section,) = experiment_sections([folder])
    first, second = section.tables
    assert first
    assert second
    assert (first.caption, first.rows) == ("Accuracy.", (("sft", "55.7"),))
    assert second.rows == CLAIMS.rows
    assert second.notes == ("Cost: 5 core-minutes.",)
    assert [picture.name for picture in section.pictures] == ["experiment-cold"]
    assert "seeds 0, 1; 2026-01-02; commit not recorded" in section.lead


def test_a_folder_without_an_experiment_is_refused(folder):
    check_experiments([folder])
    (folder / "figure.svg").unlink()
    with pytest.raises(ConfigError, match=r"report\.experiments: .*figure\.svg: not found; name"):
        check_experiments([folder])
