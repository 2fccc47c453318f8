"""--json prints JSON and nothing else on the standard output, with the numbers of the text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.datasets import write_samples
from avrt.types import Sample
from scripted_run import overrides, replies, write_dataset, write_script

N_ITEMS = 5


def read(*arguments: object) -> Any:
    result = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> tuple[str, ...]:
    root = tmp_path_factory.mktemp("generated")
    write_dataset(root)
    write_script(root, replies())
    settings = tuple(overrides(root))
    for command in ("prepare", "generate"):
        assert CliRunner().invoke(cli, [command, *settings]).exit_code == 0
    return settings


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> tuple[str, ...]:
    """Questions without media, as a set that the paper's tables know, asked of text models."""
    root = tmp_path_factory.mktemp("evaluated")
    write_samples(
        root / "bench.parquet",
        [
            Sample(
                id=f"q{n}",
                question=f"Question {n}: what is it?",
                options=("dog", "cat", "car", "bell"),
                answer_index=n % 4,
                question_type="Which",
                question_relation="both",
                video_id=f"clip{n}",
                video="clip.mp4",
                image=None,
                audio=None,
                source=f"bench.parquet:{n}",
            )
            for n in range(N_ITEMS)
        ],
    )
    (root / "clip.mp4").write_bytes(b"never opened")
    script = root / "script.jsonl"
    script.write_text(json.dumps({"match": "", "reply": "<answer>A</answer>"}))
    engine = f"{{kind: scripted, script: {script}}}"
    return (
        f"run.dir={root / 'runs'}",
        f"eval.benchmarks={{omnibench: {{format: parquet, root: {root}, split: bench}}}}",
        f"eval.models={{base: {{model: base, modality: none, engine: {engine}}}}}",
        "eval.modalities=[none]",
        "student.model=some/model",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--dry-run"], "--json prints results"),
        (["eval", "--compare", "a", "b"], "--json prints results"),
        (["tables", "--format", "csv"], "--json prints all tables"),
        (["tables", "--output", "x"], "--json prints all tables"),
    ],
)
def test_json_goes_with_no_other_form(arguments, message):
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 2
    assert message in result.output


def test_statistics_are_those_of_the_stored_file(generated):
    found = read("stats", *generated)
    assert found["train"]["samples"] == "5"
    assert {"validation", "comparison", "gates", "views", "length_unit"} <= found.keys()


def test_the_ledger_is_counted(generated):
    assert read("ledger", "stats", *generated)["calls"]


def test_results_of_an_evaluation_have_n_and_intervals(evaluated):
    (result,) = read("eval", *evaluated)
    assert (result["benchmark"], result["model"], result["modality"]) == (
        "omnibench",
        "base",
        "none",
    )
    strict = result["strict"]
    assert (strict["n"], strict["value"]) == (N_ITEMS, 0.4)
    assert strict["low"] < 0.4 < strict["high"]
    assert result["answers"] == {"scored": N_ITEMS}
    assert result["by_group"]["question_type"]["Which"]["n"] == N_ITEMS


def test_tables_have_one_cell_per_published_value_and_ours_beside_it(evaluated):
    read("eval", *evaluated)
    tables = {table["name"]: table for table in read("tables", *evaluated, "--state", "v1")}
    assert [table["table"] for table in tables.values()] == [3, 4, 5, None]
    assert list(tables)[-1] == "errors"
    cells = [cell for cell in tables["stages-by-modality"]["cells"] if cell["model"] == "base"]
    (ours,) = [cell for cell in cells if cell["given"] == "none" and cell["ours"] is not None]
    assert (ours["ours"], ours["n"]) == (40.0, N_ITEMS)


def test_the_doctor_lists_every_check():
    checks = read("doctor")
    assert {check["status"] for check in checks} <= {"ok", "warn"}
    assert {"python", "torch device", "disk"} <= {check["name"] for check in checks}
