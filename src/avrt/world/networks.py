"""The world's small models, with random weights: merger, two teachers, student base.

They are transformers architectures with small numbers in their configurations, and real processors:
Qwen2 (text), Qwen2.5-VL (vision), Qwen2-Audio (audio) and the Qwen2.5-Omni thinker. One byte-level
BPE tokenizer (tokenizer.json) serves all four: every word of the world is a single token, any other
text falls back to bytes, so no text is unknown. It splits words by Qwen's rule, because
transformers rebuilds the tokenizer of a Qwen checkpoint from vocabulary and merges with that rule.
"""

from __future__ import annotations

import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

from importlib import resources
from typing import Any, TypeVar

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import sinusoids

__all__ = [
    "CHAT_TEMPLATE",
    "new_audio_teacher",
    "new_merger",
    "new_student",
    "new_tokenizer",
    "new_vision_teacher",
]

MEDIA_TOKENS = {
    "audio_token": "<|AUDIO|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
END, PAD = "<|im_end|>", "<|endoftext|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif part['type'] == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% elif part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

HIDDEN, LAYERS, HEADS = 160, 4, 5
AUDIO_WIDTH, VISION_WIDTH, N_MELS = 64, 64, 64
MAX_AUDIO_S = 10
AUDIO_TEACHER_S = 4
"""Longest sound of the audio teacher, whose encoder pads every sound to this length."""

TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 416,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    # Looking things up in the context stays at chance with the usual 0.02 at this width.
    "initializer_range": 0.08,
    "tie_word_embeddings": True,
    "bos_token_id": None,
}
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
MROPE = {**ROPE, "mrope_section": [4, 6, 6]}
VISION = {
    "depth": 2,
    "hidden_size": VISION_WIDTH,
    "intermediate_size": 192,
    "num_heads": 4,
    "fullatt_block_indexes": [1],
}
AUDIO = {
    "d_model": AUDIO_WIDTH,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 256,
    "num_mel_bins": N_MELS,
}


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Load the world's tokenizer from its file; all weights depend on its vocabulary."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(resources.files("avrt.world") / "tokenizer.json"),
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        extra_special_tokens=MEDIA_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def _ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    vocabulary = tokenizer.get_vocab()
    return {name: vocabulary[token] for name, token in MEDIA_TOKENS.items()}


def _text_config(tokenizer: PreTrainedTokenizerFast, **extra: Any) -> dict[str, Any]:
    return {
        **TEXT,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **extra,
    }


Built = TypeVar("Built", bound=PreTrainedModel)


def _seeded(
    build: type[Built], config: Any, tokenizer: PreTrainedTokenizerFast, seed: int
) -> Built:
    torch.manual_seed(seed)
    model = build(config)
    model.eval()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    # Only here can a server learn that media tokens must never be written.
    model.generation_config.suppress_tokens = list(_ids(tokenizer).values())
    return model


def _picture_processors() -> tuple[Qwen2VLImageProcessor, Qwen2VLVideoProcessor]:
    size = {"shortest_edge": 28 * 28, "longest_edge": 112 * 112}
    sizes = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "size": size}
    return Qwen2VLImageProcessor(**sizes), Qwen2VLVideoProcessor(**sizes)


def new_merger(seed: int = 0) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast]:
    """Make the text merger: Qwen2."""
    tokenizer = new_tokenizer()
    config = Qwen2Config(**_text_config(tokenizer, rope_parameters=ROPE))
    return _seeded(Qwen2ForCausalLM, config, tokenizer, seed), tokenizer


def new_vision_teacher(
    seed: int = 0,
) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor]:
    """Make the vision teacher: Qwen2.5-VL."""
    tokenizer = new_tokenizer()
    ids = _ids(tokenizer)
    config = Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer, rope_parameters=MROPE),
        vision_config={**VISION, "out_hidden_size": HIDDEN, "tokens_per_second": 25},
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
        tie_word_embeddings=True,
    )
    image, video = _picture_processors()
    processor = Qwen2_5_VLProcessor(image, tokenizer, video, chat_template=CHAT_TEMPLATE)
    return _seeded(Qwen2_5_VLForConditionalGeneration, config, tokenizer, seed), processor


def new_audio_teacher(
    seed: int = 0,
) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
    """Make the audio teacher: Qwen2-Audio."""
    tokenizer = new_tokenizer()
    settings: dict[str, Any] = {
        "audio_config": {**AUDIO, "max_source_positions": AUDIO_TEACHER_S * 50},
        "text_config": {**_text_config(tokenizer, rope_parameters=ROPE), "model_type": "qwen2"},
        "audio_token_index": _ids(tokenizer)["audio_token"],
        "tie_word_embeddings": False,  # the class never ties them
    }
    config = Qwen2AudioConfig(**settings)
    features = WhisperFeatureExtractor(feature_size=N_MELS, chunk_length=AUDIO_TEACHER_S)
    processor = Qwen2AudioProcessor(features, tokenizer, chat_template=CHAT_TEMPLATE)
    model = _seeded(Qwen2AudioForConditionalGeneration, config, tokenizer, seed)
    # Fixed positions as in Whisper; a model made from a configuration starts with random ones.
    positions = model.model.audio_tower.embed_positions.weight
    positions.data.copy_(sinusoids(*positions.shape))
    return model, processor


def new_student(
    seed: int = 0,
) -> tuple[Qwen2_5OmniThinkerForConditionalGeneration, Qwen2_5OmniProcessor]:
    """Make the student's base: the Qwen2.5-Omni thinker."""
    tokenizer = new_tokenizer()
    ids = _ids(tokenizer)
    settings: dict[str, Any] = {
        "text_config": _text_config(tokenizer, rope_parameters=MROPE),
        "vision_config": {**VISION, "out_hidden_size": HIDDEN},
        "audio_config": {
            **AUDIO,
            "output_dim": HIDDEN,
            "max_source_positions": 1500,
            "n_window": 128,
        },
        "audio_token_index": ids["audio_token"],
        "image_token_index": ids["image_token"],
        "video_token_index": ids["video_token"],
        "audio_start_token_id": ids["audio_bos_token"],
        "audio_end_token_id": ids["audio_eos_token"],
        "vision_start_token_id": ids["vision_bos_token"],
        "vision_end_token_id": ids["vision_eos_token"],
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    config = Qwen2_5OmniThinkerConfig(**settings)
    image, video = _picture_processors()
    features = WhisperFeatureExtractor(feature_size=N_MELS, chunk_length=MAX_AUDIO_S)
    processor = Qwen2_5OmniProcessor(image, video, features, tokenizer, chat_template=CHAT_TEMPLATE)
    return _seeded(Qwen2_5OmniThinkerForConditionalGeneration, config, tokenizer, seed), processor
