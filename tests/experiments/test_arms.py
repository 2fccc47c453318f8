"""Folders of runs: the same for what makes the same, others for all that decides a result."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from avrt.errors import ConfigError
from avrt.experiments import arms
from avrt.experiments.arms import Runs
from small_experiment import SMALL, Resolve, changed


def folders(runs: Runs) -> dict[str, str]:
    return {arm: runs.of(arm)[0].folder.parent.name for arm in runs.experiment.arms}


@pytest.mark.parametrize(
    "settings",
    [
        {"media.workers": 1},
        {"student.device": "cuda"},
        {"teachers.vision.engine.batch_size": 4},
        {"generate.max_failure_rate": 0.5},
        {"grpo.gradient_checkpointing": True},
        {"eval.max_new_tokens": 7},
        {"report.gallery_items": 1},
        {"run.report_to": ["wandb"]},
    ],
)
def test_a_setting_that_changes_nothing_changes_no_folder(
    resolve: Resolve, settings: dict[str, Any]
) -> None:
    assert folders(resolve(changed("settings", value=settings))) == folders(resolve(SMALL))


@pytest.mark.parametrize(
    ("key", "value", "arms_changed"),
    [
        ("data.limit", 4, ["data", "sft", "rl"]),
        ("media.n_frames", 4, ["data", "sft", "rl"]),
        ("teachers.vision.temperature", 0.5, ["data", "sft", "rl"]),
        ("teachers.vision.prompt", "vision", ["data", "sft", "rl"]),
        ("build.view", "either", ["data", "sft", "rl"]),
        ("sft.learning_rate", 1e-4, ["sft", "rl"]),
        ("student.prompt", "student", ["sft", "rl"]),
        ("grpo.beta", 0.5, ["rl"]),
        ("grpo.init", "base", ["rl"]),
        ("grpo.output", "grpo-mine", ["rl"]),
        ("grpo.keep_checkpoints", "all", ["rl"]),
    ],
)
def test_a_setting_that_decides_changes_the_folders_of_its_stage_and_of_all_behind_it(
    resolve: Resolve, key: str, value: Any, arms_changed: list[str]
) -> None:
    before, after = (
        folders(resolve(tree)) for tree in (SMALL, changed("settings", value={key: value}))
    )
    assert [arm for arm in before if before[arm] != after[arm]] == arms_changed


def test_another_order_of_keys_and_another_way_to_write_a_value_change_no_folder(
    resolve: Resolve,
) -> None:
    tree = copy.deepcopy(SMALL)
    tree["settings"] = {"sft.learning_rate": 0.0001, "grpo.beta": 0.5}
    other = copy.deepcopy(SMALL)
    other["settings"] = {"grpo.beta": 5.0e-1, "sft.learning_rate": 1e-4}
    other["arms"] = dict(reversed(list(other["arms"].items())))
    assert folders(resolve(tree)) == {
        arm: folders(resolve(other))[arm] for arm in folders(resolve(tree))
    }


def test_a_default_that_is_written_out_changes_no_folder(resolve: Resolve) -> None:
    tree = changed("settings", value={"sft.max_length": 8192, "build.view": "paper"})
    assert folders(resolve(tree)) == folders(resolve(SMALL))


def test_another_world_or_another_model_of_the_package_changes_every_folder(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folders(resolve(SMALL))
    larger = folders(resolve(changed("world", value={"n_train": 9, "n_bench": 4})))
    monkeypatch.setattr(arms, "_model_digest", lambda _: "other weights")
    retrained = folders(resolve(SMALL))
    for other in (larger, retrained):
        assert not set(before.values()) & set(other.values())


def test_equal_arms_of_two_experiments_share_a_folder_whatever_they_are_called(
    resolve: Resolve,
) -> None:
    before = resolve(SMALL).of("sft")[0].folder
    before.mkdir(parents=True)
    tree = copy.deepcopy(SMALL)
    tree["arms"]["tuned"] = tree["arms"].pop("sft")
    tree["arms"]["rl"]["from"] = "tuned"
    assert resolve(tree).of("tuned")[0].folder == before


def test_equal_arms_of_one_experiment_share_the_folder_of_the_first(resolve: Resolve) -> None:
    tree = copy.deepcopy(SMALL)
    tree["arms"]["again"] = {**tree["arms"]["sft"], "stages": ["sft"]}
    runs = resolve(tree)
    assert runs.of("again")[0].folder == runs.of("sft")[0].folder
    runs.of("sft")[0].folder.mkdir(parents=True)
    assert resolve(tree).of("again")[0].folder == runs.of("sft")[0].folder


def test_evaluation_is_no_part_of_the_folder(resolve: Resolve) -> None:
    tree = changed("benchmarks", value={"world-audio": ["a"]})
    tree["arms"]["sft"]["stages"] = ["sft", "eval", "checkpoints"]
    assert folders(resolve(tree)) == folders(resolve(SMALL))


def test_a_placeholder_is_the_folder_of_the_other_arm_with_the_same_seed(resolve: Resolve) -> None:
    tree = copy.deepcopy(SMALL)
    settings = {"student.model": "{sft}/sft/model", "sft.weight_decay": 0.5}
    tree["arms"]["more"] = {"from": "data", "stages": ["sft", "eval"], "settings": settings}
    runs = resolve(tree)
    run, other = runs.runs["more", 1], runs.runs["sft", 1]
    assert run.config.student.model == f"{other.folder}/sft/model"
    assert other in run.needs
    tree["arms"]["sft"]["settings"]["sft.epochs"] = 3
    assert resolve(tree).runs["more", 1].folder != run.folder, "it goes on from another student"


def test_each_seed_has_a_run_and_a_world_of_its_own(resolve: Resolve) -> None:
    first, second = resolve(SMALL).of("rl")
    assert (first.seed, second.seed) == (0, 1)
    assert first.config.run.seed == 0
    assert second.config.run.seed == 1
    assert first.folder.parent == second.folder.parent
    assert first.config.data.root != second.config.data.root
    for run in (first, second):
        assert run.world == run.config.data.root
        assert run.config.eval.benchmarks["world-bench"].root == run.world
        assert run.world == Path(run.world), "all arms of a seed have one"
    assert {run.world for run in resolve(SMALL).of("data")} == {first.world, second.world}


def test_what_is_evaluated_is_the_last_that_was_trained(resolve: Resolve) -> None:
    tree = copy.deepcopy(SMALL)
    tree["arms"]["base"] = {"stages": ["world", "eval"]}
    tree["arms"]["again"] = {"from": "rl", "stages": ["sft", "eval"]}
    tree["arms"]["teachers"] = {
        "stages": ["world", "eval"],
        "settings": {
            "eval.models.eyes": {"model": "world:vision_teacher", "modality": "v"},
        },
    }
    runs = resolve(tree)
    assert {arm: runs.of(arm)[0].model for arm in runs.experiment.arms} == {
        "data": "base",
        "sft": "sft",
        "rl": "grpo",
        "base": "base",
        "again": "sft",
        "teachers": None,
    }
    assert runs.measured == ["sft", "rl", "base", "again"]
    assert list(runs.of("teachers")[0].config.eval.models) == ["eyes"]


def test_a_model_that_the_package_does_not_have_is_refused_at_once(resolve: Resolve) -> None:
    tree = copy.deepcopy(SMALL)
    tree["arms"]["teachers"] = {
        "stages": ["world", "eval"],
        "settings": {"eval.models.eyes": {"model": "world:vision_techer", "modality": "v"}},
    }
    with pytest.raises(ConfigError, match=r"eyes: world:vision_techer: no such model"):
        resolve(tree)
