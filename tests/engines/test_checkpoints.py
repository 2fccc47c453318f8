from __future__ import annotations

import json

import pytest

from avrt.engines.checkpoints import load, model_identity, resolve
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
    from avrt.world.models import new_tokenizer

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
