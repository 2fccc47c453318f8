from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import launched
from avrt.config import StudentConfig
from avrt.train import grpo, launch, sft
from avrt.train.checkpoint import load_student, restore_weights, save_model
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.formats import reference_of

TOWERS = ("model.visual.", "model.audio_tower.")
HALF = {"dtype": "bfloat16"}


def encoded(config, processor):
    """The inputs of the first two samples."""
    examples = read_examples(split_path(config.run.path, "train"))
    encoder = PromptEncoder(processor, config.data.root, config.media, config.student.prompt)
    return sft.TraceCollator(examples, encoder, processor)([{"sample_id": n} for n in ("s0", "s1")])


def logits(model, batch):
    """Of a pass as a GPU trains it."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return model(**{name: value for name, value in batch.items() if name != "labels"}).logits


def formats(model) -> dict[str, torch.dtype]:
    return {name: parameter.dtype for name, parameter in model.named_parameters()}


def places(model) -> dict[str, int]:
    return {name: parameter.data_ptr() for name, parameter in model.named_parameters()}


def test_frozen_matrices_are_read_as_autocast_rounds_them(make_config, student_folder):
    full, processor = load_student(str(student_folder))
    held, _ = load_student(str(student_folder), StudentConfig.model_validate(HALF))
    assert {*formats(full).values()} == {torch.float32}
    half = {name for name, dtype in formats(held).items() if dtype == torch.bfloat16}
    assert all(name.startswith(TOWERS) for name in half)
    size = {name: parameter.numel() for name, parameter in held.named_parameters()}
    n_towers = sum(n for name, n in size.items() if name.startswith(TOWERS))
    assert sum(size[name] for name in half) / n_towers > 0.97
    for name, parameter in held.named_parameters():
        assert parameter.equal(full.get_parameter(name).to(parameter.dtype)), name
    batch = encoded(make_config(), processor)
    assert logits(held, batch).equal(logits(full, batch))


def test_projections_that_train_stay_float32(student_folder):
    settings = StudentConfig.model_validate({**HALF, "train_projections": True})
    held = formats(load_student(str(student_folder), settings)[0])
    for name, dtype in held.items():
        if name.startswith(("model.visual.merger.", "model.audio_tower.proj.")):
            assert dtype == torch.float32
    assert torch.bfloat16 in held.values()


@pytest.mark.parametrize("projections", [False, True])
def test_the_reference_shares_what_is_frozen_and_computes_the_same(
    make_config, student_folder, projections
):
    settings = StudentConfig.model_validate({**HALF, "train_projections": projections})
    policy, processor = load_student(str(student_folder), settings)
    batch = encoded(make_config(), processor)
    reference = reference_of(policy, half=True)
    assert logits(reference, batch).equal(logits(policy, batch))
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    trains = {name for name, p in policy.named_parameters() if p.requires_grad}
    shared = {name for name, place in places(policy).items() if place == places(reference)[name]}
    assert shared == {*places(policy)} - trains
    rounded = {name for name in trains if formats(reference)[name] == torch.bfloat16}
    assert rounded
    for name, parameter in policy.named_parameters():
        if name in trains:
            nn.init.zeros_(parameter)
            assert reference.get_parameter(name).any() or "bias" in name, name
    assert not logits(reference, batch).equal(logits(policy, batch))


def test_a_reference_in_float32_is_the_policy_that_it_was(student):
    policy, _ = student
    reference = reference_of(policy, half=False)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    for parameter in policy.parameters():
        if parameter.requires_grad:
            nn.init.ones_(parameter)
    assert reference.lm_head.weight is reference.model.language_model.embed_tokens.weight
    for name, value in reference.state_dict().items():
        assert value.equal(before[name]), name


@pytest.fixture
def half_config(make_config, monkeypatch):
    """A configuration that trains in bfloat16 on the CPU, as a GPU would."""
    monkeypatch.setattr(launch, "on_cpu", lambda _: False)

    def make(**sections):
        config = make_config(**sections)
        return config.model_copy(
            update={"student": config.student.model_copy(update={"dtype": "bfloat16"})}
        )

    return make


def test_grpo_in_bfloat16_starts_at_no_kl_and_has_one_set_of_towers(
    half_config, read_jsonl, monkeypatch
):
    launched.tell_apart(monkeypatch.setattr)
    trainers = []

    def saved(trainer, *rest):
        trainers.append(trainer)
        save_model(trainer, *rest)

    monkeypatch.setattr(grpo, "save_model", saved)
    config = half_config()
    grpo.run(config)
    first, last = read_jsonl(config.run.path / "grpo" / "log.jsonl")
    assert first["kl"] == 0
    assert last["kl"] > 0
    (trainer,) = trainers
    policy, reference = trainer.accelerator.unwrap_model(trainer.model), trainer.ref_model
    for name, parameter in policy.named_parameters():
        if name.startswith(TOWERS):
            assert reference.get_parameter(name) is parameter
    head = "model.language_model.layers.0.mlp.up_proj.weight"
    assert (formats(policy)[head], formats(reference)[head]) == (torch.float32, torch.bfloat16)
    stored = load_file(config.run.path / "grpo" / "model" / "model.safetensors")
    assert stored["visual.patch_embed.proj.weight"].dtype == torch.bfloat16
    assert stored["model.layers.0.mlp.up_proj.weight"].dtype == torch.float32


def test_a_checkpoint_is_restored_in_the_formats_of_the_training(student_folder):
    model, _ = load_student(str(student_folder), StudentConfig.model_validate(HALF))
    before = formats(model)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    restore_weights(model, str(student_folder))
    again, _ = load_student(str(student_folder), StudentConfig.model_validate(HALF))
    assert formats(model) == before
    for name, parameter in again.named_parameters():
        assert model.get_parameter(name).equal(parameter), name


def test_adapters_on_rounded_weights_are_merged_in_float32(half_config, student_folder):
    pytest.importorskip("peft")
    config = half_config(student={"lora": {"rank": 2}})
    sft.run(config)
    stored = load_file(config.run.path / "sft" / "model" / "model.safetensors")
    before = load_file(student_folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    name = "model.layers.0.mlp.up_proj.weight"
    delta = stored[name] - before[name].bfloat16().float()
    assert 0 < delta.abs().max() < 1
    assert torch.linalg.matrix_rank(delta, rtol=1e-3) == 2
