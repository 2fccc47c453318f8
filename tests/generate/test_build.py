"""Facts about the stage `build`: no sample lost, no clip on both sides, equal bytes."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from avrt.ask.ledger import open_ledger
from avrt.config import Config
from avrt.datasets import dataset_row_to_sample, prepare
from avrt.datasets.prepared import load_prepared
from avrt.errors import AvrtError, ConfigError, DataError
from avrt.generate import build, merge, trace
from avrt.generate.gates import GATES
from avrt.runs import read_parquet
from scripted_run import MakeConfig, replies, right, wrong

MIXED = replies(
    {
        ("VISION", 1): f"Answer: ({wrong(1)})",
        ("MERGE", 2): f"<think>x</think><answer>{wrong(2)}</answer>",
        ("MERGE", 3): f"Surely <answer>{right(3)}</answer>",
        ("MERGE", 4): None,
    }
)


def built(config: Config) -> build.Result:
    trace.run(config)
    merge.run(config)
    return build.run(config)


def read(config: Config) -> dict[str, list[dict[str, Any]]]:
    folder = config.run.path / "dataset"
    names = ("train", "validation", "rejected")
    return {name: read_parquet(folder / f"{name}.parquet") for name in names}


def dataset_bytes(config: Config) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (config.run.path / "dataset").iterdir()}


def test_a_run_that_is_not_merged_is_refused(make_config: MakeConfig) -> None:
    config = make_config()
    trace.run(config)
    with pytest.raises(DataError, match=r"merged\.parquet: not found"):
        build.run(config)


def test_a_wider_view_than_was_merged_is_refused(make_config: MakeConfig) -> None:
    config = make_config(MIXED)
    trace.run(config)
    merge.run(config)
    saved = (config.run.path / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"'either' but was never merged; run `avrt merge`"):
        build.run(make_config(MIXED, "build.view=either"))
    assert (config.run.path / "config.yaml").read_bytes() == saved


def test_samples_prepared_after_tracing_are_refused(make_config: MakeConfig) -> None:
    few = make_config(None, "data.limit=3")
    (few.run.path / "manifests" / "prepare.json").unlink()
    prepare.run(few)
    trace.run(few)
    merge.run(few)
    (few.run.path / "manifests" / "prepare.json").unlink()
    prepare.run(make_config())
    with pytest.raises(ConfigError, match=r"4 samples, such as 'avqa-train-4'.*`avrt trace` again"):
        build.run(make_config())


def test_traces_of_an_unfinished_stage_are_refused(make_config: MakeConfig) -> None:
    config = make_config()
    trace.run(config)
    merge.run(config)
    (config.run.path / "manifests" / "merge.json").unlink()
    with pytest.raises(DataError, match=r"merge is not finished; run `avrt merge` again"):
        build.run(config)


def test_every_sample_is_in_exactly_one_file_and_rejected_ones_say_why(
    make_config: MakeConfig,
) -> None:
    config = make_config(MIXED)
    result = built(config)
    rows = read(config)
    ids = Counter(row["id"] for part in rows.values() for row in part)
    assert ids == Counter(f"avqa-train-{number}" for number in range(1, 9))
    assert {row["id"][-1]: (row["stage"], row["reason"]) for row in rows["rejected"]} == {
        "1": ("view", "dropped/one_teacher_wrong"),
        "2": ("gate", "dropped/wrong_letter"),
        "3": ("gate", "dropped/bad_format"),
        "4": ("merge", "failed/no_reply"),
        "8": ("prepare", "failed/no_audio"),
    }
    assert result.counts["read"] == 8
    assert result.counts["kept"] == result.counts["train"] + result.counts["validation"] == 3
    assert result.counts["rejected"] == 5
    assert result.counts["stratum/both"] == 6


def test_a_kept_row_holds_the_question_the_gold_and_all_texts(make_config: MakeConfig) -> None:
    config = make_config()
    built(config)
    rows = read(config)
    row = next(r for r in rows["train"] + rows["validation"] if r["id"] == "avqa-train-3")
    assert row == {
        "id": "avqa-train-3",
        "video_name": "clip0_000001",
        "video_id": "0",
        "question": "question 3?",
        "choices": ["dog", "cat", "car", "rain"],
        "answer": 3,
        "answer_letter": "D",
        "answer_text": "rain",
        "question_relation": "both",
        "question_type": "Which",
        "av_reasoning": "<think>joined 3</think>\n<answer>D</answer>",
        "think": "joined 3",
        "vision_text": "Visual Description: v3\nAnswer: (D)",
        "audio_text": "Audio Description: a3\nAnswer: (D)",
        "vision_correct": True,
        "audio_correct": True,
        "teachers": [
            {"role": "vision", "modality": "v", "k": 1, "answered": 1, "right": 1},
            {"role": "audio", "modality": "a", "k": 1, "answered": 1, "right": 1},
        ],
        "stratum": "both",
        "video": "videos/clip0_000001.mp4",
        "image": None,
        "audio": None,
        "source": "train_qa.json:3",
        "gates": row["gates"],
        "findings": None,
        "call_keys": row["call_keys"],
    }
    assert row["gates"].keys() == GATES.keys()
    assert not any(row["gates"][name] for name in config.build.gates)
    with open_ledger(config.run.path) as ledger:
        texts = [ledger.find(key).text for key in row["call_keys"]]
    assert texts == [row["vision_text"], row["audio_text"], row["av_reasoning"]]


def test_a_row_of_the_dataset_gives_its_sample_back(make_config: MakeConfig) -> None:
    config = make_config()
    built(config)
    prepared = {sample.id: sample for sample in load_prepared(config.run.path)}
    row = read(config)["train"][0]
    sample = prepared[row["id"]]
    assert dataset_row_to_sample(row, sample.source) == sample
    with pytest.raises(ValueError, match="leaves the dataset's folder"):
        dataset_row_to_sample(row | {"video": "../clip.mp4"}, sample.source)


def test_no_clip_is_in_train_and_validation(make_config: MakeConfig) -> None:
    config = make_config()
    built(config)
    rows = read(config)
    train, validation = ({row["video_id"] for row in rows[n]} for n in ("train", "validation"))
    assert len(validation) == 1
    assert len(train) == 2
    assert not train & validation


def test_an_empty_dataset_says_so_with_the_reasons_each_time(make_config: MakeConfig) -> None:
    config = make_config(dict.fromkeys(replies(), "I cannot tell."))
    said = "the dataset is empty: of 8 samples 7 dropped/no_answer, 1 failed/no_audio; see .*reject"
    for _ in range(2):
        with pytest.raises(AvrtError, match=said):
            built(config)
    assert {name: len(part) for name, part in read(config).items()} == {
        "train": 0,
        "validation": 0,
        "rejected": 8,
    }


@pytest.mark.parametrize(
    ("script", "change", "reason"),
    [
        (None, "build.view=id='nobody'", "7 dropped/outside_view"),
        ({("MERGE", n): "no form" for n in range(1, 9)}, "run.seed=0", "7 dropped/bad_format"),
        ({("MERGE", n): None for n in range(1, 9)}, "run.seed=0", "7 failed/no_reply"),
        ({("AUDIO", n): None for n in range(1, 9)}, "run.seed=0", "7 failed/no_reply"),
    ],
)
def test_whatever_empties_a_dataset_is_named(
    make_config: MakeConfig, script: dict[tuple[str, int], str | None], change: str, reason: str
) -> None:
    config = make_config(replies(script or {}), change, "generate.max_failure_rate=1")
    with pytest.raises(AvrtError, match=f"the dataset is empty: of 8 samples {reason}"):
        built(config)


def test_the_card_has_a_header_the_losses_and_the_models(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(MIXED)
    built(config)
    card = (config.run.path / "dataset" / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["configs"][0]["data_files"][0] == {
        "split": "train",
        "path": "train.parquet",
    }
    assert "| gate | dropped/bad_format | -1 |" in body
    assert "| both | 6 |" in body
    assert "| vision teacher | frames | scripted-vision |" in body
    assert "terms of the teachers" in body
    assert str(tmp_path) not in card


def test_the_card_names_the_models_that_wrote_the_traces(make_config: MakeConfig) -> None:
    config = make_config()
    trace.run(config)
    merge.run(config)
    changes = ("teachers.vision.model=other", "merger.temperature=0.9", "media.n_frames=8")
    build.run(make_config(None, *changes))
    card = (config.run.path / "dataset" / "README.md").read_text()
    assert "| vision teacher | frames | scripted-vision |" in card
    assert f"| {config.merger.temperature:g} | {config.merger.top_p:g} |" in card
    assert "| 0.9 |" not in card
    assert "4 frames" in card


def test_two_runs_with_the_same_settings_give_the_same_bytes(make_config: MakeConfig) -> None:
    config = make_config(MIXED)
    built(config)
    before = dataset_bytes(config)
    shutil.rmtree(config.run.path / "dataset")
    build.run(config)
    assert dataset_bytes(config) == before
    assert "nothing to do" in build.run(config).summary


def test_a_retried_call_that_succeeds_reaches_the_dataset(make_config: MakeConfig) -> None:
    """Trace again, then merge and build go on without a refusal."""
    config = make_config()
    clip = config.data.root / "videos" / "clip1_000001.mp4"
    hidden = clip.rename(clip.with_suffix(".hidden"))
    assert built(config).counts["kept"] == 4
    hidden.rename(clip)
    assert built(config).counts["kept"] == 7


CLIPS = st.lists(st.text(min_size=1, max_size=3), max_size=40)


@given(CLIPS, st.floats(0, 0.99), st.integers(0, 3))
def test_held_out_clips_are_the_wanted_share_in_any_order(
    clips: list[str], fraction: float, seed: int
) -> None:
    held_out = build.validation_clips(clips, fraction, seed)
    assert held_out == build.validation_clips(clips[::-1], fraction, seed)
    n_clips = len(set(clips))
    assert held_out <= set(clips)
    if fraction == 0 or n_clips < 2:
        assert not held_out
    else:
        assert 1 <= len(held_out) < n_clips
        assert abs(len(held_out) - fraction * n_clips) <= 1


def test_another_seed_holds_out_other_clips() -> None:
    clips = [str(number) for number in range(100)]
    assert build.validation_clips(clips, 0.1, 0) != build.validation_clips(clips, 0.1, 1)
