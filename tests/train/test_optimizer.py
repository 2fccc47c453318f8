from __future__ import annotations

import importlib.util

import pytest
import torch
from torch.utils._pytree import tree_leaves

from avrt.config import StudentConfig
from avrt.errors import ConfigError
from avrt.train import launch, optimizer, sft
from avrt.train.checkpoint import student_settings
from avrt.train.optimizer import describe_optimizer, has_cpu_adam, optimizer_name


def settings(**student) -> StudentConfig:
    return StudentConfig.model_validate({"device": "cpu", "dtype": "float32", **student})


def test_an_8_bit_optimizer_without_its_library_is_refused_at_once(make_config, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    config = make_config(student={"optimizer": "adamw_8bit", "model": "nowhere"})
    with pytest.raises(ConfigError, match=r'not installed; run: pip install "avrt\[8bit\]"'):
        sft.run(config)


def test_8_bit_optimizers_are_refused_where_they_cannot_work(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    launch.require_launch(settings(optimizer="adamw_8bit"))
    with pytest.raises(ConfigError, match=r"training runs on the CPU; set .*=adamw_8bit"):
        launch.require_launch(settings(optimizer="paged_adamw_8bit"))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(ConfigError, match=r"DeepSpeed keeps the optimizer on the CPU in float32"):
        launch.require_launch(settings(optimizer="adamw_8bit", deepspeed="zero2"))


def test_each_device_has_its_adamw(monkeypatch):
    assert optimizer_name(settings()) == "adamw_torch"
    assert optimizer_name(settings(optimizer="adamw_8bit")) == "adamw_8bit"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert optimizer_name(StudentConfig()) == "adamw_torch_fused"
    assert optimizer_name(StudentConfig(deepspeed="zero2")) == "adamw_torch"


def test_the_plan_names_the_optimizer_on_the_cpu(monkeypatch):
    offloaded = settings(deepspeed="zero2")
    monkeypatch.setattr(optimizer, "_may_build", lambda: True)
    assert describe_optimizer(offloaded).startswith("DeepSpeed's AdamW on the CPU")
    monkeypatch.setattr(optimizer, "_may_build", lambda: False)
    assert describe_optimizer(offloaded).startswith("torch's AdamW on the CPU; DeepSpeed's own")
    assert describe_optimizer(settings(optimizer="adamw_8bit")) == "adamw_8bit"
    assert not has_cpu_adam(None)


def test_the_optimizer_is_part_of_a_training_unless_it_is_the_default(make_config, monkeypatch):
    config = make_config()

    def stored(**student):
        made = settings(model=config.student.model, **student)
        return student_settings(made.model, made, config.media, 0)["student"]

    assert "optimizer" not in stored()
    assert stored(optimizer="adamw_8bit")["optimizer"] == "adamw_8bit"
    monkeypatch.setattr("avrt.train.checkpoint.has_cpu_adam", bool)
    assert stored(deepspeed="zero2")["optimizer"] == "DeepSpeedCPUAdam"


def test_training_with_8_bit_states_learns(make_config, read_jsonl):
    pytest.importorskip("bitsandbytes")
    config = make_config(student={"optimizer": "adamw_8bit"}, sft={"epochs": 2})
    sft.run(config)
    folder = config.run.path / "sft"
    losses = [row["loss"] for row in read_jsonl(folder / "log.jsonl") if "loss" in row]
    assert losses[-1] < losses[0] - 0.5
    stored = torch.load(folder / "checkpoints" / "checkpoint-4" / "optimizer.pt")
    tensors = [leaf for leaf in tree_leaves(stored) if isinstance(leaf, torch.Tensor)]
    assert torch.uint8 in {tensor.dtype for tensor in tensors}


def test_the_pinned_revision_is_the_base_students_alone(make_config):
    student = StudentConfig(model="org/thinker", revision="abc")
    assert student.revision_of("org/thinker") == "abc"
    assert student.revision_of("runs/demo/sft/model") is None
    stored = student_settings("org/thinker", student, make_config().media, 0)["student"]
    assert (stored["model"], stored["revision"]) == ("org/thinker", "abc")
