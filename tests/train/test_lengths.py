"""Token counts by arithmetic equal those of the encoder, for every kind of file."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import av
import numpy as np
import pytest
import torch
from PIL import Image, features
from transformers import Qwen3OmniMoeProcessor, WhisperFeatureExtractor

from avrt.config import Config, MediaConfig
from avrt.datasets import prepare, read_samples
from avrt.datasets.prepare import MEDIA_SCHEMA
from avrt.datasets.probing import probe_settings
from avrt.engines.encode import as_floats, encode
from avrt.errors import EngineError, MediaError
from avrt.media import load_media
from avrt.media.probe import probe
from avrt.runs import read_parquet, write_parquet
from avrt.train.data import PromptEncoder
from avrt.train.lengths import count_prompt_tokens, sound_tokens
from avrt.types import Prompt, Sample, Waveform
from avrt.world import make
from clips import encode_clip, tone

PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
SIZES = ((60, 201), (113, 84), (28, 300), (5, 57))
"""Height and width: none is a multiple of 28 on both sides, the last is smaller than a patch."""


def write_sound(path, n_samples, rate_hz, codec, layout="mono"):
    """A sound file of exactly so many samples, as far as its format can say so."""
    wave = (8000 * np.sin(np.arange(n_samples) / 9)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(stream.format, layout, rate_hz)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            for packet in stream.encode(piece):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, videos and sounds of every kind that can be written here."""
    folder = tmp_path_factory.mktemp("kinds")
    for number, kind in enumerate(PICTURES):
        if kind in ("AVIF", "WEBP", "JPEG2000") and not features.check(
            {"JPEG2000": "jpg_2000"}.get(kind, kind.lower())
        ):
            continue
        height, width = SIZES[number % len(SIZES)]
        Image.new("RGB", (width, height), "teal").save(folder / f"picture.{kind.lower()}", kind)
    turned = Image.new("RGB", (200, 60))
    exif = turned.getexif()
    exif[0x112] = 6
    turned.save(folder / "turned.jpeg", exif=exif)
    sound = tone(1.3)
    encode_clip(folder / "plain.mp4", size=(100, 150), sound=sound)
    encode_clip(folder / "turned.mp4", size=(100, 150), sound=sound, rotation=90)
    encode_clip(folder / "wide.mp4", size=(100, 150), sound=sound, aspect=(16, 11))
    encode_clip(folder / "one.mkv", n_frames=1, size=(64, 96), sound=sound)
    encode_clip(folder / "motion.avi", size=(90, 60), sound=sound, codec="mjpeg", codec_options={})
    encode_clip(folder / "stream.ts", size=(120, 160), sound=sound, codec="mpeg2video")
    encode_clip(folder / "odd.webm", size=(70, 90), codec="libvpx-vp9", codec_options={})
    for rate_hz, n_samples in ((8000, 4001), (16000, 16079), (44100, 70001), (48000, 30003)):
        write_sound(folder / f"{rate_hz}.wav", n_samples, rate_hz, "pcm_s16le")
        write_sound(folder / f"{rate_hz}.flac", n_samples, rate_hz, "flac", "stereo")
    write_sound(folder / "sound.mp3", 50001, 44100, "libmp3lame")
    write_sound(folder / "sound.ogg", 50001, 48000, "libopus")
    write_sound(folder / "sound.m4a", 90001, 48000, "aac")
    return folder


def pair(root):
    """Samples that pair every picture or video with a sound, and every sound with a picture."""
    infos = {path.name: probe(path, MediaConfig()) for path in sorted(root.iterdir())}
    seen = [name for name, info in infos.items() if info.video_codec]
    heard = [name for name, info in infos.items() if info.audio_codec]
    n = max(len(seen), len(heard))
    return [
        Sample(
            id=f"s{index}",
            question=f"What is it{' now' * index}?",
            options=("bell", "drum"),
            answer_index=0,
            question_type="Which",
            question_relation="both",
            video_id=f"v{index}",
            image=seen[index % len(seen)],
            audio=heard[index % len(heard)],
        )
        for index in range(n)
    ]


def official(processor):
    """The sound's numbers of Qwen2.5-Omni."""
    processor.feature_extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=300)
    return processor


def assert_equal(run, encoder, samples):
    counts = count_prompt_tokens(run, encoder, samples)
    for sample in samples:
        n_tokens = len(encoder(sample).input_ids)
        assert counts[sample.id] == n_tokens, (sample.picture_path, sample.sound_path)


@pytest.mark.parametrize(
    "media",
    [
        {"n_frames": 8, "max_pixels": 602_112, "max_audio_s": 10},
        {"n_frames": 5, "max_pixels": 8_000, "max_audio_s": 0.70001},
        {"n_frames": 1, "max_pixels": 800, "max_audio_s": None},
    ],
)
def test_counts_equal_the_encoder_s_for_every_kind_of_file(folder, student, tmp_path, media):
    processor = official(student[1])
    encoder = PromptEncoder(processor, folder, MediaConfig(**media), "student")
    assert_equal(tmp_path, encoder, pair(folder))


def test_counts_of_prepared_real_clips_equal_the_encoder_s(real_data, student, tmp_path):
    config = Config.model_validate(
        {
            "run": {"dir": tmp_path, "name": "real"},
            "data": {"root": real_data / "avqa", "split": "val"},
        }
    )
    prepare.run(config)
    encoder = PromptEncoder(official(student[1]), config.data.root, config.media, "student")
    (config.run.path / "media.probes.jsonl").unlink()  # the table is enough
    assert_equal(config.run.path, encoder, list(read_samples(config.data)))
    assert not (config.run.path / "media.probes.jsonl").exists()


def test_counts_of_world_clips_equal_the_encoder_s(student, tmp_path):
    make.run(tmp_path, n_train=24, n_bench=6, n_audio=2)
    media = MediaConfig(n_frames=8, max_pixels=12_544, max_audio_s=4.0)
    for data in ({"format": "avqa"}, {"format": "parquet", "split": "bench"}):
        config = Config.model_validate({"data": {"root": tmp_path, **data}})
        encoder = PromptEncoder(student[1], config.data.root, media, "world/student")
        assert_equal(tmp_path / "run", encoder, list(read_samples(config.data)))


def test_tokens_and_features_of_sounds_of_any_length(student):
    processor = official(student[1])
    settings = {"sampling_rate": 16_000}
    for n_samples in (*range(330, 2000, 157), 3199, 3200, 3201, 159_999, 160_000, 4_799_990):
        wave = np.sin(np.arange(n_samples) ** 1.5 / 40).astype(np.float32)
        whole = processor(text=["<|AUDIO|>"], audio=[wave], audio_kwargs=settings)
        n_tokens = np.sum(np.asarray(whole["input_ids"]) == processor.audio_token_id)
        assert sound_tokens(processor, n_samples) == n_tokens

        encoded = encode(processor, Prompt("What is it?", audio=Waveform(wave))).media
        n_valid = int(np.asarray(whole["feature_attention_mask"]).sum())
        expected = torch.as_tensor(whole["input_features"])[..., :n_valid]
        assert encoded["feature_attention_mask"].sum() == n_valid
        # Bit for bit on most processors; on some, a transform differs in its last bits.
        torch.testing.assert_close(encoded["input_features"], expected, rtol=0, atol=2e-6)


def test_tokens_of_sounds_of_qwen3_omni(student):
    base = student[1]
    processor = Qwen3OmniMoeProcessor(
        base.image_processor,
        base.video_processor,
        WhisperFeatureExtractor(feature_size=128),
        base.tokenizer,
        chat_template=base.chat_template,
    )
    settings = {"sampling_rate": 16_000}
    for n_samples in (*range(330, 40_000, 1571), 15_999, 16_000, 16_001, 16_159, 160_000):
        wave = np.zeros(n_samples, np.float32)
        made = processor(text=["<|AUDIO|>"], audio=[wave], audio_kwargs=settings)
        n_tokens = np.sum(np.asarray(made["input_ids"]) == processor.audio_token_id)
        assert sound_tokens(processor, n_samples) == n_tokens, n_samples


def test_compact_pixels_become_the_processor_s_floats_bit_for_bit(folder, student):
    encoder = PromptEncoder(student[1], folder, MediaConfig(), "student")
    kinds = set()
    for sample in pair(folder):
        clip = load_media(sample, folder, encoder.media, "av")
        floats, compact = encoder(sample), encoder.encode(sample, *clip)
        made = as_floats(compact.media)
        kinds |= made.keys() & {"pixel_values", "pixel_values_videos"}
        assert made.keys() == floats.media.keys()
        assert all(made[name].equal(floats.media[name]) for name in made)
        assert all(made[name].dtype == floats.media[name].dtype for name in made)
        assert compact.input_ids.equal(floats.input_ids)
    assert kinds == {"pixel_values", "pixel_values_videos"}


def test_a_run_of_an_earlier_version_is_probed_once_and_not_again(
    folder, student, tmp_path, monkeypatch
):
    samples = pair(folder)[:3]
    names = {name for sample in samples for name in (sample.image, sample.audio)}
    encoder = PromptEncoder(student[1], folder, MediaConfig(), "student")
    expected = count_prompt_tokens(tmp_path / "fresh", encoder, samples)
    journal = tmp_path / "fresh" / "media.probes.jsonl"
    entries = [json.loads(line) for line in journal.read_text().splitlines() if line]
    assert {entry["info"]["path"] for entry in entries} == names
    for entry in entries:
        del entry["info"]["n_audio_samples"]
    old = tmp_path / "old"
    old.mkdir()
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (old / "media.probes.jsonl").write_text(text)

    assert count_prompt_tokens(old, encoder, samples) == expected
    n_lines = (old / "media.probes.jsonl").read_text().count("\n")
    monkeypatch.setattr("avrt.datasets.probing.map_files", lambda *_, **__: no_files())
    assert count_prompt_tokens(old, encoder, samples) == expected
    assert (old / "media.probes.jsonl").read_text().count("\n") <= n_lines + 1


def no_files():
    """A generator as that of `map_files`, which finds nothing to do."""
    yield from ()


def test_other_settings_of_sound_than_prepared_are_noticed(real_data, student, tmp_path):
    tree = {
        "run": {"dir": tmp_path, "name": "real"},
        "data": {"root": real_data / "avqa", "split": "val", "limit": 2},
        "media": {"max_audio_s": 2.0},
    }
    prepare.run(Config.model_validate(tree))
    config = Config.model_validate({**tree, "media": {"max_audio_s": 5.0}})
    encoder = PromptEncoder(student[1], config.data.root, config.media, "student")
    assert_equal(config.run.path, encoder, list(read_samples(config.data)))


def test_a_replaced_file_is_not_counted_as_the_prepared_one(folder, student, tmp_path):
    sample = pair(folder)[0]
    media = MediaConfig()
    names = (sample.image, sample.audio)
    rows = [{**asdict(probe(folder / name, media)), "path": name} for name in names]
    rows[1] |= {"n_audio_samples": 3 * rows[1]["n_audio_samples"]}
    encoder = PromptEncoder(student[1], folder, media, "student")
    right = len(encoder(sample).input_ids)
    settings = {"settings": {"media": probe_settings(media)}}
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "prepare.json").write_text(json.dumps(settings))
    for size_changes in (False, True):
        rows[1]["size_bytes"] += size_changes
        write_parquet(tmp_path / "media.parquet", rows, MEDIA_SCHEMA)
        counted = count_prompt_tokens(tmp_path, encoder, [sample])[sample.id]
        assert (counted == right) == size_changes


def test_what_is_absent_too_short_or_misleading_is_named(folder, student, tmp_path):
    sample = replace(pair(folder)[0], image="picture.png", audio="8000.wav")
    for name in ("picture.png", "8000.wav"):
        shutil.copy(folder / name, tmp_path / name)
    write_sound(tmp_path / "short.wav", 100, 16_000, "pcm_s16le")
    encoder = PromptEncoder(student[1], tmp_path, MediaConfig(), "student")

    def count(**changes):
        changed = replace(sample, **changes)
        return count_prompt_tokens(tmp_path / "run", encoder, [changed])[sample.id]

    found = [count(image="nowhere.png"), count(audio="picture.png"), count(audio="short.wav")]
    assert [error.error_class for error in found] == ["missing", "no_audio", "no_audio"]
    assert "too short" in str(found[2])
    assert isinstance(found[0], MediaError)
    assert count(image="8000.wav").error_class == "no_video"
    with pytest.raises(EngineError, match=r"the text of the prompt holds <\|AUDIO\|>"):
        count(question="What is <|AUDIO|>?")


def test_prepared_tables_have_the_length_of_sounds(real_data, tmp_path):
    tree = {
        "run": {"dir": tmp_path, "name": "real"},
        "data": {"root": real_data / "avqa", "split": "val", "limit": 1},
    }
    prepare.run(Config.model_validate(tree))
    (row,) = read_parquet(tmp_path / "real" / "media.parquet")
    assert row["n_audio_samples"] == 160_000
