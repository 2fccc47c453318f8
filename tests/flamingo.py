"""A tiny random Audio Flamingo 3, and an adapter of it as its authors publish theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

import torch
from safetensors.torch import save_file
from transformers import AudioFlamingo3Config, AudioFlamingo3ForConditionalGeneration

__all__ = ["AUDIO_TOKEN", "load_flamingo", "write_adapter", "write_flamingo"]

AUDIO_TOKEN, HIDDEN, N_MELS, N_POSITIONS = 60, 24, 16, 50


def write_flamingo(folder: Path, dtype: torch.dtype = torch.float32, n_layers: int = 2) -> Any:
    """Write a model that transformers loads, with files of a processor; return it."""
    config = AudioFlamingo3Config(
        audio_config={
            "model_type": "audioflamingo3_encoder",
            **dict.fromkeys(("num_hidden_layers", "num_attention_heads"), 2),
            "num_mel_bins": N_MELS,
            "hidden_size": 16,
            "intermediate_size": 32,
            "max_source_positions": N_POSITIONS,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": 64,
            "hidden_size": HIDDEN,
            "intermediate_size": 32,
            "num_hidden_layers": n_layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": False,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        audio_token_id=AUDIO_TOKEN,
    )
    torch.manual_seed(0)
    model = AudioFlamingo3ForConditionalGeneration(config).to(dtype).eval()
    with torch.no_grad():  # as initialised, a token hardly depends on the ones before it
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder, max_shard_size="20KB")
    for name in ("tokenizer.json", "processor_config.json", "chat_template.jinja"):
        (folder / name).write_text(f"the base's {name}")
    return model


def load_flamingo(folder: Path) -> Any:
    """Load a model by transformers, which must find every tensor and no other."""
    model, info = AudioFlamingo3ForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()), info
    return model.eval()


def write_adapter(folder: Path, wrapper: str = "base_model.model.", **settings: Any) -> None:
    """Write an adapter of `write_flamingo`'s model, under the names of transformers 5.0."""
    torch.manual_seed(1)
    folder.mkdir(parents=True)
    rank, layer = 4, "language_model.model.layers."
    wide = {f"{layer}0.mlp.gate_proj": (HIDDEN, 32), f"{layer}1.mlp.down_proj": (32, HIDDEN)}
    wide |= {f"{layer}1.self_attn.q_proj": (HIDDEN, HIDDEN)}
    factors = {}
    for name, (n_in, n_out) in wide.items():
        factors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, n_in) * 0.3
        factors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(n_out, rank) * 0.3
    save_file(factors, folder / "adapter_model.safetensors")
    own = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 6}
    own["target_modules"] = sorted(wide)
    (folder / "adapter_config.json").write_text(json.dumps(own | settings))
    beside = {
        "language_model.model.embed_tokens.weight": torch.randn(64, HIDDEN),
        "audio_tower.layer_norm.bias": torch.randn(16),
        "multi_modal_projector.linear_1.weight": torch.randn(HIDDEN, 16) * 0.2,
        "language_model.lm_head.weight": torch.randn(64, HIDDEN) * 0.5,
    }
    named = {f"{wrapper}{name}": tensor for name, tensor in beside.items()}
    torch.save(named, folder / "non_lora_trainables.bin")
