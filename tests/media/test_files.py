from __future__ import annotations

import os

import pytest

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import read_clip, read_frames, read_waveform
from clips import encode_clip, numbers, tone

SMALL = MediaConfig(n_frames=8, max_pixels=784 * 12, size_factor=28)
HTML = b"<!doctype html><title>404</title>" * 40


def error_class_of(path, media=SMALL, modality="v"):
    with pytest.raises(MediaError) as caught:
        read_clip(path, media, modality)
    return caught.value.error_class


@pytest.mark.parametrize("name", ["nul\0byte.mp4", "x" * 300 + ".mp4", "file.mp4/inside.mp4"])
def test_a_name_that_no_file_can_have_is_missing(tmp_path, name):
    (tmp_path / "file.mp4").write_bytes(b"x")
    assert error_class_of(tmp_path / name) == "missing"


def test_a_loop_of_links_is_missing(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    assert error_class_of(tmp_path / "a.mp4") == "missing"


def test_a_link_to_a_clip_is_followed(tmp_path, clip):
    (tmp_path / "link.mp4").symlink_to(clip)
    assert len(read_frames(tmp_path / "link.mp4", SMALL).pixels) == 8


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "locked.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    assert error_class_of(path) == "permission"


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert error_class_of(tmp_path / "pipe.mp4") == "not_media"


def test_the_limits_are_settings(tmp_path, clip):
    big = tmp_path / "big.mp4"
    big.write_bytes(clip.read_bytes() + bytes(2**20))
    assert error_class_of(big, MediaConfig(max_file_mb=1)) == "too_large"
    assert error_class_of(clip, MediaConfig(max_clip_s=1.5)) == "too_long"
    assert error_class_of(clip, MediaConfig(max_clip_s=1.5), "a") == "too_long"
    read_frames(clip, MediaConfig(max_clip_s=2.5))


def test_a_length_that_the_header_does_not_state_is_limited_too(tmp_path):
    path = encode_clip(
        tmp_path / "clip.mp4", options={"movflags": "frag_keyframe+empty_moov"}, sound=tone(2.0)
    )
    assert error_class_of(path, MediaConfig(max_clip_s=1.5)) == "too_long"


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"absent\.mp4: missing: .*download") as caught:
        read_frames(tmp_path / "absent.mp4", SMALL)
    assert caught.value.error_class == "missing"


@pytest.mark.parametrize(("kind", "wanted"), [("html", "not_media"), ("empty", "not_media")])
def test_what_is_no_media_is_named(tmp_path, clip, kind, wanted):
    path = tmp_path / "clip.mp4"
    path.write_bytes(HTML if kind == "html" else b"")
    with pytest.raises(MediaError) as caught:
        read_frames(path, SMALL)
    assert caught.value.error_class == wanted


def test_a_folder_is_no_media(tmp_path):
    with pytest.raises(MediaError, match="not_media: a folder"):
        read_frames(tmp_path, SMALL)


def test_a_playlist_that_points_at_a_clip_is_not_followed(tmp_path, clip):
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match="not_media"):
        read_frames(path, SMALL)


@pytest.mark.parametrize("flags", ["", "+faststart", "frag_keyframe+empty_moov"])
def test_a_cut_mp4_is_truncated_wherever_its_index_lies(tmp_path, flags):
    options = {"movflags": flags} if flags else {}
    whole = encode_clip(tmp_path / "whole.mp4", sound=tone(2.0), options=options)
    cut = tmp_path / "cut.mp4"
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * 0.6)])
    read_frames(whole, SMALL)
    with pytest.raises(MediaError) as caught:
        read_frames(cut, SMALL)
    assert caught.value.error_class == "truncated"
    assert "media.damaged" in str(caught.value)


@pytest.mark.parametrize("name", ["cut.mkv", "cut.avi", "cut.wav"])
def test_a_cut_file_of_another_format_is_truncated(tmp_path, name):
    n_frames = 0 if name.endswith(".wav") else 50
    whole = encode_clip(tmp_path / name, sound=tone(2.0), n_frames=n_frames)
    read_waveform(whole, SMALL)
    os.truncate(whole, int(whole.stat().st_size * 0.6))
    assert error_class_of(whole, modality="a") == "truncated"


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_cut_file_gives_exact_frames_of_what_is_left_when_asked_to(tmp_path, name):
    options = {"movflags": "+faststart"} if name.endswith("mp4") else {}
    path = encode_clip(tmp_path / name, sound=tone(2.0), options=options)
    os.truncate(path, int(path.stat().st_size * 0.6))
    clip = read_clip(path, SMALL.model_copy(update={"damaged": "use"}), "av")
    assert clip.frames.fault == clip.waveform.fault == "truncated"
    found = numbers(clip.frames.pixels)
    assert found[0] == 0
    assert found == sorted(found)
    assert 10 < found[-1] < 49
