"""The findings of a judge: read from its reply, and confirmed by its votes.

Pure functions over text. A reply is a JSON object with one entry per finding,

    {"leak": {"found": true, "quote": "As the audio description says"}, "grounding": ...}

alone or in a code block, after a thought or without. A finding counts only with words that the
trace has: a reply that quotes other words is no reading of this trace, and none of it counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from avrt.errors import DataError
from avrt.texts import parse_json

__all__ = ["FINDINGS", "REPLY_SCHEMA", "Findings", "count_votes", "read_findings"]

FindingName: TypeAlias = Literal["leak", "grounding", "contradiction", "support"]
FINDINGS: tuple[FindingName, ...] = get_args(FindingName)
"""`leak`: the trace knows the answer, or texts about the clip. `grounding`: it claims sights or
sounds that no teacher's text has. `contradiction`: it contradicts itself, or facts on which the
teachers agree. `support`: its reasons do not lead to its answer."""
Findings: TypeAlias = Mapping[str, str]
"""The quote of each finding; a finding that is absent was not made."""

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
_ENTRY = {
    "type": "object",
    "properties": {"found": {"type": "boolean"}, "quote": {"type": "string"}},
    "required": ["found", "quote"],
    "additionalProperties": False,
}
REPLY_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": dict.fromkeys(FINDINGS, _ENTRY),
    "required": list(FINDINGS),
    "additionalProperties": False,
}
"""JSON schema of a reply, for servers that can hold a model to it."""


def read_findings(reply: str, trace: str) -> Findings | None:
    """The findings in a judge's reply about a trace; None when it is no such reply.

    Quotes are compared and given back with single spaces for all white space.
    """
    text = reply.rpartition("</think>")[2].strip()
    if fenced := _FENCED.fullmatch(text):
        text = fenced[1]
    try:
        entries = parse_json(text, "reply")
    except DataError:
        return None
    if not isinstance(entries, dict) or entries.keys() != set(FINDINGS):
        return None
    whole = " ".join(trace.split())
    findings: dict[str, str] = {}
    for name in FINDINGS:
        entry = entries[name]
        if not isinstance(entry, dict) or entry.keys() != {"found", "quote"}:
            return None
        quote = "" if entry["quote"] is None else entry["quote"]
        if not isinstance(entry["found"], bool) or not isinstance(quote, str):
            return None
        if entry["found"]:
            findings[name] = " ".join(quote.split())
            if not findings[name] or findings[name] not in whole:
                return None
    return findings


def count_votes(votes: Sequence[Findings | None]) -> Findings | None:
    """The findings that more than half of the votes confirm, each with its first quote.

    None when half of the votes or more are None, that is, could not be read.
    """
    read = [vote for vote in votes if vote is not None]
    if 2 * len(read) <= len(votes):
        return None
    quotes = {name: [vote[name] for vote in read if name in vote] for name in FINDINGS}
    return {name: of[0] for name, of in quotes.items() if 2 * len(of) > len(votes)}
