"""The merged audio teacher answers as base, tensors beside it and adapter do together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from avrt.checkpoints.adapter import published_audio_name
from avrt.cli import cli
from flamingo import (
    AUDIO_TOKEN,
    N_MELS,
    N_POSITIONS,
    load_flamingo,
    write_adapter,
    write_flamingo,
)

LIVE = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "audio_tower.": "model.audio_tower.",
    "multi_modal_projector.": "model.multi_modal_projector.",
}
"""Published beginnings of names, and those in the transformers of this test."""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("flamingo") / "base"
    write_flamingo(folder)
    return folder


@pytest.fixture
def adapter(base, tmp_path) -> Path:
    write_adapter(tmp_path / "think")
    return tmp_path / "think"


def merge(*arguments: object) -> Result:
    command = ["checkpoint", "merge-adapter", *map(str, arguments)]
    result = CliRunner().invoke(cli, command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def live(name: str) -> str:
    published = published_audio_name(name)
    start = next(start for start in LIVE if published.startswith(start))
    return LIVE[start] + published.removeprefix(start)


def with_adapter(base: Path, adapter: Path):
    """The authors' way: base, then the tensors beside the adapter, then the adapter by PEFT."""
    peft = pytest.importorskip("peft")
    model = load_flamingo(base)
    beside = torch.load(adapter / "non_lora_trainables.bin")
    missing = model.load_state_dict({live(n): each for n, each in beside.items()}, strict=False)
    assert not missing.unexpected_keys
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["target_modules"] = [
        live(f"{name}.weight").removesuffix(".weight") for name in settings["target_modules"]
    ]
    model = peft.get_peft_model(model, peft.LoraConfig(**settings))
    factors = {}
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        module, _, half = name.removesuffix(".weight").rpartition(".")
        own = live(f"{module}.weight").removesuffix("weight")
        factors[f"base_model.model.{own}{half}.default.weight"] = tensor
    assert not model.load_state_dict(factors, strict=False).unexpected_keys
    return model.eval()


def question() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    n_sound = (N_POSITIONS - 2) // 2 + 1
    ids = [5, 9, *[AUDIO_TOKEN] * n_sound, 17, 21, 33]
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "input_features": torch.randn(1, N_MELS, 2 * N_POSITIONS),
        "input_features_mask": torch.ones(1, 2 * N_POSITIONS, dtype=torch.long),
    }


@torch.no_grad()
def answers(model) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = question()
    tokens = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    return model(**inputs).logits, tokens


@pytest.mark.parametrize(
    ("wrapper", "settings"),
    [
        ("", {}),
        ("base_model.model.", {"use_rslora": True}),
        ("module.base_model.model.", {}),
    ],
)
def test_the_merged_model_answers_as_base_and_adapter_do(base, tmp_path, wrapper, settings):
    adapter = tmp_path / "think"
    write_adapter(adapter, wrapper, **settings)
    result = merge(base, adapter, tmp_path / "merged")
    assert result.exit_code == 0, result.output
    assert "3 with a LoRA merged in, 4 replaced" in result.output
    expected, expected_tokens = answers(with_adapter(base, adapter))
    logits, tokens = answers(load_flamingo(tmp_path / "merged"))
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert tokens.equal(expected_tokens)
    of_base, _ = answers(load_flamingo(base))
    assert (of_base - expected).abs().max() > 0.1, "the adapter changes nothing"
    for name in ("config.json", "tokenizer.json", "processor_config.json", "chat_template.jinja"):
        copied, own = tmp_path / "merged" / name, base / name
        same = json.loads if name == "config.json" else str
        assert same(copied.read_text()) == same(own.read_text())


def test_half_precision_is_rounded_once_to_the_format_of_the_base(adapter, tmp_path):
    write_flamingo(tmp_path / "base", torch.bfloat16)
    assert merge(tmp_path / "base", adapter, tmp_path / "merged").exit_code == 0
    name = "language_model.model.layers.1.mlp.down_proj"
    before, after = (
        {
            key: each
            for file in folder.glob("*.safetensors")
            for key, each in load_file(file).items()
        }
        for folder in (tmp_path / "base", tmp_path / "merged")
    )
    assert {each.dtype for each in after.values()} == {torch.bfloat16}
    factors = load_file(adapter / "adapter_model.safetensors")
    a, b = (factors[f"base_model.model.{name}.lora_{half}.weight"] for half in "AB")
    weight = f"{name}.weight"
    expected = (before[weight].float() + 1.5 * (b @ a)).bfloat16()
    # Not all: on some processors a product of the same numbers differs in its last bit.
    assert (after[weight] == expected).float().mean() > 0.98
    torch.testing.assert_close(after[weight], expected, rtol=2**-7, atol=1e-6)
    untouched = "language_model.model.layers.0.mlp.up_proj.weight"
    assert after[untouched].equal(before[untouched])


def test_names_of_a_model_built_from_a_configuration_become_the_published_ones(
    base, adapter, tmp_path
):
    """vLLM does not load `language_model.model.model.…`, which transformers 5.19 wrote."""
    from safetensors.torch import save_file

    odd = tmp_path / "odd"
    shutil.copytree(base, odd, ignore=shutil.ignore_patterns("*.safetensors*"))
    tensors = {
        key: each for file in base.glob("*.safetensors") for key, each in load_file(file).items()
    }
    renamed = {
        key.replace("language_model.model.", "language_model.model.model."): each
        for key, each in tensors.items()
    }
    assert renamed.keys() != tensors.keys()
    save_file(renamed, odd / "model.safetensors", metadata={"format": "pt"})
    assert merge(odd, adapter, tmp_path / "merged").exit_code == 0
    assert load_file(tmp_path / "merged" / "model.safetensors").keys() == tensors.keys()
    merge(base, adapter, tmp_path / "same")
    assert answers(load_flamingo(tmp_path / "merged"))[0].equal(
        answers(load_flamingo(tmp_path / "same"))[0]
    )


def test_an_adapter_of_another_model_is_refused_before_anything_is_written(adapter, tmp_path):
    write_flamingo(tmp_path / "short", n_layers=1)
    result = merge(tmp_path / "short", adapter, tmp_path / "merged")
    assert result.exit_code == 2
    assert "language_model.model.layers.1.mlp.down_proj.weight and 1 more not in" in result.output
    assert "name the base that it was trained on" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short", "think"]


def test_tensors_of_another_shape_are_refused(base, adapter, tmp_path):
    path = adapter / "non_lora_trainables.bin"
    torch.save({"language_model.lm_head.weight": torch.zeros(70, 24)}, path)
    result = merge(base, adapter, tmp_path / "merged")
    assert result.exit_code == 2
    assert "the adapter's is [70, 24], but" in result.output


def test_an_unknown_tensor_beside_the_adapter_is_refused_or_left_out_on_request(
    base, adapter, tmp_path
):
    path = adapter / "non_lora_trainables.bin"
    tensors = torch.load(path)
    torch.save({**tensors, "base_model.model.sound_tower.bias": torch.zeros(3)}, path)
    result = merge(base, adapter, tmp_path / "merged")
    assert result.exit_code == 2
    assert "sound_tower.bias not in" in result.output
    assert "--ignore-unknown" in result.output
    result = merge(base, adapter, tmp_path / "merged", "--ignore-unknown")
    assert result.exit_code == 0
    assert "4 replaced" in result.output


@pytest.mark.parametrize(
    ("path", "content", "complaint"),
    [
        ("think/non_lora_trainables.bin", None, "does not think as published"),
        ("think/adapter_model.safetensors", None, "not found; download the whole folder"),
        ("think/adapter_config.json", None, "no adapter of PEFT"),
        ("base/config.json", None, "config.json is missing"),
        ("base/config.json", '{"model_type": "qwen2"}', "'qwen2', but a base of 'audioflamingo3'"),
        ("think/adapter_config.json", '{"peft_type": "IA3"}', "not the settings of a LoRA"),
        ("think/non_lora_trainables.bin", "<html>", "not a complete file of tensors"),
        ("think/adapter_model.safetensors", "<html>", "not a complete safetensors file"),
        ("merged/mine", "", "already exists; name a new folder"),
    ],
)
def test_what_is_missing_or_damaged_is_named_with_a_remedy(
    base, adapter, tmp_path, path, content, complaint
):
    own = shutil.copytree(base, tmp_path / "base")
    if content is None:
        (tmp_path / path).unlink()
    else:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    result = merge(own, adapter, tmp_path / "merged")
    assert result.exit_code == 2
    assert complaint in result.output


def test_the_folder_above_the_adapter_is_answered_with_the_one_below(base, tmp_path):
    own = shutil.copytree(base, tmp_path / "base")
    write_adapter(own / "think")
    result = merge(own, own, tmp_path / "merged")
    assert f"the adapter is in {own / 'think'}" in result.output


def test_settings_that_change_the_sum_are_refused(base, tmp_path):
    write_adapter(tmp_path / "think", use_dora=True)
    result = merge(base, tmp_path / "think", tmp_path / "merged")
    assert result.exit_code == 2
    assert "use_dora is set" in result.output
