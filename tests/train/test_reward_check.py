from __future__ import annotations

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.config import dump_config
from avrt.errors import AvrtError, ConfigError
from avrt.train import reward_check
from avrt.train.reward_check import check_rewards

STUDENT = {"model": "world:student"}


def test_the_report_has_completions_and_the_spread_inside_groups(make_config, make_row):
    rows = [make_row(f"s{index}", "short", index % 4) for index in range(40)]
    config = make_config(rows, student=STUDENT, grpo={"max_new_tokens": 40, "group_size": 4})
    before = sorted(config.run.path.rglob("*"))
    text = check_rewards(config)
    assert text == check_rewards(config), "from the seed"
    assert sorted(config.run.path.rglob("*")) == before
    assert text.startswith("grpo: rewards of 128 completions, 32 prompts")
    lines = [line.strip() for line in text.splitlines()]
    columns = [line for line in lines if "differs in" in line]
    assert [line.split(":")[0] for line in columns] == ["format", "accuracy", "weighted sum"]
    assert "differs in 0 of 32 groups" not in columns[-1]
    n_right = int(lines[-1].removeprefix("pass@4: ").split()[0])
    assert lines[-1] == f"pass@4: {n_right} of 32 groups have a right completion"
    # A group with a right completion earns something for it.
    assert (n_right > 0) == ("accuracy: mean 0.000" not in columns[1])
    assert sum("(target " in line for line in lines) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length_weight": 1.0}, "all 16 completions are all 0.*nothing to learn.*--force"),
        ({"temperature": 1e-6}, "are all 0|are the same inside every group"),
    ],
)
def test_rewards_that_teach_nothing_stop_the_training(make_config, changes, message):
    config = make_config(grpo=changes)
    with pytest.raises(AvrtError, match=message) as caught:
        check_rewards(config)
    assert caught.value.exit_code == 1
    assert "differs in 0 of 8 groups" in check_rewards(config, force=True)


def test_a_constant_reward_is_not_called_zero(make_config, monkeypatch):
    monkeypatch.setitem(reward_check.REWARDS, "format", lambda *_: 1.0)
    monkeypatch.setitem(reward_check.REWARDS, "accuracy", lambda *_: 0.0)
    with pytest.raises(AvrtError, match="the same inside every group, so there is nothing"):
        check_rewards(make_config())


def test_rewards_from_which_little_is_left_to_learn_are_warned_about(make_config, monkeypatch):
    for name in ("format", "accuracy"):
        monkeypatch.setitem(reward_check.REWARDS, name, lambda *_: 1.0)
    lines = check_rewards(make_config(), force=True).splitlines()
    assert lines[-2].startswith("  warning: the rewards begin at 2.00 of 2, so little is left")
    assert lines[-1].startswith("  warning: in 100% of the groups all completions earn the same")


def test_several_processes_are_refused(make_config, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--reward-check needs a single process"):
        check_rewards(make_config())


def test_the_command_checks_before_it_plans(make_config, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(make_config()))
    run = CliRunner().invoke
    forced = run(cli, ["grpo", str(path), "--reward-check", "--dry-run", "--force"])
    assert forced.exit_code == 0
    assert "grpo: rewards of 16 completions" in forced.output
    assert "would write" in forced.output
    assert run(cli, ["grpo", str(path), "--force"]).exit_code == 2
    refused = run(cli, ["grpo", str(path), "--reward-check"])
    assert refused.exit_code == 1
    assert "nothing to learn from" in refused.output
