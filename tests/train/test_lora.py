from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from avrt.config import Config, StudentConfig
from avrt.engines.weights import load
from avrt.errors import ConfigError
from avrt.train import grpo, sft
from avrt.train.checkpoint import describe_student, lora_config
from avrt.train.log import TrainingLog

pytest.importorskip("peft")
LORA = {"lora": {"rank": 4, "alpha": 8}}


def language_layers(model) -> list[torch.nn.Linear]:
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return [
        module
        for name, module in model.model.language_model.named_modules()
        if name.rpartition(".")[2] in names
    ]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_adapters_go_with_no_projections_and_need_targets():
    with pytest.raises(ValidationError, match="set train_projections: false, or lora: null"):
        Config.model_validate({"student": {**LORA, "train_projections": True}})
    with pytest.raises(ValidationError, match="nothing would be trained"):
        Config.model_validate({"student": {"lora": {"targets": []}}})


def test_unknown_target_is_refused_with_those_there_are(student):
    settings = StudentConfig.model_validate({"lora": {"targets": ["q_proj", "qkv"]}})
    with pytest.raises(ConfigError, match=r"no linear layer qkv; it has down_proj, .*v_proj"):
        lora_config(settings, student[0])


def test_adapters_are_counted_without_weights(student, student_folder):
    expected = sum(
        4 * (module.in_features + module.out_features) for module in language_layers(student[0])
    )
    described = describe_student(str(student_folder), StudentConfig.model_validate(LORA))
    assert described is not None
    assert described[0]["trainable"] == expected


def interrupt(monkeypatch, step: int, run) -> None:
    """Run a stage, and interrupt it after a step."""
    with monkeypatch.context() as patch:
        on_log = TrainingLog.on_log

        def stop(self, args, state, control, **kwargs):
            on_log(self, args, state, control, **kwargs)
            if state.global_step == step:
                raise KeyboardInterrupt

        patch.setattr(TrainingLog, "on_log", stop)
        with pytest.raises(KeyboardInterrupt):
            run()


def test_sft_trains_adapters_saves_a_full_model_and_resumes(
    make_config, student_folder, monkeypatch, read_numbers, tmp_path
):
    straight = make_config(student=LORA, run={"name": "straight"}, sft={"epochs": 2})
    counts = sft.run(straight).counts
    config = make_config(student=LORA, sft={"epochs": 2})
    interrupt(monkeypatch, 3, lambda: sft.run(config))
    checkpoint = config.run.path / "sft/checkpoints/checkpoint-2"
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert sft.run(config).counts["steps"] == 4

    logs = [read_numbers(run.run.path / "sft/log.jsonl") for run in (straight, config)]
    assert logs[0] == logs[1]
    assert logs[0][-2]["loss"] < logs[0][0]["loss"]
    folders = [run.run.path / "sft/model" for run in (straight, config)]
    first, second = map(weights, folders)
    assert all(first[name].equal(second[name]) for name in first)

    before = weights(student_folder)
    assert before.keys() == first.keys(), "not a full checkpoint"
    model = load(str(folders[0]), device="cpu").model
    changed = {name for name in before if not before[name].equal(first[name])}
    assert len(changed) == len(language_layers(model))
    assert all(name.startswith("model.layers.") and "proj" in name for name in changed)
    assert counts["parameters/trainable"] == sum(
        4 * (module.in_features + module.out_features) for module in language_layers(model)
    )
    # A relative path may end in the same words: ../../tmp/...
    absolute = re.compile(rb"(?<!\.\.)" + re.escape(str(tmp_path)).encode())
    for path in config.run.path.rglob("*"):
        assert path.is_dir() or not absolute.search(path.read_bytes()), path


def test_grpo_trains_adapters_against_the_model_without_them_and_resumes(
    make_config, student_folder, monkeypatch, read_numbers
):
    monkeypatch.setitem(grpo.REWARDS, "format", lambda completion, *_: float(len(completion) % 5))
    straight = make_config(student=LORA, run={"name": "straight"}, grpo={"max_steps": 3})
    grpo.run(straight)
    config = make_config(student=LORA, grpo={"max_steps": 3})
    interrupt(monkeypatch, 2, lambda: grpo.run(config))
    assert grpo.run(config).counts["steps"] == 3
    logs = [read_numbers(run.run.path / "grpo/log.jsonl") for run in (straight, config)]
    assert logs[0] == logs[1]
    assert logs[0][0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert logs[0][2]["kl"] > 0
    first, second = (weights(run.run.path / "grpo/model") for run in (straight, config))
    assert all(first[name].equal(second[name]) for name in first)
    assert first.keys() == weights(student_folder).keys()


def test_there_is_no_second_model_beside_the_adapters(make_config, student):
    from avrt.train.data import PromptEncoder, read_examples, split_path

    config = make_config(student=LORA)
    examples = read_examples(split_path(config.run.path, "train"))
    encoder = PromptEncoder(student[1], config.data.root, config.media, config.student.prompt)
    trainer = grpo.make_trainer(config, *student, encoder, examples)
    assert trainer.ref_model is None
    assert list(trainer.model.peft_config) == ["default"]
