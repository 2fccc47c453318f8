from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, TrainerState

from avrt.config import Config
from avrt.errors import ConfigError
from avrt.train import grpo, sft
from avrt.train.callbacks import Meter, PlainLines, require_trackers
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.held_out import answer_greedily, spread


def state(step, max_steps=500):
    return TrainerState(global_step=step, max_steps=max_steps, is_world_process_zero=True)


@pytest.mark.parametrize("run", [sft.run, grpo.run, sft.plan, grpo.plan])
def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_read(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name)
    )
    tree = {"run": {"report_to": ["wandb"]}, "student": {"dtype": "float32"}}
    config = Config.model_validate(tree)
    with pytest.raises(ConfigError, match="run `pip install wandb`, or remove it"):
        run(config)


def test_either_form_of_tensorboard_will_do():
    require_trackers(["tensorboard"])


def test_plain_lines_come_about_fifty_times_and_for_every_evaluation(capsys):
    lines = PlainLines("grpo", {"reward": "reward", "eval_accuracy": "held-out accuracy"})
    for step in range(1, 501):
        logs = {"loss": 0.1, "reward": step / 500, "step_time_s": 2.0}
        lines.on_log(None, state(step), TrainerControl(), logs=logs)
    lines.on_log(None, state(500), TrainerControl(), logs={"eval_accuracy": 0.5})
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 52
    assert printed[0] == "grpo: step 1/500, reward 0.002, s/step 2"
    assert printed[1].startswith("grpo: step 10/500")
    assert printed[-2].startswith("grpo: step 500/500")
    assert printed[-1] == "grpo: step 500/500, held-out accuracy 0.5"


def test_tokens_per_second_are_those_of_the_step():
    feed = SimpleNamespace(waited_s=7.0)
    meter = Meter(feed)
    meter.on_train_begin(None, TrainerState(num_input_tokens_seen=100), TrainerControl())
    for n_tokens in (400, 900):
        feed.waited_s += 0.25
        meter.on_step_end(None, state(1), TrainerControl())
        logs = {"loss": 1.0, "num_tokens": n_tokens}
        meter.on_log(None, state(1), TrainerControl(), logs=logs)
        n_step = {400: 300, 900: 500}[n_tokens]
        assert logs["tokens_per_s"] * logs["step_time_s"] == pytest.approx(n_step)
        assert logs["waiting"] * logs["step_time_s"] == pytest.approx(0.25)
        assert logs["memory_gib"] > 0.01
    evaluated = {"eval_loss": 1.0}
    meter.on_log(None, state(1), TrainerControl(), logs=evaluated)
    assert evaluated == {"eval_loss": 1.0}


def test_held_out_prompts_are_taken_evenly():
    assert spread(list(range(10)), 4, "x") == [0, 2, 5, 7]
    assert spread(list(range(3)), 8, "x") == [0, 1, 2]
    with pytest.raises(
        ConfigError, match=r"grpo\.eval_samples = 8, but every clip of the validation set"
    ):
        spread([], 8, "grpo.eval_samples")


def test_greedy_answers_do_not_depend_on_their_batch(make_config, student):
    config = make_config()
    model, processor = student
    encoder = PromptEncoder(processor, config.data.root, config.media, config.student.prompt)
    encoded = [
        encoder(example.sample) for example in read_examples(split_path(config.run.path, "train"))
    ]
    together = answer_greedily(model, processor, encoded, 12)
    alone = [answer_greedily(model, processor, [one], 12)[0] for one in encoded]
    assert together == alone


def test_a_validation_clip_that_grpo_trains_on_is_not_held_out(make_config, student):
    config = make_config(grpo={"eval_samples": 3})
    with pytest.raises(ConfigError, match="every clip of the validation set is also trained on"):
        grpo.run(config)


def test_held_out_answers_change_nothing_in_the_training(make_config, make_row, read_numbers):
    clips = ("red-high", "blue-high", "red-low", "red-high")
    rows = [make_row(f"s{index}", clip, index) for index, clip in enumerate(clips)]
    runs = {}
    for n in (0, 3):
        config = make_config(
            rows,
            run={"name": f"held-{n}"},
            sft={"eval_samples": n},
            grpo={"eval_samples": n, "eval_steps": 1},
            eval={"max_new_tokens": 8},
        )
        summaries = sft.run(config).summary, grpo.run(config).summary
        for stage, summary in zip(("sft", "grpo"), summaries, strict=True):
            assert ("  warning: 1 held-out prompts measure" in summary) == (n > 0), stage
        runs[n] = {
            stage: read_numbers(config.run.path / stage / "log.jsonl") for stage in ("sft", "grpo")
        }
    for stage, steps in (("sft", [0, 1]), ("grpo", [0, 1, 2])):
        evaluated = [row for row in runs[3][stage] if "eval_accuracy" in row]
        assert [row["step"] for row in evaluated] == steps
        assert all(row["eval_n"] == 1 for row in evaluated), "the validation set has one sample"
        assert all(0 <= row["eval_parsed"] <= 1 for row in evaluated)
        assert [row for row in runs[3][stage] if row not in evaluated] == runs[0][stage]


def test_trackers_get_the_measured_numbers_and_no_absolute_path(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config(run={"dir": "runs", "report_to": ["tensorboard"]})
    sft.run(config)
    events = list((config.run.path / "sft").rglob("events.out.tfevents*"))
    content = b"".join(path.read_bytes() for path in events)
    assert b"train/tokens_per_s" in content
    assert b"train/loss" in content
    assert str(tmp_path).encode() not in content


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.gpu
def test_memory_is_the_gpu_s_where_there_is_one():
    from avrt.train.callbacks import memory_gib

    torch.zeros(2**28, device="cuda")
    assert memory_gib() >= 1.0
