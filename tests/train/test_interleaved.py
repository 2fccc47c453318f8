"""The sound of a video between its frames: one form of the inputs on every path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from avrt.config import Config, EngineConfig, EvalModel
from avrt.engines import engine_identity
from avrt.engines.encode import INTERLEAVED, collate, encode, merge_media, suppress_token_ids
from avrt.errors import ConfigError, EngineError
from avrt.evaluate.models import choose_models
from avrt.media import load_media
from avrt.train import grpo, sft
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.held_out import answer_greedily
from avrt.train.rollout import Sampler, sample_groups
from avrt.train.shared_prefix import group_inputs, prompt_positions, share_attention
from avrt.types import Frames, Prompt, Waveform
from clips import encode_clip, tone

FRAMES = Frames(np.zeros((4, 56, 56, 3), np.uint8), (0.0, 0.5, 1.0, 1.5), 2.0)
INSIDE = {"use_audio_in_video": True}


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory):
    """Clips of five and of three seconds: chunks of two seconds, the last one shorter."""
    folder = tmp_path_factory.mktemp("long")
    for name, seconds in (("five", 5), ("short", 3)):
        sound = tone(seconds, 200.0 * seconds)
        encode_clip(folder / f"{name}.mp4", n_frames=8 * seconds, size=(56, 56), sound=sound, fps=8)
    return folder


@pytest.fixture
def make(make_config, make_row, long_clips):
    def make(**sections) -> Config:
        rows = [make_row(f"s{n}", ("five", "short")[n % 2], n % 4) for n in range(4)]
        media = {"n_frames": 8, "max_pixels": 56 * 56, "max_audio_s": 6.0}
        data = {"root": long_clips}
        student = {**INSIDE, **sections.pop("student", {})}
        return make_config(rows, data=data, media=media, student=student, **sections)

    return make


@pytest.fixture
def encoded(make, student):
    config = make()
    encoder = PromptEncoder(
        student[1], config.data.root, config.media, config.student.prompt, interleaved=True
    )
    examples = read_examples(split_path(config.run.path, "train"))[:2]
    return [encoder(example.sample) for example in examples]


def without_flag(media):
    return {key: value for key, value in media.items() if key != INTERLEAVED}


def test_frames_and_sound_take_turns_every_two_seconds(encoded, student):
    tokenizer = student[1].tokenizer
    ids = encoded[0].input_ids
    kinds = {tokenizer.video_token_id: "V", tokenizer.audio_token_id: "A"}
    letters = "".join(kinds.get(int(token), ".") for token in ids).strip(".")
    runs = [(letter, len(part)) for letter in "VA" for part in letters.split("VA"[letter == "V"])]
    assert {letter for letter, n in runs if n} == {"V", "A"}
    turns = "".join(
        letter for i, letter in enumerate(letters) if i == 0 or letters[i - 1] != letter
    )
    assert turns == "VAVAVA"
    seconds = float(encoded[0].media["video_second_per_grid"][0])
    n_first = sum(step * seconds < 2 for step in range(4)) * 2 * 2
    assert letters.index("A") == n_first
    assert letters.index("V", n_first) == n_first + 50  # two seconds of sound


def test_positions_follow_the_clock_and_not_the_order_on_both_paths(encoded, student):
    model, processor = student
    tokenizer = processor.tokenizer
    for row in encoded:
        positions = prompt_positions(model, row.input_ids, row.media)
        is_video = row.input_ids == tokenizer.video_token_id
        is_sound = row.input_ids == tokenizer.audio_token_id
        start = int(positions[0][is_video | is_sound][0])
        seconds = float(row.media["video_second_per_grid"][0])
        n_grids = int(row.media["video_grid_thw"][0][0])
        times = [int(grid * seconds * 25) for grid in range(n_grids) for _ in range(4)]
        assert (positions[0][is_video] - start).tolist() == times
        assert (positions[0][is_sound] - start).tolist() == list(range(int(is_sound.sum())))
    # The path of SFT, of evaluation and of rows of their own: the model makes them from the batch.
    batch = collate(encoded, tokenizer.pad_token_id, "right")
    lengths = batch["feature_attention_mask"].sum(-1)
    own = model.model.compute_3d_position_ids(
        batch["input_ids"],
        None,
        batch["video_grid_thw"],
        None,
        batch["attention_mask"],
        None,
        batch[INTERLEAVED],
        lengths,
        batch["video_second_per_grid"],
    )
    for number, row in enumerate(encoded):
        expected = prompt_positions(model, row.input_ids, row.media)
        assert own[:, number, : len(row.input_ids)].equal(expected)


def test_a_forgotten_flag_is_refused_where_prompts_are_shared_and_moves_the_rest(encoded, student):
    model, _ = student
    row = encoded[0]
    with pytest.raises(EngineError, match="inside the video, but the media are not marked"):
        prompt_positions(model, row.input_ids, without_flag(row.media))
    ids = row.input_ids[None]

    def logits(media):
        mask = torch.ones_like(ids)
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=mask, **merge_media([media])).logits

    assert (logits(row.media) - logits(without_flag(row.media))).abs().max() > 1e-2


def test_a_flag_without_the_form_is_refused_too(make, student):
    config = make()
    encoder = PromptEncoder(student[1], config.data.root, config.media, config.student.prompt)
    row = encoder(read_examples(split_path(config.run.path, "train"))[0].sample)
    assert INTERLEAVED not in row.media
    with pytest.raises(
        EngineError, match=f"beside the video, but the media are marked with {INTERLEAVED}"
    ):
        prompt_positions(
            student[0], row.input_ids, {**row.media, INTERLEAVED: torch.tensor([True])}
        )


def test_shared_prompts_give_the_logprobs_and_rollouts_of_rows_of_their_own(encoded, student):
    model, processor = student
    texts = answer_greedily(model, processor, encoded, 12)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    model.eval()
    completions = [[torch.tensor([40, 41, 42]), torch.tensor([50])] for _ in encoded]
    expected = []
    with torch.no_grad():
        for row, group in zip(encoded, completions, strict=True):
            for completion in group:
                ids = torch.cat([row.input_ids, completion])[None]
                media = merge_media([row.media])
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **media).logits
                scores = logits[0, -len(completion) - 1 : -1].log_softmax(-1)
                expected.append(scores.gather(-1, completion[:, None])[:, 0])
        share_attention(model)
        prompts, media = [row.input_ids for row in encoded], [row.media for row in encoded]
        inputs = group_inputs(model, prompts, completions, media)
        n_prompt = inputs["attention_mask"]["full_attention"].n_prompt
        found = model(**inputs, fused_lm_head=True).log_probs[:, n_prompt:].reshape(4, -1)
    for row, scores in zip(found, expected, strict=True):
        torch.testing.assert_close(row[: len(scores)], scores, atol=1e-5, rtol=0)
    ends = (processor.tokenizer.eos_token_id,)
    sampler = Sampler(12, 0.0, ends, tuple(suppress_token_ids(processor)))
    rows = sample_groups(model, prompts, media, 1, sampler)
    assert processor.tokenizer.batch_decode(rows, skip_special_tokens=True) == texts


def test_a_batch_is_of_one_kind_and_a_sound_beside_a_picture_may_go_along(encoded, make, student):
    config = make()
    sample = read_examples(split_path(config.run.path, "train"))[0].sample
    frames, audio = load_media(sample, config.data.root, config.media, "av")
    silent = encode(student[1], Prompt("what?", frames=frames), interleaved=True)
    assert INTERLEAVED not in silent.media
    with pytest.raises(EngineError, match="one batch holds videos with their sound between"):
        merge_media([encoded[0].media, silent.media])
    still = Frames(frames.pixels[:1], (0.0,), 1.0, still=True)
    picture = encode(student[1], Prompt("what?", frames=still, audio=audio), interleaved=True)
    apart = encode(student[1], Prompt("what?", frames=still, audio=audio))
    assert picture.input_ids.equal(apart.input_ids)
    assert INTERLEAVED not in picture.media
    model = student[0]
    batch = collate([encoded[0], picture], 0, "right")
    with torch.no_grad():
        both = model(**batch).logits[1, : len(picture.input_ids)]
        ids = picture.input_ids[None]
        one = model(input_ids=ids, attention_mask=torch.ones_like(ids), **picture.media).logits[0]
    torch.testing.assert_close(both, one, atol=1e-4, rtol=0)


@pytest.mark.parametrize("share_prompts", [True, False])
def test_both_stages_train_and_hold_out_with_it(make, read_numbers, share_prompts):
    sections = {"sft": {"eval_samples": 1}, "grpo": {}, "eval": {"max_new_tokens": 4}}
    sections["grpo"]["share_prompts"] = share_prompts
    inside = make(**sections)
    apart = make(**sections, student={"use_audio_in_video": False}, run={"name": "apart"})
    grpo.run(inside)
    if share_prompts:
        sft.run(inside)
        sft.run(apart)
        logs = [read_numbers(run.run.path / "sft" / "log.jsonl") for run in (inside, apart)]
        losses = [[row["loss"] for row in log if "loss" in row] for log in logs]
        assert losses[0] != losses[1]
    # Another form of the inputs is another training.
    changed = inside.model_copy(update={"student": apart.student})
    with pytest.raises(ConfigError, match=r"other settings \(student\)"):
        grpo.run(changed)


def test_a_processor_without_this_form_is_refused(student, monkeypatch):
    monkeypatch.delattr(type(student[1]).__mro__[1], "load_audio_from_video")
    clip = Prompt("what?", frames=FRAMES, audio=Waveform(np.zeros(16_000, np.float32)))
    with pytest.raises(EngineError, match="cannot put the sound of a video between its frames"):
        encode(student[1], clip, interleaved=True)


def test_evaluation_takes_the_students_form_and_is_another_protocol_with_it(make):
    config = make()
    (model,) = choose_models(config, {"base": "base"})
    assert model.engine.use_audio_in_video
    assert model.identity["audio"] == "samples inside the video"
    plain = engine_identity(
        model.engine.model_copy(update={"use_audio_in_video": False}),
        model.checkpoint,
        None,
        config.media,
    )
    assert {**plain, "audio": model.identity["audio"]} == model.identity
    own = EvalModel(model="base", engine=EngineConfig(kind="vllm"))
    with pytest.raises(ConfigError, match=r"eval\.models\.base\.engine gives the student pictures"):
        choose_models(config, {"base": own})
    with pytest.raises(ValueError, match="goes with kind: transformers; openai gets pictures"):
        EngineConfig(use_audio_in_video=True)
