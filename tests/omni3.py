"""A Qwen3-Omni thinker with small numbers and random weights, and its processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXT = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "max_position_embeddings": 4096,
    "initializer_range": 0.08,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
    },
}
VISION = {
    "depth": 3,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "patch_size": 16,
    "out_hidden_size": 96,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0, 1],
    "initializer_range": 0.1,
}
AUDIO = {
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "num_mel_bins": 64,
    "output_dim": 96,
    "downsample_hidden_size": 16,
    "n_window": 50,
    "n_window_infer": 400,
    "initializer_range": 0.1,
}


def new_thinker3(seed: int = 0) -> tuple[Any, Any]:
    """The thinker of a Qwen3-Omni: mixture of experts, patches of 16 pixels."""
    import avrt.engines.torchcompat  # noqa: F401  # isort: skip

    import torch
    import transformers

    from avrt.world.networks import CHAT_TEMPLATE, MEDIA_TOKENS, new_tokenizer

    tokenizer = new_tokenizer()
    ids = {name: tokenizer.get_vocab()[token] for name, token in MEDIA_TOKENS.items()}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = transformers.Qwen3OmniMoeThinkerConfig(
        text_config={**TEXT, **ends, "vocab_size": len(tokenizer)},
        vision_config=VISION,
        audio_config=AUDIO,
        audio_token_id=ids["audio_token"],
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        audio_start_token_id=ids["audio_bos_token"],
        vision_start_token_id=ids["vision_bos_token"],
        position_id_per_seconds=13,
    )
    torch.manual_seed(seed)
    model = transformers.Qwen3OmniMoeThinkerForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    size = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
    sizes: dict[str, Any] = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    processor = transformers.Qwen3OmniMoeProcessor(
        transformers.Qwen2VLImageProcessor(**sizes, size=size),
        transformers.Qwen2VLVideoProcessor(**sizes, size=size),
        transformers.WhisperFeatureExtractor(feature_size=64, chunk_length=10),
        tokenizer,
        chat_template=CHAT_TEMPLATE,
    )
    return model, processor


def write_thinker3(folder: Path, seed: int = 0) -> Path:
    """Save one."""
    model, processor = new_thinker3(seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_omni3(folder: Path, seed: int = 0) -> Path:
    """A whole Qwen3-Omni in the published layout: the thinker under its prefix, and other parts.

    Talker and vocoder are tensors without a model: nothing here runs them.
    """
    import torch
    from safetensors.torch import load_file, save_file

    write_thinker3(folder, seed)
    thinker = load_file(folder / "model.safetensors")
    whole = {f"thinker.{name}": tensor for name, tensor in thinker.items()}
    whole |= {"talker.model.norm.weight": torch.ones(8), "code2wav.decoder.bias": torch.zeros(4)}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    settings = {
        "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
        "model_type": "qwen3_omni_moe",
        "thinker_config": config,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder
