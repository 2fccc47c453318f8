"""Stage `trace`: every teacher answers every question from its own half of the clip.

Reads samples.parquet and media.parquet; writes the ledger and traces/teachers.parquet: for every
usable sample the `k` answers of each teacher. Which teachers there are, what each is given and how
often it answers is the section `teachers`. A teacher whose half of a sample cannot be used is not
asked: its one row is `absent`. Whether an answer is right is decided here, from the stored text, so
a better parser costs no call.

The decision to question: a completion that was cut at max_new_tokens has no answer, even if a
letter can be found in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from avrt.answers import extract_answer
from avrt.ask.budget import Limits
from avrt.ask.calls import (
    Job,
    Jobs,
    Outcome,
    call_all,
    check_failure_rate,
    describe_role,
    sampling_of,
)
from avrt.ask.ledger import Call, Ledger, check_free, count_finished, open_ledger
from avrt.ask.payloads import Media
from avrt.config import Config, TeacherRole
from avrt.datasets.prepare import load_usable
from avrt.engines import engine_identity
from avrt.errors import ConfigError
from avrt.generate.option_order import in_order, restore_letter, restore_letters, shuffled_order
from avrt.generate.records import (
    ABSENT,
    STRATA,
    Answers,
    TeacherTrace,
    stratum_of,
    teachers_path,
    trace_outcome,
    write_teachers,
)
from avrt.generate.selection import check_views
from avrt.media import SAMPLE_RATE_HZ
from avrt.prompts import format_options, load_prompt
from avrt.runs import (
    Result,
    Stage,
    check_sums,
    fingerprint,
    open_stage,
    read_parquet,
    save_config,
)
from avrt.types import Completion, Sample

__all__ = ["plan", "run"]

VERDICTS = ("right", "wrong", "unparsable", "truncated", "failed", "absent")
BATCH = 500
"""Samples whose replies are taken from the ledger together."""
NOT_ASKED = Outcome(None, Completion("", "error", error_class=ABSENT, error="not asked"))
HALVES = {"v": "v", "a": "a", "av": "av", "none": ""}
"""What a teacher of each modality needs of a sample, as in the column `usable`."""
FRAME_SETTINGS = {"n_frames", "max_pixels", "size_factor"}
LIMITS = {"damaged", "max_file_mb", "max_source_pixels", "max_clip_s"}
"""Settings of `media` that decide whether a file is refused."""


def run(config: Config, limits: Limits | None = None) -> Result:
    """Make the teachers' calls that the ledger does not hold yet, then derive their traces.

    When a limit stops it, nothing is derived and the stage is not done. More or fewer answers of a
    teacher, and teachers that came or went, are no other settings: only new calls are made.

    Raises:
        DataError: the run is not prepared.
        ConfigError: traced before with other settings, or in use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    check_views(config)
    limits = limits or Limits()
    check_free(config.run.path)
    usable = load_usable(config.run.path)
    stage = _open(config)
    if _is_done(config, stage):
        return Result(f"trace: nothing to do, {config.run.path} is traced", stage.counts())
    counts = Counter({"read": len(usable), "kept": 0, **{f"stratum/{name}": 0 for name in STRATA}})
    with open_ledger(config.run.path) as ledger:
        save_config(config)
        chosen = limits.first(usable)
        outcomes = {name: _ask(config, ledger, name, chosen, limits) for name in config.teachers}
        if limits.stopped_by is None:
            judged = _judge_all(config, ledger, [sample for sample, _ in usable], outcomes)
            write_teachers(config.run.path, _count(judged, counts))
    for name, of_teacher in outcomes.items():
        check_failure_rate(f"trace, {name} teacher", of_teacher.values(), config)
    if limits.stopped_by is not None:
        return Result(limits.summarize("trace"), {})
    check_sums("trace", len(usable), counts)
    stage.finish(counts)
    return Result(_summarize(config, counts), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words; makes no call and writes nothing."""
    check_views(config)
    lines: list[str] = []
    for name, teacher in config.teachers.items():
        describe_role(teacher, config.media)
        lines.append(
            f"  {name} teacher: {teacher.model} ({teacher.engine.kind}), prompt {teacher.prompt}, "
            f"{_given(config, teacher)}, answers per question: {teacher.k}"
        )
    if not (config.run.path / "samples.parquet").is_file():
        n = sum(teacher.k for teacher in config.teachers.values())
        return "\n".join([f"trace: {n} calls for every sample that prepare finds usable", *lines])
    usable = load_usable(config.run.path)
    n_calls = sum(
        teacher.k * sum(_can_ask(teacher, halves) for _, halves in usable)
        for teacher in config.teachers.values()
    )
    n_finished = count_finished(config.run.path, "trace")
    title = (
        f"trace: {len(usable)} samples, {n_calls} calls of {len(config.teachers)} teachers; "
        f"{n_finished} finished calls are in the ledger"
    )
    return "\n".join([title, *lines])


def _open(config: Config) -> Stage:
    if taken := {"media", "seed", "shuffle_options"} & config.teachers.keys():
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
    inputs = [config.run.path / name for name in ("samples.parquet", "media.parquet")]
    return open_stage(config.run.path, "trace", settings, inputs, extends=_extends)


def _extends(before: Any, after: Any) -> bool:
    """Whether a teacher only came, went, or answers more or less often: old answers stay good."""
    teachers = [one for one in (before, after) if one is not None]
    if not all(isinstance(one, dict) and "k" in one for one in teachers):
        return False
    return len({fingerprint({**one, "k": None}) for one in teachers}) == 1


def _is_done(config: Config, stage: Stage) -> bool:
    """Done, the file is still there, and no failed call is left to try again."""
    if not stage.done or not teachers_path(config.run.path).is_file():
        return False
    return not any(key.endswith("/failed") and n for key, n in stage.counts().items())


def _can_ask(teacher: TeacherRole, halves: str) -> bool:
    return all(half in halves for half in HALVES[teacher.modality])


def _given(config: Config, teacher: TeacherRole) -> str:
    seconds = config.media.max_audio_s
    halves = {
        "v": f"{config.media.n_frames} frames",
        "a": "all sound" if seconds is None else f"{seconds:g} s of sound",
    }
    return " and ".join(halves[half] for half in HALVES[teacher.modality]) or "no media"


def _ask(
    config: Config,
    ledger: Ledger,
    name: str,
    usable: Sequence[tuple[Sample, str]],
    limits: Limits,
) -> dict[tuple[str, int], Outcome]:
    teacher = config.teachers[name]
    asked = [sample for sample, halves in usable if _can_ask(teacher, halves)]
    by_id = {sample.id: sample for sample in asked}

    def is_right(job: Job, completion: Completion) -> bool:
        sample = by_id[job.call.sample_id]
        order = _order(config, name, sample, job.call.k)
        return _answer(sample, order, completion) == sample.target

    each = _jobs(config, name, teacher, asked)
    jobs = Jobs(f"{name} teacher", teacher.k * len(asked), each, is_right)
    return call_all(ledger, teacher, config, jobs, limits)


def _jobs(
    config: Config, name: str, teacher: TeacherRole, samples: Sequence[Sample]
) -> Iterator[Job]:
    """`k` calls per sample: the question as text, and only what this teacher may have.

    Those about one file follow one another, in the order in which the files are first named.
    """
    prompt = load_prompt(teacher.prompt)
    engine = engine_identity(teacher.engine, teacher.model, teacher.revision, config.media)
    files = {row["path"]: row["sha256"] for row in read_parquet(config.run.path / "media.parquet")}
    recipes, limits = _media(config, teacher), config.media.model_dump(include=LIMITS)
    rank: dict[tuple[str, ...], int] = {}
    for sample in sorted(samples, key=lambda one: rank.setdefault(_paths(teacher, one), len(rank))):
        media = tuple(
            Media(kind, config.data.root / path, files.get(path), recipe, limits)
            for (kind, recipe), path in zip(recipes, _paths(teacher, sample), strict=True)
        )
        for k in range(teacher.k):
            system, text = prompt.fill(
                question=sample.question,
                options=format_options(in_order(sample.options, _order(config, name, sample, k))),
                n_frames=str(config.media.n_frames if sample.video else 1),
            )
            sampling = sampling_of(teacher, config.run.seed, sample.id, k)
            yield Job(Call("trace", sample.id, name, engine, system, text, sampling, k=k), media)


def _order(config: Config, name: str, sample: Sample, k: int) -> tuple[int, ...]:
    n_options = len(sample.options)
    if not config.generate.shuffle_options:
        return tuple(range(n_options))
    return shuffled_order(config.run.seed, sample.id, name, k, n_options)


def _paths(teacher: TeacherRole, sample: Sample) -> tuple[str, ...]:
    places = {"v": sample.picture_path, "a": sample.sound_path}
    paths = [places[half] for half in HALVES[teacher.modality]]
    if None in paths:
        raise AssertionError(f"{sample.source}: prepare kept a sample without what it is kept for")
    return tuple(path for path in paths if path is not None)


def _media(config: Config, teacher: TeacherRole) -> list[tuple[Any, dict[str, Any]]]:
    """What a teacher is given, in the order of its paths: the kind, and how it is decoded."""
    settings = config.media
    recipes: dict[str, tuple[Any, dict[str, Any]]] = {
        "v": ("frames", settings.model_dump(include=FRAME_SETTINGS)),
        "a": ("audio", {"max_audio_s": settings.max_audio_s, "rate_hz": SAMPLE_RATE_HZ}),
    }
    return [
        (kind, {"kind": kind, **recipe})
        for kind, recipe in (recipes[half] for half in HALVES[teacher.modality])
    ]


def _judge_all(
    config: Config,
    ledger: Ledger,
    samples: Sequence[Sample],
    outcomes: Mapping[str, Mapping[tuple[str, int], Outcome]],
) -> Iterator[Answers]:
    """All answers about each sample, in order; the replies are taken from the ledger."""
    waiting = iter(samples)
    while batch := list(islice(waiting, BATCH)):
        found = [_outcomes_of(config, sample, outcomes) for sample in batch]
        keys = [
            outcome.key
            for of_sample in found
            for of_teacher in of_sample.values()
            for outcome in of_teacher
            if outcome.key is not None
        ]
        replies = ledger.find_all(keys)
        for sample, of_sample in zip(batch, found, strict=True):
            yield {
                name: [
                    _to_trace(config, sample, (name, k), outcome, replies)
                    for k, outcome in enumerate(of_teacher)
                ]
                for name, of_teacher in of_sample.items()
            }


def _outcomes_of(
    config: Config,
    sample: Sample,
    outcomes: Mapping[str, Mapping[tuple[str, int], Outcome]],
) -> dict[str, list[Outcome]]:
    """By teacher, in the order of k; a single one for a teacher that was not asked."""
    found: dict[str, list[Outcome]] = {}
    for name, teacher in config.teachers.items():
        of_sample = [outcomes[name].get((sample.id, k), NOT_ASKED) for k in range(teacher.k)]
        found[name] = of_sample[:1] if of_sample[0] is NOT_ASKED else of_sample
    return found


def _to_trace(
    config: Config,
    sample: Sample,
    place: tuple[str, int],
    outcome: Outcome,
    replies: Mapping[str, Completion],
) -> TeacherTrace:
    """The `k`-th answer of a teacher; `place` is (its name, k)."""
    name, k = place
    order = _order(config, name, sample, k)
    completion = outcome.failure or replies[outcome.key or ""]
    answer = _answer(sample, order, completion)
    return TeacherTrace(
        sample_id=sample.id,
        role=name,
        modality=config.teachers[name].modality,
        k=k,
        key=outcome.key,
        status=outcome.status,
        text=restore_letters(completion.text, order),
        order=order,
        answer=answer,
        correct=answer == sample.target,
        finish_reason=completion.finish_reason,
        n_prompt_tokens=completion.n_prompt_tokens,
        n_completion_tokens=completion.n_completion_tokens,
    )


def _answer(sample: Sample, order: Sequence[int], completion: Completion) -> str | None:
    """The stored letter that a reply to the options in that order settles on."""
    if completion.finish_reason != "stop":
        return None
    shown = extract_answer(completion.text, in_order(sample.options, order))
    return None if shown is None else restore_letter(shown, order)


def _count(judged: Iterator[Answers], counts: Counter[str]) -> Iterator[TeacherTrace]:
    """Hand on all traces. A sample is kept when every teacher with media answered; strata are
    counted over those.

    One with a half that cannot be used is `dropped/one_sided`, unless another call failed.
    """
    for answers in judged:
        outcome = trace_outcome(answers)
        counts[outcome or "kept"] += 1
        if outcome is None:
            counts[f"stratum/{stratum_of(answers)}"] += 1
        for traces in answers.values():
            counts.update(f"{trace.role}/{_verdict(trace)}" for trace in traces)
            yield from traces


def _verdict(trace: TeacherTrace) -> str:
    if trace.status != "ok":
        return "absent" if trace.status == ABSENT else "failed"
    if trace.finish_reason == "length":
        return "truncated"
    if trace.answer is None:
        return "unparsable"
    return "right" if trace.correct else "wrong"


def _summarize(config: Config, counts: Mapping[str, int]) -> str:
    width = max(len(name) for name in [*config.teachers, "teacher"])
    lines = [
        f"trace: {counts['read']} samples, {counts['kept']} answered by every teacher with media",
        f"  {'teacher':<{width}}" + "".join(f"{verdict:>12}" for verdict in VERDICTS),
    ]
    for name in config.teachers:
        numbers = (counts.get(f"{name}/{verdict}", 0) for verdict in VERDICTS)
        lines.append(f"  {name:<{width}}" + "".join(f"{number:>12}" for number in numbers))
    both, vision_only, audio_only, none = (counts[f"stratum/{name}"] for name in STRATA)
    lines.append(f"  {'':<14}{'audio right':>12}{'not right':>12}")
    lines.append(f"  {'vision right':<14}{both:>12}{vision_only:>12}")
    lines.append(f"  {'not right':<14}{audio_only:>12}{none:>12}")
    return "\n".join(lines)
