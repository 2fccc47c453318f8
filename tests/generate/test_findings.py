"""Facts about the findings of a judge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.generate.findings import FINDINGS, REPLY_SCHEMA, Findings, count_votes, read_findings
from avrt.prompts import load_prompt

TRACE = "<think>As the audio\n description says,  a bird cries.</think>\n<answer>B</answer>"
LEAK = "As the audio description says"


def entries(**quotes: str) -> dict[str, dict[str, Any]]:
    """A reply's content with those findings."""
    return {name: {"found": name in quotes, "quote": quotes.get(name, "")} for name in FINDINGS}


def reply(**quotes: str) -> str:
    return json.dumps(entries(**quotes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No faults.",
        "{}",
        "[]",
        "null",
        '"leak"',
        "[" * 100_000,
        f"Here is my reply: {reply()}",
        f"{reply()}\nThe trace is fine.",
        f"{reply()}{reply()}",
        f"```json\n{reply()}",
        f"```\n```json\n{reply()}\n```\n```",
        f"<think>{reply()}",
        reply()[:-1],
        json.dumps({**entries(), "other": {"found": False, "quote": ""}}),
        json.dumps({name: entry for name, entry in entries().items() if name != "leak"}),
        json.dumps(entries() | {"leak": False}),
        json.dumps(entries() | {"leak": {"found": "false", "quote": ""}}),
        json.dumps(entries() | {"leak": {"found": 0, "quote": ""}}),
        json.dumps(entries() | {"leak": {"found": False}}),
        json.dumps(entries() | {"leak": {"found": False, "quote": []}}),
        json.dumps(entries() | {"leak": {"found": True, "quote": None}}),
        json.dumps(entries() | {"leak": {"found": False, "quote": "", "why": "none"}}),
        reply().replace('{"leak"', '{"leak": {"found": false, "quote": ""}, "leak"', 1),
    ],
)
def test_a_reply_of_another_form_is_no_reading(text: str) -> None:
    assert read_findings(text, TRACE) is None


@pytest.mark.parametrize("quote", ["", " \n", "the video description", "as the audio description"])
def test_a_quote_that_the_trace_has_not_voids_the_whole_reply(quote: str) -> None:
    assert read_findings(reply(leak=quote), TRACE) is None
    assert read_findings(reply(leak=LEAK, support=quote), TRACE) is None


@pytest.mark.parametrize(
    "around",
    ["{}", "\n {} \n", "```json\n{}\n```", "```\n{}\n```\n", "<think>Hm, {{}}.</think>\n{}",
     "A thought</think>```json\n{}\n```"],
)  # fmt: skip
def test_thoughts_and_code_blocks_around_the_reply_are_taken_off(around: str) -> None:
    found = read_findings(around.format(reply(leak="As the audio\ndescription  says")), TRACE)
    assert found == {"leak": LEAK}


def test_the_quote_of_a_fault_that_is_not_found_is_ignored() -> None:
    clean = entries() | {
        "leak": {"found": False, "quote": "no such words"},
        "support": {"found": False, "quote": None},
    }
    assert read_findings(json.dumps(clean), TRACE) == {}


# Text from outside keeps neither half pairs nor NUL.
LEGIBLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.text(), st.text())
def test_any_reply_is_read_or_refused(text: str, trace: str) -> None:
    found = read_findings(text, trace)
    assert found is None or found.keys() <= set(FINDINGS)


@given(st.dictionaries(st.sampled_from(FINDINGS), LEGIBLE), LEGIBLE)
def test_whatever_counts_is_in_the_trace(quotes: dict[str, str], trace: str) -> None:
    findings = read_findings(reply(**quotes), trace)
    whole = " ".join(trace.split())
    if findings is None:
        assert any(" ".join(q.split()) not in whole or not q.split() for q in quotes.values())
    else:
        assert findings.keys() == quotes.keys()
        assert all(quote and quote in whole for quote in findings.values())


@given(LEGIBLE.filter(bool), st.data())
def test_words_of_the_trace_always_count(trace: str, data: st.DataObject) -> None:
    said = trace.split()
    if not said:
        return
    begin = data.draw(st.integers(0, len(said) - 1))
    quote = "\n".join(said[begin : data.draw(st.integers(begin + 1, len(said)))])
    assert read_findings(reply(leak=quote), trace) == {"leak": " ".join(quote.split())}


Votes = st.lists(
    st.none() | st.dictionaries(st.sampled_from(FINDINGS), st.text(min_size=1)), min_size=1
)


@given(Votes)
def test_a_finding_needs_more_than_half_of_the_votes(votes: list[Findings | None]) -> None:
    found = count_votes(votes)
    n_read = sum(vote is not None for vote in votes)
    assert (found is None) == (n_read <= len(votes) / 2)
    for name in FINDINGS:
        quotes = [vote[name] for vote in votes if vote is not None and name in vote]
        if found is not None:
            assert found.get(name) == (quotes[0] if len(quotes) > len(votes) / 2 else None)


def test_the_schema_and_the_prompt_ask_for_a_reply_that_is_read() -> None:
    system, text = load_prompt("judge").fill(
        question="Q?", options="(A) x", answer="(A) x", analyses="", trace=TRACE
    )
    (form,) = (line for line in text.splitlines() if line.startswith("{"))
    assert system
    assert read_findings(form, TRACE) == {}
    assert list(json.loads(form)) == list(REPLY_SCHEMA["properties"]) == list(FINDINGS)
