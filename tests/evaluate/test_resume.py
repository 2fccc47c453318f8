"""Facts about evaluation as a client of the ledger: derived logs, budgets, shards."""

from __future__ import annotations

import re

import pytest

from avrt.ask.budget import Budget, Shard
from avrt.ask.ledger import LedgerReader, read_ledger
from avrt.cli.replay import replay_row
from avrt.config import EvalModel
from avrt.errors import ConfigError
from avrt.evaluate import Choice, run
from avrt.evaluate.logs import log_path, read_log
from avrt.evaluate.results import read_results
from script_engine import scripted

N_ITEMS = 6
N_CALLS = 3 * N_ITEMS - 2  # the silent clip is not asked about by sound and by both
V = Choice(modalities=["v"])


@pytest.fixture
def config(config, tmp_path):
    """One model that is right about two items."""
    engine = scripted(tmp_path, {"": "<think>so</think><answer>A</answer>"})
    models = {"base": EvalModel.model_validate({"model": "m", "engine": engine})}
    return config.model_copy(update={"eval": config.eval.model_copy(update={"models": models})})


def elsewhere(config, name):
    return config.model_copy(update={"run": config.run.model_copy(update={"name": name})})


def logs_of(config):
    """Every log and its settings, without the time that each call took."""
    folder = config.run.path / "eval" / "clips" / "base"
    return {
        path.name: re.sub(rb'"latency_s": [^,]+', b"", path.read_bytes())
        for path in sorted(folder.glob("*.json*"))
    }


def test_deleted_logs_come_back_without_a_call_a_model_or_a_decoder(config, no_engine, monkeypatch):
    run(config)
    folder = config.run.path / "eval" / "clips" / "base"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 6
    for path in folder.iterdir():
        path.unlink()
    no_engine()
    monkeypatch.setattr(
        "avrt.ask.payloads.map_files", lambda *_, **__: pytest.fail("a media file is read")
    )
    run(config)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_logs_are_derived_a_batch_of_replies_at_a_time(config, monkeypatch):
    run(config)
    before = logs_of(config)
    sizes = []
    find_calls = LedgerReader.find_calls

    def measured(ledger, keys):
        sizes.append(len(keys))
        return find_calls(ledger, keys)

    monkeypatch.setattr(LedgerReader, "find_calls", measured)
    monkeypatch.setattr("avrt.evaluate.tasks._BATCH", 4)
    run(config)
    assert logs_of(config) == before
    assert (sum(sizes), max(sizes)) == (N_CALLS, 4)


def test_a_log_that_cannot_be_finished_stays_as_it_was(config, monkeypatch):
    run(config, V)
    path = log_path(config.run.path, "clips", "base", "v")
    before = path.read_bytes()
    find_calls = LedgerReader.find_calls

    def full(ledger, keys):
        if len(keys) < 4:
            raise OSError("no space left")
        return find_calls(ledger, keys)

    monkeypatch.setattr(LedgerReader, "find_calls", full)
    monkeypatch.setattr("avrt.evaluate.tasks._BATCH", 4)
    with pytest.raises(OSError, match="no space left"):
        run(config, V)
    assert path.read_bytes() == before
    assert {each.suffix for each in path.parent.iterdir()} == {".jsonl", ".json"}


def test_a_damaged_log_is_written_again(config):
    run(config, V)
    path = log_path(config.run.path, "clips", "base", "v")
    before = path.read_bytes()
    path.write_bytes(before[:-20])
    run(config, V)
    assert path.read_bytes() == before


def test_a_budget_of_calls_stops_and_the_same_command_goes_on(config, use_answers):
    asked = use_answers(lambda _: "<answer>A</answer>")
    budget = Budget(calls=5)
    result = run(config, budget=budget)
    assert len(asked) == 5
    assert "eval: stopped by the budget of 5 calls, after 5 calls" in result.summary
    assert sum(r.n_left for r in read_results(config)) >= 3 * N_ITEMS - 5 - 2
    result = run(config)
    assert len(asked) == N_CALLS
    assert "stopped by" not in result.summary
    assert {r.n_left for r in read_results(config)} == {0}


def test_a_budget_holds_for_all_models_together(config, use_answers):
    asked = use_answers(lambda _: "<answer>A</answer>")
    first = config.eval.models["base"]
    models = {"base": first, "other": first.model_copy(update={"model": "n"})}
    both = config.model_copy(update={"eval": config.eval.model_copy(update={"models": models})})
    run(both, V, Budget(calls=N_ITEMS + 1))
    assert len(asked) == N_ITEMS + 1
    assert [len(r.lines) for r in read_results(both)] == [N_ITEMS, 1]


def test_a_limit_takes_the_first_items(config):
    result = run(config, V, Budget(samples=2))
    assert [x.sample_id for x in read_log(log_path(config.run.path, "clips", "base", "v"))] == [
        "q0", "q1",
    ]  # fmt: skip
    assert "stopped by the limit of 2 of 6 samples" in result.summary
    (found,) = read_results(config)
    assert found.n_left == N_ITEMS - 2


def test_shards_and_the_whole_are_one_process_byte_for_byte(config, use_answers):
    asked = use_answers(lambda _: "<answer>A</answer>")
    for index in (1, 2):
        result = run(config, budget=Budget(shard=Shard(index, 2)))
        n_left = {r.modality: r.n_left for r in read_results(config)}
        assert f"stopped by its shard, {index}/2 of 6 samples" in result.summary
        assert n_left == dict.fromkeys(("a", "v", "av"), 3 if index == 1 else 0)
    assert len(asked) == N_CALLS
    derived = logs_of(config)
    run(config)
    whole = elsewhere(config, "whole")
    run(whole)
    assert len(asked) == 2 * N_CALLS
    assert derived == logs_of(config) == logs_of(whole)
    assert sorted(path.name for path in config.run.path.glob("ledger*.sqlite")) == [
        "ledger.1of2.sqlite", "ledger.2of2.sqlite", "ledger.sqlite",
    ]  # fmt: skip


def test_shards_of_other_settings_do_not_mix(config):
    run(config, V, Budget(shard=Shard(1, 2)))
    changed = {"max_new_tokens": 9}
    other = config.model_copy(update={"eval": config.eval.model_copy(update=changed)})
    with pytest.raises(ConfigError, match=r"other settings \(max_new_tokens\)"):
        run(other, V, Budget(shard=Shard(2, 2)))


def test_another_name_of_a_model_asks_nothing_again(config, use_answers):
    asked = use_answers(lambda _: "<answer>A</answer>")
    run(config, V)
    renamed = {"again": config.eval.models["base"]}
    run(config.model_copy(update={"eval": config.eval.model_copy(update={"models": renamed})}), V)
    assert len(asked) == N_ITEMS


def test_media_that_are_absent_for_now_are_read_again(config, bench_root, tmp_path):
    root = tmp_path / "bench"
    root.mkdir()
    for name in ("clip.mp4", "clips.parquet"):
        (root / name).symlink_to(bench_root / name)
    data = config.eval.benchmarks["clips"].model_copy(update={"root": root})
    update = {"benchmarks": {"clips": data}}
    config = config.model_copy(update={"eval": config.eval.model_copy(update=update)})
    counts = run(config, V).counts
    assert counts == {"scored": N_ITEMS - 1, "missing_media": 1}
    assert run(config, V).counts == counts
    (root / "silent.mp4").symlink_to(bench_root / "silent.mp4")
    with pytest.raises(ConfigError, match=r"other settings \(media\)"):
        run(config, V)
    log_path(config.run.path, "clips", "base", "v").unlink()
    assert run(config, V).counts == {"scored": N_ITEMS}


def test_a_call_of_an_evaluation_can_be_sent_again(config):
    run(config)
    with read_ledger(config.run.path) as ledger:
        (row,) = ledger.query(
            "SELECT key FROM calls WHERE sample_id = 'q0' AND n_frames > 0 AND audio_s > 0"
        )
    text = replay_row(config, row["key"][:16], send=True)
    assert "# Call 1 of 1: eval, base" in text
    assert "clip.mp4" in text
    assert "equal to the stored one" in text
