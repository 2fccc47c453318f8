"""Stage `trace`: every teacher answers every question from its own half of the clip.

Reads samples.parquet and media.parquet; writes the ledger and traces/teachers.parquet: for every
usable sample the `k` answers of each teacher. The section `teachers` says which teachers there are,
the media of each, and how often it answers. A teacher whose half of a sample cannot be used is not
asked: its one row is `absent`. Beyond `generate.limit` no teacher is: their rows are `not_asked`.
Whether an answer is right is decided here, from the stored text, so a better parser costs no call.

The decision to question: a completion that was cut at max_new_tokens has no answer, even if a
letter can be found in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from avrt.answers import extract_answer
from avrt.ask.budget import Budget
from avrt.ask.calls import (
    Draft,
    Drafts,
    Outcome,
    Outcomes,
    call_all,
    check_failure_rate,
    describe_role,
    sampling_of,
    unread_text,
)
from avrt.ask.distant import role_on
from avrt.ask.ledger import Ledger, open_ledger
from avrt.ask.locks import check_free
from avrt.ask.payloads import NO_CLIP, Clips, File
from avrt.ask.reuse import check_source, forecast_calls, reused_text
from avrt.config import Config, MediaConfig, RayConfig, TeacherRole
from avrt.datasets.prepared import PreparedSamples, load_usable
from avrt.errors import ConfigError
from avrt.generate.option_order import in_order, restore_letter, restore_letters, shuffled_order
from avrt.generate.records import (
    ABSENT,
    NOT_ASKED,
    STRATA,
    Answers,
    TeacherTrace,
    stratum_of,
    teachers_path,
    trace_outcome,
    write_teachers,
)
from avrt.generate.views import check_views
from avrt.prompts import format_options, load_prompt
from avrt.runs import (
    DiskMap,
    Result,
    Stage,
    check_sums,
    fingerprint,
    iter_parquet,
    open_stage,
    save_config,
)
from avrt.types import Completion, Sample

__all__ = ["plan", "run"]

VERDICTS = ("right", "wrong", "unparsable", "truncated", "failed", "absent", NOT_ASKED)
BATCH = 500
"""Samples whose replies are taken from the ledger together."""
UNASKED = {
    name: Outcome(None, Completion("", "error", error_class=name, error="not asked"))
    for name in (ABSENT, NOT_ASKED)
}
"""Outcomes of teachers that were not asked, by the reason."""


def run(config: Config, budget: Budget | None = None) -> Result:
    """Make the teachers' calls that the ledger does not hold yet, then derive their traces.

    When the budget stops it, nothing is derived and the stage is not done. More or fewer answers of
    a teacher, and teachers that came or went, are no other settings: only new calls are made.

    Raises:
        DataError: the run is not prepared.
        ConfigError: traced before with other settings, or in use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    check_views(config.build, config.teachers)
    _check_prompts(config.teachers, config.media)
    path, source, budget = config.run.path, config.run.calls_path, budget or Budget()
    check_source(source)
    check_free(path, budget.shard)
    usable = load_usable(path)
    stage = _open(config)
    if _is_done(path, stage):
        return Result(f"trace: nothing to do, {path} is traced", stage.counts())
    counts = Counter({"read": len(usable), "kept": 0, **{f"stratum/{name}": 0 for name in STRATA}})
    teachers = _teachers(config)
    with open_ledger(path, budget.shard, source=source) as ledger:
        save_config(config)
        within = usable[: config.generate.limit]
        chosen = budget.take(within)
        clips = Clips(config.data.root, config.media, _known_files(path))
        outcomes = {
            name: teacher.ask(ledger, chosen, clips, budget, config.cluster)
            for name, teacher in teachers.items()
        }
        if budget.stopped_by is None:
            answers = _read_answers(teachers, ledger, usable, outcomes, len(within))
            stage.begin()
            write_teachers(path, _count(answers, counts))
        reused = reused_text(ledger, "trace", source)
    asked = chain.from_iterable(of_teacher.values() for of_teacher in outcomes.values())
    fault = unread_text("trace", asked)
    if budget.stopped_by is not None:
        return Result(budget.summarize("trace") + reused, {}, fault)
    for name, of_teacher in outcomes.items():
        limit = config.generate.max_failure_rate
        check_failure_rate(f"trace, {name} teacher", of_teacher.values(), limit)
    check_sums("trace", len(usable), counts)
    stage.finish(counts)
    return Result(_summarize(list(teachers), counts) + reused, counts, fault)


def plan(config: Config) -> str:
    """The work of `run`, in words; makes no call and writes nothing."""
    check_views(config.build, config.teachers)
    _check_prompts(config.teachers, config.media)
    check_source(config.run.calls_path, planned=True)
    lines: list[str] = []
    for name, teacher in config.teachers.items():
        describe_role(teacher, config.media)
        lines.append(
            f"  {name} teacher: {teacher.model} ({teacher.engine.kind}), prompt {teacher.prompt}, "
            f"{_given(config.media, teacher)}, answers per question: {teacher.k}"
        )
    if not (config.run.path / "samples.parquet").is_file():
        n = sum(teacher.k for teacher in config.teachers.values())
        return "\n".join([f"trace: {n} calls for every sample that prepare finds usable", *lines])
    all_usable = load_usable(config.run.path)
    usable = all_usable[: config.generate.limit]
    halves = Counter(usable.column("usable"))
    n_calls = sum(
        teacher.k * sum(n for half, n in halves.items() if _can_ask(teacher, half))
        for teacher in config.teachers.values()
    )
    clips = Clips(config.data.root, config.media, _known_files(config.run.path))
    asked = (teacher.asked(usable, clips) for teacher in _teachers(config).values())
    forecast = forecast_calls(config.run.path, config.run.calls_path, "trace", asked)
    title = (
        f"trace: {len(usable)} samples{_beyond(len(all_usable) - len(usable))}, {n_calls} calls of "
        f"{len(config.teachers)} teachers; {forecast}"
    )
    return "\n".join([title, *lines])


@dataclass(frozen=True)
class Teacher:
    """One teacher with all that decides how it is asked and how its replies are read."""

    name: str
    role: TeacherRole
    media: MediaConfig
    seed: int
    shuffles: bool

    def id_of(self, place: int, k: int) -> int:
        """Of the draft for the `k`-th answer about the sample in a row of the file; a number takes
        less room than a pair.
        """
        return place * self.role.k + k

    def ask(
        self,
        ledger: Ledger,
        usable: PreparedSamples,
        clips: Clips,
        budget: Budget,
        cluster: RayConfig | None,
    ) -> Outcomes:
        """`k` calls about every sample whose media it needs are there."""
        asked = usable.where("usable", partial(_can_ask, self.role)).sorted_by_clip()

        def is_right(draft: Draft, completion: Completion) -> bool:
            sample = asked.at(int(str(draft.id)) // self.role.k)
            return self.answer(sample, self.order(sample, draft.k), completion) == sample.target

        n = self.role.k * len(asked)
        each = self.drafts(asked, clips)
        drafts = Drafts(f"{self.name} teacher", n, each, self.media, is_right, "right")
        with closing(role_on(cluster, self.role, self.media)) as engine:
            return call_all(ledger, engine, drafts, budget)

    def asked(
        self, usable: PreparedSamples, clips: Clips
    ) -> tuple[Mapping[str, Any], Iterator[Draft]]:
        """The identity of its engine, and all drafts to it."""
        samples = usable.where("usable", partial(_can_ask, self.role)).sorted_by_clip()
        return describe_role(self.role, self.media)["engine"], self.drafts(samples, clips)

    def drafts(self, samples: PreparedSamples, clips: Clips) -> Iterator[Draft]:
        """The question as text, and only the media that this teacher may have."""
        prompt, given = load_prompt(self.role.prompt), self.role.modality
        for place, sample in samples.placed():
            clip = NO_CLIP if given == "none" else clips.of(sample)
            for k in range(self.role.k):
                options = in_order(sample.options, self.order(sample, k))
                system, text = prompt.fill(
                    question=sample.question,
                    options=format_options(options),
                    n_frames=str(self.media.n_frames if sample.video else 1),
                )
                yield Draft(
                    id=self.id_of(place, k),
                    stage="trace",
                    sample_id=sample.id,
                    role=self.name,
                    system=system,
                    text=text,
                    sampling=sampling_of(self.role, self.seed, sample.id, k),
                    k=k,
                    given=given,
                    clip=clip,
                )

    def order(self, sample: Sample, k: int) -> tuple[int, ...]:
        """The order in which the `k`-th answer saw the options."""
        n_options = len(sample.options)
        if not self.shuffles:
            return tuple(range(n_options))
        return shuffled_order(self.seed, sample.id, self.name, k, n_options)

    def answer(self, sample: Sample, order: Sequence[int], completion: Completion) -> str | None:
        """The stored letter that a reply to the options in that order settles on."""
        if completion.finish_reason != "stop":
            return None
        shown = extract_answer(completion.text, in_order(sample.options, order))
        return None if shown is None else restore_letter(shown, order)

    def to_trace(
        self, sample: Sample, k: int, outcome: Outcome, replies: Mapping[str, Completion]
    ) -> TeacherTrace:
        """The `k`-th answer about a sample."""
        order = self.order(sample, k)
        completion = outcome.failure or replies[outcome.key or ""]
        answer = self.answer(sample, order, completion)
        return TeacherTrace(
            sample_id=sample.id,
            role=self.name,
            modality=self.role.modality,
            k=k,
            key=outcome.key,
            status=outcome.status,
            text=restore_letters(completion.text, order, in_order(sample.options, order)),
            order=order,
            answer=answer,
            correct=answer == sample.target,
            finish_reason=completion.finish_reason,
            n_prompt_tokens=completion.n_prompt_tokens,
            n_completion_tokens=completion.n_completion_tokens,
        )


def _check_prompts(teachers: Mapping[str, TeacherRole], media: MediaConfig) -> None:
    """Refuse prompts that say how many frames there are where that differs from clip to clip."""
    for name, role in teachers.items() if media.fps is not None else ():
        if load_prompt(role.prompt).uses("n_frames"):
            raise ConfigError(
                f"teachers.{name}.prompt: {role.prompt} says how many frames there are, but "
                f"media.fps = {media.fps:g} takes more of longer clips; set media.fps=null"
            )


def _teachers(config: Config) -> dict[str, Teacher]:
    return {
        name: Teacher(name, role, config.media, config.run.seed, config.generate.shuffle_options)
        for name, role in config.teachers.items()
    }


def _open(config: Config) -> Stage:
    if taken := {"media", "seed", "shuffle_options", "limit"} & config.teachers.keys():
        raise ConfigError(f"teachers.{min(taken)}: that name is taken; give the teacher another")
    settings: dict[str, Any] = {
        name: {
            **describe_role(teacher, config.media),
            "modality": teacher.modality,
            "k": teacher.k,
        }
        for name, teacher in config.teachers.items()
    }
    settings["media"] = config.media.decoding()
    settings["seed"] = config.run.seed
    settings["shuffle_options"] = config.generate.shuffle_options
    if config.generate.limit is not None:  # absent as in runs of before
        settings["limit"] = {"first": config.generate.limit}
    inputs = [config.run.path / name for name in ("samples.parquet", "media.parquet")]
    return open_stage(config.run.path, "trace", settings, inputs, extends=_extends)


def _extends(before: Any, after: Any) -> bool:
    """Whether a teacher only came, went, or answers more or less often, or about more or fewer
    samples: old answers stay good.
    """
    teachers = [teacher for teacher in (before, after) if teacher is not None]
    if all(isinstance(setting, dict) and "first" in setting for setting in teachers):
        return True
    if not all(isinstance(teacher, dict) and "k" in teacher for teacher in teachers):
        return False
    return len({fingerprint({**teacher, "k": None}) for teacher in teachers}) == 1


def _is_done(run: Path, stage: Stage) -> bool:
    """Done, the file is still there, and no failed call is left to try again."""
    if not stage.done or not teachers_path(run).is_file():
        return False
    return not any(key.endswith("/failed") and n for key, n in stage.counts().items())


def _known_files(run: Path) -> Mapping[str, File]:
    files = DiskMap[str, File](lambda file: file.sha256, File)
    rows = iter_parquet(run / "media.parquet", ["path", "sha256"])
    files.update((row["path"], File(row["sha256"])) for row in rows)
    return files


def _can_ask(teacher: TeacherRole, halves: str) -> bool:
    return teacher.modality == "none" or set(teacher.modality) <= set(halves)


def _given(media: MediaConfig, teacher: TeacherRole) -> str:
    return "no media" if teacher.modality == "none" else media.describe(teacher.modality)


def _read_answers(
    teachers: Mapping[str, Teacher],
    ledger: Ledger,
    samples: PreparedSamples,
    outcomes: Mapping[str, Outcomes],
    n_asked: int,
) -> Iterator[Answers]:
    """All answers about each sample, in order; the replies are taken from the ledger. Teachers were
    asked about the first `n_asked`.
    """
    for start in range(0, len(samples), BATCH):
        batch = list(samples[start : start + BATCH].placed())
        by_sample = [
            _outcomes_of(teachers, place, outcomes, ABSENT if number < n_asked else NOT_ASKED)
            for number, (place, _) in enumerate(batch, start)
        ]
        keys = [
            outcome.key
            for of_sample in by_sample
            for of_teacher in of_sample.values()
            for outcome in of_teacher
            if outcome.key is not None
        ]
        replies = ledger.find_all(keys)
        for (_, sample), of_sample in zip(batch, by_sample, strict=True):
            yield {
                name: [
                    teachers[name].to_trace(sample, k, outcome, replies)
                    for k, outcome in enumerate(of_teacher)
                ]
                for name, of_teacher in of_sample.items()
            }


def _outcomes_of(
    teachers: Mapping[str, Teacher], place: int, outcomes: Mapping[str, Outcomes], missing: str
) -> dict[str, list[Outcome]]:
    """By teacher, in the order of k; a single outcome of a teacher that was not asked, for which
    the reason is `missing`.
    """
    by_teacher: dict[str, list[Outcome]] = {}
    for name, teacher in teachers.items():
        unasked = UNASKED[missing]
        own = [outcomes[name].get(teacher.id_of(place, k), unasked) for k in range(teacher.role.k)]
        by_teacher[name] = own[:1] if own[0] is unasked else own
    return by_teacher


def _count(all_answers: Iterator[Answers], counts: Counter[str]) -> Iterator[TeacherTrace]:
    """Hand on all traces. A sample is kept when every teacher with media answered; strata are
    counted over those.

    A sample with a half that cannot be used is `dropped/one_sided`, unless another call failed.
    """
    for answers in all_answers:
        outcome = trace_outcome(answers)
        counts[outcome or "kept"] += 1
        if outcome is None:
            counts[f"stratum/{stratum_of(answers)}"] += 1
        for traces in answers.values():
            counts.update(f"{trace.role}/{_verdict(trace)}" for trace in traces)
            yield from traces


def _verdict(trace: TeacherTrace) -> str:
    if trace.status != "ok":
        return trace.status if trace.status in UNASKED else "failed"
    if trace.finish_reason == "length":
        return "truncated"
    if trace.answer is None:
        return "unparsable"
    return "right" if trace.correct else "wrong"


def _summarize(teachers: Sequence[str], counts: Mapping[str, int]) -> str:
    width = max(len(name) for name in [*teachers, "teacher"])
    beyond = counts.get(f"dropped/{NOT_ASKED}", 0)
    verdicts = VERDICTS if beyond else VERDICTS[:-1]
    read = f"{counts['read']} samples{_beyond(beyond)}"
    lines = [
        f"trace: {read}, {counts['kept']} answered by every teacher with media",
        f"  {'teacher':<{width}}" + "".join(f"{verdict:>12}" for verdict in verdicts),
    ]
    for name in teachers:
        numbers = (counts.get(f"{name}/{verdict}", 0) for verdict in verdicts)
        lines.append(f"  {name:<{width}}" + "".join(f"{number:>12}" for number in numbers))
    both, vision_only, audio_only, none = (counts[f"stratum/{name}"] for name in STRATA)
    lines.append(f"  {'':<14}{'audio right':>12}{'not right':>12}")
    lines.append(f"  {'vision right':<14}{both:>12}{vision_only:>12}")
    lines.append(f"  {'not right':<14}{audio_only:>12}{none:>12}")
    return "\n".join(lines)


def _beyond(n_samples: int) -> str:
    return f" ({n_samples} more are not asked about: generate.limit)" if n_samples else ""
