from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from pydantic import ValidationError
from safetensors.torch import load_file

import launched
from avrt.cli import cli
from avrt.config import Config, StudentConfig, dump_config
from avrt.errors import ConfigError
from avrt.train import grpo, launch, sft
from avrt.train.data import PromptEncoder, read_examples, split_path

SCRIPT = Path(launched.__file__)


def torchrun(*command: str, n: int = 2) -> subprocess.CompletedProcess[str]:
    """Start a Python program in several processes of this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, f"--nproc-per-node={n}", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def write(config: Config) -> str:
    """The configuration as a file."""
    path = config.run.dir / f"{config.run.name}.yaml"
    path.write_text(dump_config(config))
    return str(path)


def losses(read_jsonl, folder: Path) -> list[dict[str, float]]:
    # Not kl, which TRL takes as the mean of the means over processes' tokens.
    names = ("step", "loss", "eval_loss", "grad_norm", "reward", "dropped_groups")
    return [
        {name: row[name] for name in names if name in row}
        for row in read_jsonl(folder / "log.jsonl")
    ]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def assert_same_training(read_jsonl, first: Path, second: Path) -> None:
    rows = [losses(read_jsonl, folder) for folder in (first, second)]
    assert rows[0]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for one, two in zip(*rows, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
    models = [weights(folder) for folder in (first, second)]
    for name, tensor in models[0].items():
        torch.testing.assert_close(models[1][name], tensor, atol=2e-4, rtol=0)


def sft_pair(make_config, **student) -> tuple[Config, Config]:
    """One process, and two, with the same samples in each pass."""
    often = {"epochs": 2, "gradient_accumulation_steps": 2}
    one = make_config(run={"name": "one"}, sft={**often, "per_device_batch_size": 2})
    two = make_config(
        run={"name": "two"}, sft={**often, "per_device_batch_size": 1}, student=student
    )
    return one, two


def grpo_pair(make_config, settings=None, **student) -> tuple[Config, Config]:
    of_one, of_two = ({"prompts_per_step": n, **(settings or {})} for n in (4, 2))
    one = make_config(run={"name": "one"}, grpo=of_one)
    two = make_config(run={"name": "two"}, grpo=of_two, student=student)
    return one, two


@pytest.mark.slow
def test_sft_on_two_processes_is_sft_on_one(make_config, read_jsonl):
    one, two = sft_pair(make_config)
    sft.run(one)
    ended = torchrun("-m", "avrt", "sft", write(two))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("sft: 8 samples") == 1, "more than one process speaks"
    assert_same_training(read_jsonl, one.run.path / "sft", two.run.path / "sft")
    with pytest.raises(ConfigError, match=r"already done here with other settings \(processes\)"):
        sft.run(two)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_iterations": 2, "max_steps": 4, "save_steps": 2, "loss_type": "dapo"},
        {"drop_zero_spread": True, "max_steps": 4},
    ],
)
def test_grpo_on_two_processes_is_grpo_on_one(make_config, read_jsonl, monkeypatch, settings):
    one, two = grpo_pair(make_config, settings)
    launched.script_rollouts(monkeypatch.setattr)
    grpo.run(one)
    ended = torchrun(str(SCRIPT), write(two))
    assert ended.returncode == 0, ended.stderr
    assert losses(read_jsonl, one.run.path / "grpo")[0]["grad_norm"] > 0
    assert_same_training(read_jsonl, one.run.path / "grpo", two.run.path / "grpo")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is absent")
def test_deepspeed_gives_the_same_training(make_config, read_jsonl, monkeypatch):
    one, two = sft_pair(make_config, deepspeed="zero2")
    sft.run(one)
    ended = torchrun("-m", "avrt", "sft", write(two))
    assert ended.returncode == 0, ended.stderr
    assert_same_training(read_jsonl, one.run.path / "sft", two.run.path / "sft")
    one, two = grpo_pair(make_config, deepspeed="zero2")
    launched.script_rollouts(monkeypatch.setattr)
    grpo.run(one)
    ended = torchrun(str(SCRIPT), write(two))
    assert ended.returncode == 0, ended.stderr
    assert_same_training(read_jsonl, one.run.path / "grpo", two.run.path / "grpo")


@pytest.mark.slow
def test_a_launch_that_cannot_train_says_so_once(make_config):
    ended = torchrun("-m", "avrt", "sft", write(make_config()), "student.dtype=float16")
    assert ended.returncode != 0
    assert ended.stderr.count("avrt: error: ") == 1
    assert "float16 holds too small a range" in ended.stderr


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
