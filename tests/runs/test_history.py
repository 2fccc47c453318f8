"""The history of a run: each command once, with its code and machine, without secrets."""

from __future__ import annotations

import json

import pytest

from avrt.config import load_config
from avrt.report.cost import read_made
from avrt.runs import history, read_history, save_config
from avrt.runs.history import FILE, describe_machine, note_command


def test_each_command_that_saves_its_configuration_is_in_the_history(tmp_path, monkeypatch):
    config = load_config(None, (f"run.dir={tmp_path}", "run.name=mine"))
    save_config(config, works=False)
    assert read_history(config.run.path) == [], "placing a file is no work"
    for words in (["trace", "demo.yaml"], ["merge", "demo.yaml", "run.name=a name"]):
        monkeypatch.setattr("sys.argv", ["/opt/env/bin/avrt", *words])
        save_config(config)
    rows = read_history(config.run.path)
    assert [row["command"] for row in rows] == [
        "avrt trace demo.yaml",
        "avrt merge demo.yaml 'run.name=a name'",
    ]
    assert all(row["date"] and row["avrt"] and "cores" in row["machine"] for row in rows)


@pytest.mark.parametrize(
    "word",
    [
        "merger.engine.api_key=planted-secret",
        "merger.engine.base_url=https://host/v1?api-key=planted-secret",
        "merger.engine.base_url=https://user:planted-secret@host/v1",
        'merger.engine={"extra_body": {"password": "planted-secret"}}',
        "merger.engine={headers: {X-Api-Key: planted-secret}}",
        "merger.engine.headers.Authorization=Bearer planted-secret",
    ],
)
def test_no_secret_of_the_command_line_is_in_it(tmp_path, monkeypatch, word):
    monkeypatch.setattr("sys.argv", ["avrt", "trace", word])
    note_command(tmp_path)
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    assert "planted" not in text
    assert "***" in text


def test_a_line_that_a_crash_cut_off_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["avrt", "sft"])
    note_command(tmp_path)
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write('{"date": "2026')
    assert [row["command"] for row in read_history(tmp_path)] == ["avrt sft"]
    note_command(tmp_path)
    assert [row["command"] for row in read_history(tmp_path)] == ["avrt sft", "avrt sft"]
    assert read_history(tmp_path / "absent") == []


def test_a_page_tells_commands_and_machines_once_and_no_folder_of_this_machine(tmp_path):
    rows = [
        {"date": "2026-01-02T03:04:05+00:00", "command": command, "commit": "abc", "machine": "m"}
        for command in ("avrt sft c.yaml data.root=/scratch/clips", "avrt grpo /scratch/x/c.yaml")
    ]
    lines = [json.dumps(row) for row in (*rows, rows[0])]
    (tmp_path / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = read_made(tmp_path, [])
    assert made.command == "avrt sft c.yaml data.root=…/clips; avrt grpo …/c.yaml"
    assert (made.date, made.commit, made.hardware) == ("2026-01-02", "abc", "m")


def test_the_machine_is_told_with_its_gpus_and_without_starting_cuda(tmp_path, monkeypatch):
    for number, model in enumerate(("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", "")):
        folder = tmp_path / f"0000:{number}"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 16\n")
    monkeypatch.setattr(history, "_DRIVER", tmp_path)
    assert describe_machine.__wrapped__().endswith("GiB, 2 x NVIDIA H100 80GB HBM3, 1 x GPU")
