"""The tokenizer keeps every text; the packaged models load and do what their cards say they do."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrt.engines import weights
from avrt.types import LETTERS
from avrt.world.content import COURSES, PLACES, THINGS
from avrt.world.networks import new_merger, new_tokenizer

TOKENIZER = new_tokenizer()
# What a small model must look up should look the same everywhere.
MARKS = ["<think>", "</think>", "<answer>", "</answer>", *(f"({letter})" for letter in LETTERS)]
NAMES = ("merger", "other_merger", "vision_teacher", "audio_teacher", "student")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_survives_the_tokenizer(text: str):
    import unicodedata

    decoded = TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False))
    assert decoded == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("word", [*(f" {w}" for w in (*THINGS, *PLACES, *COURSES)), *MARKS])
def test_every_word_of_the_world_is_one_token(word: str):
    assert len(TOKENIZER.encode(word, add_special_tokens=False)) == 1


def test_a_saved_tokenizer_loads_to_the_same_tokens(tmp_path: Path):
    model, tokenizer = new_merger()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    text = "<think>I see a dark thing.\n(A) dog yes</think><answer>A</answer> naïve 12"
    loaded = weights.load(str(tmp_path)).processor
    assert loaded.encode(text) == tokenizer.encode(text)


def test_the_packaged_weights_stay_small_and_have_cards():
    folder = Path(str(resources.files("avrt"))) / "world" / "weights"
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) <= 16 * 2**20
    for name in NAMES:
        card = (folder / name / "README.md").read_text()
        assert "95 % interval" in card
        assert "avrt world train" in card


@pytest.mark.parametrize("name", NAMES)
def test_packaged_models_load_by_name(name: str):
    loaded = weights.load(f"world:{name}")
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) < 2_000_000
