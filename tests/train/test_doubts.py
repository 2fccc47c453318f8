"""Warnings about trainings that cannot show anything: on those logs, and not on sound ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from avrt.config import GrpoConfig, SftConfig, load_config
from avrt.train.doubts import doubt_grpo, doubt_rewards, doubt_sft
from avrt.train.log import TrainingLog, read_log, warning_lines

DEMO = {"max_steps": 30, "warmup_steps": 5, "learning_rate": 2e-5, "eval_samples": 64}
"""Settings of a training that showed nothing: from a student that was right almost everywhere."""
FIELDS = {name: name for name in ("loss", "reward", "zero_spread", "kl")}


def steps(n: int, reward: float, zero_spread: float, kl: float) -> list[dict[str, Any]]:
    """The log of a training: the KL rises with the square of the steps, up to `kl` at step 30."""
    return [
        {
            "step": step,
            "loss": 0.0,
            "reward": reward,
            "zero_spread": zero_spread,
            "kl": kl * min(step / 30, 1) ** 2,
        }
        for step in range(1, n + 1)
    ]


def warned(grpo: GrpoConfig, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, str]]:
    """The step and the text of each warning; none comes twice."""
    found: dict[str, tuple[int, str]] = {}
    for end in range(1, len(rows) + 1):
        for name, text in doubt_grpo(grpo, rows[:end]).items():
            assert name not in found
            found[name] = rows[end - 1]["step"], text
    return found


def test_a_training_that_starts_at_the_ceiling_and_does_not_move_is_warned_about() -> None:
    start = {"step": 0, "eval_accuracy": 0.96, "eval_n": 47}
    found = warned(GrpoConfig(**DEMO), [start, *steps(30, 1.87, 0.64, 8.6e-5)])
    assert {name: step for name, (step, _) in found.items()} == {
        "held_out_ceiling": 0,
        "held_out_size": 0,
        "ceiling": 10,
        "spread": 10,
        "kl": 25,
    }
    texts = {name: text for name, (_, text) in found.items()}
    assert "begin at 1.87 of 2, so little is left to learn" in texts["ceiling"]
    assert "grpo.data=samples" in texts["ceiling"]
    assert texts["spread"].startswith("in 64% of the groups")
    assert "or set grpo.drop_zero_spread=true" in texts["spread"]
    assert "after 25 steps the KL to the start is" in texts["kl"]
    assert "raise grpo.learning_rate (now 2e-05)" in texts["kl"]
    assert texts["held_out_size"].startswith(
        "47 held-out prompts measure an accuracy to within ± 6"
    )
    assert "raise build.validation_fraction" in texts["held_out_size"]


def test_a_small_number_of_held_out_prompts_that_was_asked_for_is_the_setting_to_raise() -> None:
    row = {"step": 0, "eval_accuracy": 0.5, "eval_n": 64}
    [text] = doubt_grpo(GrpoConfig(**DEMO), [row]).values()
    assert "to within ± 12 points" in text
    assert "raise grpo.eval_samples" in text
    [text] = doubt_sft(SftConfig(eval_samples=64), [row]).values()
    assert "raise sft.eval_samples" in text
    assert doubt_sft(SftConfig(eval_samples=64), [{**row, "step": 9}]) == {}


@pytest.mark.parametrize(
    "rows",
    [
        # As of a student whom few traces left room.
        [
            {"step": 0, "eval_accuracy": 0.62, "eval_n": 200},
            *steps(160, 1.63, 0.34, 1.5e-3),
        ],
        # It learns until it is near the ceiling.
        [
            {"step": 0, "eval_accuracy": 0.90, "eval_n": 400},
            *steps(20, 1.70, 0.5, 1.5e-3),
            *({**row, "step": row["step"] + 20} for row in steps(140, 1.95, 0.9, 2e-2)),
        ],
        # From the base: the form is learned first.
        [*steps(160, 0.79, 0.07, 1.7e-3)],
    ],
)
def test_a_training_with_room_is_not_warned_about(rows: Sequence[Mapping[str, Any]]) -> None:
    assert warned(GrpoConfig(max_steps=160, warmup_steps=5), rows) == {}


@pytest.mark.parametrize(
    "names", [("paper",), ("paper", "paper-v2"), ("paper", "paper-rl-only"), ("recommended",)]
)
def test_the_papers_own_trainings_are_not_warned_about(
    repository: Path, names: tuple[str, ...]
) -> None:
    config = load_config([repository / "configs" / f"{name}.yaml" for name in names])
    most = sum(getattr(config.grpo, f"{name}_weight") for name in ("format", "accuracy", "length"))
    # A small rate over hundreds of steps: after 25 steps the KL is below the bar, after a tenth of
    # the training it is not.
    for share, spread in ((0.85, 0.55), (0.6, 0.3), (0.3, 0.5)):
        rows = steps(config.grpo.max_steps, share * most, spread, 1.1e-4)
        assert rows[24]["kl"] < 1e-4
        assert warned(config.grpo, rows) == {}
    assert doubt_sft(config.sft, [{"step": 1, "loss": 2.0}]) == {}


def test_a_trial_of_a_few_steps_is_not_judged() -> None:
    assert warned(GrpoConfig(max_steps=4), steps(4, 2.0, 1.0, 0.0)) == {}


def test_each_reward_counts_by_its_weight_and_each_rollout_once() -> None:
    weights = {"format_weight": 0.5, "length_weight": 1.0, "judge_weight": 1.0}
    grpo = GrpoConfig(**weights, num_iterations=2, save_steps=2, max_steps=40)
    rows = steps(40, 3.2, 0.0, 1.0)
    for row in rows[1::2]:  # an iteration without a rollout
        del row["reward"], row["zero_spread"]
    step, text = warned(grpo, rows)["ceiling"]
    assert step == 19
    assert text == (
        "the rewards begin at 3.20 of 3.5, so little is left to learn: take harder questions "
        "(grpo.data=samples), or fine-tune on fewer traces first (sft.limit)"
    )
    assert doubt_rewards(grpo, 3.1, 0.0) == {}


def test_remedies_are_those_that_are_left() -> None:
    tried = GrpoConfig(data="samples", drop_zero_spread=True)
    text = doubt_rewards(tried, 1.9, 0.7)["spread"]
    assert text.endswith("(grpo.view, such as 'vision_first != audio_first'), or raise "
                         "grpo.group_size")  # fmt: skip
    low = doubt_rewards(GrpoConfig(), 0.1, 0.9)["spread"]
    assert "fine-tune the policy first (grpo.init), raise grpo.temperature" in low
    assert "harder" not in low


def test_kl_that_is_measured_now_and_then_is_judged_when_it_is() -> None:
    grpo = GrpoConfig(max_steps=100, beta=0, kl_steps=30)
    rows = [
        {name: row[name] for name in row if name != "kl" or row["step"] % 30 == 0}
        for row in steps(100, 1.5, 0.3, 5e-5)
    ]
    assert warned(grpo, rows)["kl"][0] == 30
    assert warned(grpo, [row for row in rows if "kl" not in row]) == {}


def test_a_warning_stands_in_its_row_and_is_said_once_over_a_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, grpo = tmp_path / "grpo" / "log.jsonl", GrpoConfig(**DEMO)
    path.parent.mkdir()
    rows = steps(30, 1.87, 0.2, 1.0)
    for first, last in ((1, 12), (11, 30)):  # killed in step 12, and resumed from step 10
        log = TrainingLog(path, FIELDS, lambda rows: doubt_grpo(grpo, rows))
        state = TrainerState(global_step=first - 1, is_world_process_zero=True)
        log.on_train_begin(None, state, TrainerControl())  # type: ignore[arg-type]
        for row in rows[first - 1 : last]:
            state.global_step = row["step"]
            log.on_log(None, state, TrainerControl(), logs=row)  # type: ignore[arg-type]
    written = read_log(path)
    assert [row["step"] for row in written] == list(range(1, 31))
    [(step, warnings)] = [(row["step"], row["warnings"]) for row in written if "warnings" in row]
    assert (step, list(warnings)) == (10, ["ceiling"])
    assert json.loads(json.dumps(warnings)) == warnings
    assert capsys.readouterr().err.splitlines() == [f"grpo: warning: {warnings['ceiling']}"]
    assert warning_lines(path) == f"\n  warning: {warnings['ceiling']}"
