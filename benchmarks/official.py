"""Qwen2.5-Omni at its published sizes, without its weights: configurations, processor, prompt form.

The values are those of the published configuration, preprocessor and tokenizer files. Weights are
random. The tokenizer has every special token at its published id; the vocabulary itself is no part
of this repository, so that all text but the few words of `MERGES` falls apart into bytes.
"""

from __future__ import annotations

import avrt.engines.torchcompat  # noqa: F401  # isort: skip

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from avrt.engines.names import PREFIX, published_name

__all__ = [
    "TEMPLATE",
    "TEXT",
    "new_processor",
    "new_thinker",
    "new_tokenizer",
    "thinker_config",
    "write_checkpoint",
]

TEXT: dict[str, dict[str, int]] = {
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 151_936,
    },
}
"""The two language models, and one to try scripts with."""
VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
AUDIO = {
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "num_mel_bins": 128,
    "max_source_positions": 1500,
    "n_window": 100,
}
PAD, END = "<|endoftext|>", "<|im_end|>"
FIRST_SPECIAL = 151_643
SPECIAL = (
    *(PAD, "<|im_start|>", END, "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_bos|>", "<|vision_eos|>", "<|vision_pad|>", "<|IMAGE|>", "<|VIDEO|>"),
)
"""In the order of their ids, from `FIRST_SPECIAL` on."""
NAMED = {
    "audio_token": "<|AUDIO|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
MERGES = """
    e+r=261 Ġ+a=264 r+e=265 a+t=266 s+t=267 Ġ+s=274 a+n=276 a+r=277 o+u=283 Ġ+d=294 a+s=300 e+l=301
    n+d=303 Ġ+h=305 Ġa+nd=323 e+m=336 u+s=355 u+l=360 Ġ+y=379 i+st=380 as+s=395 Ġa+s=438 Ġy+ou=498
    Ġs+e=511 an+t=517 Ġa+re=525 Ġh+e=566 y+st=597 yst+em=612 Ġd+o=653 us+er=872 Ġas+s=1071
    f+ul=1262 el+p=1267 Ġse+e=1490 Ġh+elp=1492 W+h=1639 Y+ou=2610 Wh+at=3838 Ġhe+ar=6723
    Ġass+ist=7789 s+ystem=8948 Ġhelp+ful=10950 ist+ant=11202 Ġassist+ant=17847 ass+istant=77091
"""
"""The vocabulary's merges, with the ids they make, that build the names of the roles, "You are a
helpful assistant" and "What do you see and hear"."""
TEMPLATE = (
    "{%- macro media(part) -%}"
    "{%- set kind = part.type -%}"
    "{%- if kind == 'image' or part.image is defined or part.image_url is defined -%}"
    "<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{%- elif kind == 'audio' or part.audio is defined or part.audio_url is defined -%}"
    "<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{%- elif kind == 'video' or part.video is defined -%}"
    "<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{%- else -%}{{ part.text }}{%- endif -%}"
    "{%- endmacro -%}"
    "{%- if messages[0].role != 'system' -%}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}{{ media(part) }}{%- endfor -%}{%- endif -%}"
    "{{ '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
"""Renders the form of the published chat template; the text of the template is our own."""


def thinker_config(size: str, n_layers: int | None = None) -> Qwen2_5OmniThinkerConfig:
    """The configuration of the thinker of size `3b` or `7b`, or its widths with fewer layers."""
    text, vision, audio = dict(TEXT[size]), dict(VISION), dict(AUDIO)
    sections = [16, 24, 24]
    if size == "tiny":
        vision |= {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2}
        audio |= {"d_model": 64, "encoder_ffn_dim": 128, "encoder_attention_heads": 2}
        sections, n_layers = [4, 6, 6], 1
    if n_layers is not None:
        text["num_hidden_layers"] = vision["depth"] = audio["encoder_layers"] = n_layers
        vision["fullatt_block_indexes"] = [n_layers - 1]
    width = text["hidden_size"]
    return Qwen2_5OmniThinkerConfig(
        text_config={
            **text,
            "max_position_embeddings": 32_768,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
            "pad_token_id": FIRST_SPECIAL,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1_000_000.0,
                "mrope_section": sections,
            },
        },
        vision_config={**vision, "out_hidden_size": width},
        audio_config={**audio, "output_dim": width},
        audio_token_index=151_646,
        image_token_index=151_655,
        video_token_index=151_656,
        audio_start_token_id=151_647,
        audio_end_token_id=151_648,
        vision_start_token_id=151_652,
        vision_end_token_id=151_653,
        pad_token_id=FIRST_SPECIAL,
        tie_word_embeddings=False,
    )


def new_tokenizer() -> Qwen2Tokenizer:
    """Build the tokenizer: bytes and the words of `MERGES` at their ids, the rest unused."""
    vocabulary: dict[str, int] = {}
    letters = sorted(ByteLevel.alphabet(), key=lambda letter: (ord(letter) > 255, ord(letter)))
    vocabulary |= {letter: number for number, letter in enumerate(letters)}
    merges = []
    for entry in MERGES.split():
        pair, _, number = entry.rpartition("=")
        left, _, right = pair.partition("+")
        merges.append((left, right))
        vocabulary[left + right] = int(number)
    vocabulary |= {token: FIRST_SPECIAL + place for place, token in enumerate(SPECIAL)}
    used = {*vocabulary.values()}
    vocabulary |= {f"<|unused{n}|>": n for n in range(FIRST_SPECIAL) if n not in used}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        pad_token=PAD,
        eos_token=END,
        model_max_length=32_768,
        extra_special_tokens=NAMED,
        chat_template=TEMPLATE,
    )
    tokenizer.add_tokens(list(SPECIAL), special_tokens=True)
    return tokenizer


def new_processor() -> Qwen2_5OmniProcessor:
    """Build the processor with the published sizes: 14-pixel patches, 128 mels, 300 s of sound."""
    sizes: dict[str, Any] = {
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 3136, "longest_edge": 12_845_056},
    }
    features = WhisperFeatureExtractor(
        feature_size=128, chunk_length=300, sampling_rate=16_000, return_attention_mask=True
    )
    return Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(**sizes),
        Qwen2VLVideoProcessor(**sizes),
        features,
        new_tokenizer(),
        chat_template=TEMPLATE,
    )


def new_thinker(
    config: Qwen2_5OmniThinkerConfig, device: str, seed: int = 0
) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Build a thinker with random weights in bfloat16, as the published ones are stored."""
    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return Qwen2_5OmniThinkerForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(default)


def write_checkpoint(
    folder: Path, thinker: Any, processor: Qwen2_5OmniProcessor, whole: bool = False
) -> None:
    """Write a thinker under its published names, or, with `whole`, inside the whole model's layout.

    `save_pretrained` is not used: of a model that was built and not loaded it may write live names.
    The whole model has one tensor each of a talker and a vocoder, which AVRT copies unread.
    """
    folder.mkdir(parents=True)
    prefix = PREFIX if whole else ""
    tensors = {prefix + published_name(name): p.data for name, p in thinker.named_parameters()}
    settings = {
        **thinker.config.to_dict(),
        "architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"],
        "model_type": "qwen2_5_omni_thinker",
        "dtype": "bfloat16",
    }
    if whole:
        tensors["talker.codec_head.weight"] = torch.randn(64, 32, dtype=torch.bfloat16)
        tensors["token2wav.code2wav.weight"] = torch.randn(16)
        settings = {
            "architectures": ["Qwen2_5OmniModel"],
            "model_type": "qwen2_5_omni",
            "dtype": "bfloat16",
            "enable_audio_output": True,
            "thinker_config": settings,
        }
    save_torch_state_dict(tensors, folder, max_shard_size="5GB")
    (folder / "config.json").write_text(json.dumps(settings, indent=2))
    ends = {"eos_token_id": [FIRST_SPECIAL + 2, FIRST_SPECIAL], "pad_token_id": FIRST_SPECIAL}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    processor.save_pretrained(folder)
