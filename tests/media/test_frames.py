from __future__ import annotations

import os

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import count_frames, fit_size, read_frames, sample_indices
from avrt.media.frames import SCALING, _runs, decode_video
from clips import encode_clip, numbered, numbers, tone

SMALL = MediaConfig(n_frames=8, max_pixels=784 * 12, size_factor=28)


def test_a_sound_file_has_no_video(tmp_path):
    path = encode_clip(tmp_path / "sound.m4a", n_frames=0, sound=tone(1.0))
    with pytest.raises(MediaError) as caught:
        read_frames(path, SMALL)
    assert caught.value.error_class == "no_video"


def test_too_many_pixels_are_refused(clip):
    with pytest.raises(MediaError, match="too_large: 112x84"):
        read_frames(clip, SMALL.model_copy(update={"max_source_pixels": 100 * 80}))


@pytest.mark.parametrize("n_frames", [1, 2, 7, 8, 49, 50])
def test_exactly_the_frames_of_the_rule_are_taken(clip, n_frames):
    frames = read_frames(clip, SMALL.model_copy(update={"n_frames": n_frames}))
    wanted = np.linspace(0, 49, n_frames).round().astype(int).tolist()
    assert numbers(frames.pixels) == wanted
    assert frames.times_s == pytest.approx([number / 25 for number in wanted])


def test_rate_is_that_of_the_sampled_frames(clip):
    assert read_frames(clip, SMALL).fps == pytest.approx(7 / (49 / 25))
    assert read_frames(clip, SMALL.model_copy(update={"n_frames": 1})).fps == pytest.approx(0.5)


@pytest.mark.parametrize("n_shown", [1, 3, 5])
def test_a_short_clip_repeats_frames(tmp_path, n_shown):
    frames = read_frames(encode_clip(tmp_path / "short.mp4", n_frames=n_shown), SMALL)
    assert numbers(frames.pixels) == np.linspace(0, n_shown - 1, 8).round().astype(int).tolist()
    assert frames.fps > 0


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.ts"])
def test_other_containers_give_the_same_frames(tmp_path, name):
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    frames = read_frames(encode_clip(tmp_path / name, codec=codec), SMALL)
    assert numbers(frames.pixels) == [0, 7, 14, 21, 28, 35, 42, 49]
    assert frames.times_s[0] == 0.0


def test_a_late_first_picture_starts_the_time(tmp_path, clip):
    path = remux(clip, tmp_path / "late.mkv", shift_s=1.0)
    assert read_frames(path, SMALL).times_s[0] == 0.0


def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path, clip):
    path = remux(clip, tmp_path / "edited.mp4", shift_s=-0.4)  # hides the first ten frames
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 50
    frames = read_frames(path, SMALL.model_copy(update={"n_frames": 5}))
    assert numbers(frames.pixels) == [10, 20, 30, 39, 49]


def remux(source, target, shift_s):
    """Copy the video packets with shifted times; MP4 hides what starts before zero."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as copy:
        stream = given.streams.video[0]
        track = copy.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = track
                copy.mux(packet)
    return target


def with_packet_zeroed(clip, target, number):
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start, size = packets[number].pos, packets[number].size
    content = bytearray(clip.read_bytes())
    content[start : start + size] = bytes(size)
    target.write_bytes(content)
    return target


def test_damage_that_a_chosen_frame_needs_is_refused_or_marked(tmp_path):
    clip = encode_clip(tmp_path / "clip.mp4", picture=noisy)
    path = with_packet_zeroed(clip, tmp_path / "damaged.mp4", 21)
    with pytest.raises(MediaError, match=r"damaged: .*media\.damaged") as caught:
        read_frames(path, SMALL)
    assert caught.value.error_class == "damaged"
    frames = read_frames(path, SMALL.model_copy(update={"damaged": "use"}))
    assert frames.fault == "damaged"
    assert numbers(frames.pixels)[:3] == [0, 7, 14]


def test_damage_in_a_group_without_a_chosen_frame_does_no_harm(tmp_path):
    # Groups of 20 frames; the first and the last frame need only the first and the third.
    clip = encode_clip(tmp_path / "clip.mp4")
    path = with_packet_zeroed(clip, tmp_path / "damaged.mp4", 25)
    frames = read_frames(path, SMALL.model_copy(update={"n_frames": 2}))
    assert numbers(frames.pixels) == [0, 49]
    assert frames.fault is None


@pytest.mark.parametrize("x264", ["open-gop=1:keyint=10:bframes=3", "intra-refresh=1:keyint=20"])
def test_key_frames_that_are_no_clean_start_change_no_pixel(tmp_path, x264):
    options = {"x264-params": x264, "crf": "10", "g": "20"}
    path = encode_clip(tmp_path / "clip.mp4", codec_options=options, picture=noisy)
    assert_equal_to_full_decode(path, SMALL.model_copy(update={"n_frames": 3}))


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libvpx-vp9", "mpeg4", "mjpeg"])
def test_other_codecs_give_the_frames_of_a_full_decode(tmp_path, codec):
    path = tmp_path / ("clip.webm" if codec == "libvpx-vp9" else "clip.mp4")
    options = {"g": "10", **({"x265-params": "log-level=none"} if codec == "libx265" else {})}
    encode_clip(path, codec=codec, codec_options=options, picture=noisy)
    # Of root, SVT-AV1 makes the thread that encodes a real-time one, and its processes after it.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    for n_frames in (2, 3, 8):
        assert_equal_to_full_decode(path, SMALL.model_copy(update={"n_frames": n_frames}))


def noisy(number):
    """A numbered picture whose upper half no codec can predict from another frame."""
    pixels = numbered(number, 84, 112)
    pixels[:30] = np.random.default_rng(number).integers(0, 255, (30, 112, 3), np.uint8)
    return pixels


def assert_equal_to_full_decode(path, media):
    frames = read_frames(path, media)
    height, width = frames.pixels.shape[1:3]
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
        wanted = [decoded[index] for index in sample_indices(len(decoded), media.n_frames)]
        plain = [
            frame.reformat(width, height, "rgb24", interpolation=SCALING).to_ndarray()
            for frame in wanted
        ]
    assert (frames.pixels == np.stack(plain)).all(), path.name


@pytest.mark.parametrize(("aspect", "wanted"), [((2, 1), (56, 168)), ((1, 2), (56, 28))])
def test_pixels_are_made_square(tmp_path, aspect, wanted):
    path = encode_clip(tmp_path / "clip.mp4", size=(56, 84), n_frames=5, aspect=aspect)
    assert read_frames(path, SMALL).pixels.shape[1:3] == wanted


def test_a_turned_picture_has_its_pixels_made_square_first(tmp_path):
    path = encode_clip(tmp_path / "clip.mp4", size=(56, 84), n_frames=5, aspect=(2, 1), rotation=90)
    assert read_frames(path, SMALL).pixels.shape[1:3] == (168, 56)


def test_a_clip_of_which_nothing_decodes_is_undecodable(tmp_path, clip):
    with av.open(str(clip)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(clip.read_bytes())
    for start, size in spans:
        content[start : start + size] = bytes(size)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        read_frames(path, SMALL)
    assert caught.value.error_class == "undecodable"


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_brings_the_picture_upright(tmp_path, rotation):
    def corner(_):
        pixels = np.zeros((56, 112, 3), np.uint8)
        pixels[:28, :28] = 255  # top left
        return pixels

    path = tmp_path / "turned.mp4"
    encode_clip(path, n_frames=5, size=(56, 112), rotation=rotation, picture=corner)
    pixels = read_frames(path, SMALL).pixels[0]
    wanted = np.rot90(corner(0), rotation // 90)  # counter-clockwise, as FFmpeg defines it
    assert pixels.shape == wanted.shape
    assert np.abs(pixels.astype(int) - wanted).mean() < 8


def test_full_range_and_bt709_are_honoured(tmp_path):
    path = tmp_path / "red.mp4"
    red = np.full((56, 56, 3), (200, 30, 40), np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 56
        video.pix_fmt = "yuv420p"
        context = video.codec_context
        context.colorspace, context.color_range = 1, 2  # BT.709, full
        frame = av.VideoFrame.from_ndarray(red, "rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="JPEG"
        )
        container.mux(video.encode(frame))
        container.mux(video.encode(None))
    pixels = read_frames(path, SMALL).pixels[0]
    assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - red[0, 0]).max() < 4


def test_the_digest_is_stable_and_tells_clips_apart(tmp_path, clip):
    other = encode_clip(tmp_path / "other.mp4", n_frames=49)
    assert read_frames(clip, SMALL).digest == read_frames(clip, SMALL).digest
    assert read_frames(clip, SMALL).digest != read_frames(other, SMALL).digest


def test_skipping_changes_no_pixel_of_real_clips(real_clips):
    for path in real_clips:
        assert_equal_to_full_decode(path, MediaConfig(max_pixels=784 * 60))


def test_groups_without_a_chosen_frame_are_not_decoded(clip):
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        ends = {packets[0].pts, max(packet.pts for packet in packets)}
        runs = list(_runs(stream, packets, ends))
    assert [run[0].is_keyframe for run in runs] == [True, True]
    assert sum(len(run) for run in runs) < 25


def test_unwanted_frames_are_really_not_decoded(clip):
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        n_all = sum(1 for _ in decode_video(stream, packets))
        n_few = sum(1 for _ in decode_video(stream, packets, {packets[0].pts}))
    assert n_all == 50
    assert n_few < 30


@given(st.integers(1, 20_000), st.integers(1, 768))
def test_indices_are_ascending_and_reach_both_ends(n_shown, n_frames):
    indices = sample_indices(n_shown, n_frames)
    assert len(indices) == n_frames
    assert indices == sorted(indices)
    assert indices[0] == 0
    assert n_frames == 1 or indices[-1] == n_shown - 1


@given(st.integers(1, 20_000), st.integers(1, 200))
def test_indices_repeat_only_when_there_are_too_few(n_shown, n_frames):
    indices = sample_indices(n_shown, n_frames)
    assert len(set(indices)) == min(n_shown, n_frames)


def test_the_rule_is_qwens():
    assert sample_indices(250, 8) == [0, 36, 71, 107, 142, 178, 213, 249]


@given(
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.integers(784, 2_000_000),
    st.sampled_from([1, 14, 16, 28, 32]),
)
def test_sizes_are_legal_and_never_enlarged(height, width, max_pixels, factor):
    rows, columns = fit_size(height, width, max_pixels, factor)
    assert rows % factor == columns % factor == 0
    assert rows * columns <= max(max_pixels, factor**2)
    assert factor <= rows <= max(height, factor)
    assert factor <= columns <= max(width, factor)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((56, 56), (56, 56)),
        ((5, 9), (28, 28)),
        ((720, 1280), (560, 1008)),
        ((360, 640), (336, 616)),
    ],
)
def test_sizes_of_usual_clips(size, wanted):
    assert fit_size(*size, 602_112, 28) == wanted


@pytest.mark.parametrize(
    ("n_shown", "rate", "fps", "most", "expected"),
    [
        (300, 25.0, 2.0, 768, 24),  # 12 s
        (312, 25.0, 2.0, 768, 24),  # an even number, rounded down
        (1800, 29.97, 2.0, 768, 120),
        (45_000, 25.0, 2.0, 768, 768),
        (25, 25.0, 2.0, 768, 4),  # four at least
        (3, 25.0, 2.0, 768, 2),  # as many as there are
        (1, 25.0, 2.0, 768, 2),  # a single one twice
        (300, 25.0, 2.0, 9, 8),
        (300, 25.0, None, 9, 9),
        (50, None, 4.0, 768, 8),
    ],
)
def test_frames_by_rate_are_counted_as_by_qwens_loader(n_shown, rate, fps, most, expected):
    media = MediaConfig(n_frames=most, fps=fps)
    assert count_frames(n_shown, rate, media) == expected


@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_a_rate_takes_more_frames_of_a_longer_clip(tmp_path, codec):
    media = MediaConfig(n_frames=768, fps=10.0)
    suffix = "mp4" if codec == "libx264" else "webm"
    for n_frames in (20, 50):
        path = encode_clip(tmp_path / f"{n_frames}.{suffix}", n_frames=n_frames, codec=codec)
        frames = read_frames(path, media)
        expected = sample_indices(n_frames, 2 * n_frames // 5)
        assert numbers(frames.pixels) == expected
        assert frames.source_pixels == 84 * 112
