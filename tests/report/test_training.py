from __future__ import annotations

import pytest

from avrt.errors import DataError
from avrt.report.training import read_training, training_table


def write_log(run, stage: str, text: str) -> None:
    (run / stage).mkdir()
    (run / stage / "log.jsonl").write_text(text)


def test_stages_come_in_the_order_of_training(tmp_path):
    for stage in ("grpo-base", "grpo", "sft"):
        write_log(tmp_path, stage, '{"step": 1, "loss": 1.0}\n')
    assert [training.name for training in read_training(tmp_path)] == ["sft", "grpo", "grpo-base"]


def test_a_torn_last_line_and_a_metric_that_is_no_number_are_no_points(tmp_path):
    write_log(tmp_path, "sft", '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": NaN}\n{"step": 3, "l')
    (training,) = read_training(tmp_path)
    assert training.series == {"loss": [(1, 2.0)]}


def test_the_table_compares_the_first_with_the_last_tenth(tmp_path):
    rows = "".join(f'{{"step": {n}, "loss": {n}}}\n' for n in range(1, 21))
    write_log(tmp_path, "sft", rows)
    assert training_table(read_training(tmp_path)).rows == (("sft", "loss", "1.5", "19.5", "20"),)


@pytest.mark.parametrize("text", ["{\n", "[]\n", '{"loss": 1.0}\n', '{"step": 1, "loss": "x"}\n'])
def test_a_row_that_is_none_is_named(tmp_path, text):
    write_log(tmp_path, "sft", text)
    with pytest.raises(DataError, match=r"log\.jsonl:1: not a row of a training log"):
        read_training(tmp_path)
