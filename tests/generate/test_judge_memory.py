"""Facts about how much of the ledger the stage `judge` has in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from avrt.ask.ledger import LedgerReader
from avrt.generate import judge, merge, trace
from avrt.generate.findings import FINDINGS
from avrt.generate.judged import iter_judged, judged_path
from avrt.types import Completion, Prompt
from scripted_run import MakeConfig, replies

UseAnswers = Callable[[Callable[[Prompt], str | None]], list[Prompt]]
CLEAN = {name: {"found": False, "quote": ""} for name in FINDINGS}


def answer(prompt: Prompt) -> str | None:
    """All models are right, and the judge finds no fault; its calls about two traces fail."""
    if "The trace to check:" in prompt.text:
        return None if "joined 3" in prompt.text or "joined 5" in prompt.text else json.dumps(CLEAN)
    script = {f"{role} question {number}?": text for (role, number), text in replies().items()}
    return script[prompt.text.split("\n")[0]]


def test_replies_are_read_a_batch_at_a_time_and_the_verdicts_are_the_same(
    make_config: MakeConfig, use_answers: UseAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_answers(answer)
    two_votes = ("judges.reader.votes=2", "judges.reader.temperature=0.7")
    config = make_config(None, *two_votes, "generate.max_failure_rate=1")
    for stage in (trace, merge, judge):
        stage.run(config)
    before = dict(iter_judged(config.run.path))
    sizes: list[int] = []
    find_all = LedgerReader.find_all

    def measured(ledger: LedgerReader, keys: Sequence[str]) -> dict[str, Completion]:
        sizes.append(len(keys))
        return find_all(ledger, keys)

    monkeypatch.setattr(LedgerReader, "find_all", measured)
    monkeypatch.setattr("avrt.generate.judge.BATCH", 3)
    judged_path(config.run.path).unlink()
    judge.run(config)
    assert dict(iter_judged(config.run.path)) == before
    assert [of[0].status for of in before.values()].count("failed/no_reply") == 2
    assert sizes == [6, 6, 2, 3, 3, 1]  # the votes, then the texts of the traces
