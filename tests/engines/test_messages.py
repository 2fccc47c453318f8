from __future__ import annotations

import base64

import numpy as np
import pytest

from avrt.config import EngineConfig, MediaConfig, load_config
from avrt.engines import engine_identity
from avrt.engines.messages import build_body, build_messages
from avrt.errors import ConfigError
from avrt.media.payloads import encode_frames, encode_sound
from avrt.types import Frames, Prompt

MEDIA = MediaConfig()


def body_of(request, **settings) -> dict:
    return build_body(request, "m", EngineConfig(**settings), MEDIA)


def test_frames_as_video_are_one_part_that_keeps_their_order_and_their_times(
    make_request, make_frames
):
    frames = make_frames(0, n_frames=5)  # 0.4 s apart
    body = body_of(make_request("k", Prompt("?", frames=frames)), frames_as="video")
    part, text = body["messages"][0]["content"]
    head, *jpegs = part["video_url"]["url"].split(",")
    assert (part["type"], head, text["type"]) == ("video_url", "data:video/jpeg;base64", "text")
    assert tuple(map(base64.b64decode, jpegs)) == encode_frames(frames, MEDIA).jpegs
    said = body["media_io_kwargs"]["video"]
    assert (said["num_frames"], said["total_num_frames"]) == (5, 5)
    times = [index / said["fps"] for index in said["frames_indices"]]
    assert times == pytest.approx(frames.times_s)
    assert said["duration"] == pytest.approx(2.0)


def test_one_frame_goes_as_an_image_and_says_no_times(make_request):
    still = Frames(np.zeros((1, 28, 28, 3), np.uint8), (0.0,), 0.0, still=True)
    body = body_of(make_request("k", Prompt("?", frames=still)), frames_as="video")
    assert body["messages"][0]["content"][0]["type"] == "image_url"
    assert "media_io_kwargs" not in body


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_sound_may_go_as_a_url(make_request, make_sound, audio_format):
    media = MediaConfig(audio_format=audio_format)
    sound = make_sound(0)
    request = make_request("k", Prompt("?", audio=sound))
    body = build_body(request, "m", EngineConfig(audio_as="audio_url"), media)
    head, data = body["messages"][0]["content"][0]["audio_url"]["url"].split(",")
    assert head == f"data:audio/{audio_format};base64"
    assert base64.b64decode(data) == encode_sound(sound, media).data


def test_extra_body_is_said_with_every_request_as_it_is(make_request):
    extra = {
        "mm_processor_kwargs": {"fps": 0.8},
        "structured_outputs": {"choice": ["A", "B"]},
        "top_k": -1,
    }
    body = body_of(make_request("k", "hi"), extra_body=extra)
    assert {key: body[key] for key in extra} == extra
    assert body["messages"] == build_messages(Prompt("hi"), EngineConfig(), MEDIA)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("extra_body={seed: 1}", "extra_body may not hold seed"),
        ("extra_body={messages: [], model: x}", "extra_body may not hold messages, model"),
        ("vllm_args={model: x}", "vllm_args may not hold model"),
        ("base_url=[]", "base_url"),
    ],
)
def test_settings_that_contradict_are_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        load_config(None, (f"merger.engine.{setting}",))


def test_times_of_frames_cannot_be_said_twice():
    extra = "merger.engine.extra_body={media_io_kwargs: {}}"
    load_config(None, (extra,))
    video = "merger.engine.frames_as=video"
    with pytest.raises(ConfigError, match="may not hold media_io_kwargs"):
        load_config(None, (extra, video))
    extra = "merger.engine.extra_body={mm_processor_kwargs: {fps: 1}}"
    with pytest.raises(ConfigError, match=r"mm_processor_kwargs has no effect .* take it out"):
        load_config(None, ("merger.engine.kind=vllm", video, extra))


def test_all_that_decides_replies_is_in_the_identity_and_nothing_else():
    def identity(**settings) -> dict:
        return dict(engine_identity(EngineConfig(**settings), "m", "r", MEDIA))

    plain = identity()
    assert plain == {"model": "m", "revision": "r", "frames": "jpeg-90", "audio": "wav-pcm16"}
    for same in (
        {"base_url": ["http://a/v1", "http://b/v1"]},
        {"concurrency": 1},
        {"timeout_s": 1},
    ):
        assert identity(**same) == plain
    forms = [
        identity(frames_as="video"),
        identity(audio_as="audio_url"),
        identity(extra_body={"top_k": 1}),
        identity(extra_body={"top_k": 2}),
        identity(n_per_request=True),
        identity(kind="vllm"),
    ]
    assert len({repr(sorted(form.items(), key=str)) for form in [plain, *forms]}) == 7
