from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from click.testing import CliRunner
from pydantic import ValidationError

from avrt.cli import cli
from avrt.cli.options import split_settings
from avrt.config import Config, StudentConfig, dump_config, load_config
from avrt.errors import ConfigError
from avrt.train import grpo, launch, sft
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.split import as_started


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


LAUNCH = Path(__file__).parents[2] / "configs" / "launch"


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*-?.sh")), ids=lambda path: path.stem)
def test_a_launch_file_starts_a_batch_of_32_by_accelerate(path, tmp_path, monkeypatch):
    """What it would start, in the place of accelerate, is parsed by accelerate and by AVRT."""
    stub = tmp_path / "accelerate"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    nodes = ("0", "1") if path.stem.startswith("nodes") else (None,)
    for node in nodes:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        if node is not None:
            environment |= {"HEAD": "10.0.0.1", "NODE": node}
        command = [str(path), "sft", "configs/paper.yaml", "student.model=thinker"]
        command += ["sft.learning_rate=1"]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        program, *words = ran.stdout.splitlines()
        assert program == "launch"
        given, found, is_from_file = _validate_launch_command(
            launch_command_parser().parse_args(words)
        )
        assert (given.training_script, is_from_file) == ("avrt", True)
        stage, *rest = given.training_script_args
        files, settings = split_settings(rest)
        config = load_config([LAUNCH.parents[1] / file for file in files], settings)
        n = given.num_processes
        assert (stage, config.student.model) == ("sft", "thinker")
        assert config.sft.learning_rate == 1
        sft_batch = config.sft.per_device_batch_size * config.sft.gradient_accumulation_steps * n
        assert sft_batch == config.grpo.prompts_per_step * n == 32
        assert (config.student.deepspeed is not None) == (n > 1)
        assert found.num_machines == len(nodes)
        assert given.machine_rank == int(node or 0)
        assert (n, len(nodes)) == {
            "gpus-1": (1, 1),
            "gpus-4": (4, 1),
            "gpus-8": (8, 1),
            "nodes-2": (16, 2),
        }[path.stem]


def test_a_launch_of_two_nodes_asks_for_their_addresses():
    ran = subprocess.run(
        [str(LAUNCH / "nodes-2.sh"), "sft", "paper.yaml"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert "HEAD: set it to the address of the first machine" in ran.stderr


def test_another_number_of_processes_keeps_the_split_of_the_start(make_config, monkeypatch):
    config = make_config(sft={"epochs": 0.5})
    sft.run(config)
    settings = {"processes": 4, "sft": {"gradient_accumulation_steps": 2, "epochs": 0.5}}
    run, folder = config.run.path, config.run.path / "sft"
    with pytest.raises(ConfigError, match=r"1 processes x sft\.grad\w+ = 2, .* start as many proc"):
        as_started(settings, "sft", run, folder)
    same = {**settings, "processes": 1}
    assert as_started(same, "sft", run, folder) == same
    half = {"processes": 2, "sft": {"gradient_accumulation_steps": 1, "epochs": 0.5}}
    assert as_started(half, "sft", run, folder) == same
    twice = {"processes": 2, "sft": {"gradient_accumulation_steps": 2, "epochs": 0.5}}
    with pytest.raises(ConfigError, match=r"another batch; set sft\.grad\w+=1 to go on"):
        as_started(twice, "sft", run, folder)
    assert as_started(twice, "sft", run, run / "elsewhere") == twice
