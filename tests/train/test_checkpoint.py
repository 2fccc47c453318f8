from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from avrt.config import StudentConfig
from avrt.errors import ConfigError, EngineError
from avrt.runs import open_stage
from avrt.train import grpo, sft
from avrt.train.checkpoint import (
    count_parameters,
    describe_student,
    load_student,
    open_checkpoints,
    require_student,
)
from avrt.train.trainer import common_arguments
from omni import write_omni


def test_checkpoint_without_towers_is_refused(tmp_path):
    from avrt.world.networks import new_merger

    model, tokenizer = new_merger()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"Qwen2ForCausalLM cannot be the student.*thinker"):
        load_student(str(tmp_path))
    with pytest.raises(ConfigError, match="Qwen2ForCausalLM cannot be the student"):
        describe_student(str(tmp_path), StudentConfig())


def test_towers_are_frozen_and_counted_without_loading(student, student_folder):
    model, _ = student
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert not any("visual" in name or "audio_tower" in name for name in trainable)
    described = describe_student(str(student_folder), StudentConfig())
    assert described is not None
    assert described[0] == count_parameters(model)
    assert described[0]["frozen"] > 0


@pytest.mark.parametrize("train_projections", [False, True])
def test_the_projections_train_on_demand_and_the_towers_never(student_folder, train_projections):
    settings = StudentConfig(dtype="float32", train_projections=train_projections)
    model, _ = load_student(str(student_folder), settings)
    language, vision, audio = (
        sum(p.numel() for p in part.parameters())
        for part in (model.model.language_model, model.model.visual, model.model.audio_tower)
    )
    merger, proj = (
        sum(p.numel() for p in part.parameters())
        for part in (model.model.visual.merger, model.model.audio_tower.proj)
    )
    assert (merger, proj) == (106_976, 10_400)
    trained = language + (merger + proj if train_projections else 0)
    counts = {"trainable": trained, "frozen": language + vision + audio - trained}
    assert count_parameters(model) == counts
    described = describe_student(str(student_folder), settings)
    assert described is not None
    assert described[0] == counts


def test_hub_student_is_not_described():
    assert describe_student("somebody/some-model", StudentConfig()) is None


def test_checkpoints_of_other_settings_are_refused_with_a_remedy(tmp_path):
    folder = tmp_path / "sft" / "checkpoints"
    open_checkpoints(folder, open_stage(tmp_path, "sft", {"seed": 0, "media": 8}, []))
    first = open_stage(tmp_path, "sft", {"seed": 1, "media": 8}, [])
    assert open_checkpoints(folder, first) is None, "nothing was trained yet with the other seed"
    (folder / "checkpoint-2").mkdir()
    (folder / "checkpoint-2" / "trainer_state.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"started here with other settings \(seed\).*run\.name"):
        open_checkpoints(folder, open_stage(tmp_path, "sft", {"seed": 2, "media": 8}, []))


def test_half_written_checkpoint_is_removed(tmp_path):
    stage = open_stage(tmp_path, "sft", {}, [])
    assert open_checkpoints(tmp_path, stage) is None
    for step, files in {
        9: ["trainer_state.json"],
        10: ["trainer_state.json"],
        11: ["model.safetensors"],
    }.items():
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    assert open_checkpoints(tmp_path, stage) == str(tmp_path / "checkpoint-10")
    assert not (tmp_path / "checkpoint-11").exists()


def test_one_of_several_devices_is_left_to_the_launcher(make_config, tmp_path):
    config = make_config(student={"device": "cuda:1"})
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES"):
        common_arguments(config.run, config.student, "sft")


def test_the_thinker_inside_a_whole_model_is_the_student(tmp_path):
    write_omni(tmp_path / "omni", torch.bfloat16, tied=True)
    require_student(str(tmp_path / "omni"))
    model, _ = load_student(str(tmp_path / "omni"))
    assert type(model).__name__ == "Qwen2_5OmniThinkerForConditionalGeneration"


def test_what_cannot_be_the_student_is_refused_before_weights_are_read(make_config, tmp_path):
    from avrt.world.networks import new_merger

    config = new_merger()[0].config
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(tmp_path / "merger")
    for stage in (sft, grpo):
        with pytest.raises(ConfigError, match="cannot be the student"):
            stage.run(make_config(student={"model": str(tmp_path / "merger")}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="cannot load this model"):
        sft.run(make_config(student={"model": str(tmp_path / "empty")}))


@pytest.mark.parametrize("stage", [sft, grpo])
def test_projections_learn_in_both_stages(make_config, student_folder, monkeypatch, stage):
    rewards = {**grpo.REWARDS, "format": lambda completion, *_: float(len(completion) % 5)}
    monkeypatch.setattr(grpo, "REWARDS", rewards)
    config = make_config(student={"train_projections": True})
    stage.run(config)
    folder = config.run.path / stage.__name__.rpartition(".")[2] / "model"
    before, after = (load_file(path / "model.safetensors") for path in (student_folder, folder))
    projections = ("visual.merger.", "audio_tower.proj.")
    towers = {name for name in before if name.startswith(("visual.", "audio_tower."))}
    frozen = {name for name in towers if not name.startswith(projections)}
    assert {name for name in before if before[name].equal(after[name])} == frozen
