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
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.config import BuildConfig, Config, DataConfig, JudgeRole
from avrt.datasets import annotation_path, row_to_sample
from avrt.datasets.faults import reason_of
from avrt.errors import ConfigError
from avrt.generate.card import write_card
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA, Entry, to_row
from avrt.generate.decontaminate import Match, find_matches, write_matches
from avrt.generate.exam import load_measured
from avrt.generate.gates import GATES
from avrt.generate.judged import Judgement, case_of, check_all, judged_path, load_judged
from avrt.generate.merge import shown_sample
from avrt.generate.quality import Check, check_gates, check_judge
from avrt.generate.records import (
    STRATA,
    MergedTrace,
    check_teachers,
    check_traced,
    load_merged,
    load_teachers,
    merged_path,
    stage_settings,
    stratum_of,
    teachers_path,
    trace_outcome,
)
from avrt.generate.views import check_views, condition_of, in_view
from avrt.runs import (
    Result,
    Stage,
    alone,
    check_sums,
    file_digest,
    open_stage,
    read_parquet,
    save_config,
    write_parquet,
)

__all__ = ["plan", "run", "validation_clips"]

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

    def passes(self, entry: Entry) -> bool:
        """Whether there is a trace that nothing rejects, in the view or not."""
        is_merged = entry.merged is not None and entry.merged.status == "ok"
        return is_merged and self.objection(entry) is None


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
        return Result(f"build: nothing to do, {folder} is built", stage.counts())
    asked = {name: stage_settings(path, name) for name in ("trace", "merge")}
    entries, matches = _without_matches(_read_all(path, build, rules), build.decontaminate, rules)
    passing = {e.sample.id for e in entries if rules.passes(e)} - {match.id for match in matches}
    entries = _at_size(entries, build, seed, passing)
    save_config(config)
    parts = _split(entries, build.validation_fraction, seed)
    counts = _count(entries, parts)
    check_sums("build", len(entries), counts)
    stage.begin()
    for name, part in parts.items():
        schema = REJECTED_SCHEMA if name == "rejected" else DATASET_SCHEMA
        write_parquet(folder / f"{name}.parquet", [to_row(entry) for entry in part], schema)
    write_matches(folder / "contamination.parquet", matches)
    losses = Counter((entry.stage, entry.reason) for entry in parts["rejected"])
    stages = {**asked, "judge": judges}
    checks = list(_check(entries, rules))
    write_card(folder / "README.md", build, stages, (counts, losses), checks)
    stage.finish(counts)
    return Result(_summarize(folder, counts, losses), counts)


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
            name: file_digest(annotation_path(data)) for name, data in build.decontaminate.items()
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


def _read_all(run: Path, build: BuildConfig, rules: _Rules) -> list[Entry]:
    """Every sample that was read, in file order."""
    rows = read_parquet(run / "samples.parquet")
    answers, merged = load_teachers(run), load_merged(run)
    check_traced(run, (row["id"] for row in rows if row["usable"] is not None), answers)
    samples = [row_to_sample(row) for row in rows]
    traced = [sample for sample in samples if sample.id in answers]
    reasons = in_view(build.view, build.views, traced, answers)
    judged = load_judged(run) if rules.judges else {}
    merged |= {id_: _that_counts(merged[id_], of[0]) for id_, of in judged.items()}
    readable = [s for s in traced if s.id in merged and merged[s.id].status == "ok"]
    cases = (case_of(sample, answers[sample.id], merged[sample.id]) for sample in readable)
    flagged = check_all(cases, len(readable))
    flags = {sample.id: of for sample, of in zip(readable, flagged, strict=True)}
    entries: list[Entry] = []
    for row, sample in zip(rows, samples, strict=True):
        of_sample, trace = answers.get(sample.id), merged.get(sample.id)
        entry = Entry(
            sample=shown_sample(sample, trace.order) if trace is not None else sample,
            answers=of_sample,
            merged=trace,
            flagged=flags.get(sample.id, {}),
            judgements=judged.get(sample.id, ()),
        )
        if (reason := reason_of(row)) is not None:
            stage = "prepare"
        elif of_sample is not None and (reason := trace_outcome(of_sample)) is not None:
            stage = "trace"
        elif (reason := reasons[sample.id]) is not None:
            stage = "view"
        elif trace is None:
            raise ConfigError(
                f"{merged_path(run)}: sample {sample.id!r} is in the view {build.view!r} but was "
                "never merged; run `avrt merge` with this view"
            )
        elif trace.status != "ok":
            stage, reason = "merge", f"failed/{trace.status}"
        else:
            stage, reason = rules.objection(entry) or ("", None)
            if reason is None and rules.judges and not entry.judgements:
                raise ConfigError(
                    f"{judged_path(run)}: sample {sample.id!r} passes the gates but was never "
                    "judged; run `avrt judge` with these build.gates"
                )
        entries.append(replace(entry, stage=stage, reason=reason or ""))
    return entries


def _that_counts(merged: MergedTrace, judgement: Judgement) -> MergedTrace:
    """The merged trace, or the other try that the judges let take its place."""
    return replace(
        merged,
        key=judgement.key,
        text=judgement.text,
        finish_reason=judgement.finish_reason,
    )


def _without_matches(
    entries: Sequence[Entry], benchmarks: Mapping[str, DataConfig], rules: _Rules
) -> tuple[list[Entry], list[Match]]:
    """The entries, of which those that a benchmark holds too are rejected, and the matches.

    The matches have samples outside the view too, since they count when views are cut to a size.
    """
    passing = [entry.sample for entry in entries if rules.passes(entry)]
    matches = find_matches(passing, benchmarks)
    contaminated = {match.id for match in matches}
    return [
        replace(entry, stage="gate", reason="dropped/in_benchmark")
        if entry.sample.id in contaminated and not entry.reason
        else entry
        for entry in entries
    ], matches


def _at_size(
    entries: Sequence[Entry], build: BuildConfig, seed: int, passing: Collection[str]
) -> list[Entry]:
    """Cut to the smallest size among the views that are compared, by a seeded draw.

    `passing` are the samples, in the view or not, whose traces nothing rejects.
    """
    if not build.same_size_as:
        return list(entries)
    kept = [entry for entry in entries if not entry.reason]
    samples = [entry.sample for entry in entries if entry.answers is not None]
    answers = {entry.sample.id: entry.answers for entry in entries if entry.answers is not None}
    sizes = [len(kept)]
    for view in build.same_size_as:
        reasons = in_view(view, build.views, samples, answers)
        sizes.append(sum(reason is None and id_ in passing for id_, reason in reasons.items()))
    ranked = sorted(kept, key=lambda entry: _rank(seed, entry.sample.id))
    surplus = {entry.sample.id for entry in ranked[min(sizes) :]}
    return [
        replace(entry, stage="size", reason="dropped/over_size")
        if entry.sample.id in surplus
        else entry
        for entry in entries
    ]


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _split(
    entries: Sequence[Entry], validation_fraction: float, seed: int
) -> dict[str, list[Entry]]:
    """The entries by file."""
    kept = [entry for entry in entries if not entry.reason]
    clips = (entry.sample.video_id for entry in kept)
    held_out = validation_clips(clips, validation_fraction, seed)
    return {
        "train": [entry for entry in kept if entry.sample.video_id not in held_out],
        "validation": [entry for entry in kept if entry.sample.video_id in held_out],
        "rejected": [entry for entry in entries if entry.reason],
    }


def _check(entries: Sequence[Entry], rules: _Rules) -> Iterator[Check]:
    """The checks of gates and judges on the traces, for the card."""
    yield from check_gates(entries, rules.gates, load_measured()["gates"])
    for name, rejects in rules.judges.items():
        rejecting = rules.findings if rejects else ()
        yield from check_judge(name, entries, rejecting, rules.exams[name])


def _count(entries: Sequence[Entry], parts: Mapping[str, Sequence[Entry]]) -> Counter[str]:
    counts = Counter({name: len(part) for name, part in parts.items()})
    counts["read"] = len(entries)
    counts["kept"] = len(parts["train"]) + len(parts["validation"])
    counts.update(entry.reason for entry in parts["rejected"])
    counts.update({f"stratum/{name}": 0 for name in STRATA})
    for entry in entries:
        if entry.answers and not trace_outcome(entry.answers):
            counts[f"stratum/{stratum_of(entry.answers)}"] += 1
    return counts


def _summarize(
    folder: Path, counts: Mapping[str, int], losses: Mapping[tuple[str, str], int]
) -> str:
    sizes = ", ".join(f"{counts[name]} {name}" for name in ("train", "validation", "rejected"))
    lines = [f"build: {counts['read']} samples -> {sizes}, in {folder}"]
    lines += [f"  {n:>7} {stage}: {reason}" for (stage, reason), n in sorted(losses.items())]
    if not counts["kept"]:
        (stage, reason), n = max(
            losses.items(), key=lambda item: item[1], default=(("prepare", "nothing read"), 0)
        )
        lines.append(
            f"the dataset is empty: everything was dropped, most often ({n} samples) "
            f"at {stage} for {reason}; see {folder / 'rejected.parquet'}"
        )
    return "\n".join(lines)
