"""Settings of GRPO that cannot work are refused by a dry run and before weights are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from avrt.config import Config
from avrt.errors import ConfigError
from avrt.train import grpo


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where weights are read."""

    def load(*_: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(grpo, "load_student", load)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("call", [grpo.plan, grpo.run])
def test_completions_that_fill_the_context(
    make_config: Callable[..., Config], call: Callable[[Config], Any]
) -> None:
    config = make_config(grpo={"max_new_tokens": 10**6})
    with pytest.raises(ConfigError, match=r"max_new_tokens = 1000000 leaves no room for a prompt"):
        call(config)


def test_a_dry_run_counts_the_prompts(make_config: Callable[..., Config]) -> None:
    config = make_config(grpo={"prompts_per_step": 10})
    with pytest.raises(ConfigError, match=r"prompts_per_step = 10.* only 8 usable prompts"):
        grpo.plan(config)


def test_a_judge_is_not_the_only_reward(make_config: Callable[..., Config]) -> None:
    weights = {"format_weight": 0, "accuracy_weight": 0, "judge_weight": 1}
    with pytest.raises(ValidationError, match="it cannot be the only reward"):
        make_config(grpo=weights)


def test_a_judge_that_would_never_be_asked_is_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ValidationError, match="judge_weight is 0, so it would never be asked"):
        make_config(grpo={"judge": "reader"})
