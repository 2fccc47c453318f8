from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from avrt.ask.budget import Budget
from avrt.config import EvalModel
from avrt.errors import ConfigError, DataError
from avrt.evaluate import Choice, run
from avrt.evaluate.difficulty import make_difficulty
from avrt.evaluate.levels import level_of, read_levels
from avrt.evaluate.results import read_results
from avrt.runs import read_parquet, write_parquet


def with_teachers(config, tmp_path, **fields):
    """The vision teacher is right on q0 to q3, the audio teacher on q0 and q4; q5 is silent."""
    models = {}
    right = {"vision": ("v", {0, 1, 2, 3}), "audio": ("a", {0, 4})}
    for name, (modality, numbers) in right.items():
        script = tmp_path / f"{name}.jsonl"
        replies = [
            {"match": f"Question {n}:", "reply": f"Answer: {'ABCD'[(n + (n not in numbers)) % 4]}"}
            for n in range(6)
        ]
        script.write_text("".join(json.dumps(reply) + "\n" for reply in replies))
        models[name] = EvalModel.model_validate(
            {"model": name, "modality": modality, "engine": {"kind": "scripted", "script": script}}
        )
    update = {"models": models, **fields}
    return config.model_copy(update={"eval": config.eval.model_copy(update=update)})


@pytest.mark.parametrize(
    ("verdicts", "level"),
    [([True, True], "easy"), ([True, False], "medium"), ([False, False], "hard"),
     ([True, False, True], "medium")],
)  # fmt: skip
def test_a_level_says_how_many_teachers_are_right(verdicts, level):
    assert level_of(verdicts) == level


def test_items_are_sorted_by_what_the_teachers_got_right(config, tmp_path):
    config = with_teachers(config, tmp_path)
    run(config)
    result = make_difficulty(config, ("vision", "audio"))
    assert result.counts == {"easy": 1, "medium": 4, "hard": 1}
    assert "audio has no reply to 1: not right" in result.summary
    path = config.run.path / "eval" / "clips" / "difficulty.parquet"
    rows = {row["id"]: row for row in read_parquet(path)}
    assert [rows[f"q{n}"]["difficulty"] for n in range(6)] == [
        "easy", "medium", "medium", "medium", "medium", "hard",
    ]  # fmt: skip
    assert rows["q5"]["audio_status"] == "missing_media"
    about = json.loads(pq.read_schema(path).metadata[b"teachers"])
    assert about["vision"]["modality"] == "v"


def test_difficulty_is_a_group_of_every_later_result(config, tmp_path):
    config = with_teachers(config, tmp_path)
    run(config)
    make_difficulty(config, ("vision", "audio"))
    vision = next(r for r in read_results(config) if r.model == "vision")
    found = {level: (a.k, a.n) for level, a in vision.by_group("difficulty").items()}
    assert found == {"easy": (1, 1), "medium": (3, 4), "hard": (0, 1)}


def test_a_file_made_elsewhere_can_be_used(config, tmp_path):
    config = with_teachers(config, tmp_path)
    run(config)
    make_difficulty(config, ("vision", "audio"))
    own = config.run.path / "eval" / "clips" / "difficulty.parquet"
    moved = tmp_path / "elsewhere.parquet"
    own.rename(moved)
    assert not any("difficulty" in result.groups for result in read_results(config))
    elsewhere = with_teachers(config, tmp_path, difficulty={"clips": moved})
    assert {item.groups["difficulty"] for item in read_results(elsewhere)[0].items.values()} == {
        "easy", "medium", "hard",
    }  # fmt: skip
    assert read_levels(moved)["q0"] == "easy"


def test_a_file_of_something_else_is_refused(config, tmp_path):
    import pyarrow as pa

    path = tmp_path / "x.parquet"
    config = with_teachers(config, tmp_path, difficulty={"clips": path})
    with pytest.raises(DataError, match="not found"):
        run(config)
    write_parquet(path, [{"id": "q0"}], pa.schema([("id", pa.string())]))
    with pytest.raises(DataError, match=r"no column difficulty; `avrt difficulty`"):
        read_levels(path)
    schema = pa.schema([("id", pa.string()), ("difficulty", pa.string())])
    write_parquet(path, [{"id": "q0", "difficulty": "tough"}], schema)
    with pytest.raises(DataError, match="'tough' is none of easy, medium, hard"):
        read_levels(path)


def test_teachers_that_have_not_answered_are_named(config, tmp_path):
    config = with_teachers(config, tmp_path)
    with pytest.raises(ConfigError, match="two teachers or more"):
        make_difficulty(config, ("vision",))
    with pytest.raises(ConfigError, match="no set that all of vision, audio have finished"):
        make_difficulty(config, ("vision", "audio"))


def test_a_set_that_a_budget_stopped_is_refused_with_the_answers_that_are_left(config, tmp_path):
    config = with_teachers(config, tmp_path)
    run(config, budget=Budget(samples=2))
    with pytest.raises(ConfigError, match="vision has 4 answers to clips left; audio has 4"):
        make_difficulty(config, ("vision", "audio"))
    run(config)
    assert "left" not in make_difficulty(config, ("vision", "audio")).summary


def test_a_model_of_several_modalities_is_no_teacher(config, tmp_path):
    config = with_teachers(config, tmp_path)
    run(config)
    free = config.eval.models["vision"].model_copy(update={"modality": None})
    models = {**config.eval.models, "vision": free}
    both = config.model_copy(update={"eval": config.eval.model_copy(update={"models": models})})
    run(both, Choice(models=["vision"], modalities=["none"]))
    with pytest.raises(ConfigError, match="has answered clips by NONE, V; a teacher has one"):
        make_difficulty(both, ("vision", "audio"))
