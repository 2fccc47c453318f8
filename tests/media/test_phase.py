"""Facts about channels that cancel out in the mono mix: noted with the loss, heard on request."""

from __future__ import annotations

import numpy as np
import pytest

from avrt.ask.payloads import Clips
from avrt.config import MediaConfig
from avrt.media import SAMPLE_RATE_HZ, probe, read_waveform
from avrt.types import Sample
from clips import encode_clip
from media.test_waveform import write_wav

RATE_HZ = 16_000
LOUDEST = MediaConfig(opposite_phase="loudest_channel")


def noise(seed, seconds=1.0):
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE_HZ))
    return samples.clip(-1, 1)


A, B, C, D = (noise(seed) for seed in range(4))
NOTHING = np.zeros_like(A)


@pytest.mark.parametrize(
    ("channels", "loss_db", "notes"),
    [
        ([A, A], 0.0, ()),
        ([A, B], 3.0, ()),
        ([A, NOTHING], 3.0, ()),
        ([A, -0.4 * A], 8.1, ()),
        ([A, -0.5 * A], 10.0, ("opposite_phase",)),
        ([A, -0.9 * A], 25.6, ("opposite_phase",)),
        ([A, -0.99 * A], 46.0, ("opposite_phase",)),
        ([A, -A], 120.0, ("opposite_phase",)),
        ([A, -A + 0.1 * B], 26.1, ("opposite_phase",)),
        ([A, A, -A, -A], 120.0, ("opposite_phase",)),
        ([A, -A, NOTHING, NOTHING, NOTHING, NOTHING], 120.0, ("opposite_phase",)),
        ([A, B, C, D], 6.0, ()),
        ([NOTHING, NOTHING, A, NOTHING, NOTHING, NOTHING], 7.8, ()),
        ([A, -A, 3 * B, NOTHING, NOTHING, NOTHING], 8.7, ()),  # what is in the centre is heard
        ([A], None, ()),
        ([NOTHING, NOTHING], None, ("silent",)),
        ([1e-5 * A, -1e-5 * A], None, ("silent",)),
    ],
)
@pytest.mark.parametrize("width", [1, 2])
def test_the_loss_of_the_mono_mix_is_measured_and_noted(tmp_path, channels, loss_db, notes, width):
    info = probe(write_wav(tmp_path / "sound.wav", np.stack(channels), RATE_HZ, width), LOUDEST)
    assert info.status == "ok"
    if width == 2 or loss_db is None or loss_db < 20:  # 8 bits have their own noise
        assert info.mono_loss_db == (loss_db and pytest.approx(loss_db, abs=0.6))
    assert info.notes == notes


def test_only_the_seconds_that_are_used_count(tmp_path):
    left = np.concatenate([A, B])
    path = write_wav(tmp_path / "s.wav", np.stack([left, np.concatenate([A, -B])]), RATE_HZ)
    assert probe(path, MediaConfig(max_audio_s=0.5)).notes == ()
    turned = write_wav(tmp_path / "t.wav", np.stack([left, np.concatenate([-A, B])]), RATE_HZ)
    assert probe(turned, MediaConfig(max_audio_s=0.5)).notes == ("opposite_phase",)


@pytest.mark.parametrize(
    ("channels", "loudest"),
    [
        ([A, -A], A),
        ([0.8 * A, -A], -A),
        ([NOTHING, A, -A], A),
        ([A, -A, 0.2 * B, NOTHING], A),
    ],
)
def test_the_loudest_channel_is_heard_when_asked_for(tmp_path, channels, loudest):
    path = write_wav(tmp_path / "sound.wav", np.stack(channels), RATE_HZ)
    assert np.abs(read_waveform(path, LOUDEST).samples - loudest).max() < 1e-4
    assert probe(path, LOUDEST).rms_dbfs == pytest.approx(-20, abs=0.3)


@pytest.mark.parametrize("channels", [[A, A], [A, B], [A, -0.4 * A], [A], [A, B, C]])
def test_other_sound_and_the_default_stay_as_they_are(tmp_path, channels):
    path = write_wav(tmp_path / "sound.wav", np.stack(channels), RATE_HZ)
    plain = read_waveform(path, MediaConfig())
    assert plain.digest == read_waveform(path, LOUDEST).digest
    mean = np.rint(np.stack(channels) * 32767).mean(axis=0) / 32768
    assert np.array_equal(plain.samples, mean.astype(np.float32))


def test_a_coded_clip_in_opposite_phase_is_found_and_heard(tmp_path):
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
    sound = np.stack([wave, -wave]).astype(np.float32)
    path = encode_clip(tmp_path / "clip.mp4", sound=sound)
    info = probe(path, MediaConfig())
    assert info.notes == ("opposite_phase",)
    assert info.mono_loss_db > 20
    assert np.abs(read_waveform(path, MediaConfig()).samples).max() < 0.02
    assert np.abs(read_waveform(path, LOUDEST).samples).max() > 0.25


def test_the_setting_is_part_of_the_recipe_only_when_it_changes_something(tmp_path):
    def recipe(media):
        source = Clips(tmp_path, media, {}).of(sample).audio
        assert source is not None
        return dict(source.recipe)

    sample = Sample("s", "?", ("a", "b"), 0, "W", "both", "v", "clip.mp4", None, None, "here")
    plain = {"kind": "audio", "max_audio_s": 10.0, "rate_hz": SAMPLE_RATE_HZ}
    assert recipe(MediaConfig()) == plain
    assert recipe(LOUDEST) == {**plain, "opposite_phase": "loudest_channel"}
    assert "opposite_phase" not in MediaConfig().decoding()
    assert LOUDEST.decoding() == {
        **MediaConfig().decoding(),
        "opposite_phase": "loudest_channel",
    }
