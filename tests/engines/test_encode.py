from __future__ import annotations

import numpy as np
import pytest
import torch

from avrt.engines.encode import (
    Encoded,
    collate,
    count_media_tokens,
    encode,
    merge_media,
    suppress_token_ids,
)
from avrt.engines.weights import load
from avrt.errors import EngineError
from avrt.types import Frames, Prompt, Waveform


@pytest.fixture(scope="module")
def processor(checkpoint):
    loaded = {}

    def get(name: str):
        if name not in loaded:
            loaded[name] = load(str(checkpoint(name)))
        return loaded[name].processor

    return get


@pytest.mark.parametrize(
    ("model", "modality", "message"),
    [
        ("vision_teacher", "audio", "the prompt has audio, but Qwen2_5_VLProcessor takes no sound"),
        (
            "audio_teacher",
            "frames",
            "the prompt has frames, but Qwen2AudioProcessor takes no pictures",
        ),
        ("merger", "frames", "the prompt has frames, but .* text-only"),
        ("merger", "audio", "the prompt has audio, but .* text-only"),
    ],
)
def test_a_modality_that_the_model_does_not_take_is_refused(
    processor, make_frames, make_sound, model, modality, message
):
    media = {"frames": make_frames(0)} if modality == "frames" else {"audio": make_sound(0)}
    with pytest.raises(EngineError, match=message):
        encode(processor(model), Prompt("what?", **media))


def test_frames_of_a_size_that_the_processor_would_have_to_change_are_refused(processor):
    frames = Frames(np.zeros((4, 60, 84, 3), dtype=np.uint8), (0.0, 0.5, 1.0, 1.5), 2.0)
    with pytest.raises(
        EngineError, match=r"60 x 84 .* multiples of 28; set media.size_factor to 28"
    ):
        encode(processor("student"), Prompt("what?", frames=frames))


def test_sound_at_another_rate_is_refused(processor):
    sound = Waveform(np.zeros(8_000, dtype=np.float32), rate_hz=8_000)
    with pytest.raises(EngineError, match="needs 16000 Hz, the sound has 8000 Hz"):
        encode(processor("student"), Prompt("what?", audio=sound))


def test_sound_longer_than_the_extractors_window_is_refused_not_cut(processor):
    sound = Waveform(np.zeros(5 * 16_000, dtype=np.float32))
    with pytest.raises(EngineError, match=r"5.0 s of sound.*at most 4 s; set media.max_audio_s"):
        encode(processor("audio_teacher"), Prompt("what?", audio=sound))


@pytest.mark.parametrize("name", ["student", "audio_teacher"])
@pytest.mark.parametrize("n_samples", [1, 160, 320, 400])
def test_a_sound_of_less_than_a_window_is_heard_all_the_same(processor, name, n_samples):
    sound = Waveform(np.full(n_samples, 0.1, dtype=np.float32))
    ids = encode(processor(name), Prompt("what?", audio=sound)).input_ids
    assert count_media_tokens(processor(name), ids) == (0, 1)


def test_sound_for_which_the_template_has_no_place_is_an_error_not_a_deaf_model(
    checkpoint, make_sound
):
    deaf = load(str(checkpoint("student"))).processor
    deaf.chat_template = "{% for m in messages %}{{ m['content'][-1]['text'] }}{% endfor %}"
    with pytest.raises(EngineError, match=r"made no audio tokens|cannot encode .*AUDIO"):
        encode(deaf, Prompt("what?", audio=make_sound(0)))


@pytest.mark.parametrize("model", ["student", "vision_teacher"])
def test_a_video_keeps_its_frames_its_size_and_its_rate(processor, make_frames, model):
    encoded = encode(processor(model), Prompt("what?", frames=make_frames(0, n_frames=8)))
    assert encoded.media["video_grid_thw"].tolist() == [[4, 4, 6]]
    assert encoded.media["pixel_values_videos"].shape == (4 * 4 * 6, 3 * 2 * 14 * 14)
    seconds = encoded.media.get("video_second_per_grid", encoded.media.get("second_per_grid_ts"))
    assert seconds is not None
    assert seconds.tolist() == pytest.approx([2 / 2.5])
    video_id = processor(model).video_token_id
    assert int((encoded.input_ids == video_id).sum()) == 4 * 2 * 3


@pytest.mark.parametrize("model", ["student", "vision_teacher"])
def test_a_still_picture_is_an_image_not_a_video(processor, make_frames, model):
    encoded = encode(
        processor(model), Prompt("what?", frames=make_frames(0, n_frames=1, still=True))
    )
    assert encoded.media["image_grid_thw"].tolist() == [[1, 4, 6]]
    assert "pixel_values_videos" not in encoded.media
    assert int((encoded.input_ids == processor(model).image_token_id).sum()) == 2 * 3


def test_an_odd_number_of_frames_is_completed_by_the_last_one(processor, make_frames):
    encoded = encode(processor("student"), Prompt("what?", frames=make_frames(0, n_frames=5)))
    assert encoded.media["video_grid_thw"].tolist() == [[3, 4, 6]]


def test_the_pixels_arrive_unchanged(processor, make_frames):
    """Undoing normalisation and patches gives back the very frames that went in."""
    frames = make_frames(3, n_frames=2)
    student = processor("student")
    patches = encode(student, Prompt("what?", frames=frames)).media["pixel_values_videos"]
    grid = patches.view(
        1, 2, 3, 2, 2, 3, 2, 14, 14
    )  # t, h, w, merge_h, merge_w, channel, frame, y, x
    pixels = grid.permute(0, 6, 1, 3, 7, 2, 4, 8, 5).reshape(2, 56, 84, 3).numpy()
    video = student.video_processor
    restored = (pixels * np.array(video.image_std) + np.array(video.image_mean)) * 255
    np.testing.assert_allclose(restored, frames.pixels, atol=0.01)


def test_the_thinkers_sound_is_cut_to_its_length_and_qwen2_audios_is_not(processor, make_sound):
    prompt = Prompt("what?", audio=make_sound(0, seconds=1.0))
    assert encode(processor("student"), prompt).media["input_features"].shape[-1] == 100
    fixed = encode(processor("audio_teacher"), prompt).media
    assert fixed["input_features"].shape[-1] == fixed["feature_attention_mask"].shape[-1] == 400
    assert int(fixed["feature_attention_mask"].sum()) == 100


def test_both_modalities_come_before_the_text_pictures_first(processor, make_frames, make_sound):
    student = processor("student")
    prompt = Prompt("what is it?", system="look", frames=make_frames(0), audio=make_sound(0))
    text = student.tokenizer.decode(encode(student, prompt).input_ids)
    assert (
        text.index("look")
        < text.index("<|VIDEO|>")
        < text.index("<|AUDIO|>")
        < text.index("what is it?")
    )
    assert text.endswith("assistant\n")


def test_merging_pads_sounds_and_joins_the_rest(processor, make_frames, make_sound):
    student = processor("student")
    rows = [
        encode(student, Prompt("q", frames=make_frames(0), audio=make_sound(0, seconds=1.0))).media,
        encode(student, Prompt("q", frames=make_frames(1, n_frames=6))).media,
        encode(student, Prompt("q", audio=make_sound(1, seconds=2.0))).media,
    ]
    merged = merge_media(rows)
    assert merged["video_grid_thw"].tolist() == [[2, 4, 6], [3, 4, 6]]
    assert len(merged["pixel_values_videos"]) == 2 * 24 + 3 * 24
    assert merged["input_features"].shape == (2, 64, 200)
    assert merged["feature_attention_mask"].sum(-1).tolist() == [100, 200]
    torch.testing.assert_close(merged["input_features"][0, :, :100], rows[0]["input_features"][0])
    assert merge_media([{}, {}]) == {}


@pytest.mark.parametrize(
    ("side", "expected"), [("left", [[0, 0, 5], [1, 2, 3]]), ("right", [[5, 0, 0], [1, 2, 3]])]
)
def test_collating_pads_ids_and_types_on_the_asked_side(side, expected):
    rows = [
        Encoded(torch.tensor([5])),
        Encoded(torch.tensor([1, 2, 3]), token_types=torch.tensor([0, 2, 2])),
    ]
    batch = collate(rows, pad_id=0, side=side)
    assert batch["input_ids"].tolist() == expected
    assert batch["attention_mask"].sum(-1).tolist() == [1, 3]
    assert batch["mm_token_type_ids"].tolist() == [[0, 0, 0], [0, 2, 2]]


def test_media_tokens_are_suppressed_for_multimodal_models_only(processor):
    student = processor("student")
    tokens = student.tokenizer.convert_ids_to_tokens(suppress_token_ids(student))
    assert {"<|AUDIO|>", "<|IMAGE|>", "<|VIDEO|>", "<|audio_bos|>", "<|audio_eos|>"} <= set(tokens)
    assert {"<|vision_bos|>", "<|vision_eos|>"} <= set(tokens)
    assert student.tokenizer.eos_token not in tokens
    assert suppress_token_ids(processor("merger")) == []
