"""A whole Qwen2.5-Omni in the official layout, with small numbers and random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL = "Qwen2_5OmniModel"
"""The architecture that the official config.json names; transformers calls the class otherwise."""
TALKER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 64,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "mrope_section": [2, 3, 3],
    },
}
DIT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "ff_mult": 2,
    "emb_dim": 16,
    "head_dim": 16,
    "num_embeds": 64,
    "enc_channels": [16, 16, 16, 16, 48],
    "enc_dim": 16,
    "enc_emb_dim": 16,
    "enc_attention_channels": 8,
    "enc_se_channels": 8,
}
BIGVGAN = {
    "upsample_initial_channel": 32,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 5]],
    "upsample_rates": [5, 2],
    "upsample_kernel_sizes": [11, 4],
}


def write_omni(folder: Path, dtype: Any, tied: bool, seed: int = 0) -> None:
    """Save thinker, talker and vocoder in several shards, with processor and voices."""
    import torch
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    from avrt.world.networks import HIDDEN, new_student

    student, processor = new_student(seed)
    thinker = student.config.to_dict()
    thinker["tie_word_embeddings"] = thinker["text_config"]["tie_word_embeddings"] = tied
    config = Qwen2_5OmniConfig(
        thinker_config=thinker,
        talker_config={**TALKER, "embedding_size": HIDDEN},
        token2wav_config={"dit_config": DIT, "bigvgan_config": BIGVGAN},
    )
    torch.manual_seed(seed)
    model = Qwen2_5OmniForConditionalGeneration(config)
    model.thinker.load_state_dict(student.state_dict())
    if not tied:
        model.thinker.lm_head.weight.data.normal_()
    model.to(dtype).save_pretrained(folder, max_shard_size="1MB")
    processor.save_pretrained(folder)
    torch.save({"Ethan": {"bos_token": 1}}, folder / "spk_dict.pt")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": [MODEL]}))
