"""Stage `trace`: one teacher sees the frames, one hears the sound, each answers every question.

Reads samples.parquet and media.parquet; writes the ledger and traces/teachers.parquet, two rows per
usable sample. A teacher whose half of a sample cannot be used is not asked: its trace is `absent`.
Whether an answer is right is decided here, from the stored text, so a better parser costs no call.

The decision to question: a completion that was cut at max_new_tokens has no answer, even if a
letter can be found in it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from avrt.answers import extract_answer
from avrt.config import Config, ModelRole
from avrt.datasets.prepare import load_usable
from avrt.engines import engine_identity
from avrt.generate.calls import (
    Job,
    Outcome,
    call_all,
    check_failure_rate,
    describe_role,
    sampling_of,
)
from avrt.generate.ledger import Call, count_finished, open_ledger
from avrt.generate.reading import Media
from avrt.generate.records import (
    STRATA,
    Role,
    TeacherTrace,
    stratum_of,
    teachers_path,
    write_teachers,
)
from avrt.media import SAMPLE_RATE_HZ
from avrt.prompts import format_options, load_prompt
from avrt.runs import Result, Stage, check_sums, open_stage, read_parquet, save_config
from avrt.types import Completion, Sample

__all__ = ["plan", "run"]

ROLES: tuple[Role, ...] = ("vision", "audio")
_LIMITS = {"damaged", "max_file_mb", "max_source_pixels", "max_clip_s"}
"""Settings of `media` that decide whether a file is refused."""
VERDICTS = ("right", "wrong", "unparsable", "truncated", "failed", "absent")
HALF_OF: Mapping[Role, str] = {"vision": "v", "audio": "a"}
"""The half of a sample that each teacher gets, as in the column `usable`."""
ABSENT = Outcome(None, Completion("", "error", error_class="absent", error="not asked"))


def run(config: Config) -> Result:
    """Make the teachers' calls that the ledger does not hold yet, then derive their traces.

    Raises:
        DataError: the run is not prepared.
        ConfigError: traced before with other settings, or in use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    usable = load_usable(config.run.path)
    stage = _open(config)
    if _is_done(config, stage):
        return Result(f"trace: nothing to do, {config.run.path} is traced", stage.counts())
    save_config(config)
    outcomes: dict[Role, dict[str, Outcome]] = {}
    with open_ledger(config.run.path) as ledger:
        for role in ROLES:
            asked = [sample for sample, halves in usable if HALF_OF[role] in halves]
            teacher, jobs = _teacher(config, role), _jobs(config, role, asked)
            outcomes[role] = call_all(ledger, teacher, config, jobs, f"{role} teacher")
        pairs = [_judge(sample, outcomes) for sample, _ in usable]
        write_teachers(config.run.path, [trace for pair in pairs for trace in pair])
    for role in ROLES:
        check_failure_rate(f"trace, {role} teacher", outcomes[role].values(), config)
    counts = _count(pairs)
    check_sums("trace", len(pairs), counts)
    stage.finish(counts)
    return Result(_summarize(pairs, counts), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words; makes no call and writes nothing."""
    lines: list[str] = []
    for role in ROLES:
        teacher = _teacher(config, role)
        describe_role(teacher, config.media)
        sight = (
            f"{config.media.n_frames} frames"
            if role == "vision"
            else f"{config.media.max_audio_s or math.inf:g} s of sound"
        )
        lines.append(
            f"  {role} teacher: {teacher.model} ({teacher.engine.kind}), "
            f"prompt {teacher.prompt}, {sight}"
        )
    if not (config.run.path / "samples.parquet").is_file():
        return "\n".join(["trace: two calls for every sample that prepare finds usable", *lines])
    halves = [halves for _, halves in load_usable(config.run.path)]
    n_calls = sum(len(one) for one in halves)
    n_finished = count_finished(config.run.path, "trace")
    title = (
        f"trace: {len(halves)} samples, {n_calls} calls of 2 teachers; "
        f"{n_finished} finished calls are in the ledger"
    )
    return "\n".join([title, *lines])


def _open(config: Config) -> Stage:
    settings: dict[str, Any] = {
        role: describe_role(_teacher(config, role), config.media) for role in ROLES
    }
    settings["media"] = config.media.decoding()
    settings["seed"] = config.run.seed
    inputs = [config.run.path / name for name in ("samples.parquet", "media.parquet")]
    return open_stage(config.run.path, "trace", settings, inputs)


def _is_done(config: Config, stage: Stage) -> bool:
    """Done, the file is still there, and no failed call is left to try again."""
    if not stage.done or not teachers_path(config.run.path).is_file():
        return False
    return not any(key.startswith("failed/") for key in stage.counts())


def _teacher(config: Config, role: Role) -> ModelRole:
    return config.teachers.vision if role == "vision" else config.teachers.audio


def _jobs(config: Config, role: Role, samples: Sequence[Sample]) -> list[Job]:
    """One call per sample: the question as text, and the one modality this teacher may have."""
    teacher, media = _teacher(config, role), config.media
    prompt = load_prompt(teacher.prompt)
    engine = engine_identity(teacher.engine, teacher.model, teacher.revision, media)
    files = {row["path"]: row["sha256"] for row in read_parquet(config.run.path / "media.parquet")}
    jobs: list[Job] = []
    for sample in samples:
        system, text = prompt.fill(
            question=sample.question,
            options=format_options(sample.options),
            n_frames=str(media.n_frames if sample.video else 1),
        )
        sampling = sampling_of(teacher, config.run.seed, sample.id)
        call = Call("trace", sample.id, role, engine, system, text, sampling)
        jobs.append(Job(call, _media(config, role, sample, files)))
    return jobs


def _media(config: Config, role: Role, sample: Sample, files: Mapping[str, str | None]) -> Media:
    if role == "vision":
        recipe = {
            "kind": "frames",
            **config.media.model_dump(include={"n_frames", "max_pixels", "size_factor"}),
        }
        path = sample.picture_path
    else:
        recipe = {
            "kind": "audio",
            "max_audio_s": config.media.max_audio_s,
            "rate_hz": SAMPLE_RATE_HZ,
        }
        path = sample.sound_path
    if path is None:
        raise AssertionError(f"{sample.source}: prepare kept a sample without a file for {role}")
    return Media(
        kind="frames" if role == "vision" else "audio",
        path=config.data.root / path,
        file_sha256=files.get(path),
        recipe=recipe,
        limits=config.media.model_dump(include=_LIMITS),
    )


def _judge(
    sample: Sample, outcomes: Mapping[Role, Mapping[str, Outcome]]
) -> tuple[TeacherTrace, TeacherTrace]:
    return (
        _to_trace(sample, "vision", outcomes["vision"].get(sample.id, ABSENT)),
        _to_trace(sample, "audio", outcomes["audio"].get(sample.id, ABSENT)),
    )


def _to_trace(sample: Sample, role: Role, outcome: Outcome) -> TeacherTrace:
    completion = outcome.completion
    answer = None
    if completion.finish_reason == "stop":
        answer = extract_answer(completion.text, sample.options)
    return TeacherTrace(
        sample_id=sample.id,
        role=role,
        key=outcome.key,
        status=outcome.status,
        text=completion.text,
        answer=answer,
        correct=answer == sample.target,
        finish_reason=completion.finish_reason,
        n_prompt_tokens=completion.n_prompt_tokens,
        n_completion_tokens=completion.n_completion_tokens,
    )


def _count(pairs: Sequence[tuple[TeacherTrace, TeacherTrace]]) -> Counter[str]:
    """A sample is kept when both calls succeeded; strata are counted over those.

    One with a half that cannot be used is `dropped/one_sided`, unless its one call failed.
    """
    counts = Counter({"read": len(pairs), "kept": 0, **{f"stratum/{name}": 0 for name in STRATA}})
    for vision, audio in pairs:
        bad = [trace.status for trace in (vision, audio) if trace.status != "ok"]
        failed = next((status for status in bad if status != ABSENT.status), None)
        if failed is not None:
            counts[f"failed/{failed}"] += 1
        elif bad:
            counts["dropped/one_sided"] += 1
        else:
            counts["kept"] += 1
            counts[f"stratum/{stratum_of(vision, audio)}"] += 1
        for trace in (vision, audio):
            counts[f"{trace.role}/{_verdict(trace)}"] += 1
    return counts


def _verdict(trace: TeacherTrace) -> str:
    if trace.status != "ok":
        return "absent" if trace.status == ABSENT.status else "failed"
    if trace.finish_reason == "length":
        return "truncated"
    if trace.answer is None:
        return "unparsable"
    return "right" if trace.correct else "wrong"


def _summarize(
    pairs: Sequence[tuple[TeacherTrace, TeacherTrace]], counts: Mapping[str, int]
) -> str:
    lines = [f"trace: {len(pairs)} samples, {counts['kept']} answered by both teachers"]
    lines.append("  teacher " + "".join(f"{verdict:>12}" for verdict in VERDICTS))
    for role in ROLES:
        numbers = (counts.get(f"{role}/{verdict}", 0) for verdict in VERDICTS)
        lines.append(f"  {role:<8}" + "".join(f"{number:>12}" for number in numbers))
    both, vision_only, audio_only, none = (counts[f"stratum/{name}"] for name in STRATA)
    lines.append(f"  {'':<14}{'audio right':>12}{'not right':>12}")
    lines.append(f"  {'vision right':<14}{both:>12}{vision_only:>12}")
    lines.append(f"  {'not right':<14}{audio_only:>12}{none:>12}")
    return "\n".join(lines)
