"""What a policy wrote over its training, as a table of the page."""

from __future__ import annotations

import json

import pytest

from avrt.errors import DataError
from avrt.report.completions import completion_table


def group(step, texts=("good", "middling", "bad"), advantages=(1.0, 0.0, -1.0)):
    rewards = {"format": [1.0, 1.0, None], "accuracy": [1.0, 0.0, 0.0]}
    return {"step": step, "id": f"q{step}", "texts": texts, "rewards": rewards,
            "advantages": advantages}  # fmt: skip


def write(run, rows, tail=""):
    (run / "grpo").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "grpo" / "completions.jsonl").write_text(text + tail, encoding="utf-8")


def test_the_best_and_the_worst_of_groups_at_even_distances(tmp_path):
    write(tmp_path, [group(step) for step in range(1, 101)], tail='{"step": 101, "id')
    table = completion_table(tmp_path, "grpo", "SFT + RL")
    steps = [row[2] for row in table.rows]
    assert steps[:2] == ["1", "1"]
    assert steps[-2:] == ["100", "100"]
    assert len(steps) == 20
    item, text, _, advantage, *rewards = table.rows[1]
    assert (item.text, item.href) == ("q1", "#/items?origin=dataset&id=q1")
    assert (text, advantage, rewards) == ("bad", "-1.00", ["–", "0"])


def test_a_long_completion_keeps_its_end_and_a_lone_group_stands_once(tmp_path):
    write(tmp_path, [group(1, ["x" * 5_000 + "<answer>B</answer>"], [0.0])])
    table = completion_table(tmp_path, "grpo", "RL")
    assert len(table.rows) == 1
    assert table.rows[0][1].endswith("<answer>B</answer>")
    assert len(table.rows[0][1]) < 1_100


def test_nothing_written_is_no_table_and_another_file_is_refused(tmp_path):
    assert completion_table(tmp_path, "grpo", "RL") is None
    write(tmp_path, [])
    assert completion_table(tmp_path, "grpo", "RL") is None
    (tmp_path / "grpo" / "completions.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(DataError, match=r"completions\.jsonl: not what `avrt grpo` wrote"):
        completion_table(tmp_path, "grpo", "RL")
