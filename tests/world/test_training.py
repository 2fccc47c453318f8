"""Batches are what models get later; weights move between architectures; training resumes."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avrt.engines.encode import encode
from avrt.errors import ConfigError
from avrt.types import Prompt
from avrt.world import curriculum, networks, training
from avrt.world.content import COURSES, PLACES, draw_scene
from avrt.world.pool import MEDIA, PoolClip, build_pool


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[PoolClip]:
    return build_pool(6, seed=1, folder=tmp_path_factory.mktemp("pool"), n_workers=1)


@pytest.mark.parametrize("lesson", ["describe", "answer_directly"])
def test_training_prompts_have_the_tokens_that_encode_makes(
    clips: list[PoolClip], lesson: str, tmp_path: Path
):
    from avrt.media import read_frames, read_waveform
    from avrt.world.render import encode_mp4, encode_png, render_frames, render_sound

    _, processor = networks.new_student()
    encoder = training.Encoder(processor, clips, padded_sound=False)
    scene = clips[0].scene
    frames = render_frames(scene)
    (tmp_path / "clip.mp4").write_bytes(encode_mp4(frames, render_sound(scene)))
    (tmp_path / "still.png").write_bytes(encode_png(frames[0]))
    for seed in range(12):
        example = curriculum.PERCEPTION_LESSONS[lesson][0](scene, random.Random(seed))
        picture = {None: None, "video": "clip.mp4", "image": "still.png"}[example.picture]
        prompt = Prompt(
            example.user,
            frames=read_frames(tmp_path / picture, MEDIA) if picture else None,
            audio=read_waveform(tmp_path / "clip.mp4", MEDIA) if example.sound else None,
        )
        assert encoder.prompt_ids(example) == encode(processor, prompt).input_ids.tolist()


def test_labels_cover_the_reply_and_its_end_only(clips: list[PoolClip]):
    _, processor = networks.new_student()
    encoder = training.Encoder(processor, clips, padded_sound=False)
    inputs, labels = training.batch(encoder, curriculum.describe, random.Random(0), 4)
    tokenizer = encoder.tokenizer
    for ids, row in zip(inputs["input_ids"], labels, strict=True):
        reply = tokenizer.decode(row[row != -100])
        assert reply.endswith("<|im_end|>")
        assert reply in tokenizer.decode(ids)
        assert "Describe" not in reply


@pytest.mark.parametrize(
    "build", [networks.new_student, networks.new_vision_teacher, networks.new_audio_teacher]
)
def test_the_language_model_of_every_architecture_takes_over_the_mergers(build):
    merger, tokenizer = networks.new_merger(seed=5)
    model, _ = build(seed=6)
    source = {key: value for key, value in merger.state_dict().items() if key != "lm_head.weight"}
    assert training.take_over(model, source) >= len(source)
    ids = torch.tensor([tokenizer.encode("It could be dog or bird.")])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        own = model(input_ids=ids, attention_mask=mask).logits
        original = merger(input_ids=ids, attention_mask=mask).logits
    assert torch.allclose(own, original, atol=1e-4)


def test_the_vision_teacher_sees_with_the_students_tower(clips: list[PoolClip]):
    student, _ = networks.new_student(seed=1)
    teacher, _ = networks.new_vision_teacher(seed=2)
    training.take_over(teacher, student.state_dict())
    video = clips[0].video
    pixels, grid = video["pixel_values_videos"].float(), video["video_grid_thw"]
    with torch.no_grad():
        seen = student.model.visual(pixels, grid_thw=grid).pooler_output
        taken = teacher.model.visual(pixels, grid_thw=grid).pooler_output
    assert torch.allclose(seen, taken, atol=1e-5)


SHORT = replace(training.MODELS["merger"][1], n_steps=6, batch_size=2, warmup_steps=1)


def _train_short(folder: Path, last: int, seed: int = 0) -> dict[str, torch.Tensor]:
    model, tokenizer = networks.new_merger(seed=0)
    encoder = training.Encoder(tokenizer, [], padded_sound=False)
    job = training.Training("merger", SHORT, seed, folder)
    training.train(model, encoder, job, last=last)
    return model.state_dict()


def test_interrupted_training_ends_with_the_same_weights_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    whole = _train_short(tmp_path / "whole", 6)
    _train_short(tmp_path / "parts", 5)
    with (tmp_path / "parts" / "merger.jsonl").open("a") as log:
        log.write('{"step": 5, "les')  # as a kill leaves it
    resumed = _train_short(tmp_path / "parts", 6)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    steps = [
        [
            json.loads(line)["step"]
            for line in (tmp_path / part / "merger.jsonl").read_text().splitlines()
        ]
        for part in ("whole", "parts")
    ]
    assert steps == [list(range(6)), list(range(6))]


def test_a_state_of_another_seed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    _train_short(tmp_path, 2)
    with pytest.raises(ConfigError, match="another recipe or seed"):
        _train_short(tmp_path, 2, seed=1)


def test_an_unknown_model_name_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="known: merger"):
        training.run(tmp_path, only=("teacher",))


def test_a_model_whose_source_is_missing_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="--only merger"):
        training.run(tmp_path, only=("perceiver",))


def test_merge_lessons_always_end_in_the_given_answer():
    rng = random.Random(0)
    for _ in range(200):
        example = curriculum.merge(draw_scene(rng), rng)
        letter = example.reply.removesuffix("</answer>")[-1]
        assert f"Correct answer: ({letter})" in example.user


def test_lessons_in_reasoning_weigh_what_is_given_for_all_types_of_questions_alike():
    rng = random.Random(0)
    kinds = Counter[str]()
    for _ in range(800):
        example = curriculum.reason(draw_scene(rng), rng)
        assert ("I see" in example.reply) == (example.picture is not None)
        assert ("I hear" in example.reply) == example.sound
        steps, letter = example.reply.rsplit("</think><answer>", 1)
        settled = re.fullmatch(r"\((.)\) (\w+) yes", steps.splitlines()[-1])
        assert settled
        assert settled[1] == letter[0]
        assert f"({settled[1]}) {settled[2]}" in example.user
        if example.picture and example.sound:
            assert f"Only {settled[2]} fits both." in example.reply
        kinds[
            "place" if settled[2] in PLACES else "course" if settled[2] in COURSES else "thing"
        ] += 1
    assert 0.4 < kinds["thing"] / 800 < 0.6
    assert 0.2 < kinds["place"] / 800 < 0.3
