from __future__ import annotations

import pytest

from avrt.datasets.prepare import MEDIA_SCHEMA
from avrt.errors import AvrtError, DataError, MediaError
from avrt.runs import write_parquet
from avrt.train.data import (
    PromptEncoder,
    UsableExamples,
    keep_usable,
    read_examples,
    refuse_unread,
    split_path,
    trace_ids,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_letter": "C"}, r"train\.parquet:2: answer_letter is 'C', but answer 1 is 'B'"),
        ({"answer": 7, "answer_letter": "H"}, r"train\.parquet:2.*outside the 4 options"),
        ({"av_reasoning": ""}, "'bad' has no av_reasoning.*`avrt grpo` with grpo.init=base"),
        (
            {"video": None, "audio": "sound.wav"},
            "'bad' has no picture; the student is trained on both",
        ),
        (
            {"video": None, "image": "still.png"},
            "'bad' has no sound; the student is trained on both",
        ),
        ({"video": None}, "'bad' has no picture"),
        ({"id": "good"}, "'good' occurs 2 times"),
    ],
)
def test_bad_rows_are_refused_by_file_and_row(make_config, make_row, changes, message):
    config = make_config([make_row("good", "short"), make_row("bad", "short", **changes)])
    with pytest.raises(DataError, match=message):
        read_examples(split_path(config.run.path, "train"))


def test_over_long_and_unreadable_samples_are_lost_by_name(make_config, student):
    config = make_config()
    examples = read_examples(split_path(config.run.path, "train"))[:4]
    lengths = {
        "s0": 10,
        "s1": MediaError("truncated", "blue-high.mp4", "ends early"),
        "s2": 11,
        "s3": 9,
    }
    selection = keep_usable("sft", examples, lengths, max_length=10)
    assert [example.sample.id for example in selection.kept] == ["s0", "s3"]
    assert selection.counts == {"read": 4, "kept": 2, "failed/truncated": 1, "dropped/too_long": 1}
    assert {row["sample_id"]: row["reason"] for row in selection.lost} == {
        "s1": "failed/truncated",
        "s2": "dropped/too_long",
    }
    with pytest.raises(
        DataError, match=r"none of the 4 samples.*; the first: 10 tokens, at most 8"
    ):
        keep_usable("sft", examples, lengths, max_length=8)


@pytest.mark.parametrize("error_class", ["permission", "unreadable", "timeout"])
def test_a_clip_that_cannot_be_read_now_stops_the_training(make_config, error_class):
    config = make_config()
    examples = read_examples(split_path(config.run.path, "train"))[:2]
    lengths = {"s0": 10, "s1": MediaError(error_class, "blue-high.mp4", "not now")}
    selection = keep_usable("sft", examples, lengths, max_length=10)
    with pytest.raises(
        AvrtError, match=rf"sft: the clips of 1 samples .*\(1 {error_class}; the fi"
    ):
        refuse_unread("sft", config.run.path, selection)


def test_a_missing_clip_stops_the_training_only_when_it_was_prepared(tmp_path):
    lost = UsableExamples(failures=[MediaError("missing", "a.mp4", "no such file")])
    refuse_unread("sft", tmp_path, lost)
    row = {"path": "a.mp4", "status": "ok", "n_audio_tracks": 1, "notes": []}
    write_parquet(tmp_path / "media.parquet", [row], MEDIA_SCHEMA)
    with pytest.raises(AvrtError, match=r"1 missing.*nothing was trained"):
        refuse_unread("sft", tmp_path, UsableExamples(), lost)


def test_prompt_holds_both_modalities(make_config, student):
    config = make_config()
    processor = student[1]
    encoded = PromptEncoder(processor, config.data.root, config.media, config.student.prompt)(
        read_examples(split_path(config.run.path, "train"))[0].sample
    )
    text = processor.tokenizer.decode(encoded.input_ids)
    assert "<|VIDEO|>" in text
    assert "<|AUDIO|>" in text
    assert {"pixel_values_videos", "input_features"} <= set(encoded.media)


def test_trace_ends_with_the_end_token(student):
    tokenizer = student[1].tokenizer
    ids = trace_ids(student[1], "<think>a</think><answer>B</answer>")
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[:-1]) == "<think>a</think><answer>B</answer>"
