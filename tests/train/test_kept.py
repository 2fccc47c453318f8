"""Checkpoints that are kept with their weights alone."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from safetensors.torch import load_file

from avrt.config import dump_config
from avrt.datasets import write_samples
from avrt.engines.weights import load, model_identity
from avrt.errors import AvrtError
from avrt.evaluate import Choice
from avrt.evaluate import run as evaluate
from avrt.evaluate.checkpoints import curves_of
from avrt.evaluate.results import read_results
from avrt.runs import kept_checkpoints
from avrt.train import grpo, sft
from avrt.train.disk import complete_checkpoints
from avrt.train.log import TrainingLog
from avrt.types import Sample
from hostile.forks import KILLED, Forks


def weights(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def stop_after(monkeypatch, step):
    """Interrupt the training in the step after `step`, whose checkpoint is written by then."""
    on_log = TrainingLog.on_log

    def stop(self, args, state, control, **kwargs):
        on_log(self, args, state, control, **kwargs)
        if state.global_step == step + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLog, "on_log", stop)


def test_every_checkpoint_stays_with_its_weights_and_two_can_be_resumed(make_config, tmp_path):
    config = make_config(sft={"epochs": 2, "save_steps": 1, "keep_checkpoints": "all"})
    assert sft.run(config).counts["steps"] == 4
    folder = config.run.path / "sft"
    names = [path.name for path in complete_checkpoints(folder / "checkpoints")]
    assert names == ["checkpoint-3", "checkpoint-4"]
    kept = kept_checkpoints(folder)
    assert list(kept) == [1, 2, 3, 4]
    for path in kept.values():
        assert not [*path.glob("*.pt"), *path.glob("*.pth"), *path.glob("trainer_state.json")]
        load(str(path), device="cpu")
    assert len({model_identity(str(path), None)["revision"] for path in kept.values()}) == 4
    # The last one is the model, so that its answers are asked for once.
    assert model_identity(str(kept[4]), None) == model_identity(str(folder / "model"), None)
    resumable = folder / "checkpoints" / "checkpoint-4" / "model.safetensors"
    assert resumable.samefile(kept[4] / "model.safetensors")
    # Keeping more or fewer of them is no other training.
    assert "already done" in sft.run(make_config(sft={"epochs": 2, "save_steps": 1})).summary


def test_the_newest_stay_and_by_default_none_is_kept(make_config):
    config = make_config(grpo={"max_steps": 4, "keep_checkpoints": 3})
    grpo.run(config)
    assert list(kept_checkpoints(config.run.path / "grpo")) == [2, 3, 4]
    config = make_config(run={"name": "default"})
    grpo.run(config)
    assert not (config.run.path / "grpo" / "checkpoints" / "kept").exists()


def test_adapters_are_kept_alone_and_load_into_their_model(make_config):
    pytest.importorskip("peft")
    lora = {"lora": {"rank": 4, "alpha": 8}}
    sections = {"epochs": 2, "save_steps": 1, "keep_checkpoints": "all", "learning_rate": 1e-2}
    config = make_config(student=lora, sft=sections)
    sft.run(config)
    folder = config.run.path / "sft"
    kept = kept_checkpoints(folder)
    assert list(kept) == [1, 2, 3, 4]
    assert [*weights(kept[4])] == ["adapter_model.safetensors"]
    merged = load(str(kept[4]), device="cpu").model.state_dict()
    expected = load(str(folder / "model"), device="cpu").model.state_dict()
    assert merged.keys() == expected.keys()
    assert all(merged[name].equal(expected[name]) for name in merged)
    first = load(str(kept[1]), device="cpu").model.state_dict()
    assert not all(first[name].equal(expected[name]) for name in first)
    revisions = {model_identity(str(path), None)["revision"] for path in kept.values()}
    assert len(revisions) == 4


def test_adapters_are_other_models_on_another_base_and_the_same_on_a_moved_one(
    make_config, tmp_path, student_folder
):
    pytest.importorskip("peft")
    shutil.copytree(student_folder, tmp_path / "base")
    student = {"lora": {"rank": 4, "alpha": 8}, "model": str(tmp_path / "base")}
    config = make_config(student=student, sft={"keep_checkpoints": "all"})
    sft.run(config)
    kept = str(kept_checkpoints(config.run.path / "sft")[2])
    known = model_identity(kept, None)
    (tmp_path / "base").rename(tmp_path / "moved")
    settings = config.run.path / "sft/checkpoints/kept/2/adapter_config.json"
    text = settings.read_text()
    assert str(tmp_path / "base") in text
    settings.write_text(text.replace(str(tmp_path / "base"), str(tmp_path / "moved")))
    assert model_identity(kept, None) == known
    (tmp_path / "moved" / "generation_config.json").write_text("{}")
    assert model_identity(kept, None) != known


def test_an_interrupted_training_keeps_what_an_uninterrupted_one_does(make_config, monkeypatch):
    sections = {"epochs": 2, "save_steps": 1, "keep_checkpoints": "all"}
    straight = make_config(run={"name": "straight"}, sft=sections)
    sft.run(straight)
    config = make_config(sft=sections)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            sft.run(config)
    folder = config.run.path / "sft"
    kept = kept_checkpoints(folder)
    assert list(kept) == [1, 2]
    # As if killed between the checkpoint and its being kept, after a later one that is gone.
    kept[2].rename(kept[2].with_name("4"))
    sft.run(config)
    assert {step: weights(path) for step, path in kept_checkpoints(folder).items()} == {
        step: weights(path) for step, path in kept_checkpoints(straight.run.path / "sft").items()
    }


def test_without_hard_links_they_are_copies_and_a_full_disk_is_named(make_config, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    config = make_config(sft={"epochs": 2, "save_steps": 1, "keep_checkpoints": "all"})
    folder = config.run.path / "sft"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fill)
        with pytest.raises(AvrtError, match=r"disk is full.*last good checkpoint is .*-1; free"):
            sft.run(config)
    assert kept_checkpoints(folder) == {}
    sft.run(config)
    kept = kept_checkpoints(folder)
    assert list(kept) == [1, 2, 3, 4]
    saved = folder / "checkpoints" / "checkpoint-4" / "model.safetensors"
    assert not saved.samefile(kept[4] / "model.safetensors")
    assert saved.read_bytes() == (kept[4] / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_training_killed_while_it_keeps_and_removes_ends_the_same(
    make_config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    sections = {"epochs": 2, "save_steps": 1, "keep_checkpoints": 3}
    straight = make_config(run={"name": "straight"}, sft=sections)
    config = make_config(sft=sections)
    (tmp_path / "straight.yaml").write_text(dump_config(straight))
    (tmp_path / "config.yaml").write_text(dump_config(config))
    events = tmp_path.parent / "kept.events"
    with closing(Forks(("avrt.cli.main", "avrt.train.sft"))) as forks:
        code, output = forks.run(tmp_path, "sft", "straight.yaml", events=str(events))
        assert code == 0, output
        expected = {
            step: weights(path)
            for step, path in kept_checkpoints(straight.run.path / "sft").items()
        }
        assert list(expected) == [2, 3, 4]
        writes = events.read_text().splitlines()
        links = [n for n, write in enumerate(writes, start=1) if write.startswith("os.link")]
        places = [
            links[-1],
            writes.index("os.rename .4.new") + 1,
            writes.index("os.rename 1") + 1,
            writes.index("os.rmdir .1.gone") + 1,
        ]
        for number in places:
            shutil.rmtree(config.run.path / "sft", ignore_errors=True)
            shutil.rmtree(config.run.path / "manifests", ignore_errors=True)
            code, output = forks.run(tmp_path, "sft", "config.yaml", kill=number)
            assert code == KILLED, f"{writes[number - 1]}: {code} {output}"
            code, output = forks.run(tmp_path, "sft", "config.yaml")
            assert code == 0, f"killed before {writes[number - 1]}: {output}"
            folder = config.run.path / "sft"
            kept = kept_checkpoints(folder)
            assert {step: weights(path) for step, path in kept.items()} == expected
            assert [*folder.rglob(".*.new"), *folder.rglob(".*.gone")] == []


def test_kept_weights_are_those_of_the_checkpoint(make_config):
    config = make_config(grpo={"max_steps": 2, "keep_checkpoints": "all"})
    grpo.run(config)
    for step, path in kept_checkpoints(config.run.path / "grpo").items():
        saved = config.run.path / "grpo" / "checkpoints" / f"checkpoint-{step}"
        before, after = (load_file(each / "model.safetensors") for each in (saved, path))
        assert all(before[name].equal(after[name]) for name in before)


def test_the_checkpoints_of_a_real_training_are_evaluated_and_its_ends_cost_no_call(
    make_config, clips
):
    sample = Sample(
        id="q0",
        question="What is it?",
        options=("bell", "drum", "flute", "horn"),
        answer_index=1,
        question_type="Which",
        question_relation="both",
        video_id="red-high",
        video="red-high.mp4",
        image=None,
        audio=None,
        source="bench.parquet:1",
    )
    write_samples(clips / "bench.parquet", [sample])
    settings = {
        "benchmarks": {"bench": {"format": "parquet", "root": str(clips), "split": "bench"}},
        "models": {"base": "base", "sft": "sft"},
        "modalities": ["av"],
        "max_new_tokens": 2,
    }
    config = make_config(sft={"save_steps": 1, "keep_checkpoints": "all"}, eval=settings)
    assert sft.run(config).counts["steps"] == 2

    def n_calls() -> int:
        with closing(sqlite3.connect(config.run.path / "ledger.sqlite")) as ledger:
            return ledger.execute("SELECT count(*) FROM calls").fetchone()[0]

    evaluate(config)
    assert n_calls() == 2
    evaluate(config, Choice(checkpoints=("sft",)))
    assert n_calls() == 3
    (curve,) = curves_of(read_results(config))
    assert [step for step, _ in curve.points] == [0, 1, 2]
    texts = [result.lines[0].key for _, result in curve.points]
    assert len(set(texts)) == 3
