"""Qwen3-Omni's checkpoints: experts that are published one by one and live as one tensor."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file

from avrt.checkpoints import convert
from avrt.config import StudentConfig
from avrt.engines.weights import load
from avrt.errors import ConfigError, DataError
from avrt.train.checkpoint import require_student
from avrt.train.describe import describe
from omni3 import write_omni3, write_thinker3


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    return write_omni3(tmp_path_factory.mktemp("omni3") / "Qwen3-Omni")


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def test_extracted_and_merged_again_is_the_same_to_the_bit(omni, tmp_path):
    convert.extract(omni, tmp_path / "thinker")
    convert.merge(tmp_path / "thinker", omni, tmp_path / "whole")
    assert same(weights(tmp_path / "whole"), weights(omni))
    settings = json.loads((tmp_path / "thinker" / "config.json").read_text())
    assert settings["architectures"] == ["Qwen3OmniMoeThinkerForConditionalGeneration"]
    assert settings["model_type"] == "qwen3_omni_moe_thinker"
    inside, alone = (load(str(path), device="cpu").model for path in (omni, tmp_path / "thinker"))
    assert same(inside.state_dict(), alone.state_dict())


def test_the_form_for_vllm_is_a_whole_model_without_talker(omni, tmp_path):
    convert.extract(omni, tmp_path / "thinker")
    convert.export_vllm(tmp_path / "thinker", tmp_path / "served")
    settings = json.loads((tmp_path / "served" / "config.json").read_text())
    assert settings["architectures"] == ["Qwen3OmniMoeForConditionalGeneration"]
    assert (settings["model_type"], settings["enable_audio_output"]) == ("qwen3_omni_moe", False)
    assert {name.partition(".")[0] for name in weights(tmp_path / "served")} == {"thinker"}
    before, after = (load(str(tmp_path / name), device="cpu") for name in ("thinker", "served"))
    assert same(before.model.state_dict(), after.model.state_dict())


def test_a_missing_expert_and_another_shape_are_named(omni, tmp_path):
    convert.extract(omni, tmp_path / "thinker")
    path = tmp_path / "thinker" / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.1.mlp.experts.2.up_proj.weight"
    save_file({key: t for key, t in tensors.items() if key != name}, path)
    with pytest.raises(DataError, match=f"missing: {name}$"):
        convert.export_vllm(tmp_path / "thinker", tmp_path / "served")
    save_file({**tensors, name: tensors[name][:4].contiguous()}, path)
    with pytest.raises(DataError, match=rf"{name} is \[4, 96\], expected \[48, 96\]"):
        convert.export_vllm(tmp_path / "thinker", tmp_path / "served")


def test_its_parts_are_described_with_what_trains(omni):
    text = describe(omni, StudentConfig(train_projections=True))
    assert "a whole Qwen3-Omni" in text
    trains = {line[:18].strip(): line.split()[-1] for line in text.splitlines()[2:]}
    assert trains["vision projection"] == trains["audio projection"] == "yes"
    assert trains["vision tower"] == trains["vocoder"] == trains["talker"] == "no"
    assert "other" not in trains


def test_a_whole_one_can_be_the_student_and_a_thinker_is_not_extracted(omni, tmp_path):
    require_student(str(omni))
    with pytest.raises(ConfigError, match="a thinker, but the whole Qwen3-Omni"):
        convert.extract(write_thinker3(tmp_path / "thinker"), tmp_path / "out")
