from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from pydantic import ValidationError

from avrt.cli import cli
from avrt.config import Config, StudentConfig, dump_config
from avrt.errors import ConfigError
from avrt.train import grpo, launch, sft
from avrt.train.data import PromptEncoder, read_examples, split_path


def write(config: Config) -> str:
    """The configuration as a file."""
    path = config.run.dir / f"{config.run.name}.yaml"
    path.write_text(dump_config(config))
    return str(path)


def test_only_the_main_process_writes(make_config, monkeypatch):
    config = make_config()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    path = write(config)
    before = sorted(config.run.path.rglob("*"))
    result = CliRunner().invoke(cli, ["sft", path, "--dry-run"])
    assert (result.exit_code, result.output) == (0, "")
    monkeypatch.setenv("RANK", "0")
    assert (
        "x 2 accumulated x 2 processes"
        in CliRunner().invoke(cli, ["sft", path, "--dry-run"]).output
    )
    assert sorted(config.run.path.rglob("*")) == before


def test_prompts_must_be_enough_for_all_processes(make_config, student, monkeypatch):
    config = make_config()
    examples = read_examples(split_path(config.run.path, "train"))
    monkeypatch.setattr(grpo, "n_processes", lambda: 3)
    encoder = PromptEncoder(student[1], config.data.root, config.media, config.student.prompt)
    with pytest.raises(ConfigError, match=r"= 4 on each of 3 processes, .* only 8"):
        grpo.make_trainer(config, *student, encoder, examples)
    with pytest.raises(ConfigError, match=r"= 4 on each of 3 processes, .* only 8"):
        grpo.plan(config)
    monkeypatch.setattr(grpo, "n_processes", lambda: 2)
    assert "2 steps of 8 prompts x 2 completions (4 prompts x 2 processes)" in grpo.plan(config)


def test_rollouts_with_rounded_positions_are_refused(make_config, monkeypatch):
    monkeypatch.setattr(grpo, "require_launch", lambda _: None)
    config = make_config(
        student={"deepspeed": "zero2", "dtype": "bfloat16"}, grpo={"share_prompts": False}
    )
    with pytest.raises(ConfigError, match=r"share_prompts = false with student\.deepspeed"):
        grpo.run(config)


def test_float16_is_refused_with_what_to_take():
    with pytest.raises(ValidationError, match="use bfloat16 on a GPU, float32 on a CPU"):
        StudentConfig.model_validate({"dtype": "float16"})


def test_bfloat16_on_a_cpu_is_refused_before_anything_is_read(make_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = make_config(student={"dtype": "bfloat16", "model": "nowhere"})
    for stage in (sft, grpo):
        with pytest.raises(ConfigError, match=r"on a CPU training runs in float32; set student\."):
            stage.run(config)


def test_flash_attention_and_a_cuda_graph_are_refused_on_a_cpu(make_config):
    student = {"tower_attention": "flash_attention_2"}
    with pytest.raises(ConfigError, match=r"flash_attention_2: it needs a GPU"):
        sft.run(make_config(student=student))
    with pytest.raises(ConfigError, match=r"grpo\.cuda_graph = true: a CUDA graph needs a GPU"):
        grpo.run(make_config(grpo={"cuda_graph": True}))
    with pytest.raises(ValueError, match="records rollouts that share prompts"):
        make_config(grpo={"cuda_graph": True, "share_prompts": False})


def test_several_gpus_and_one_process_are_refused_with_the_launch_command(make_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    config = make_config(student={"device": "auto"})
    with pytest.raises(ConfigError, match=r"4 GPUs, but one process.*torchrun --nproc-per-node 4"):
        launch.require_launch(config.student)
    launch.require_launch(make_config(student={"device": "cpu"}).student)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    launch.require_launch(config.student)


def test_deepspeed_needs_its_package_and_a_launcher(make_config, monkeypatch):
    config = make_config(student={"deepspeed": "zero2"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"deepspeed is not installed; run: .*\[deepspeed\]"):
        launch.require_launch(config.student)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(ConfigError, match=r"'zero2' needs a launcher.*torchrun --nproc-per-node 1"):
        launch.require_launch(config.student)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    launch.require_launch(config.student)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory; name a JSON file, or packaged settings: zero2"),
        ("{", "not valid JSON"),
        ("[]", "not DeepSpeed's JSON settings"),
        ('{"zero_optimization": {"stage": 3}}', "stage 3 hangs.*use stage 2"),
        ('{"fp16": {"enabled": true}}', "fp16 is not supported"),
    ],
)
def test_deepspeed_settings_that_cannot_be_used_are_refused(tmp_path, text, message):
    path = tmp_path / "settings.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        launch.deepspeed_settings(str(path))


def test_seconds_per_frame_keep_their_precision_where_deepspeed_rounds_inputs(make_config, student):
    config = make_config()
    examples = read_examples(split_path(config.run.path, "train"))
    encoder = PromptEncoder(student[1], config.data.root, config.media, config.student.prompt)
    collator = sft.TraceCollator(examples, encoder, student[1])
    trainer = sft.make_trainer(config, *student, collator, examples)
    batch = collator([{"sample_id": "s0"}, {"sample_id": "s3"}])
    seconds = batch["video_second_per_grid"]
    assert not seconds.bfloat16().float().equal(seconds), "exact in bfloat16, so it shows nothing"
    rounding = SimpleNamespace(hf_ds_config=SimpleNamespace(dtype=lambda: torch.bfloat16))
    trainer.is_deepspeed_enabled = True
    trainer.accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=rounding))
    prepared = trainer._prepare_inputs(batch)
    assert prepared["pixel_values_videos"].dtype == torch.bfloat16
    assert prepared["video_second_per_grid"].equal(seconds)
