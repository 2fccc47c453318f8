"""Clips that fail, are slow or are gone while a training runs; real files and real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing

import pytest
from safetensors.torch import load_file

from avrt.datasets import prepare
from avrt.engines.encode import as_floats
from avrt.errors import AvrtError, MediaError
from avrt.media import processes
from avrt.runs import manifest_path
from avrt.train import feed as feed_module
from avrt.train import grpo, sft
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.dropped import Dropped
from avrt.train.feed import Feed
from avrt.train.lengths import count_prompt_tokens
from avrt.train.log import TrainingLog
from clips import encode_clip
from train.conftest import write_clip
from train.test_launch import write
from train.test_processes import TORCHRUN

STAGES = {"sft": sft, "grpo": grpo}


@pytest.fixture
def place(clips, tmp_path):
    """A copy of the clips with eight more, of which `late` breaks behind its first frame."""
    root = tmp_path / "data"
    shutil.copytree(clips, root)
    for number in range(8):
        write_clip(root / f"clip{number}.mp4", 20 + 25 * number, 300.0 + 100 * number)
    return root


def break_late(path):
    """Write a clip without sound whose last pictures are overwritten; a probe decodes the first."""
    encode_clip(path, n_frames=24, size=(56, 56), fps=24)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    n_bytes = int.from_bytes(content[start - 4 : start], "big")
    for place in range(start + n_bytes // 2, start + n_bytes - 8):
        content[place] = 0xFF
    path.write_bytes(bytes(content))


@pytest.fixture
def open_feed(make_config, student, tmp_path):
    """Open a feed over the samples of the dataset."""

    def open_(config, n_ahead=4, **changes):
        encoder = PromptEncoder(student[1], config.data.root, config.media, config.student.prompt)
        examples = read_examples(split_path(config.run.path, "train"))
        samples = [example.sample for example in examples]
        feed = Feed(encoder, samples, Dropped(tmp_path / "dropped.jsonl", 0.2), n_ahead)
        feed.count(config.run.path).update(changes)
        return closing(feed), encoder, samples

    return open_


@pytest.fixture
def rows(make_row):
    """Rows about eight clips of their own."""
    return [make_row(f"s{index}", f"clip{index}", index % 4) for index in range(8)]


def names_of(taken):
    return [name for name, _ in taken]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_cached", [False, True])
def test_what_a_feed_gives_is_what_the_encoder_gives_in_any_order(
    make_config, open_feed, place, rows, monkeypatch, workers, is_cached
):
    if not is_cached:
        monkeypatch.setattr(feed_module, "CACHE_BYTES", 0)
    config = make_config(rows, data={"root": place}, media={"workers": workers})
    opened, encoder, samples = open_feed(config)
    asked = [["s3", "s3", "s1"], ["s0"], ["s7", "s2"], ["s5", "s5", "s6"], ["s3"]]
    with opened as feed:
        feed.follow("train", [["s0"], ["s3", "s1"], ["s4"], ["s7", "s2"], ["s5", "s6"]])
        for batch in asked:  # also what the forecast does not say
            taken = feed.take(batch)
            assert names_of(taken) == batch
            for name, encoded in taken:
                (sample,) = [sample for sample in samples if sample.id == name]
                expected = encoder(sample)
                assert encoded.input_ids.equal(expected.input_ids)
                floats = as_floats(encoded.media)
                assert floats.keys() == expected.media.keys()
                assert all(floats[key].equal(value) for key, value in expected.media.items())


def test_no_more_samples_wait_than_the_settings_say(
    make_config, open_feed, place, rows, monkeypatch
):
    monkeypatch.setattr(feed_module, "CACHE_BYTES", 0)
    config = make_config(rows, data={"root": place}, media={"read_ahead": 3})
    opened, _, _ = open_feed(config, n_ahead=100)
    with opened as feed:
        batches = [[f"s{index}"] for index in range(8)]
        feed.follow("train", batches)
        for number, batch in enumerate(batches):
            feed.take(batch)
            expected = [f"s{index}" for index in range(number + 1, min(number + 4, 8))]
            assert sorted(feed._waiting) == expected


def test_a_clip_that_fails_is_read_again_in_a_new_process(
    make_config, open_feed, place, rows, monkeypatch
):
    config = make_config(rows, data={"root": place}, media={"workers": 1})
    started = []
    start = processes.Pool._start
    monkeypatch.setattr(processes.Pool, "_start", lambda self: started.append(self) or start(self))
    opened, _, _ = open_feed(config, n_ahead=0)
    os.truncate(place / "clip2.mp4", 900)
    with opened as feed:
        feed.follow("train", [["s1"], ["s2"], ["s3"]])
        assert names_of(feed.take(["s1"])) == ["s1"]
        assert started.count(feed._pool) == 1
        assert names_of(feed.take(["s2"])) == ["s3"]
        assert started.count(feed._pool) == 2


def test_the_next_in_the_order_stands_for_a_sample_that_fails(
    make_config, open_feed, place, rows, tmp_path, read_jsonl
):
    config = make_config(rows, data={"root": place})
    opened, _, _ = open_feed(config)
    os.truncate(place / "clip2.mp4", 900)
    (place / "clip5.mp4").unlink()
    batches = [["s0", "s1"], ["s2", "s3"], ["s5", "s4"], ["s6", "s7"]]
    with opened as feed:
        for _ in range(2):  # an epoch later it is the same
            feed.follow("train", batches)
            taken = [names_of(feed.take(batch)) for batch in batches]
            # s5 stands behind s2, but fails too; behind the last batch the order starts again.
            assert taken == [["s0", "s1"], ["s4", "s3"], ["s6", "s4"], ["s6", "s7"]]
        feed.follow("train", [["s6", "s7"], ["s5", "s0"]])
        assert names_of(feed.take(["s5", "s0"])) == ["s6", "s0"]
        assert names_of(feed.take(["s5", "s0"], replace=False)) == ["s0"]
    lines = read_jsonl(tmp_path / "dropped.jsonl")
    assert [(row["sample_id"], row["reason"], row["step"]) for row in lines] == [
        ("s2", "failed/truncated", 1),
        ("s5", "failed/missing", 1),
    ]


def test_a_clip_with_other_tokens_than_counted_is_another_file(
    make_config, open_feed, place, rows, tmp_path, read_jsonl
):
    config = make_config(rows, data={"root": place})
    opened, _, _ = open_feed(config, s1=7)
    with opened as feed:
        feed.follow("train", [["s1"], ["s2"]])
        assert names_of(feed.take(["s1"])) == ["s2"]
    (line,) = read_jsonl(tmp_path / "dropped.jsonl")
    assert line["reason"] == "failed/missing"
    assert "tokens and not 7: another file has the name" in line["detail"]


def test_too_many_failing_clips_end_the_training(make_config, open_feed, place, make_row):
    rows = [make_row(f"s{index}", f"clip{index % 8}") for index in range(60)]
    config = make_config(rows, data={"root": place})
    opened, _, _ = open_feed(config)
    for index in (0, 1):
        (place / f"clip{index}.mp4").unlink()
    with opened as feed:
        feed.follow("train", [[f"s{index}"] for index in range(60)])
        with pytest.raises(AvrtError, match=r"of 8 of \d+ samples.*8 missing.*max_failure_rate"):
            take_all(feed, 60)


def take_all(feed, n_samples):
    for index in range(n_samples):
        feed.take([f"s{index}"])


def test_without_another_sample_the_message_says_so(make_config, open_feed, place, rows):
    config = make_config(rows[:2], data={"root": place})
    opened, _, _ = open_feed(config)
    for index in (0, 1):
        (place / f"clip{index}.mp4").unlink()
    with opened as feed:
        feed.follow("train", [["s0"], ["s1"]])
        with pytest.raises(AvrtError, match=r"no other sample is left.*dropped\.jsonl names"):
            feed.take(["s0"])


def lose(place, *names):
    """Let a clip vanish or break between the first look and the reading."""
    for name in names:
        os.truncate(place / name, 900)


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_goes_on_without_clips_that_fail_and_repeats_that_when_resumed(
    make_config, place, rows, stage, monkeypatch, read_numbers, read_jsonl
):
    monkeypatch.setattr(feed_module, "CACHE_BYTES", 0)
    count = count_prompt_tokens

    def count_then_lose(*args, **options):
        """The clips fail after the first look, as they would on a long way."""
        for number in (1, 6):
            write_clip(place / f"clip{number}.mp4", 20 + 25 * number, 300.0 + 100 * number)
        counted = count(*args, **options)
        lose(place, "clip1.mp4", "clip6.mp4")
        return counted

    monkeypatch.setattr(feed_module, "count_prompt_tokens", count_then_lose)
    sections = {
        "data": {"root": place},
        "sft": {"epochs": 3, "eval_samples": 1},
        "grpo": {"max_steps": 6, "prompts_per_step": 2, "save_steps": 2},
    }
    straight = make_config(rows, run={"name": "straight"}, **sections)
    result = STAGES[stage].run(straight)
    assert result.counts["kept"] == 6
    assert result.counts["failed/truncated"] == 2
    assert not result.fault, "a clip that was cut off is its own fault"
    dropped = read_jsonl(straight.run.path / stage / "dropped.jsonl")
    assert {row["sample_id"] for row in dropped} == {"s1", "s6"}

    config = make_config(rows, **sections)
    with monkeypatch.context() as patch:
        on_log = TrainingLog.on_log

        def stop_at_step_3(self, args, state, control, **kwargs):
            on_log(self, args, state, control, **kwargs)
            if state.global_step == 3:
                raise KeyboardInterrupt

        patch.setattr(TrainingLog, "on_log", stop_at_step_3)
        with pytest.raises(KeyboardInterrupt):
            STAGES[stage].run(config)
    STAGES[stage].run(config)
    logs = [read_numbers(run.run.path / stage / "log.jsonl") for run in (straight, config)]
    assert logs[0] == logs[1]
    assert read_jsonl(config.run.path / stage / "dropped.jsonl") == dropped
    models = [
        load_file(run.run.path / stage / "model" / "model.safetensors")
        for run in (straight, config)
    ]
    assert all(models[0][name].equal(models[1][name]) for name in models[0])


def test_earlier_failures_do_not_end_a_training_that_goes_on(tmp_path):
    checkpoint, path = tmp_path / "checkpoint-5", tmp_path / "dropped.jsonl"
    earlier = [{"sample_id": f"e{n}", "reason": "failed/damaged", "step": 3} for n in range(10)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in earlier))
    dropped = Dropped(path, 0.2, str(checkpoint))
    dropped.begin([])
    for n in range(20):
        dropped.tried(f"s{n}")
    dropped.add("s20", MediaError("damaged", "s20.mp4", "no picture"))
    assert "e3" in dropped
    for n in range(21, 27):
        dropped.add(f"s{n}", MediaError("damaged", f"s{n}.mp4", "no picture"))
    with pytest.raises(AvrtError, match="the clips of 8 of 28 samples"):
        dropped.add("s27", MediaError("damaged", "s27.mp4", "no picture"))


def test_clips_that_vanish_while_training_end_the_stage_with_a_fault(
    make_config, place, rows, monkeypatch, read_jsonl
):
    count = count_prompt_tokens

    def count_then_lose(*args, **options):
        counted = count(*args, **options)
        (place / "clip3.mp4").unlink()
        return counted

    monkeypatch.setattr(feed_module, "count_prompt_tokens", count_then_lose)
    result = sft.run(make_config(rows, data={"root": place}))
    assert "1 samples were dropped while training" in result.fault
    assert "(1 missing)" in result.fault
    assert (result.counts["kept"], result.counts["failed/missing"]) == (7, 1)


def test_a_clip_that_breaks_late_is_found_while_training(make_config, place, rows, read_jsonl):
    break_late(place / "clip4.mp4")
    rows[4]["audio"] = "clip0.mp4"
    config = make_config(rows, data={"root": place}, media={"n_frames": 8})
    result = sft.run(config)
    (line,) = read_jsonl(config.run.path / "sft" / "dropped.jsonl")
    assert (line["sample_id"], line["reason"]) == ("s4", "failed/damaged")
    assert line["step"] in (1, 2)
    assert result.counts["kept"] == 7


def test_a_training_of_a_prepared_run_opens_no_clip_before_the_first_step(
    make_config, place, rows, monkeypatch
):
    config = make_config(rows, data={"root": place})
    rows_of_avqa = [
        {
            "id": index,
            "video_name": f"clip{index}",
            "video_id": index,
            "question_text": "What is it?",
            "multi_choice": ["bell", "drum", "flute", "horn"],
            "answer": index % 4,
            "question_relation": "Both",
            "question_type": "Which",
        }
        for index in range(8)
    ]
    (place / "videos").mkdir()
    for index in range(8):
        os.link(place / f"clip{index}.mp4", place / "videos" / f"clip{index}.mp4")
    (place / "train_qa.json").write_text(json.dumps(rows_of_avqa))
    prepare.run(config)
    monkeypatch.setattr("avrt.train.lengths.probe_files", None)
    config = config.model_copy(update={"grpo": config.grpo.model_copy(update={"data": "samples"})})
    assert grpo.run(config).counts["steps"] == 2


@pytest.mark.slow
def test_processes_stay_in_step_when_a_clip_fails_in_one_of_them(
    make_config, place, rows, read_jsonl
):
    break_late(place / "clip4.mp4")
    rows[4]["audio"] = "clip0.mp4"
    config = make_config(
        rows,
        data={"root": place},
        media={"n_frames": 8},
        sft={"epochs": 2, "per_device_batch_size": 1},
    )
    command = [sys.executable, "-m", *TORCHRUN, "2", "-m", "avrt", "sft", write(config)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=one_thread, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    folder = config.run.path / "sft"
    assert [row["step"] for row in read_jsonl(folder / "log.jsonl") if "loss" in row] == [
        1,
        2,
        3,
        4,
    ]
    (line,) = read_jsonl(folder / "dropped.jsonl")  # in the second epoch all know of it
    assert (line["sample_id"], line["reason"]) == ("s4", "failed/damaged")
    counts = json.loads(manifest_path(config.run.path, "sft").read_text())["counts"]
    assert (counts["kept"], counts["failed/damaged"]) == (7, 1)
