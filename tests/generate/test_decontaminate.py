"""Facts about decontamination: which clips and questions count as the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.config import DataConfig
from avrt.datasets import write_samples
from avrt.errors import ConfigError
from avrt.generate import build, decontaminate, merge, trace
from avrt.generate.decontaminate import MATCH_SCHEMA, find_matches, write_matches
from avrt.runs import read_parquet
from avrt.types import Sample
from scripted_run import MakeConfig

WHICH = "Which instrument is making the sound in the video?"


def sample(
    name: str,
    clip: str,
    question: str = "What is heard?",
    options: Sequence[str] = ("dog", "cat", "car", "rain"),
) -> Sample:
    return Sample(
        id=name,
        question=question,
        options=tuple(options),
        answer_index=0,
        question_type="Which",
        question_relation="both",
        video_id=clip,
        video=f"videos/{clip}.mp4",
        image=None,
        audio=None,
        source="test",
    )


def matches(folder: Path, found: Sequence[Sample], items: Sequence[Sample]) -> set[tuple[str, ...]]:
    """(sample, item, rule) of every match with a benchmark of these items."""
    write_samples(folder / "val.parquet", items)
    data = DataConfig(format="parquet", root=folder, split="val")
    rows = find_matches(found, {"bench": data})
    assert all(row.benchmark == "bench" and row.score >= 95 for row in rows)
    return {(row.id, row.benchmark_id, row.by) for row in rows}


def test_a_benchmark_that_is_not_there_is_refused(tmp_path: Path) -> None:
    data = DataConfig(root=tmp_path / "absent")
    with pytest.raises(ConfigError, match="no such folder"):
        find_matches([sample("s", "a")], {"bench": data})


def test_an_empty_benchmark_matches_nothing(tmp_path: Path) -> None:
    assert matches(tmp_path, [sample("s", "a")], []) == set()
    assert matches(tmp_path, [], [sample("i", "a")]) == set()


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("-HG3Omg_89c_000030", "-HG3Omg_89c_000030", True),
        ("-HG3Omg_89c_000030", "-HG3Omg_89c_30", True),
        ("-HG3Omg_89c_000030", "-HG3Omg_89c_000210", True),
        ("-HG3Omg_89c_000030", "-HG3Omg_89c_30000_40000", True),
        ("-HG3Omg_89c_000030", "-HG3Omg_89c_video", True),
        ("-HG3Omg_89c_000030", "-HG3Omg_89c", True),
        ("-HG3Omg_89c_000030", "_HG3Omg_89c_000030", False),
        ("-HG3Omg_89c_000030", "-hg3omg_89c_000030", False),
        ("a_recording_of_rain", "a_recording_of_rain", True),
        ("sample_12", "sample_12", False),
        ("0012", "0012", False),
        ("video", "video", False),
    ],
)
def test_clips_are_told_by_their_names(tmp_path: Path, ours: str, theirs: str, same: bool) -> None:
    item = sample("i", theirs, "Something else entirely?", ("w", "x", "y", "z"))
    found = matches(tmp_path, [sample("s", ours)], [item])
    assert found == ({("s", "i", "clip")} if same else set())


@pytest.mark.parametrize(
    ("question", "options", "same"),
    [
        (WHICH, ("violin", "cello", "horn", "drum"), True),
        (WHICH, ("drum", "horn", "cello", "violin"), True),
        (f"  {WHICH.upper()}", ("Violin", "CELLO", "horn", " drum"), True),
        (WHICH, ("ｖｉｏｌｉｎ", "ｃｅｌｌｏ", "ｈｏｒｎ", "ｄｒｕｍ"), True),
        (WHICH.replace("?", " ?"), ("violin", "cello", "horn", "drum"), True),
        (WHICH, ("violin", "cello", "horn", "harp"), False),
        (WHICH, ("violin", "cello", "horn"), False),
        (WHICH.replace("instrument", "animal"), ("violin", "cello", "horn", "drum"), False),
    ],
)
def test_questions_are_the_same_only_with_their_options(
    tmp_path: Path, question: str, options: tuple[str, ...], same: bool
) -> None:
    ours = sample("s", "ours", WHICH, ("violin", "cello", "horn", "drum"))
    found = matches(tmp_path, [ours], [sample("i", "theirs", question, options)])
    assert found == ({("s", "i", "question")} if same else set())


def test_a_number_counts_more_than_the_letters_around_it(tmp_path: Path) -> None:
    options = [f"there are {n} people in the room who sing and play at once" for n in "1234"]
    ours = sample("s", "ours", "How many?", options)
    theirs = sample("i", "theirs", "How many?", [*options[:3], options[3].replace("4", "9")])
    assert matches(tmp_path, [ours], [theirs]) == set()


def test_the_best_of_several_is_named_and_rows_beyond_a_block_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decontaminate, "ROWS", 4)
    words = [f"{chr(97 + n) * 6} {n * 7919}" for n in range(10)]
    ours = [sample(f"s{n}", f"ours{n}x", f"Is it {word}?") for n, word in enumerate(words)]
    near = sample("near", "x-y", f"Is it {words[9]} ?")
    same = sample("same", "y-x", f"Is it {words[9]}?")
    assert matches(tmp_path, ours, [near, same]) == {("s9", "same", "question")}


LETTERS = st.characters(exclude_categories=("C", "Z"))  # a reader replaces NUL, and drops blanks


@given(
    st.text(LETTERS, min_size=1, max_size=40),
    st.lists(st.text(LETTERS, min_size=1, max_size=12), min_size=2, max_size=8),
    st.randoms(),
)
def test_a_question_is_always_the_same_as_itself(
    tmp_path_factory: pytest.TempPathFactory, question, options, random
) -> None:
    shuffled = random.sample(options, len(options))
    found = matches(
        tmp_path_factory.mktemp("q"),
        [sample("s", "ours", question, options)],
        [sample("i", "theirs", question, shuffled)],
    )
    assert found == {("s", "i", "question")}


def test_the_table_keeps_its_columns_without_matches(tmp_path: Path) -> None:
    write_matches(tmp_path / "contamination.parquet", [])
    assert read_parquet(tmp_path / "contamination.parquet") == []
    assert len(MATCH_SCHEMA) == 5


def test_what_a_benchmark_holds_is_rejected_by_name_with_a_table(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    item = {
        "id": 1,
        "video_name": "other_000001",
        "video_id": 1,
        "question_text": "question 5?",
        "multi_choice": ["rain", "car", "cat", "dog"],
        "answer": 0,
        "question_relation": "Both",
        "question_type": "Which",
    }
    (bench / "val_qa.json").write_text(json.dumps([item]))
    setting = json.dumps({"bench": {"root": str(bench), "split": "val"}})
    config = make_config(None, f"build.decontaminate={setting}")
    for stage in (trace, merge, build):
        stage.run(config)
    folder = config.run.path / "dataset"
    rejected = {row["id"]: row["reason"] for row in read_parquet(folder / "rejected.parquet")}
    assert rejected["avqa-train-5"] == "dropped/in_benchmark"
    assert [row["id"] for row in read_parquet(folder / "contamination.parquet")] == ["avqa-train-5"]
