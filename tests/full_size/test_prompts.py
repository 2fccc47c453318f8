"""The student's inputs with the published processor values: form of the prompt, tokens, grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import official
from avrt.config import MediaConfig
from avrt.engines.encode import count_media_tokens, encode, suppress_token_ids
from avrt.errors import EngineError
from avrt.media import read_clip
from avrt.types import Frames, Prompt, Waveform

SYSTEM = [151_644, 8_948, 198]
HELPFUL = [2_610, 525, 264, 10_950, 17_847, 13]
"""You are a helpful assistant."""
USER = [151_644, 872, 198]
END = [151_645, 198]
ASSISTANT = [151_644, 77_091, 198]
VIDEO = [151_652, 151_656, 151_653]
AUDIO = [151_647, 151_646, 151_648]
ASKED = [3_838, 653, 498, 1_490, 323, 6_723, 30]
"""What do you see and hear?"""
CLIPS = {
    "0-00uubiDNU_000210": [4, 40, 72],
    "0012y1s1bJI_000350": [4, 24, 44],
    "004KfU7bgyg_000040": [4, 24, 44],
    "004NnY1farU_000030": [4, 24, 44],
    "009GwYB4Z7k_000030": [4, 24, 34],
    "00Ag326f4gs_000032": [4, 24, 44],
}
"""Grid of patches (times, rows, columns) of each real clip."""


@pytest.fixture(scope="module")
def processor():
    return official.new_processor()


def silence(seconds: float) -> Waveform:
    return Waveform(np.zeros(round(16_000 * seconds), np.float32), 16_000)


def pictures(height: int, width: int, n_frames: int = 8) -> Frames:
    pixels = np.zeros((n_frames, height, width, 3), np.uint8)
    return Frames(pixels, tuple(1.25 * number for number in range(n_frames)), fps=0.8)


def contracted(ids: torch.Tensor) -> list[int]:
    """The ids with each run of a medium's tokens as one."""
    media = (151_646, 151_655, 151_656)
    listed = ids.tolist()
    return [
        token
        for place, token in enumerate(listed)
        if token not in media or listed[place - 1] != token
    ]


def test_the_prompt_has_the_published_form(processor):
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Listen."}]},
        {
            "role": "user",
            "content": [{"type": "video"}, {"type": "audio"}, {"type": "text", "text": "What?"}],
        },
    ]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nListen.<|im_end|>\n"
        "<|im_start|>user\n<|vision_bos|><|VIDEO|><|vision_eos|>"
        "<|audio_bos|><|AUDIO|><|audio_eos|>What?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_prompt_without_system_line_gets_the_published_one(processor):
    prompt = Prompt("What do you see and hear?", frames=pictures(56, 56), audio=silence(1))
    ids = contracted(encode(processor, prompt).input_ids)
    asked = [*USER, *VIDEO, *AUDIO, *ASKED, *END, *ASSISTANT]
    assert ids == [*SYSTEM, *HELPFUL, *END, *asked]
    prompt = Prompt("What do you see and hear?", "You", frames=pictures(56, 56), audio=silence(1))
    assert contracted(encode(processor, prompt).input_ids) == [*SYSTEM, 2_610, *END, *asked]


def test_a_saved_processor_makes_the_same_inputs(processor, tmp_path):
    from transformers import AutoProcessor  # after official, which makes torchvision load

    processor.save_pretrained(tmp_path)
    prompt = Prompt("Listen, été: 12?", frames=pictures(84, 56, 3), audio=silence(0.7))
    first, second = (
        encode(one, prompt) for one in (processor, AutoProcessor.from_pretrained(tmp_path))
    )
    assert first.input_ids.equal(second.input_ids)
    assert first.media.keys() == second.media.keys()
    assert all(first.media[name].equal(second.media[name]) for name in first.media)


def test_a_720p_clip_of_ten_seconds_has_3147_tokens(processor):
    """With nothing but what the template itself writes around an empty system line and media."""
    encoded = encode(processor, Prompt("", "", frames=pictures(560, 1008), audio=silence(10)))
    assert contracted(encoded.input_ids) == [
        *(*SYSTEM, *END),
        *(*USER, *VIDEO, *AUDIO, *END),
        *ASSISTANT,
    ]
    assert count_media_tokens(processor, encoded.input_ids) == (2_880, 250)
    assert len(encoded.input_ids) == 3_147
    assert encoded.media["video_grid_thw"].tolist() == [[4, 40, 72]]
    assert encoded.media["pixel_values_videos"].shape == (4 * 40 * 72, 3 * 2 * 14 * 14)
    assert encoded.media["input_features"].shape == (1, 128, 1_000)
    assert encoded.media["video_second_per_grid"].tolist() == [2.5]


@pytest.mark.parametrize("clip", CLIPS)
def test_a_real_clip_has_its_grid_and_tokens(processor, real_data, clip):
    read = read_clip(real_data / "avqa" / "videos" / f"{clip}.mp4", MediaConfig(), "av")
    prompt = Prompt("What do you see and hear?", frames=read.frames, audio=read.waveform)
    encoded = encode(processor, prompt)
    grid = CLIPS[clip]
    assert encoded.media["video_grid_thw"].tolist() == [grid]
    n_picture = grid[0] * grid[1] * grid[2] // 4
    assert count_media_tokens(processor, encoded.input_ids) == (n_picture, 250)
    assert len(encoded.input_ids) == n_picture + 250 + 30


def test_sound_of_300_s_has_7500_tokens_and_longer_sound_is_refused(processor):
    encoded = encode(processor, Prompt("What", audio=silence(300)))
    assert count_media_tokens(processor, encoded.input_ids) == (0, 7_500)
    with pytest.raises(EngineError, match=r"at most 300 s; set media\.max_audio_s"):
        encode(processor, Prompt("What", audio=silence(301)))


def test_media_tokens_are_suppressed_under_their_published_ids(processor):
    ids = suppress_token_ids(processor)
    assert ids == [151_646, 151_647, 151_648, *range(151_652, 151_657)]
