"""The reward that asks a judge: 1 less a quarter for each kind of fault that it finds.

Reads RUN/traces/teachers.parquet where the run was traced, so that the judge can compare a
completion with what the teachers saw and heard; writes RUN/ledger.sqlite, in a scope of each
process, so that a question is paid once, also by a resumed training. Asked are only completions of
the right form; others earn 0. A completion without a verdict (the call failed, the reply is no
verdict, the time was up) earns what the others of its group earn on average, so that no advantage
comes of the failure.

The decision to question: all four kinds of faults weigh alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from avrt.answers import is_well_formed
from avrt.ask.budget import Budget
from avrt.ask.calls import Draft, Drafts, call_all
from avrt.ask.ledger import Ledger, open_ledger
from avrt.config import GrpoConfig, JudgeRole, MediaConfig, RunConfig
from avrt.datasets.prepared import load_samples
from avrt.engines import Engine, engine_of_role
from avrt.errors import ConfigError
from avrt.generate.findings import FINDINGS
from avrt.generate.gates import Case
from avrt.generate.records import answers_about, best_answer, is_asked, teachers_path
from avrt.generate.verdict import draft_votes, read_verdict
from avrt.ranks import rank
from avrt.train.data import Example
from avrt.types import Sample

__all__ = ["Judge", "choose_judge", "open_judge", "read_analyses", "without_failures"]

Reward = Callable[..., list[float]]
"""A reward as TRL calls it."""


def choose_judge(grpo: GrpoConfig, judges: Mapping[str, JudgeRole]) -> str | None:
    """Give the name of the judge that the reward asks, or None when `grpo.judge_weight` is 0.

    Raises:
        ConfigError: there is no such judge, or several and none is named.
    """
    if not grpo.judge_weight:
        return None
    known = ", ".join(judges) or "none"
    if grpo.judge is None and len(judges) != 1:
        raise ConfigError(
            f"grpo.judge_weight = {grpo.judge_weight:g} needs one judge, and `judges` has {known}; "
            "describe one under `judges.NAME`, name it in grpo.judge, or set grpo.judge_weight=0"
        )
    name = next(iter(judges)) if grpo.judge is None else grpo.judge
    if name not in judges:
        raise ConfigError(f"grpo.judge = {name!r} is not among `judges`: {known}")
    return name


@contextmanager
def open_judge(
    run: RunConfig,
    grpo: GrpoConfig,
    judges: Mapping[str, JudgeRole],
    media: MediaConfig,
    examples: Iterable[Example],
) -> Iterator[Reward | None]:
    """Open the run's ledger for the reward that asks a judge; None: the settings ask none.

    Raises:
        ConfigError: as `choose_judge`, or another process has the ledger of this training open.
    """
    name = choose_judge(grpo, judges)
    if name is None:
        yield None
        return
    samples = {example.sample.id: example.sample for example in examples}
    with (
        open_ledger(run.path, scope=f"{grpo.output}-{rank()}") as ledger,
        closing(engine_of_role(judges[name], media)) as engine,
    ):
        judge = Judge(name, judges[name], run.seed, media, ledger, engine)
        yield _reward(judge, samples, read_analyses(run.path, samples), grpo)


class _Deadline(Budget):
    """A budget of time: no call is begun after it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._until_s = time.monotonic() + seconds

    @property
    def is_spent(self) -> bool:
        return time.monotonic() >= self._until_s

    def stop(self) -> None:
        self.stopped_by = "the time for a judge"


@dataclass(frozen=True)
class Judge:
    """A judge that scores completions."""

    name: str
    role: JudgeRole
    seed: int
    media: MediaConfig
    ledger: Ledger
    engine: Engine

    def scores(
        self,
        texts: Sequence[str],
        samples: Sequence[Sample],
        analyses: Mapping[str, Mapping[str, str]],
        limit_s: float,
    ) -> list[float | None]:
        """Score completions about their samples in [0, 1]; None: there is no verdict.

        `analyses` are the teachers' texts by sample and modality. No call is begun after `limit_s`
        seconds.
        """
        cases = {
            place: Case(
                text=text,
                question=sample.question,
                options=tuple(sample.options),
                target=sample.target,
                teacher_texts=analyses.get(sample.id, {}),
            )
            for place, (text, sample) in enumerate(zip(texts, samples, strict=True))
            if is_well_formed(text, len(sample.options))
        }
        n_votes, drafts = self.role.votes, list(self._drafts(cases, samples))
        each = Drafts("", len(drafts), drafts, self.media)
        outcomes = call_all(self.ledger, self.engine, each, _Deadline(limit_s))
        replies = self.ledger.find_all([of.key for of in outcomes.values() if of.key is not None])
        scores: list[float | None] = [0.0] * len(texts)
        for place, case in cases.items():
            votes = [outcomes.get((place, vote)) for vote in range(n_votes)]
            verdict = read_verdict([vote for vote in votes if vote], replies, case.text)
            is_read = None not in votes and verdict.status == "ok"
            scores[place] = 1 - len(verdict.findings) / len(FINDINGS) if is_read else None
        return scores

    def _drafts(self, cases: Mapping[int, Case], samples: Sequence[Sample]) -> Iterator[Draft]:
        for place, case in cases.items():
            id_ = samples[place].id
            for draft in draft_votes(self.name, self.role, self.seed, [(id_, case)]):
                yield replace(draft, id=(place, draft.k), stage="grpo")


def _reward(
    judge: Judge,
    samples: Mapping[str, Sample],
    analyses: Mapping[str, Mapping[str, str]],
    grpo: GrpoConfig,
) -> Reward:
    """Wrap the judge for TRL: prompts are sample ids, completions are texts."""

    def reward(
        prompts: Sequence[str],
        completions: Sequence[str],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        about = [samples[name] for name in prompts]
        scores = judge.scores(completions, about, analyses, grpo.judge_limit_s)
        log_metric("judge_failed", scores.count(None) / len(scores))
        size = grpo.group_size
        groups = [scores[first : first + size] for first in range(0, len(scores), size)]
        return [score for group in groups for score in without_failures(group)]

    reward.__name__ = "judge"  # TRL names its metrics after the function
    return reward


def without_failures(group: Sequence[float | None]) -> list[float]:
    """Give completions without a score the mean of the others, or all 0."""
    known = [score for score in group if score is not None]
    mean = fmean(known) if known else 0.0
    return [mean if score is None else score for score in group]


def read_analyses(run: Path, ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read what the teachers wrote about samples, by modality; nothing of a run without traces."""
    analyses: dict[str, dict[str, str]] = {}
    if not teachers_path(run).is_file():
        return analyses
    wanted = set(ids)
    for sample, answers in answers_about(run, load_samples(run)):
        if sample.id in wanted and is_asked(answers):
            best = [best_answer(traces) for traces in answers.values()]
            analyses[sample.id] = {of.modality: of.text for of in best if of.modality != "none"}
    return analyses
