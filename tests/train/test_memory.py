from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from avrt.cli import cli
from avrt.config import GrpoConfig, MediaConfig, SftConfig, StudentConfig
from avrt.errors import ConfigError
from avrt.train import grpo, room, sft
from avrt.train.checkpoint import build_student
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.memory import Way, estimate_memory, load_of, longest_sample
from avrt.world.networks import new_student

GIB = 2**30
TEXT = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "layer_types": ["full_attention"] * 36,
    "tie_word_embeddings": False,
}
VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
AUDIO = {"encoder_layers": 32, "d_model": 1280, "encoder_attention_heads": 20}


def test_a_rollout_of_several_steps_is_decoded_step_by_step():
    one = load_of(GrpoConfig(), 3000, 2000)
    several = load_of(GrpoConfig(steps_per_rollout=16, save_steps=64), 3000, 2000)
    assert (several.rollout_rows, several.rollout_prompts) == (
        one.rollout_rows,
        one.rollout_prompts,
    )
    assert several.accumulates == one.accumulates


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> Path:
    """Configuration and processor of a thinker of 4.7 B parameters; there are no weights."""
    folder = tmp_path_factory.mktemp("large")
    model, processor = new_student()
    processor.save_pretrained(folder)
    settings = model.config.to_dict()
    settings["text_config"] |= TEXT
    settings["text_config"]["rope_parameters"]["mrope_section"] = [16, 24, 24]
    settings["vision_config"] |= {**VISION, "out_hidden_size": 2048}
    settings["audio_config"] |= {**AUDIO, "encoder_ffn_dim": 5120, "output_dim": 2048}
    settings["architectures"] = [type(model).__name__]
    settings["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def n_bytes(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_the_estimate_is_what_a_step_holds(make_config, student, student_folder):
    model, processor = student
    config = make_config(sft={"per_device_batch_size": 8})
    examples = read_examples(split_path(config.run.path, "train"))
    encoder = PromptEncoder(processor, config.data.root, config.media, config.student.prompt)
    collator = sft.TraceCollator(examples, encoder, processor)
    batch = collator([{"sample_id": example.sample.id} for example in examples])
    labels = batch.pop("labels")
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own and tensor.is_floating_point():
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model(**batch).last_hidden_state
    hidden.sum().backward()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable)
    optimizer.step()
    moments = [s[key] for s in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]

    built = build_student(str(student_folder), config.student)
    load = load_of(config.sft, labels.shape[1], 0)
    assert load.tokens == labels.numel()
    estimate = estimate_memory(built, load, Way(config.student, on_gpu=True))
    assert estimate["weights"] == n_bytes(model.parameters())
    assert estimate["reference"] == estimate["rounded copies"] == 0
    assert estimate["gradients"] == n_bytes(p.grad for p in trainable)
    assert estimate["optimizer"] == n_bytes(moments)
    head = labels.numel() * 32_768 * 4 + n_bytes([model.lm_head.weight])
    assert (estimate["activations"] - head) / sum(kept.values()) == pytest.approx(1, abs=0.15)


def estimates(large, section, *, several=False, **student) -> dict[str, float]:
    settings = StudentConfig.model_validate(student)
    model = build_student(str(large), settings)
    sample = longest_sample(MediaConfig(), model.config.vision_config)
    way = Way(settings, on_gpu=True, several=several)
    parts = estimate_memory(model, load_of(section, *sample), way)
    return {name: n / GIB for name, n in parts.items()}


def test_settings_save_what_they_should(large):
    one = estimates(large, GrpoConfig())
    assert one["weights"] == pytest.approx(15.1, abs=0.1)  # 3.397 B in float32, towers in bfloat16
    assert one["reference"] == pytest.approx(6.9, abs=0.1)  # embeddings in float32
    assert one["optimizer"] == 2 * one["gradients"] == pytest.approx(25.3, abs=0.1)
    full = estimates(large, GrpoConfig(), dtype="float32")
    assert full["weights"] - one["weights"] == pytest.approx(2.4, abs=0.1)
    assert full["reference"] == pytest.approx(12.7, abs=0.1)
    small = estimates(large, GrpoConfig(), optimizer="adamw_8bit")
    # The embeddings keep moments of 8 bytes.
    assert small["optimizer"] == pytest.approx((0.311 * 8 + 3.086 * 2.03) * 1e9 / GIB, abs=0.1)
    assert estimates(large, GrpoConfig(), optimizer="paged_adamw_8bit")["optimizer"] == 0
    assert estimates(large, GrpoConfig(beta=0.0))["reference"] == 0
    zero = estimates(large, GrpoConfig(), deepspeed="zero2")
    assert zero["weights"] == pytest.approx(8.8, abs=0.1)
    assert zero["optimizer"] == 0
    lora = estimates(large, GrpoConfig(), lora={})
    assert lora["reference"] == 0
    assert lora["weights"] == pytest.approx(9.5, abs=0.1)
    # DDP keeps its buckets, which are the gradients, also while it rolls out.
    assert estimates(large, GrpoConfig(), several=True)["gradients"] == pytest.approx(12.7, abs=0.1)
    deep = estimates(large, SftConfig(gradient_checkpointing=False))
    assert sum(deep.values()) > sum(estimates(large, SftConfig()).values()) + 10


def test_a_dry_run_without_weights_ends_with_what_fits_where(large, tmp_path):
    settings = [f"student.model={large}", f"run.dir={tmp_path}", "run.name=none"]
    for stage, extra in (("sft", []), ("grpo", ["grpo.init=base"])):
        result = CliRunner().invoke(cli, [stage, *settings, *extra, "--dry-run"])
        assert result.exit_code == 0, result.output
        assert "frozen parameters, optimizer adamw" in result.output
        rows = [re.split(r"  +", line) for line in result.output.splitlines()[-10:]]
        fits = {row[0]: "".join(cell[0] for cell in row[2:]) for row in rows[1:-1]}
        assert fits == {
            "SFT, one GPU": "nnyy",
            "SFT, DDP": "nnyy",
            "SFT, ZeRO-2 + offload": "yyyy",
            "SFT, LoRA": "yyyy",
            "GRPO, one GPU": "nnyy",
            "GRPO, DDP": "nnyy",
            "GRPO, ZeRO-2 + offload": "yyyy",
            "GRPO, LoRA": "yyyy",
        }
        assert rows[-1][0].startswith("(samples of 4090 tokens; bfloat16; adamw")


@pytest.mark.parametrize(
    ("free", "changes", "remedy"),
    [
        (50, {}, r"4\d\.\d GiB are enough with student\.optimizer=adamw_8bit;"),
        (30, {}, r"GiB are enough with student\.deepspeed=zero2;"),
        (13.2, {}, r"GiB are enough with student\.deepspeed=zero2;"),
        (
            70,
            {"per_device_batch_size": 4, "gradient_checkpointing": False},
            r"enough with sft\.gradient_checkpointing=true;",
        ),
        (
            62,
            {"per_device_batch_size": 8},
            r"sft\.per_device_batch_size=1 sft\.gradient_accumulation_steps=64;",
        ),
        (4, {}, "no other settings fit either; use a GPU with more memory"),
    ],
)
def test_a_training_without_room_is_refused_with_what_fits(
    large, monkeypatch, free, changes, remedy
):
    monkeypatch.setattr(room, "free_bytes", lambda _: int(free * GIB))
    monkeypatch.setattr(room, "on_cpu", lambda _: False)
    section = SftConfig(**changes)
    with pytest.raises(
        ConfigError, match=rf"needs about .* but {free:.1f} GiB are free; .*{remedy}"
    ):
        room.require_room(str(large), section, StudentConfig(), MediaConfig())
    monkeypatch.setattr(room, "free_bytes", lambda _: 300 * GIB)
    room.require_room(str(large), section, StudentConfig(), MediaConfig())


@pytest.mark.parametrize("stage", [sft, grpo])
def test_it_is_refused_before_weights_are_read(make_config, monkeypatch, stage):
    monkeypatch.setattr(room, "free_bytes", lambda _: 2**20)
    monkeypatch.setattr(stage, "load_student", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(ConfigError, match=r"of GPU memory, but 0\.0 GiB are free"):
        stage.run(make_config())


def test_on_the_cpu_nothing_is_refused(make_config):
    assert room.free_bytes(make_config().student) is None
