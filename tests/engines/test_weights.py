from __future__ import annotations

import json

import pytest

from avrt.engines.weights import load, model_identity, resolve
from avrt.errors import ConfigError, EngineError


def test_an_unknown_world_model_is_refused():
    with pytest.raises(ConfigError, match="world:wizard: no such model in the package; known: "):
        resolve("world:wizard")


def test_hub_ids_and_folders_are_left_alone():
    assert resolve("Qwen/Qwen2.5-Omni-3B") == "Qwen/Qwen2.5-Omni-3B"
    assert resolve("./models/student") == "./models/student"


def test_a_folder_without_a_model_is_an_engine_error_that_names_it(tmp_path):
    with pytest.raises(EngineError, match="cannot load this model with transformers"):
        load(str(tmp_path))


def test_a_class_that_transformers_lacks_is_an_engine_error_with_a_remedy(checkpoint, tmp_path):
    for file in checkpoint("merger").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["KimiVL"]}))
    with pytest.raises(EngineError, match=r"no class KimiVL .* engine\.kind=openai"):
        load(str(tmp_path))


@pytest.mark.parametrize("name", ["student", "vision_teacher", "audio_teacher", "merger"])
def test_any_architecture_loads_with_the_tokenizer_it_was_saved_with(checkpoint, name):
    from avrt.world.networks import new_tokenizer

    loaded = load(str(checkpoint(name)))
    text = "Answer: (B) a cat<think>a 12 dogs, ok</think>\n<answer>B</answer>"
    assert type(loaded.model).__name__ == loaded.model.config.architectures[0]
    assert not loaded.model.training
    assert loaded.tokenizer(text)["input_ids"] == new_tokenizer()(text)["input_ids"]


def test_names_in_keys_hold_no_path(checkpoint, tmp_path):
    identity = model_identity(str(checkpoint("merger")), None)
    assert identity["model"] == "local"
    assert len(identity["revision"]) == 64
    assert model_identity(str(tmp_path / "absent"), "r")["model"] == "absent"
    assert model_identity("org/model", "r") == {"model": "org/model", "revision": "r"}


def test_files_that_do_not_change_replies_do_not_change_the_name(checkpoint, tmp_path):
    for file in checkpoint("merger").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = model_identity(str(tmp_path), None)
    (tmp_path / "README.md").write_text("a card")
    assert model_identity(str(tmp_path), None) == before
    (tmp_path / "chat_template.jinja").write_text("another template")
    assert model_identity(str(tmp_path), None) != before


def test_of_a_whole_omni_checkpoint_in_the_official_layout_the_thinker_is_loaded(
    checkpoint, tmp_path
):
    import torch
    from safetensors.torch import load_file, save_file

    source = checkpoint("student")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    thinker = json.loads((source / "config.json").read_text())
    whole = {
        "architectures": ["Qwen2_5OmniModel"],
        "model_type": "qwen2_5_omni",
        "enable_audio_output": True,
        "thinker_config": thinker,
    }
    (tmp_path / "config.json").write_text(json.dumps(whole))
    weights = load_file(source / "model.safetensors")
    weights = {f"thinker.{name}": value for name, value in weights.items()}
    save_file(
        {**weights, "talker.codec_head.weight": torch.zeros(2, 2)},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    expected, found = load(str(source)).model.state_dict(), load(str(tmp_path)).model.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
