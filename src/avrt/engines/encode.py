"""Turn a prompt into a model's inputs, in the same way for SFT, GRPO, evaluation and teachers.

Frames and sound are taken as decoded. `avrt.media` has already chosen frames and sizes, so the
processor must neither sample nor resize: its own defaults (128 x 28 x 28 pixels at least, 2 frames
per second) would silently override both, and so would a saved configuration. The inputs are checked
against the prompt.

The decision to question: `compact` inputs, which wait for their turn in a training, hold pixels as
bytes, a quarter of the floats' memory. `as_floats` makes the floats on the device, by the two
operations of the processor in their order, so they are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avrt.errors import EngineError
from avrt.types import Frames, Prompt

__all__ = [
    "INTERLEAVED",
    "NORM",
    "Encoded",
    "as_floats",
    "chat_texts",
    "collate",
    "count_media_tokens",
    "encode",
    "media_inputs",
    "merge_media",
    "suppress_token_ids",
]

_TEXT_KEYS = ("input_ids", "attention_mask", "mm_token_type_ids")
_SOUND_KEYS = ("input_features", "feature_attention_mask", "input_features_mask")
"""Their last axis is time, and may differ between rows."""
_WINDOW_S = 0.03
"""A sound is given at least this long, with silence behind it: of less than a window of the
features, some models make no token, and one such file would stop a run.
"""
INTERLEAVED = "use_audio_in_video"
"""The flag of a forward pass whose videos have their sound between their frames; a tensor like all
other inputs. The processor does not emit it, and without it the positions are silently wrong.
"""
NORM = "_norm"
"""Ending of the name under which a batch holds the normalisation of its compact pixels."""
_MEDIA_TOKENS = (
    *("image_token", "video_token", "audio_token"),
    *("vision_bos_token", "vision_eos_token", "audio_bos_token", "audio_eos_token"),
)
"""Attributes of processors and tokenizers that name a media token."""
_QWEN_VL_TOKENS = (
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
"""Qwen2.5-VL's tokenizer has these without naming them as attributes."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A prompt as model inputs. T: tokens, media placeholders included."""

    input_ids: Tensor
    """Shape (T,)."""
    media: dict[str, Tensor] = field(default_factory=dict)
    """All other inputs of the model's forward pass, with the sample's items along axis 0. Compact
    pixels are uint8, beside what `as_floats` normalises them with.
    """
    token_types: Tensor | None = None
    """Shape (T,): text 0, image 1, video 2; Qwen2.5-VL builds its positions from them."""


def encode(
    processor: Any, prompt: Prompt, interleaved: bool = False, compact: bool = False
) -> Encoded:
    """Make the inputs for a prompt; text models have a plain tokenizer as their `processor`.

    With `interleaved` the sound of a video stands between its frames, in chunks of two seconds.
    A still picture has no time, so a sound beside it stays apart. With `compact`, pixels stay bytes
    until `as_floats`.

    Raises:
        EngineError: the prompt holds a modality that the model does not take, or that is missing in
            the inputs.
    """
    if not hasattr(processor, "tokenizer"):
        return _encode_text(processor, prompt)
    kinds, media = _media_arguments(processor, prompt)
    is_mixed = interleaved and {"videos", "audio"} <= media.keys()
    if is_mixed:
        kinds = _interleave(processor, media)
    if compact:
        _keep_bytes(processor, media)
    (text,) = chat_texts(processor, [(kinds, prompt.text, prompt.system)])
    try:
        inputs = processor(text=[text], return_tensors="pt", **media)
    except (
        ValueError
    ) as error:  # the number of media differs from that of the chat template's placeholders
        raise EngineError(
            f"{_name(processor)} and its chat template cannot encode this prompt: {error}"
        ) from error
    input_ids = inputs["input_ids"][0]
    tensors = {
        key: torch.as_tensor(value) for key, value in inputs.items() if key not in _TEXT_KEYS
    }
    frames, audio = prompt.decoded()
    if frames is not None:
        _check_frames(processor, frames, tensors)
    if audio is not None:
        _check_audio(processor, input_ids, tensors)
        tensors = _trim_sound(processor, tensors)
    if is_mixed:
        _check_interleaved(processor, input_ids)
        tensors[INTERLEAVED] = torch.tensor([True])
    if compact:
        tensors |= _normalisation(processor, tensors)
    types = inputs.get("mm_token_type_ids")
    return Encoded(input_ids, tensors, None if types is None else types[0])


def chat_texts(
    processor: Any, prompts: Iterable[tuple[Sequence[str], str, str | None]]
) -> list[str]:
    """Render conversations, each of kinds of media, a text and perhaps a system text: the
    placeholders of media of the kinds ("image", "video", "audio"), then the text.

    A part has only the key `type`, because chat templates look at which keys exist.
    """
    conversations = []
    for kinds, text, system in prompts:
        parts = [*({"type": kind} for kind in kinds), {"type": "text", "text": text}]
        messages = [{"role": "user", "content": parts}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        conversations.append(messages)
    return processor.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)


def as_floats(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Normalise the compact pixels of a batch, on their device; anything else stays as it is."""
    floats = {key: value for key, value in batch.items() if not key.endswith(NORM)}
    for key in batch.keys() - floats.keys():
        mean, std = batch[key][0]
        pixels = key.removesuffix(NORM)
        floats[pixels] = batch[pixels].to(torch.float32).sub_(mean).div_(std)
    return floats


def merge_media(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Join the media of samples into a batch along axis 0, and pad sounds to the longest.

    A sample without a modality adds no item: models match items to the placeholders in
    order of the rows.

    Raises:
        EngineError: videos with their sound between the frames and others; a pass has one flag.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    merged = {key: _concatenate(key, [row[key] for row in rows if key in row]) for key in keys}
    if INTERLEAVED in merged:
        if any("video_grid_thw" in row and INTERLEAVED not in row for row in rows):
            raise EngineError(
                "one batch holds videos with their sound between the frames and videos without; "
                "the model takes one kind at a time"
            )
        merged[INTERLEAVED] = merged[INTERLEAVED].all()
    return merged


def media_inputs(rows: Sequence[Mapping[str, Tensor]], device: torch.device) -> dict[str, Tensor]:
    """Join the media of samples as `merge_media` does, on the device, pixels normalised."""
    return as_floats({name: tensor.to(device) for name, tensor in merge_media(rows).items()})


def collate(
    encoded: Sequence[Encoded], pad_id: int, side: Literal["left", "right"]
) -> dict[str, Tensor]:
    """Make a batch of B prompts: `input_ids`, `attention_mask` of shape (B, T), and the media."""
    batch = {
        "input_ids": _pad([row.input_ids for row in encoded], pad_id, side),
        "attention_mask": _pad([torch.ones_like(row.input_ids) for row in encoded], 0, side),
    }
    if any(row.token_types is not None for row in encoded):
        types = [
            torch.zeros_like(row.input_ids) if row.token_types is None else row.token_types
            for row in encoded
        ]
        batch["mm_token_type_ids"] = _pad(types, 0, side)
    return {**batch, **merge_media([row.media for row in encoded])}


def count_media_tokens(processor: Any, input_ids: Tensor) -> tuple[int, int]:
    """Count the tokens of a prompt that are pictures, and those that are sound."""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        return 0, 0

    def count(*names: str) -> int:
        tokens = {getattr(owner, name, None) for owner in (processor, tokenizer) for name in names}
        ids = tokenizer.convert_tokens_to_ids([token for token in tokens if token is not None])
        return int(torch.isin(input_ids, torch.tensor(ids, dtype=input_ids.dtype)).sum())

    return count("image_token", "video_token"), count("audio_token")


def suppress_token_ids(processor: Any) -> list[int]:
    """List the media tokens, which a model must never write: they break a batch's positions.

    A plain tokenizer belongs to a text model, for which they are ordinary tokens: the list is
    empty.
    """
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        return []
    named = [
        getattr(owner, name, None) for owner in (processor, tokenizer) for name in _MEDIA_TOKENS
    ]
    vocabulary = tokenizer.get_vocab()
    return sorted(
        {vocabulary[token] for token in (*named, *_QWEN_VL_TOKENS) if token in vocabulary}
    )


def _encode_text(tokenizer: Any, prompt: Prompt) -> Encoded:
    for name, media in (("frames", prompt.frames), ("audio", prompt.audio)):
        if media is not None:
            raise EngineError(
                f"the prompt has {name}, but {_name(tokenizer)} is a text-only tokenizer"
            )
    messages = [{"role": "user", "content": prompt.text}]
    if prompt.system is not None:
        messages.insert(0, {"role": "system", "content": prompt.system})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    return Encoded(ids[0])


def _media_arguments(processor: Any, prompt: Prompt) -> tuple[list[str], dict[str, Any]]:
    """Make the kinds of the message's parts and the processor's arguments."""
    kinds: list[str] = []
    arguments: dict[str, Any] = {}
    frames, audio = prompt.decoded()
    if frames is not None:
        if getattr(processor, "image_processor", None) is None:
            raise EngineError(f"the prompt has frames, but {_name(processor)} takes no pictures")
        _check_size(processor, frames)
        if frames.still or getattr(processor, "video_processor", None) is None:
            kinds += ["image"] * len(frames.pixels)
            arguments |= {"images": list(frames.pixels), "images_kwargs": {"do_resize": False}}
        else:
            kinds.append("video")
            arguments |= {"videos": [frames.pixels], "videos_kwargs": _video_settings(frames)}
    if audio is not None:
        extractor = getattr(processor, "feature_extractor", None)
        if extractor is None:
            raise EngineError(f"the prompt has audio, but {_name(processor)} takes no sound")
        if extractor.sampling_rate != audio.rate_hz:
            raise EngineError(
                f"{_name(processor)} needs {extractor.sampling_rate} Hz, "
                f"the sound has {audio.rate_hz} Hz"
            )
        longest = getattr(extractor, "n_samples", len(audio.samples))
        if len(audio.samples) > longest:
            # The extractor would silently cut it.
            raise EngineError(
                f"{audio.duration_s:.1f} s of sound, but {_name(processor)} hears at most "
                f"{longest / audio.rate_hz:g} s; set media.max_audio_s to that or less"
            )
        kinds.append("audio")
        samples = audio.samples
        if (n_short := round(_WINDOW_S * audio.rate_hz) - len(samples)) > 0:
            samples = np.pad(samples, (0, n_short))
        settings = {"sampling_rate": audio.rate_hz, **_sound_length(processor, len(samples))}
        arguments |= {"audio": [samples], "audio_kwargs": settings}
    return kinds, arguments


def _sound_length(processor: Any, n_samples: int) -> dict[str, int]:
    """Let Qwen2.5-Omni's processor pad a sound by as much as its features need, not to 300 s.

    A window that touches the sound then sees the same samples, so the features stay the same bit
    for bit, at a small part of the time.
    """
    if "Omni" not in type(processor).__name__:
        return {}
    extractor = processor.feature_extractor
    hops = -(-(n_samples + extractor.n_fft) // extractor.hop_length)
    return {"max_length": min(hops * extractor.hop_length, extractor.n_samples)}


def _keep_bytes(processor: Any, arguments: dict[str, Any]) -> None:
    """Let the processor neither scale nor normalise, where it would do both."""
    owners = {"images_kwargs": "image_processor", "videos_kwargs": "video_processor"}
    for name in owners.keys() & arguments.keys():
        owner = getattr(processor, owners[name])
        if owner.do_rescale and owner.do_normalize:
            arguments[name] |= {"do_rescale": False, "do_normalize": False}


def _normalisation(processor: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean and standard deviation, (1, 2, width), of the compact patches (n, width) of pixels.

    A patch holds one channel after the other. The processor's scale is part of both numbers.
    """
    numbers: dict[str, Tensor] = {}
    owners = {"pixel_values": "image_processor", "pixel_values_videos": "video_processor"}
    for name, owner in owners.items():
        if name in tensors and tensors[name].dtype == torch.uint8:
            own = getattr(processor, owner)
            rows = torch.tensor([own.image_mean, own.image_std]) * (1 / own.rescale_factor)
            width = tensors[name].shape[-1]
            numbers[f"{name}{NORM}"] = rows.repeat_interleave(width // rows.shape[1], 1)[None]
    return numbers


def _interleave(processor: Any, media: dict[str, Any]) -> list[str]:
    """Let the processor put the sound into the video, which then is the only medium."""
    if not hasattr(processor, "load_audio_from_video"):
        raise EngineError(
            f"{_name(processor)} cannot put the sound of a video between its frames; set "
            "use_audio_in_video to false"
        )
    media |= {"load_audio_from_video": True, "audio_from_video_indices": [0]}
    return ["video"]


def _check_interleaved(processor: Any, input_ids: Tensor) -> None:
    """Refuse inputs whose sound does not begin right after the beginning of the video."""
    names = (processor.vision_bos_token, processor.audio_bos_token)
    start, sound = processor.tokenizer.convert_tokens_to_ids(list(names))
    if not bool(((input_ids[:-1] == start) & (input_ids[1:] == sound)).any()):
        raise EngineError(f"{_name(processor)} has not put the sound into the video")


def _video_settings(frames: Frames) -> dict[str, Any]:
    # Qwen2.5-Omni takes its seconds per grid from `fps`, Qwen2.5-VL from the metadata.
    n_frames = len(frames.pixels)
    metadata = {
        "fps": frames.fps,
        "total_num_frames": n_frames,
        "frames_indices": list(range(n_frames)),
    }
    return {
        "do_sample_frames": False,
        "do_resize": False,
        "cap_pixels_per_frame": False,
        "fps": frames.fps,
        "video_metadata": [metadata],
    }


def _check_size(processor: Any, frames: Frames) -> None:
    pictures = processor.image_processor
    factor = getattr(pictures, "patch_size", 1) * getattr(pictures, "merge_size", 1)
    height, width = frames.pixels.shape[1:3]
    if height % factor or width % factor:
        raise EngineError(
            f"frames of {height} x {width} pixels do not fit {_name(processor)}, which needs "
            f"multiples of {factor}; set media.size_factor to {factor}"
        )


def _check_frames(processor: Any, frames: Frames, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a grid that differs from the frames': the processor has sampled or resized them."""
    pictures = processor.image_processor
    n_frames, height, width = frames.pixels.shape[:3]
    rows, columns = height // pictures.patch_size, width // pictures.patch_size
    if "video_grid_thw" in tensors:
        expected = [[-(-n_frames // processor.video_processor.temporal_patch_size), rows, columns]]
    else:
        expected = [[1, rows, columns]] * n_frames
    grid = tensors.get("video_grid_thw", tensors.get("image_grid_thw"))
    if grid is None or grid.tolist() != expected:
        made = None if grid is None else grid.tolist()
        raise EngineError(
            f"{_name(processor)} made the grid {made} of frames with the grid {expected}: it has "
            "sampled or resized them"
        )


def _check_audio(processor: Any, input_ids: Tensor, tensors: Mapping[str, Tensor]) -> None:
    token = processor.tokenizer.convert_tokens_to_ids(processor.audio_token)
    if "input_features" not in tensors or not bool((input_ids == token).any()):
        raise EngineError(
            f"the prompt has audio, but {_name(processor)} made no audio tokens of it"
        )


def _trim_sound(processor: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cut the padding that Qwen2.5-Omni's processor adds (up to 300 s); its tower ignores it.

    Other encoders (Qwen2-Audio) take exactly their fixed length, so only the thinker's features are
    cut.
    """
    if "Omni" not in type(processor).__name__:
        return tensors
    n_valid = int(tensors["feature_attention_mask"].sum(-1).max())
    return {
        key: value[..., :n_valid] if key in _SOUND_KEYS else value for key, value in tensors.items()
    }


def _concatenate(key: str, tensors: list[Tensor]) -> Tensor:
    if key in _SOUND_KEYS:
        longest = max(tensor.shape[-1] for tensor in tensors)
        tensors = [
            torch.nn.functional.pad(tensor, (0, longest - tensor.shape[-1])) for tensor in tensors
        ]
    return torch.cat(tensors)


def _pad(rows: Sequence[Tensor], value: int, side: Literal["left", "right"]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        list(rows), batch_first=True, padding_value=value, padding_side=side
    )


def _name(processor: Any) -> str:
    return type(processor).__name__
