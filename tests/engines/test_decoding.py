"""Rows that come and go, against transformers' own `generate` for each prompt alone."""

from __future__ import annotations

from itertools import pairwise

import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

import pytest
import torch
from transformers import (
    GenerationConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from avrt.config import EngineConfig
from avrt.engines.decoding import Batch, Row
from avrt.engines.encode import Encoded, collate, encode, suppress_token_ids
from avrt.engines.transformers import TransformersEngine
from avrt.engines.weights import Loaded, load
from avrt.types import Prompt, Request, Sampling
from avrt.world import networks

LENGTHS = [3, 40, 1, 12, 5, 2, 30, 4, 8]


def generated(loaded: Loaded, encoded: Encoded, n: int) -> list[int]:
    """What `generate` writes after one prompt."""
    inputs = collate([encoded], 0, "left")
    settings = GenerationConfig(
        max_new_tokens=n,
        do_sample=False,
        eos_token_id=loaded.tokenizer.eos_token_id,
        pad_token_id=loaded.tokenizer.pad_token_id,
        suppress_tokens=suppress_token_ids(loaded.processor) or None,
    )
    loaded.model.generation_config = GenerationConfig()
    output = loaded.model.generate(**inputs, generation_config=settings)
    return output[0, len(encoded.input_ids) :].tolist()


def decode(loaded: Loaded, rows: list[Row], size: int) -> tuple[int, list[int]]:
    """Complete rows in a batch of `size`; the steps it took and the longest cache of each."""
    batch, waiting, longest, n_steps = Batch(loaded), [*rows], [], 0
    while waiting or batch.n_running:
        n_free = batch.n_free(size)
        admitted, waiting = waiting[:n_free], waiting[n_free:]
        if admitted:
            batch.admit(admitted)
        else:
            batch.step()
            n_steps += 1
            longest.append(batch._cache.get_seq_length())
    return n_steps, longest


@pytest.mark.parametrize("name", ["student", "vision_teacher", "audio_teacher", "merger"])
def test_greedy_rows_that_come_and_go_are_those_of_generate(
    checkpoint, make_frames, make_sound, make_request, collect, name
):
    folder = str(checkpoint(name))
    loaded = load(folder)
    takes = {"student": "av", "vision_teacher": "v", "audio_teacher": "a", "merger": ""}[name]
    prompts = [
        Prompt(
            "what is it? " * (1 + i % 3),
            frames=make_frames(i, n_frames=2 + 2 * (i % 3)) if "v" in takes else None,
            audio=make_sound(i, seconds=0.5 + 0.3 * i) if "a" in takes else None,
        )
        for i in range(len(LENGTHS))
    ]
    requests = [
        make_request(f"k{i}", prompt, max_new_tokens=n)
        for i, (prompt, n) in enumerate(zip(prompts, LENGTHS, strict=True))
    ]
    engine = TransformersEngine(
        EngineConfig(kind="transformers", batch_size=3, device="cpu"), folder, None
    )
    done = collect(engine, requests)
    for i, (prompt, n) in enumerate(zip(prompts, LENGTHS, strict=True)):
        expected = generated(loaded, encode(loaded.processor, prompt), n)
        text = loaded.tokenizer.decode(expected, skip_special_tokens=True)
        assert done[f"k{i}"].text == text
        assert done[f"k{i}"].n_completion_tokens == len(expected)


def test_of_long_prompts_there_are_fewer_at_a_time(
    checkpoint, make_request, collect, monkeypatch: pytest.MonkeyPatch
):
    sizes: list[tuple[int, int]] = []
    admit = Batch.admit

    def watched(batch: Batch, rows: list[Row]) -> list[Row]:
        longest = max(batch.n_longest, *(len(row.encoded.input_ids) for row in rows))
        sizes.append((batch.n_running + len(rows), longest))
        return admit(batch, rows)

    monkeypatch.setattr(Batch, "admit", watched)
    texts = ["who? " * n for n in (60, 30, 30, 2, 2, 2, 2, 2)]
    requests = [
        make_request(f"k{i}", Prompt(text), max_new_tokens=LENGTHS[i])
        for i, text in enumerate(texts)
    ]
    settings = EngineConfig(
        kind="transformers", batch_size=8, device="cpu", batch_tokens=100, dtype="float32"
    )
    done = collect(TransformersEngine(settings, str(checkpoint("merger")), None), requests)
    assert len(done) == len(texts)
    assert all(n * longest <= 100 or n == 1 for n, longest in sizes), sizes
    assert sizes[0][0] == 1
    assert max(n for n, _ in sizes) > 2, "short ones share the batch"


def made(model_class, config, **changes) -> Loaded:
    """A tiny text model of another architecture, with the world's tokenizer."""
    tokenizer = networks.new_tokenizer()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    torch.manual_seed(0)
    model = model_class(config(**sizes, **changes)).eval()
    return Loaded(model, tokenizer)


def rows_of(loaded: Loaded) -> list[Row]:
    texts = ["who?"] * len(LENGTHS)
    texts[3] = "what do you hear in this clip? " * 4
    return [
        Row(Request(f"k{i}", prompt, Sampling(max_new_tokens=n)), encode(loaded.processor, prompt))
        for i, n in enumerate(LENGTHS)
        for prompt in [Prompt(texts[i])]
    ]


def test_a_place_is_taken_as_soon_as_a_row_ends_and_the_cache_is_as_long_as_the_longest_row():
    loaded = made(Qwen2ForCausalLM, Qwen2Config, num_hidden_layers=2)
    rows = rows_of(loaded)
    n_steps, longest = decode(loaded, rows, size=3)
    for row in rows:
        n = row.request.sampling.max_new_tokens
        assert row.tokens == generated(loaded, row.encoded, n)
    n_tokens = sum(len(row.tokens) for row in rows)
    n_in_turn = sum(max(len(row.tokens) for row in rows[first : first + 3]) for first in (0, 3, 6))
    assert n_steps < 0.6 * n_in_turn  # a batch after the other writes that many tokens in a row
    assert n_tokens - len(rows) <= 3 * n_steps
    assert max(longest) <= max(len(row.encoded.input_ids) + len(row.tokens) for row in rows)
    assert any(after < before for before, after in pairwise(longest))  # a long row has left


def test_windows_of_attention_reach_as_far_back_as_in_generate():
    loaded = made(
        Qwen2ForCausalLM,
        Qwen2Config,
        num_hidden_layers=2,
        use_sliding_window=True,
        sliding_window=6,
        max_window_layers=1,
    )
    rows = rows_of(loaded)
    decode(loaded, rows, size=3)
    for row in rows:
        n = row.request.sampling.max_new_tokens
        assert row.tokens == generated(loaded, row.encoded, n)


def test_a_model_with_states_that_are_no_keys_waits_for_its_batch():
    loaded = made(
        Qwen3_5ForCausalLM,
        Qwen3_5TextConfig,
        num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
    )
    rows = rows_of(loaded)
    decode(loaded, rows, size=3)
    for row in rows:
        n = row.request.sampling.max_new_tokens
        assert row.tokens == generated(loaded, row.encoded, n)
