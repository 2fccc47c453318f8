from __future__ import annotations

import struct
import wave

import av
import numpy as np
import pytest
import soxr

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import probe, read_waveform
from clips import RATE_HZ, encode_clip, tone


def snr_db(reference, got):
    noise = np.mean((reference - got) ** 2)
    return 10 * np.log10(np.mean(reference**2) / noise) if noise else np.inf


def write_wav(path, samples, rate_hz, width=2):
    """`samples` has shape (channels, n), in [-1, 1]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        if width == 1:
            file.writeframes((np.rint(samples.T * 127) + 128).astype(np.uint8).tobytes())
        else:
            file.writeframes(np.rint(samples.T * 32767).astype("<i2").tobytes())
    return path


def error_class_of(path):
    with pytest.raises(MediaError) as caught:
        read_waveform(path, MediaConfig())
    return caught.value.error_class


def test_a_silent_film_has_no_audio(tmp_path):
    assert error_class_of(encode_clip(tmp_path / "film.mp4", n_frames=5)) == "no_audio"


def test_a_picture_has_no_audio(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert error_class_of(path) == "no_audio"


def test_a_track_without_a_sample_is_no_audio(tmp_path):
    assert error_class_of(write_wav(tmp_path / "empty.wav", np.zeros((1, 0)), 16_000)) == "no_audio"


def test_missing_and_cut_files_are_named(tmp_path, clip):
    assert error_class_of(tmp_path / "absent.wav") == "missing"
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:-3000])
    assert error_class_of(cut) == "truncated"


def test_silence_is_sound(tmp_path):
    path = encode_clip(tmp_path / "quiet.mp4", n_frames=5, sound=np.zeros((2, RATE_HZ), np.float32))
    waveform = read_waveform(path, MediaConfig())
    assert waveform.duration_s == pytest.approx(1.0, abs=0.05)
    assert not waveform.samples.any()


def test_channels_are_averaged_not_summed(clip):
    samples = read_waveform(clip, MediaConfig()).samples[4000:28_000]
    assert np.sqrt(2) * samples.std() == pytest.approx(0.4 * 0.75, rel=0.02)


def test_opposite_channels_cancel(tmp_path):
    sound = tone(1.0)
    path = write_wav(tmp_path / "anti.wav", np.stack([sound[0], -sound[0]]), RATE_HZ)
    assert np.abs(read_waveform(path, MediaConfig()).samples).max() < 1e-4


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_rate_length_and_pitch(tmp_path, rate_hz):
    path = write_wav(tmp_path / "tone.wav", tone(2.0, rate_hz=rate_hz), rate_hz)
    waveform = read_waveform(path, MediaConfig())
    assert waveform.rate_hz == 16_000
    assert waveform.samples.dtype == np.float32
    assert len(waveform.samples) == 32_000
    wanted = tone(2.0, rate_hz=16_000).mean(axis=0)
    inside = slice(1600, -1600)
    assert snr_db(wanted[inside], waveform.samples[inside]) > 70


@pytest.mark.parametrize("level", [2.0, 1e19, 3e38])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_floats_beyond_one_are_clipped_whatever_their_size(tmp_path, level, n_channels):
    path = tmp_path / "loud.wav"
    samples = np.full((16_000, n_channels), level, "<f4")
    samples[::2] *= -1
    size = 4 * n_channels
    form = struct.pack("<HHLLHH", 3, n_channels, 16_000, 16_000 * size, size, 32)
    data = b"data" + struct.pack("<L", samples.nbytes) + samples.tobytes()
    body = b"WAVEfmt " + struct.pack("<L", len(form)) + form + data
    path.write_bytes(b"RIFF" + struct.pack("<L", len(body)) + body)
    info = probe(path, MediaConfig())
    assert (info.status, info.notes, info.peak_dbfs) == ("ok", (), 0.0)
    assert info.mono_loss_db in (None, 0.0)


@pytest.mark.parametrize("width", [1, 2])
def test_integer_formats_have_the_right_level(tmp_path, width):
    path = write_wav(tmp_path / "tone.wav", tone(1.0, rate_hz=16_000), 16_000, width)
    wanted = tone(1.0, rate_hz=16_000).mean(axis=0)
    assert np.abs(read_waveform(path, MediaConfig()).samples - wanted).max() < 2.0 / 2 ** (
        8 * width - 1
    )


def test_only_the_first_seconds_are_taken_and_the_cut_leaves_no_trace(clip):
    whole = read_waveform(clip, MediaConfig()).samples
    start = read_waveform(clip, MediaConfig(max_audio_s=0.75)).samples
    assert len(start) == 12_000
    assert snr_db(whole[:12_000], start) > 75


def test_what_would_fold_back_is_removed(tmp_path):
    path = write_wav(tmp_path / "high.wav", tone(1.0, hz=9000), RATE_HZ)
    assert np.abs(read_waveform(path, MediaConfig()).samples[1600:-1600]).max() < 1e-4


def test_a_damaged_sound_packet_is_refused_or_passed_over_and_marked(tmp_path, clip):
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        start, size = packets[20].pos, packets[20].size
    content = bytearray(clip.read_bytes())
    content[start : start + size] = b"\xff" * size
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    assert error_class_of(path) == "damaged"
    waveform = read_waveform(path, MediaConfig(damaged="use"))
    assert waveform.duration_s == pytest.approx(2.0, abs=0.1)
    assert waveform.fault == "damaged"


def test_real_sound_equals_a_double_precision_resampling(real_clips):
    for path in real_clips:
        with av.open(str(path)) as container:
            rate_hz = container.streams.audio[0].sample_rate
            pieces = [frame.to_ndarray() for frame in container.decode(audio=0)]
        mono = np.concatenate(pieces, axis=1).astype(np.float64).mean(axis=0)
        wanted = soxr.resample(mono, rate_hz, 16_000, quality="HQ").clip(-1, 1)[:160_000]
        samples = read_waveform(path, MediaConfig()).samples
        assert len(samples) == len(wanted) == 160_000
        assert snr_db(wanted, samples) >= 75, path.name


@pytest.mark.parametrize("ending", ["wav", "m4a", "mp3", "mkv", "flac"])
def test_the_length_of_the_whole_sound_is_known_also_where_it_is_cut(tmp_path, ending):
    path = tmp_path / f"sound.{ending}"
    if ending == "wav":
        write_wav(path, tone(5.0), RATE_HZ)
    else:
        codec = {"m4a": "aac", "mkv": "aac", "mp3": "libmp3lame", "flac": "flac"}[ending]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=RATE_HZ, layout="stereo")
            form = stream.codec_context.codec.audio_formats[0].name
            sound = av.AudioFrame.from_ndarray(tone(5.0), format="fltp", layout="stereo")
            sound.sample_rate, sound.pts = RATE_HZ, 0
            for frame in av.AudioResampler(form, "stereo", RATE_HZ).resample(sound):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    cut = read_waveform(path, MediaConfig(max_audio_s=1.0))
    whole = read_waveform(path, MediaConfig(max_audio_s=None))
    assert cut.duration_s == 1.0
    assert cut.source_s == pytest.approx(whole.source_s, abs=0.1)
    assert whole.source_s == pytest.approx(whole.duration_s, abs=1e-3)
    assert whole.source_s == pytest.approx(5.0, abs=0.1)
