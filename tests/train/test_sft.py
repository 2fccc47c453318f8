from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trl.trainer import utils as trl_utils

from avrt.config import SftConfig
from avrt.engines.encode import merge_media
from avrt.errors import ConfigError, DataError
from avrt.runs import manifest_path, read_manifest
from avrt.train import sft
from avrt.train.data import PromptEncoder, read_examples, rows_of, split_path, trace_ids
from avrt.train.log import TrainingLog
from avrt.train.trainer import common_arguments


def single_logprobs(model, encoded, trace):
    """Log-probabilities (T,) of a trace by one plain forward pass over one sample."""
    ids = torch.cat([encoded.input_ids, torch.tensor(trace)])[None]
    with torch.no_grad():
        logits = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), **merge_media([encoded.media])
        ).logits
    logprobs = logits[0, -len(trace) - 1 : -1].log_softmax(-1)
    return logprobs.gather(-1, torch.tensor(trace)[:, None])[:, 0]


def prepared(config, student):
    model, processor = student
    examples = read_examples(split_path(config.run.path, "train"))
    encoder = PromptEncoder(processor, config.data.root, config.media, config.student.prompt)
    collator = sft.TraceCollator(examples, encoder, processor)
    return (
        examples,
        encoder,
        collator,
        sft.make_trainer(config, model, processor, collator, examples),
    )


def test_loss_of_a_ragged_batch_equals_single_sample_forwards(make_config, student):
    model, processor = student
    examples, encoder, collator, trainer = prepared(make_config(), student)
    batch = collator([{"sample_id": example.sample.id} for example in examples])
    assert batch["attention_mask"].sum(-1).unique().numel() > 2

    expected = [
        single_logprobs(model, encoder(example.sample), trace_ids(processor, example.trace))
        for example in examples
    ]
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch))
        outputs = model(**batch, use_cache=False, fused_lm_head=True)
    for row, mask, logprobs in zip(outputs.log_probs, outputs.label_mask, expected, strict=True):
        torch.testing.assert_close(row[mask], logprobs, atol=1e-4, rtol=0)
    torch.testing.assert_close(loss, -torch.cat(expected).mean(), atol=1e-4, rtol=0)


def test_the_head_computes_logits_of_tokens_with_a_label_alone(make_config, student, monkeypatch):
    examples, _, collator, trainer = prepared(make_config(), student)
    batch = collator([{"sample_id": example.sample.id} for example in examples])
    head, n_scored = trl_utils._ChunkedLogProbFunction, []

    class Counted:
        @staticmethod
        def apply(hidden, *rest):
            n_scored.append(len(hidden))
            return head.apply(hidden, *rest)

    monkeypatch.setattr(trl_utils, "_ChunkedLogProbFunction", Counted)
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    n_labels = int((batch["labels"][:, 1:] != sft.IGNORED).sum())
    assert n_scored == [n_labels]
    assert n_labels < batch["attention_mask"].sum() / 2


def test_loss_of_an_effective_batch_is_the_mean_over_all_its_trace_tokens(make_config, student):
    model, _ = student
    examples, _, collator, trainer = prepared(make_config(), student)
    passes = [
        collator([{"sample_id": example.sample.id} for example in part])
        for part in (examples[:3], examples[3:])
    ]
    losses: list[float] = []
    for batch in passes:
        with torch.no_grad():
            logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
        scores, targets = logits[:, :-1].double().numpy(), batch["labels"][:, 1:].numpy()
        top = scores.max(-1, keepdims=True)
        log_sum = np.log(np.exp(scores - top).sum(-1)) + top[..., 0]
        for row, place in zip(*np.nonzero(targets != sft.IGNORED), strict=True):
            losses.append(log_sum[row, place] - scores[row, place, targets[row, place]])
    n_tokens = torch.tensor(len(losses))
    with torch.no_grad():
        parts = [trainer.compute_loss(model, dict(b), num_items_in_batch=n_tokens) for b in passes]
    np.testing.assert_allclose(float(sum(parts)), np.mean(losses), atol=1e-5)


@pytest.mark.parametrize(
    ("other", "same"), [("blue-high", "input_features"), ("red-low", "pixel_values_videos")]
)
def test_loss_changes_when_only_one_modality_of_the_clip_changes(
    make_config, make_row, student, other, same
):
    config = make_config([make_row("first", "red-high"), make_row("second", other)])
    _, _, collator, trainer = prepared(config, student)
    first, second = (collator([{"sample_id": name}]) for name in ("first", "second"))
    assert first["input_ids"].equal(second["input_ids"])
    changed = {name for name in first if not first[name].equal(second[name])}
    assert changed == {"input_features", "pixel_values_videos"} - {same}
    with torch.no_grad():
        losses = [float(trainer.compute_loss(trainer.model, batch)) for batch in (first, second)]
    assert abs(losses[0] - losses[1]) > 1e-4


def test_labels_stand_on_the_trace_and_its_end_only(make_config, student):
    examples, _, collator, _ = prepared(make_config(), student)
    batch = collator([{"sample_id": example.sample.id} for example in examples])
    tokenizer = student[1].tokenizer
    for labels, example in zip(batch["labels"], examples, strict=True):
        assert (
            tokenizer.decode(labels[labels != sft.IGNORED]) == example.trace + tokenizer.eos_token
        )


def test_run_trains_everything_but_the_towers(make_config, student_folder, read_jsonl):
    config = make_config(sft={"epochs": 2})
    result = sft.run(config)
    folder = config.run.path / "sft"
    before, after = (
        load_file(path / "model.safetensors") for path in (student_folder, folder / "model")
    )
    towers = {name for name in before if name.startswith(("visual", "audio_tower"))}
    assert towers
    assert before.keys() == after.keys()
    assert {name for name in before if before[name].equal(after[name])} == towers

    rows = read_jsonl(folder / "log.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "eval_loss" in row] == [2, 4]
    measured = {"tokens_per_s", "step_time_s", "waiting", "memory_gib"}
    assert set(rows[0]) == {"step", "loss", "learning_rate", "grad_norm", *measured}
    assert all(rows[0][name] > 0 for name in measured)
    assert result.counts["kept"] == 8
    assert sorted(path.name for path in folder.glob("checkpoints/checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-4",
    ]
    again = sft.run(config)
    assert "already done" in again.summary
    assert again.counts == result.counts
    with pytest.raises(ConfigError, match=r"other settings \(sft\)"):
        sft.run(make_config(sft={"epochs": 3}))
    shutil.rmtree(folder / "model")
    assert "already done" not in sft.run(config).summary
    again = load_file(folder / "model" / "model.safetensors")
    assert all(again[name].equal(after[name]) for name in after)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here torch can use a GPU")
def test_a_gpu_that_torch_cannot_use_is_refused(make_config, student_folder):
    config = make_config(student={"device": "cuda"})
    with pytest.raises(ConfigError, match=r"set student\.device to auto or cpu; `avrt doctor`"):
        common_arguments(config.run, config.student, "sft")


def test_interrupted_run_goes_on_as_if_nothing_had_happened(make_config, monkeypatch, read_numbers):
    straight = make_config(run={"name": "straight"}, sft={"epochs": 2})
    sft.run(straight)
    config = make_config(sft={"epochs": 2})

    with monkeypatch.context() as patch:
        on_log = TrainingLog.on_log

        def stop_at_step_3(self, args, state, control, **kwargs):
            on_log(self, args, state, control, **kwargs)
            if state.global_step == 3:
                raise KeyboardInterrupt

        patch.setattr(TrainingLog, "on_log", stop_at_step_3)
        with pytest.raises(KeyboardInterrupt):
            sft.run(config)
    assert not (config.run.path / "sft" / "model").exists()
    with pytest.raises(ConfigError, match=r"started here with other settings \(sft\)"):
        sft.run(make_config(sft={"epochs": 3}))

    assert sft.run(config).counts["steps"] == 4
    logs = [read_numbers(run.run.path / "sft" / "log.jsonl") for run in (straight, config)]
    assert logs[0] == logs[1]
    models = [
        load_file(run.run.path / "sft" / "model" / "model.safetensors")
        for run in (straight, config)
    ]
    assert all(models[0][name].equal(models[1][name]) for name in models[0])


def test_over_long_and_silent_samples_are_dropped_by_name(make_config, make_row, clips, read_jsonl):
    import av

    with (
        av.open(str(clips / "short.mp4")) as source,
        av.open(str(clips / "silent.mp4"), "w") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    rows = [
        make_row(f"s{index}", clip)
        for index, clip in enumerate(("red-high", "silent", "short", "red-low"))
    ]
    rows[3]["av_reasoning"] = f"<think>{'A tone sounds. ' * 60}</think><answer>B</answer>"
    config = make_config(rows, sft={"max_length": 200})
    counts = sft.run(config).counts
    assert (counts["read"], counts["kept"]) == (4, 2)
    dropped = {
        row["sample_id"]: row["reason"]
        for row in read_jsonl(config.run.path / "sft" / "dropped.jsonl")
    }
    assert dropped == {"s1": "failed/no_audio", "s3": "dropped/too_long"}


def test_dataset_without_its_media_is_refused(make_config, make_row):
    config = make_config([make_row("s0", "nowhere"), make_row("s1", "nowhere-else")])
    with pytest.raises(ConfigError, match=r"none of the 2 media files is here, such as nowhere\."):
        sft.run(config)


def test_dataset_without_one_usable_sample_is_refused(make_config, make_row, clips):
    (clips / "cut.mp4").write_bytes((clips / "short.mp4").read_bytes()[:200])
    config = make_config([make_row("s0", "cut")])
    with pytest.raises(DataError, match=r"none of the 1 samples in the dataset can be.*cut\.mp4"):
        sft.run(config)


def test_plan_tells_the_size_and_writes_nothing(make_config):
    config = make_config()
    before = sorted(config.run.path.rglob("*"))
    text = sft.plan(config)
    assert "8 samples" in text
    assert "about 2 steps of 4 samples" in text
    assert "trainable" in text
    assert re.search(r"tokens per sample: mean \d+, p95 \d+, max \d+ \(all\)", text)
    assert "over the limit of 8192 tokens: 0 of 8" in text
    assert "memory of a process, estimated: " in text
    assert sorted(config.run.path.rglob("*")) == before


def test_plan_names_what_would_be_dropped_and_what_is_only_sampled(make_config, make_row):
    rows = [make_row(f"s{index}", "short") for index in range(140)]
    rows[0]["av_reasoning"] = f"<think>{'A tone sounds. ' * 60}</think><answer>B</answer>"
    text = sft.plan(make_config(rows, sft={"max_length": 200}))
    assert "(128 of 140, at even distances)" in text
    assert "over the limit of 200 tokens: 1 of 128, to be dropped: s0" in text


def test_no_absolute_path_is_stored(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config(run={"dir": "runs"})
    sft.run(config)
    for path in [*Path("runs/test/sft").rglob("*"), *Path("runs/test/manifests").iterdir()]:
        if path.is_file():
            content = path.read_bytes()
            assert str(tmp_path).encode() not in content, path
            assert config.student.model.encode() not in content, path


def test_limit_and_skip_split_the_rows_in_a_seeded_order(make_config):
    config = make_config()
    rows = read_examples(split_path(config.run.path, "train"))
    names = [example.sample.id for example in rows]

    def taken(seed=0, **changes):
        chosen = rows_of(SftConfig(**changes), seed, rows)
        return [example.sample.id for example in chosen]

    assert taken() == names
    first, rest = taken(limit=3), taken(skip=3)
    assert first == [name for name in names if name in first]
    assert len(first) == 3
    assert sorted(first + rest) == sorted(names)
    assert set(taken(limit=2)) < set(first)
    assert taken(limit=2, skip=3) == [name for name in rest if name in taken(limit=2, skip=3)]
    assert any(taken(seed, limit=3) != first for seed in (1, 2, 3))
    with pytest.raises(ConfigError, match=r"has 8 rows; set sft\.limit to 8 at most, or to null"):
        taken(limit=9)
    with pytest.raises(ConfigError, match=r"set sft\.limit to 2 at most"):
        taken(limit=3, skip=6)
    with pytest.raises(ConfigError, match=r"sft\.skip = 8 leaves no row: .* has 8"):
        taken(skip=8)


def test_a_part_of_the_rows_is_trained_on_and_the_rest_is_told(make_config):
    config = make_config(sft={"limit": 3})
    assert "train.parquet: 3 of 8 samples" in sft.plan(config)
    result = sft.run(config)
    assert (result.counts["read"], result.counts["kept"], result.counts["left_out"]) == (3, 3, 5)
    assert "3 samples (0 not usable, 5 left out by sft.limit and sft.skip)" in result.summary
    settings = read_manifest(manifest_path(config.run.path, "sft"))["settings"]["sft"]
    assert settings["limit"] == 3
    assert "skip" not in settings  # as in trainings of before there was the setting
