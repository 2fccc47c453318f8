"""Stage `build`: gate the merged traces, split them by clip, write the dataset and its card.

Reads samples.parquet and traces/, with judges also traces/judged.parquet; writes
dataset/{train,validation,rejected}.parquet and dataset/README.md. Every sample that was ever read
lies in exactly one of the three files, a rejected one with the stage and the reason. Nothing here
calls a model: another view, gate, finding, split or parser is built by the same command again.

The decision to question: the split ranks clips by a seeded hash and cuts at the wanted share, so
that its size is exact and all questions about a clip stay together; adding data can move a clip at
the cut.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avrt.config import BuildConfig, Config, JudgeRole
from avrt.datasets import annotations_digest
from avrt.datasets.faults import reason_of
from avrt.datasets.prepared import PreparedSamples, load_samples
from avrt.errors import AvrtError, ConfigError
from avrt.generate.card import write_card
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA, Entry, to_row
from avrt.generate.decontaminate import Match, find_matches, write_matches
from avrt.generate.exam import load_measured
from avrt.generate.gates import GATES, Case, check
from avrt.generate.judged import Judgement, case_of, check_all, iter_judged, judged_path
from avrt.generate.merge import shown_sample
from avrt.generate.quality import Check, Flags
from avrt.generate.records import (
    STRATA,
    MergedTrace,
    along,
    answers_about,
    check_teachers,
    check_traced,
    iter_merged,
    iter_teachers,
    merged_path,
    stage_settings,
    stratum_of,
    teachers_path,
    trace_outcome,
)
from avrt.generate.views import Selection, check_views, condition_of
from avrt.runs import (
    Result,
    Stage,
    alone,
    check_sums,
    open_parquet,
    open_stage,
    save_config,
)

__all__ = ["plan", "run", "validation_clips"]

_NO_FAULTS: dict[str, str] = {}
FILES = ("train.parquet", "validation.parquet", "rejected.parquet", "README.md")


@dataclass(frozen=True)
class _Rules:
    """All that rejects a trace."""

    gates: Sequence[str]
    findings: Sequence[str]
    judges: Mapping[str, bool]
    """Those that judged, and whether their findings reject."""
    exams: Mapping[str, Any]
    """The result of each judge in the exam; None: never measured."""

    def objection(self, entry: Entry) -> tuple[str, str] | None:
        """The stage and the reason that reject a merged trace; None when it passes."""
        for gate in self.gates:
            if entry.flagged[gate] is not None:
                return "gate", f"dropped/{gate}"
        heard = [judgement for judgement in entry.judgements if self.judges[judgement.judge]]
        for finding in self.findings:
            if any(finding in judgement.findings for judgement in heard):
                return "judge", f"dropped/judged_{finding}"
        return None


@alone(lambda config: config.run.path / "dataset")
def run(config: Config) -> Result:
    """Build the dataset.

    Raises:
        DataError: the run is not merged, or has judges and is not judged.
        ConfigError: no such view or gate, or the samples that were traced, merged or judged are not
            those of now.
    """
    path, build, seed = config.run.path, config.build, config.run.seed
    check_views(build, config.teachers)
    _check_gates(build)
    check_teachers(path, config.teachers)
    judges = _judges_that_judged(path, config.judges)
    exams = {
        name: load_measured(config.judges[name].exam)["judges"].get(judge["digest"])
        for name, judge in judges.items()
    }
    reject = {
        name: exam is not None or config.judges[name].reject_unmeasured
        for name, exam in exams.items()
    }
    rules = _Rules(build.gates, build.findings, reject, exams)
    stage = _open(path, build, seed, rules)
    folder = path / "dataset"
    if stage.done and all((folder / name).is_file() for name in FILES):
        return _refuse_empty(
            Result(f"build: nothing to do, {folder} is built", stage.counts()), folder
        )
    asked = {name: stage_settings(path, name) for name in ("trace", "merge")}
    source = _source(path, build, rules)
    fates = _decide(source, rules)
    passing = source.samples.where("id", fates.passing.__contains__)
    matches = find_matches(passing, build.decontaminate)
    _reject_matches(fates, matches)
    _cut_to_size(fates, source, build, seed)
    save_config(config)
    parts = _split(fates, source.samples, build.validation_fraction, seed)
    counts = _count(fates, parts)
    check_sums("build", len(source.samples), counts)
    stage.begin()
    _write(folder, source, fates, parts)
    write_matches(folder / "contamination.parquet", matches)
    (folder / "statistics.json").unlink(missing_ok=True)  # of the dataset that was here before
    stages = {**asked, "judge": judges}
    checks = list(_check(fates.flags, rules))
    write_card(folder / "README.md", build, stages, (counts, fates.losses), checks)
    stage.finish(counts)
    return _refuse_empty(Result(_summarize(folder, counts, fates.losses), counts), folder)


def plan(config: Config) -> str:
    """The work of `run`, in words."""
    path, build = config.run.path, config.build
    check_views(build, config.teachers)
    _check_gates(build)
    judged = f", reject findings of judges ({', '.join(build.findings)})" if config.judges else ""
    return (
        f"build: gate the merged traces ({', '.join(build.gates)}){judged}, "
        f"hold out {build.validation_fraction:.1%} of the clips for validation, "
        f"write {', '.join(FILES)} into {path / 'dataset'}"
    )


def validation_clips(video_ids: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The clips held out: that share of them, but at least one of two or more, and never all."""
    clips = sorted(set(video_ids), key=lambda clip: _rank(seed, clip))
    if fraction == 0 or len(clips) < 2:
        return set()
    return set(clips[: min(max(1, round(fraction * len(clips))), len(clips) - 1)])


def _open(run: Path, build: BuildConfig, seed: int, rules: _Rules) -> Stage:
    free = {
        "view": build.view,
        "conditions": [
            condition_of(view, build.views) for view in (build.view, *build.same_size_as)
        ],
        "validation_fraction": build.validation_fraction,
        "seed": seed,
        "gates": {name: gate.version for name, gate in GATES.items()},
        "rejecting": list(rules.gates),
        "judges": dict(rules.judges),
        "exams": dict(rules.exams),
        "findings": list(rules.findings) if rules.judges else [],
        "decontaminate": {
            name: annotations_digest(data) for name, data in build.decontaminate.items()
        },
    }
    inputs = [run / "samples.parquet", teachers_path(run), merged_path(run)]
    inputs += [judged_path(run)] if rules.judges else []
    return open_stage(run, "build", {}, inputs, free)


def _check_gates(build: BuildConfig) -> None:
    for name in build.gates:
        if name not in GATES:
            raise ConfigError(f"build.gates: no gate {name!r}; known: {', '.join(GATES)}")


def _judges_that_judged(run: Path, judges: Mapping[str, JudgeRole]) -> Mapping[str, Any]:
    """The descriptions of the judges in the manifest of the stage `judge`; none are configured:
    none.
    """
    if not judges:
        return {}
    judged = stage_settings(run, "judge")["judges"]
    if judged.keys() != judges.keys():
        raise ConfigError(
            f"{run}: judged by {', '.join(judged)}, but the configuration has "
            f"{', '.join(judges)}; run `avrt judge` with it, which makes only the new calls"
        )
    return judged


@dataclass(frozen=True)
class _Source:
    """Where all about the samples is read from, some at a time."""

    run: Path
    samples: PreparedSamples
    """All that were read."""
    view: str
    reasons: Mapping[str, str | None]
    """Of the traced samples: why they are not in the view."""
    selected: Collection[str]
    """Those in the view, or in one of its size: only what was merged for them counts, so that the
    dataset does not depend on wider views that were merged before."""
    others: Mapping[str, Mapping[str, str | None]]
    """The same as `reasons` for each view that is compared in size."""
    is_judged: bool

    def entries(self) -> Iterator[tuple[Entry, str, str]]:
        """Every sample in file order with its trace as it was merged, and the stage and the reason
        that reject it without a look at the trace, or empty texts.
        """
        run, samples, ids = self.run, self.samples, self.samples.ids
        known = set(ids)
        merged = (pair for pair in iter_merged(run) if pair[0] in self.selected)
        judged = iter_judged(run) if self.is_judged else ()
        judged = (pair for pair in judged if pair[0] in self.selected)
        columns = (samples.column(name) for name in ("usable", "status"))
        rows = zip(
            *(samples, *columns),
            along(ids, iter_teachers(run), teachers_path(run), known),
            along(ids, merged, merged_path(run), known),
            along(ids, judged, judged_path(run), known),
            strict=True,
        )
        for sample, usable, status, answers, trace, judgements in rows:
            shown = sample if trace is None else shown_sample(sample, trace.order)
            entry = Entry(shown, answers, trace, {}, judgements or ())
            yield entry, *self._rejected(entry, {"usable": usable, "status": status})

    def _rejected(self, entry: Entry, row: Mapping[str, Any]) -> tuple[str, str]:
        answers, trace, id_ = entry.answers, entry.merged, entry.sample.id
        if (reason := reason_of(row)) is not None:
            return "prepare", reason
        if answers is not None and (reason := trace_outcome(answers)) is not None:
            return "trace", reason
        if (reason := self.reasons[id_]) is not None:
            return "view", reason
        if trace is None:
            raise ConfigError(
                f"{merged_path(self.run)}: sample {id_!r} is in the view {self.view!r} but was "
                "never merged; run `avrt merge` with this view"
            )
        return ("", "") if trace.status == "ok" else ("merge", f"failed/{trace.status}")


def _source(run: Path, build: BuildConfig, rules: _Rules) -> _Source:
    samples = load_samples(run)
    check_traced(run, samples)
    with Selection(build.views, answers_about(run, samples, with_texts=False)) as selection:
        reasons = selection.reasons(build.view)
        either = selection.reasons(build.view, *build.same_size_as)
        others = {view: selection.reasons(view) for view in build.same_size_as}
    selected = {id_ for id_, reason in either.items() if reason is None}
    return _Source(run, samples, build.view, reasons, selected, others, bool(rules.judges))


@dataclass
class _Fates:
    """What becomes of each sample, and all that is counted about them."""

    rejected: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Stage and reason."""
    faults: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of every merged trace: the faults that gates see."""
    unheard: set[str] = field(default_factory=set)
    """Samples whose judgements do not count, since a gate rejects the merged trace."""
    passing: set[str] = field(default_factory=set)
    """Samples, in the view or not, with a trace that nothing rejects."""
    strata: Counter[str] = field(default_factory=Counter)
    flags: Flags = field(default_factory=Flags)

    @property
    def losses(self) -> Counter[tuple[str, str]]:
        """Rejected samples by stage and reason."""
        return Counter(self.rejected.values())

    def settle(self, entry: Entry, stage: str, reason: str) -> None:
        """Count an entry with its trace that counts, rejected or not."""
        if stage:
            self.rejected[entry.sample.id] = stage, reason
        if entry.answers and not trace_outcome(entry.answers):
            self.strata[stratum_of(entry.answers)] += 1
        self.flags.add(entry)

    def complete(self, entry: Entry) -> Entry:
        """The entry with the trace that counts and all that was decided about it."""
        id_ = entry.sample.id
        stage, reason = self.rejected.get(id_, ("", ""))
        heard = () if id_ in self.unheard else entry.judgements
        faults = self.faults.get(id_)
        return replace(
            entry,
            merged=_that_counts(entry.merged, heard),
            flagged={} if faults is None else {name: faults.get(name) for name in GATES},
            judgements=heard,
            stage=stage,
            reason=reason,
        )


def _decide(source: _Source, rules: _Rules) -> _Fates:
    """What gates, judges and earlier stages reject."""
    fates = _Fates()
    waiting: deque[tuple[Entry, str, str]] = deque()

    def cases() -> Iterator[Case]:
        for entry, stage, reason in source.entries():
            if entry.merged is not None and entry.merged.status == "ok":
                waiting.append((entry, stage, reason))
                yield _case(entry, entry.merged)
            else:
                fates.settle(entry, stage, reason)

    for flagged in check_all(cases(), len(source.selected)):
        entry, stage, reason = waiting.popleft()
        entry = _with_flags(fates, entry, flagged, rules)
        objection = rules.objection(entry)
        if objection is None:
            fates.passing.add(entry.sample.id)
        if not stage:
            stage, reason = objection or ("", "")
            if not stage and rules.judges and not entry.judgements:
                raise ConfigError(
                    f"{judged_path(source.run)}: sample {entry.sample.id!r} passes the gates but "
                    "was never judged; run `avrt judge` with these build.gates"
                )
        fates.settle(entry, stage, reason)
    return fates


def _with_flags(
    fates: _Fates, entry: Entry, flagged: Mapping[str, str | None], rules: _Rules
) -> Entry:
    """Remember the faults of the trace that counts: the merged one, or another try that judges let
    take its place.
    """
    id_, merged = entry.sample.id, entry.merged
    if entry.judgements and any(flagged[gate] is not None for gate in rules.gates):
        fates.unheard.add(id_)
        entry = replace(entry, judgements=())
    final = _that_counts(merged, entry.judgements)
    if final is not None and merged is not None and final.key != merged.key:
        flagged = check(_case(entry, final))
    faults = {name: fault for name, fault in flagged.items() if fault is not None}
    fates.faults[id_] = faults or _NO_FAULTS
    return replace(entry, merged=final, flagged=flagged)


def _case(entry: Entry, trace: MergedTrace) -> Case:
    assert entry.answers is not None  # a sample without answers is not merged
    return case_of(entry.sample, entry.answers, trace)


def _that_counts(merged: MergedTrace | None, judgements: Sequence[Judgement]) -> MergedTrace | None:
    """The merged trace, or the other try that the judges let take its place."""
    if merged is None or not judgements or judgements[0].key == merged.key:
        return merged
    final = judgements[0]
    return replace(merged, key=final.key, text=final.text, finish_reason=final.finish_reason)


def _reject_matches(fates: _Fates, matches: Iterable[Match]) -> None:
    """Reject samples that a benchmark holds too.

    The matches have samples outside the view too, since they count when views are cut to a size.
    """
    for match in matches:
        fates.passing.discard(match.id)
        fates.rejected.setdefault(match.id, ("gate", "dropped/in_benchmark"))


def _cut_to_size(fates: _Fates, source: _Source, build: BuildConfig, seed: int) -> None:
    """Cut to the smallest size among the views that are compared, by a seeded draw."""
    if not build.same_size_as:
        return
    kept = [id_ for id_ in source.samples.ids if id_ not in fates.rejected]
    sizes = [len(kept)]
    for reasons in source.others.values():
        sizes.append(
            sum(reason is None and id_ in fates.passing for id_, reason in reasons.items())
        )
    for id_ in sorted(kept, key=lambda id_: _rank(seed, id_))[min(sizes) :]:
        fates.rejected[id_] = "size", "dropped/over_size"


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _split(
    fates: _Fates, samples: PreparedSamples, validation_fraction: float, seed: int
) -> dict[str, set[str]]:
    """The ids of train and validation."""
    kept = samples.where("id", lambda id_: id_ not in fates.rejected)
    held_out = validation_clips(kept.column("video_id"), validation_fraction, seed)
    return {
        "train": set(kept.where("video_id", lambda clip: clip not in held_out).ids),
        "validation": set(kept.where("video_id", held_out.__contains__).ids),
    }


def _write(folder: Path, source: _Source, fates: _Fates, parts: Mapping[str, set[str]]) -> None:
    """Write the three files side by side, since all is read once for them."""
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(open_parquet(folder / f"{name}.parquet", schema))
            for name, schema in {
                **dict.fromkeys(parts, DATASET_SCHEMA),
                "rejected": REJECTED_SCHEMA,
            }.items()
        }
        for entry, *_ in source.entries():
            part = next((name for name, ids in parts.items() if entry.sample.id in ids), "rejected")
            files[part].add(to_row(fates.complete(entry)))


def _check(flags: Flags, rules: _Rules) -> Iterator[Check]:
    """The checks of gates and judges on the traces, for the card."""
    yield from flags.check_gates(rules.gates, load_measured()["gates"])
    for name, rejects in rules.judges.items():
        yield from flags.check_judge(name, rules.findings if rejects else (), rules.exams[name])


def _count(fates: _Fates, parts: Mapping[str, Collection[str]]) -> Counter[str]:
    counts = Counter({name: len(ids) for name, ids in parts.items()})
    counts["kept"] = counts.total()
    counts["rejected"] = len(fates.rejected)
    counts["read"] = counts["kept"] + counts["rejected"]
    counts.update(reason for _, reason in fates.rejected.values())
    counts.update({f"stratum/{name}": fates.strata[name] for name in STRATA})
    return counts


def _summarize(
    folder: Path, counts: Mapping[str, int], losses: Mapping[tuple[str, str], int]
) -> str:
    sizes = ", ".join(f"{counts[name]} {name}" for name in ("train", "validation", "rejected"))
    lines = [f"build: {counts['read']} samples -> {sizes}, in {folder}"]
    lines += [f"  {n:>7} {stage}: {reason}" for (stage, reason), n in sorted(losses.items())]
    return "\n".join(lines)


def _refuse_empty(result: Result, folder: Path) -> Result:
    """The result, unless nothing was kept.

    Raises:
        AvrtError: the dataset is empty; the message has the number of samples by reason.
    """
    if result.counts["kept"]:
        return result
    losses = [
        (n, reason)
        for reason, n in result.counts.items()
        if reason.startswith(("dropped/", "failed/"))
    ]
    reasons = ", ".join(f"{n} {reason}" for n, reason in sorted(losses, reverse=True))
    raise AvrtError(
        f"{result.summary}\nthe dataset is empty: of {result.counts['read']} samples "
        f"{reasons or 'none was there'}; see {folder / 'rejected.parquet'}, then change the "
        "settings that reject them"
    )
