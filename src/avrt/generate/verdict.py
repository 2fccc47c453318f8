"""The request to a judge about a trace, and the verdict in its replies.

Pure functions, which the stage `judge` and the exam on labelled traces share. A judge is known by
its digest: prompt, model, sampling and number of votes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avrt.ask.calls import Draft, Outcome, describe_role, sampling_of
from avrt.config import JudgeRole, MediaConfig
from avrt.generate.findings import Findings, count_votes, read_findings
from avrt.generate.gates import Case
from avrt.prompts import format_options, load_prompt
from avrt.runs import fingerprint
from avrt.types import LETTERS, Completion

__all__ = [
    "UNJUDGED",
    "Verdict",
    "describe_judge",
    "draft_votes",
    "read_verdict",
]

UNJUDGED = "unjudged"
"""Status of a verdict whose replies cannot be read, or quote words that the trace has not."""
_TITLES = {"v": "Analysis of the frames", "a": "Analysis of the sound", "av": "Analysis of both"}


_NOTHING: Findings = {}
"""Most traces have no findings; there are hundreds of thousands."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings of a judge about a trace."""

    status: str
    """`ok`, `unjudged`, or `failed/CLASS`."""
    findings: Findings
    calls: Sequence[str]
    """Keys of its calls, one per vote."""


def draft_votes(
    name: str, judge: JudgeRole, seed: int, cases: Iterable[tuple[str, Case]]
) -> Iterator[Draft]:
    """The requests to a judge about traces by id, one per vote; a draft's id is (id, vote)."""
    prompt = load_prompt(judge.prompt)
    for id_, case in cases:
        target = case.options[LETTERS.index(case.target)]
        analyses = (
            f"{title}:\n{case.teacher_texts[modality].strip()}"
            for modality, title in _TITLES.items()
            if case.teacher_texts.get(modality, "").strip()
        )
        system, text = prompt.fill(
            question=case.question,
            options=format_options(case.options),
            answer=f"({case.target}) {target}",
            analyses="\n\n".join(analyses),
            trace=case.text.strip(),
        )
        for vote in range(judge.votes):
            sampling = sampling_of(judge, seed, id_, vote)
            yield Draft((id_, vote), "judge", id_, name, text, sampling, system, vote)


def read_verdict(
    votes: Sequence[Outcome], replies: Mapping[str, Completion], trace: str
) -> Verdict:
    """The verdict of a judge's votes on a trace, from the stored replies alone.

    A vote that failed or cannot be read confirms nothing; when half of them or more are such, there
    is no verdict: it is called after a failure if there was one.
    """
    readings: list[Findings | None] = [
        read_findings(replies[vote.key].text, trace) if vote.key and vote.status == "ok" else None
        for vote in votes
    ]
    calls = [vote.key for vote in votes if vote.key is not None]
    findings = count_votes(readings)
    if findings is not None:
        return Verdict("ok", findings or _NOTHING, calls)
    failure = next((vote.status for vote in votes if vote.status != "ok"), None)
    return Verdict(UNJUDGED if failure is None else f"failed/{failure}", _NOTHING, calls)


def describe_judge(judge: JudgeRole, media: MediaConfig) -> dict[str, Any]:
    """All that decides a judge's findings, with its `digest`; no address and no path.

    Raises:
        ConfigError: the prompt, the script or the packaged model does not exist.
    """
    description = {**describe_role(judge, media), "votes": judge.votes}
    return {**description, "digest": fingerprint(description)}
