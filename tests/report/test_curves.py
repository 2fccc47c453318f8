from __future__ import annotations

import pytest

from avrt.errors import DataError
from avrt.report.curves import (
    held_out_table,
    moving_average,
    read_training,
    thinned,
    training_table,
)
from avrt.report.figures import held_out_figure
from avrt.report.training_charts import titles_of
from avrt.runs import manifest_path, write_json


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


def test_held_out_accuracy_has_its_count_and_interval(tmp_path):
    rows = '{"step": 0, "eval_accuracy": 0.25, "eval_n": 40}\n{"step": 1, "loss": 1.0}\n'
    write_log(tmp_path, "grpo", rows + '{"step": 50, "eval_accuracy": 0.5, "eval_n": 40}\n')
    write_log(tmp_path, "sft", '{"step": 1, "loss": 1.0}\n')
    trainings = read_training(tmp_path)
    table = held_out_table(trainings)
    assert table is not None
    assert [tuple(map(str, row[:3])) for row in table.rows] == [
        ("grpo", "0", "25.0 %"),
        ("grpo", "50", "50.0 %"),
    ]
    assert table.rows[1][3:] == ("[35.2, 64.8]", "40")
    figure = held_out_figure(trainings, {"grpo": "grpo"})
    assert figure is not None
    assert "n = 40" in figure.caption
    assert ">grpo<" in figure.svg
    assert ">sft<" not in figure.svg


def test_trainings_are_called_by_where_they_start(tmp_path):
    for stage, revision in (("grpo", "of-sft"), ("grpo-base", "of-base"), ("grpo-mine", "other")):
        write_log(tmp_path, stage, '{"step": 0, "eval_accuracy": 0.5, "eval_n": 200}\n')
        manifest = {"settings": {"student": {"revision": revision}}, "inputs": {}, "counts": {}}
        write_json(manifest_path(tmp_path, stage), manifest)
    write_log(tmp_path, "grpo-now", '{"step": 0, "eval_accuracy": 0.5, "eval_n": 200}\n')
    trainings = read_training(tmp_path)
    titles = titles_of(trainings, {"of-sft": "sft", "of-base": "base"})
    figure = held_out_figure(trainings, titles)
    assert figure is not None
    for name in ("SFT + RL (grpo)", "RL only (grpo-base)", "grpo-mine", "grpo-now"):
        assert f">{name}<" in figure.svg
    assert "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark)" in figure.svg


def test_a_run_without_held_out_answers_has_no_such_table(tmp_path):
    write_log(tmp_path, "grpo", '{"step": 1, "loss": 1.0}\n')
    assert held_out_table(read_training(tmp_path)) is None
    assert held_out_figure(read_training(tmp_path), {}) is None


@pytest.mark.parametrize("text", ["{\n", "[]\n", '{"loss": 1.0}\n', '{"step": 1, "loss": "x"}\n'])
def test_a_row_that_is_none_is_named(tmp_path, text):
    write_log(tmp_path, "sft", text)
    with pytest.raises(DataError, match=r"log\.jsonl:1: not a row of a training log"):
        read_training(tmp_path)


def test_a_long_log_is_thinned_to_means():
    points = [(step, float(step)) for step in range(1, 1001)]
    thin = thinned(points, 240)
    assert len(thin) == 200
    assert thin[0] == (5, 3.0)
    assert thin[-1] == (1000, 998.0)
    assert thinned(points[:10], 240) == points[:10]


def test_a_moving_average_is_that_of_the_neighbours_there_are():
    assert moving_average([0.0, 3.0, 6.0, 9.0], 1) == [1.5, 3.0, 6.0, 7.5]
