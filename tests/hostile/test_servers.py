"""Every behaviour of a server gives the right reply or a failure with a name, stored at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avrt.ask.budget import Budget
from avrt.ask.calls import Draft, Drafts, call_all, find_outcomes
from avrt.ask.ledger import open_ledger, read_ledger
from avrt.ask.show import load_stats, render_stats
from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.types import Sampling
from chat_server import Server
from hostile.server_cases import ServerCase, all_cases

CASES = all_cases()


pytestmark = pytest.mark.usefixtures("short_waits")


def drafts() -> Drafts:
    sampling = Sampling(temperature=0.5, seed=1, max_new_tokens=12)
    draft = Draft("id", "trace", "sample", "role", "Which?", sampling)
    return Drafts("test", 1, [draft], MediaConfig())


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 100


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_behaviour_gives_its_reply_or_a_named_failure(
    case: ServerCase, server: Server, tmp_path: Path
) -> None:
    server.answer = case.answer
    config = EngineConfig.model_validate(
        {"base_url": server.url, "timeout_s": 20, "max_attempts": 3, **case.settings}
    )
    engine = make_engine(config, "m", None, MediaConfig())
    with open_ledger(tmp_path) as ledger:
        outcome = call_all(ledger, engine, drafts(), Budget())["id"]
    with read_ledger(tmp_path) as ledger:
        done = ledger.find(outcome.key or "")
        assert find_outcomes(ledger, engine.identity, drafts().each)["id"] == outcome
    assert done is not None
    if case.text is None:
        assert (done.finish_reason, done.error_class, done.text) == ("error", case.error_class, "")
        assert re.search(case.words, done.error or ""), done.error
        assert "\n" not in (done.error or "")
        assert len(done.error or "") < 700
    else:
        assert (done.error_class, done.text, done.finish_reason) == (None, case.text, case.finish)
        assert 0 <= done.n_prompt_tokens < 2**31
        assert 0 <= done.n_completion_tokens < 2**31
    assert len(server.bodies) == case.n_requests
    render_stats(load_stats(tmp_path))
    with open_ledger(tmp_path) as ledger:  # a repetition asks for failed calls, and only for those
        call_all(ledger, engine, drafts(), Budget())
    assert (len(server.bodies) > case.n_requests) == (case.text is None)
