"""Stage `judge`: text models look for the faults of merged traces that need a reader.

Reads samples.parquet, traces/teachers.parquet and traces/merged.parquet; writes the ledger and
traces/judged.parquet. A trace that a rejecting gate drops is sent to no judge. Each judge gets one
request per trace (and vote) about four faults, and has to quote the words that show them: see
`findings.py`. With `generate.leak_retries` the merger is asked again for a trace in which a judge
found a leak, with the quotes; the new trace passes gates and judges like the first.

The decision to question: of several tries the first without a leak counts, else the last that the
gates let through, even if it is no better than the first.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from avrt.ask.budget import Budget
from avrt.ask.calls import (
    Draft,
    Drafts,
    Outcome,
    Outcomes,
    call_all,
    check_failure_rate,
    describe_role,
)
from avrt.ask.distant import ClusterEngine, role_on
from avrt.ask.ledger import Ledger, count_finished, open_ledger
from avrt.ask.locks import check_free
from avrt.ask.reuse import check_source, reused_text
from avrt.config import Config, JudgeRole, MediaConfig, ModelRole, RayConfig
from avrt.datasets.prepared import PreparedSamples, load_prepared
from avrt.engines import LazyEngine
from avrt.errors import ConfigError
from avrt.generate.findings import FINDINGS
from avrt.generate.gates import GATES, Case
from avrt.generate.judged import Judgement, case_of, check_all, judged_path, write_judged
from avrt.generate.merge import Merger, make_merger, shown_sample
from avrt.generate.records import (
    Answers,
    MergedTrace,
    along,
    answers_about,
    iter_merged,
    merged_path,
    stage_settings,
    teachers_path,
)
from avrt.generate.verdict import UNJUDGED, Verdict, describe_judge, draft_votes, read_verdict
from avrt.prompts import load_prompt
from avrt.runs import (
    DiskMap,
    IdSet,
    Result,
    Stage,
    check_sums,
    fingerprint,
    iter_parquet,
    open_stage,
    save_config,
)
from avrt.types import Sample

__all__ = ["plan", "run"]

BATCH = 500
"""Traces whose verdicts are taken from the ledger together."""


def run(config: Config, budget: Budget | None = None) -> Result:
    """Let every configured judge judge the merged traces.

    When the budget stops it, nothing is derived and the stage is not done.

    Raises:
        DataError: the run is not merged.
        ConfigError: judged before with another judge of the same name, merged with another merger
            than the one to ask again, or in use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    path, media, budget = config.run.path, config.media, budget or Budget()
    if not config.judges:
        judged_path(path).unlink(missing_ok=True)  # of judges that are gone
        (path / "manifests" / "judge.json").unlink(missing_ok=True)
        return Result("judge: skipped, the section `judges` names no model", {})
    check_source(config.run.calls_path)
    check_free(path, budget.shard)
    stage = _open(config)
    if stage.done and judged_path(path).is_file():
        counts = stage.counts()
        n_failed = counts["again_failed"] + counts["failed_calls"]
        if not n_failed and not any(key.startswith("failed/") for key in counts):
            return Result(f"judge: nothing to do, {path} is judged", counts)
    rows = iter_parquet(merged_path(path), ["sample_id", "status"])
    merged = IdSet(row["sample_id"] for row in rows if row["status"] == "ok")
    samples = load_prepared(path).where("id", merged.__contains__)
    save_config(config)
    source = config.run.calls_path
    with open_ledger(path, budget.shard, source=source) as ledger, ExitStack() as engines:
        bench = _Bench(
            run=path,
            ask=_Asker(ledger, media, budget, engines, config.cluster),
            judges=config.judges,
            seed=config.run.seed,
            gates=config.build.gates,
            merger=make_merger(config),
        )
        chosen = budget.take(samples)
        tries = _judge_and_repair(bench, chosen, config.generate.leak_retries)
        if budget.stopped_by is None:
            stage.begin()
            write_judged(path, _judgements(ledger, chosen.ids, tries))
        reused = reused_text(ledger, "judge", source)
    if budget.stopped_by is not None:
        return Result(budget.summarize("judge") + reused, {})
    asked = chain.from_iterable(outcomes.values() for outcomes in bench.ask.outcomes)
    n_failed = check_failure_rate("judge", asked, config.generate.max_failure_rate)
    counts = _count(tries)
    check_sums("judge", len(samples), {**counts, "kept": counts["kept"] + counts[UNJUDGED]})
    if n_failed:
        counts["failed_calls"] = n_failed  # also single votes, which the next command asks for
    stage.finish(counts)
    return Result(_summarize(counts, config.judges) + reused, counts)


def plan(config: Config) -> str:
    """The work of `run`, in words; makes no call and writes nothing."""
    path, judges, retries = config.run.path, config.judges, config.generate.leak_retries
    if not judges:
        return "judge: skipped, the section `judges` names no model"
    check_source(config.run.calls_path, planned=True)
    lines: list[str] = []
    for name, judge in judges.items():
        describe_judge(judge, config.media)
        votes = f", {judge.votes} votes" if judge.votes > 1 else ""
        lines.append(f"  {name}: {judge.model} ({judge.engine.kind}), prompt {judge.prompt}{votes}")
    again = f", the merger up to {retries} times more after a leak" if retries else ""
    n_finished = count_finished(path, "judge")
    title = f"judge: {len(judges)} judges of every merged trace that passes the gates{again}"
    return "\n".join([f"{title}; {n_finished} finished calls are in the ledger", *lines])


@dataclass(frozen=True)
class _Asker:
    """Models that are asked in turn: each is loaded once, at its first call."""

    ledger: Ledger
    media: MediaConfig
    budget: Budget
    stack: ExitStack
    """Closes the engines at the end."""
    cluster: RayConfig | None
    engines: dict[str, LazyEngine | ClusterEngine] = field(default_factory=dict)
    outcomes: list[Outcomes] = field(default_factory=list)

    def __call__(self, title: str, role: ModelRole, n: int, drafts: Iterable[Draft]) -> Outcomes:
        """The outcomes by draft; less when the budget is spent."""
        name = f"{role.model} {role.revision} {role.engine.model_dump_json()}"
        if name not in self.engines:
            engine = role_on(self.cluster, role, self.media)
            self.engines[name] = self.stack.enter_context(closing(engine))
        each = Drafts(title, n, drafts, self.media)
        outcomes = call_all(self.ledger, self.engines[name], each, self.budget)
        self.outcomes.append(outcomes)
        return outcomes


@dataclass(frozen=True)
class _Bench:
    """All that judging takes."""

    run: Path
    ask: _Asker
    judges: Mapping[str, JudgeRole]
    seed: int
    gates: Sequence[str]
    """Those that reject."""
    merger: Merger


@dataclass(frozen=True, slots=True)
class _Try:
    """A trace about a sample, and what gates and judges say to it."""

    key: str
    """The merger's call that wrote the trace."""
    objection: str | None
    """The gate that rejects it, or `failed/CLASS` of the merger's call; None: judges read it."""
    judges: tuple[str, ...]
    found: tuple[Verdict, ...]
    """Of each judge; none where no judge read it."""

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """By judge."""
        return dict(zip(self.judges, self.found, strict=False))

    @property
    def leaks(self) -> list[str]:
        """The words that give the answer or its sources away, by the judges."""
        quotes = (verdict.findings.get("leak") for verdict in self.verdicts.values())
        return list(dict.fromkeys(quote for quote in quotes if quote is not None))

    @property
    def is_clean(self) -> bool:
        """Whether gates and all judges read it, and none found a leak."""
        judged = all(verdict.status == "ok" for verdict in self.verdicts.values())
        return self.objection is None and judged and not self.leaks


_of_verdict = attrgetter(*Verdict.__slots__)
_Tries: TypeAlias = DiskMap[str, Sequence[_Try]]
_Again: TypeAlias = Callable[[str], Outcome | None]
"""The outcome of another try about a sample; None: it was not begun."""


def _judge_and_repair(bench: _Bench, chosen: PreparedSamples, n_retries: int) -> _Tries:
    """All tries about each sample, the merged trace first; less when the budget is spent."""
    tries = _tries(bench)
    waiting, again = chosen, None
    for k in range(n_retries + 1):
        for id_, attempt in _judge(bench, waiting, again):
            tries[id_] = [*tries.get(id_, ()), attempt]
        if k == n_retries:
            break
        leaky = waiting.where("id", lambda id_, n=k + 1: _is_leaky(tries.get(id_, ()), n))
        if not leaky:
            break
        again = _merge_again(bench, leaky, tries, k + 1)
        waiting = leaky.where("id", lambda id_, again=again: again(id_) is not None)
    return tries


def _tries(bench: _Bench) -> _Tries:
    """Room on the disk for the tries about each sample."""
    names = tuple(bench.judges)

    def pack(of_sample: Sequence[_Try]) -> Any:
        return [(each.key, each.objection, [*map(_of_verdict, each.found)]) for each in of_sample]

    def unpack(packed: Any) -> Sequence[_Try]:
        return [
            _Try(key, objection, names, tuple(Verdict(*verdict) for verdict in found))
            for key, objection, found in packed
        ]

    return DiskMap(pack, unpack)


def _is_leaky(tries: Sequence[_Try], n: int) -> bool:
    """Whether the `n`-th try was judged and is not clean, and one of them has a leak."""
    return len(tries) == n and not tries[-1].is_clean and any(attempt.leaks for attempt in tries)


def _traces(
    bench: _Bench, samples: PreparedSamples, again: _Again | None
) -> Iterator[tuple[Sample, Answers, MergedTrace]]:
    """The trace about each sample with its answers: the merged one, or that of another try."""
    path, ids = bench.run, samples.ids
    pairs = iter_merged(path)
    if again is not None:
        merged = bench.merger.read_traces(bench.ask.ledger, samples, again)
        pairs = ((trace.sample_id, trace) for trace in merged)
    traces = along(ids, pairs, merged_path(path))
    for (sample, answers), trace in zip(answers_about(path, samples), traces, strict=True):
        assert trace is not None  # these samples were chosen because they have one
        yield sample, answers, trace


def _judge(
    bench: _Bench, samples: PreparedSamples, again: _Again | None
) -> Iterator[tuple[str, _Try]]:
    """The verdicts on traces, by sample; samples for which the budget did not reach are absent.

    The traces are read anew for gates, judges and verdicts, so that they never lie in memory
    together.
    """
    gated = _gate(bench, samples, again)
    passing = samples.where("id", lambda id_: gated[id_][1] is None)

    def cases() -> Iterator[tuple[str, Case]]:
        for sample, answers, trace in _traces(bench, passing, again):
            yield sample.id, case_of(shown_sample(sample, trace.order), answers, trace)

    found = DiskMap[tuple[str, str], Verdict](_of_verdict, lambda packed: Verdict(*packed))
    names = tuple(bench.judges)
    for name, judge in bench.judges.items():
        drafts = draft_votes(name, judge, bench.seed, cases())
        outcomes = bench.ask(f"judge {name}", judge, len(passing) * judge.votes, drafts)
        verdicts = _read_verdicts(bench.ask.ledger, judge.votes, cases(), outcomes)
        found.update(((name, id_), verdict) for id_, verdict in verdicts)
    for id_, (key, objection) in gated.items():
        of_judges = [found.get((name, id_)) for name in names]
        verdicts = tuple(verdict for verdict in of_judges if verdict is not None)
        if objection is not None or len(verdicts) == len(names):
            yield id_, _Try(key, objection, names, verdicts)


def _gate(
    bench: _Bench, samples: PreparedSamples, again: _Again | None
) -> Mapping[str, tuple[str, str | None]]:
    """Of each trace, by sample, its key and its objection as in `_Try`."""
    gated = DiskMap[str, tuple[str, str | None]]()
    waiting: deque[tuple[str, str]] = deque()

    def cases() -> Iterator[Case]:
        for sample, answers, trace in _traces(bench, samples, again):
            if trace.status == "ok":
                waiting.append((sample.id, trace.key))
                yield case_of(shown_sample(sample, trace.order), answers, trace)
            else:
                gated[sample.id] = trace.key, f"failed/{trace.status}"

    for flagged in check_all(cases(), len(samples)):
        id_, key = waiting.popleft()
        gated[id_] = key, next((gate for gate in bench.gates if flagged[gate] is not None), None)
    return gated


def _read_verdicts(
    ledger: Ledger,
    n_votes: int,
    cases: Iterable[tuple[str, Case]],
    outcomes: Mapping[Hashable, Outcome],
) -> Iterator[tuple[str, Verdict]]:
    """The verdict on each trace of which all votes are in, by id; replies are read in batches."""
    every = ((id_, case, [(id_, vote) for vote in range(n_votes)]) for id_, case in cases)
    waiting = (
        (id_, case, [outcomes[vote] for vote in votes])
        for id_, case, votes in every
        if all(vote in outcomes for vote in votes)
    )
    while batch := list(islice(waiting, BATCH)):
        keys = [vote.key for _, _, votes in batch for vote in votes if vote.key is not None]
        replies = ledger.find_all(keys)
        for id_, case, votes in batch:
            yield id_, read_verdict(votes, replies, case.text)


def _merge_again(bench: _Bench, samples: PreparedSamples, tries: _Tries, k: int) -> _Again:
    """Where another trace about each sample is, written with the quotes of its latest leak in
    view; less when the budget is spent.
    """
    note = load_prompt("merge_again")

    def drafts() -> Iterator[Draft]:
        for sample, answers in answers_about(bench.run, samples):
            quotes = next(attempt.leaks for attempt in reversed(tries[sample.id]) if attempt.leaks)
            _, text = note.fill(quote="\n".join(f'"{quote}"' for quote in quotes))
            yield bench.merger.draft(sample, answers, k, f"\n\n{text}")

    outcomes = bench.ask("merger, again", bench.merger.role, len(samples), drafts())
    return lambda id_: outcomes.get((id_, k))


def _that_counts(tries: Sequence[_Try]) -> _Try:
    """The first clean try, else the last that the gates let through, else the merged trace."""
    read = [attempt for attempt in tries if attempt.objection is None]
    return next((attempt for attempt in read if attempt.is_clean), [tries[0], *read][-1])


def _judgements(ledger: Ledger, ids: Iterable[str], tries: _Tries) -> Iterator[Judgement]:
    """Every sample's judgements, by judge; none where a gate rejected the merged trace."""
    waiting = ((id_, tries[id_]) for id_ in ids)
    while batch := list(islice(waiting, BATCH)):
        replies = ledger.find_all([_that_counts(of).key for _, of in batch])
        for sample_id, of_sample in batch:
            final = _that_counts(of_sample)
            reply, merges = replies[final.key], [attempt.key for attempt in of_sample]
            for name, verdict in final.verdicts.items():
                asked = [a.verdicts[name].calls for a in of_sample if a.verdicts]
                yield Judgement(
                    sample_id=sample_id,
                    judge=name,
                    status=verdict.status,
                    findings=verdict.findings,
                    key=final.key,
                    text=reply.text,
                    finish_reason=reply.finish_reason,
                    calls=[*merges, *(key for keys in asked for key in keys)],
                )


def _open(config: Config) -> Stage:
    """Judges may come, go, or get more votes: nothing that was asked is asked anew."""
    path, retries = config.run.path, config.generate.leak_retries
    inputs = [path / "samples.parquet", teachers_path(path), merged_path(path)]
    merger = {"merger": describe_role(config.merger, config.media)}
    settings: dict[str, Any] = {
        "judges": {name: describe_judge(j, config.media) for name, j in config.judges.items()},
        "again": merger if retries else {},
        "seed": config.run.seed,
    }
    free = {
        "leak_retries": retries,
        "gates": {name: GATES[name].version for name in config.build.gates if name in GATES},
    }
    stage = open_stage(path, "judge", settings, inputs, free, _extends)
    _check_merged(path, settings["again"], config.build.balance_letters)
    return stage


def _extends(stored: Any, wanted: Any) -> bool:
    """Whether every role that both know is asked as before, apart from its number of votes."""
    if not isinstance(stored, dict) or not isinstance(wanted, dict):
        return False
    changing = {"votes", "digest"}
    both = stored.keys() & wanted.keys()
    return all(
        len({fingerprint(of[name] | dict.fromkeys(changing)) for of in (stored, wanted)}) == 1
        for name in both
    )


def _check_merged(run: Path, again: Mapping[str, Any], balances: bool) -> None:
    merged = stage_settings(run, "merge")
    wanted = [again.get("merger"), balances]
    made_with = [merged.get("merger"), merged["balance_letters"]]
    if again and fingerprint(made_with) != fingerprint(wanted):
        raise ConfigError(
            f"{run}: merged with another merger, or with another build.balance_letters, than the "
            "one that generate.leak_retries would ask again; use the settings of config.yaml "
            "there, or set generate.leak_retries to 0"
        )


def _count(tries: _Tries) -> Counter[str]:
    """Every merged trace as kept, unjudged, dropped or failed; then findings, and further tries."""
    counts = Counter({"read": len(tries), "kept": 0, UNJUDGED: 0})
    for of_sample in tries.values():
        final = _that_counts(of_sample)
        states = {verdict.status for verdict in final.verdicts.values()} - {"ok"}
        failed = sorted(states - {UNJUDGED})
        if final.objection is not None:
            counts[f"dropped/{final.objection}"] += 1
        else:
            counts[failed[0] if failed else UNJUDGED if states else "kept"] += 1
        counts["merged_again"] += len(of_sample) > 1
        counts["repaired"] += len(of_sample) > 1 and final.is_clean
        counts["again_failed"] += (of_sample[-1].objection or "").startswith("failed/")
        for name, verdict in final.verdicts.items():
            counts.update(f"finding/{name}/{finding}" for finding in verdict.findings)
    return counts


def _summarize(counts: Mapping[str, int], judges: Mapping[str, JudgeRole]) -> str:
    lines = [f"judge: {counts['read']} merged traces, {counts['kept']} judged"]
    lines += [f"  {counts[UNJUDGED]:>7} {UNJUDGED}: a reply without the form, or with other words"]
    lines += [f"  {n:>7} {key}" for key, n in sorted(counts.items()) if key.startswith(("d", "fa"))]
    for name in judges:
        n_by_finding = (f"{counts.get(f'finding/{name}/{key}', 0)} {key}" for key in FINDINGS)
        lines.append(f"  {name} found: {', '.join(n_by_finding)}")
    if counts["merged_again"]:
        again, repaired = counts["merged_again"], counts["repaired"]
        lines.append(f"  {again} merged again after a leak, {repaired} of them without one now")
    return "\n".join(lines)
