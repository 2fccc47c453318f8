from __future__ import annotations

import pytest
from transformers import TrainerControl, TrainerState

from avrt.errors import AvrtError
from avrt.train.log import TrainingLog, read_log


def state(step):
    return TrainerState(global_step=step, is_world_process_zero=True)


def test_resumed_log_drops_later_and_half_written_rows(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"step": 3, "lo')
    log = TrainingLog(path, {"loss": "loss"})
    log.on_train_begin(None, state(1), TrainerControl())
    log.on_log(None, state(2), TrainerControl(), logs={"loss": 2.5, "epoch": 1.0})
    log.on_log(None, state(2), TrainerControl(), logs={"train_runtime": 9.0})
    assert read_log(path) == [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.5}]


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_diverged_training_stops(tmp_path, name):
    log = TrainingLog(tmp_path / "log.jsonl", {"loss": "loss", "grad_norm": "grad_norm"})
    with pytest.raises(AvrtError, match=f"step 7: {name} is nan.*lower learning_rate"):
        log.on_log(None, state(7), TrainerControl(), logs={"loss": 1.0, name: float("nan")})
