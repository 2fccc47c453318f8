"""Stage `trace`: one teacher sees the frames, one hears the sound, each answers every question.

Reads samples.parquet and media.parquet; writes the ledger and traces/teachers.parquet, two rows per
prepared sample. Whether an answer is right is decided here, from the stored text, so a better
parser costs no call.

The decision to question: a completion that was cut at max_new_tokens has no answer, even if a
letter can be found in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from avrt.answers import extract_answer
from avrt.config import Config, ModelRole
from avrt.datasets.prepare import load_prepared
from avrt.engines import engine_identity
from avrt.generate.calls import (
    Job,
    Media,
    Outcome,
    call_all,
    check_failure_rate,
    describe_role,
    sampling_of,
)
from avrt.generate.ledger import Call, count_finished, open_ledger
from avrt.generate.records import (
    STRATA,
    Role,
    TeacherTrace,
    stratum_of,
    teachers_path,
    write_teachers,
)
from avrt.media import SAMPLE_RATE_HZ, load_media
from avrt.prompts import format_options, load_prompt
from avrt.runs import Result, Stage, check_sums, open_stage, read_parquet, save_config
from avrt.types import Frames, Sample, Waveform

__all__ = ["plan", "run"]

ROLES: tuple[Role, ...] = ("vision", "audio")
VERDICTS = ("right", "wrong", "unparsable", "truncated", "failed")


def run(config: Config) -> Result:
    """Make the teachers' calls that the ledger does not hold yet, then derive their traces.

    Raises:
        DataError: the run is not prepared.
        ConfigError: traced before with other settings, or in use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    samples = load_prepared(config.run.path)
    stage = _open(config)
    if _is_done(config, stage):
        return Result(f"trace: nothing to do, {config.run.path} is traced", stage.counts())
    save_config(config)
    outcomes: dict[Role, dict[str, Outcome]] = {}
    with open_ledger(config.run.path) as ledger:
        for role in ROLES:
            teacher, jobs = _teacher(config, role), _jobs(config, role, samples)
            outcomes[role] = call_all(
                ledger, teacher, config.media.jpeg_quality, jobs, f"{role} teacher"
            )
        pairs = [_judge(sample, outcomes) for sample in samples]
        write_teachers(config.run.path, [trace for pair in pairs for trace in pair])
    for role in ROLES:
        check_failure_rate(f"trace, {role} teacher", outcomes[role].values(), config)
    counts = _count(pairs)
    check_sums("trace", len(samples), counts)
    stage.finish(counts)
    return Result(_summarize(pairs, counts), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words; makes no call and writes nothing."""
    lines: list[str] = []
    for role in ROLES:
        teacher = _teacher(config, role)
        describe_role(teacher, config.media.jpeg_quality)
        sight = (
            f"{config.media.n_frames} frames"
            if role == "vision"
            else f"{config.media.max_audio_s:g} s of sound"
        )
        lines.append(
            f"  {role} teacher: {teacher.model} ({teacher.engine.kind}), "
            f"prompt {teacher.prompt}, {sight}"
        )
    if not (config.run.path / "samples.parquet").is_file():
        return "\n".join(["trace: two calls for every sample that prepare finds usable", *lines])
    n_samples = len(load_prepared(config.run.path))
    n_finished = count_finished(config.run.path, "trace")
    title = (
        f"trace: {n_samples} samples x 2 teachers; {n_finished} finished calls are in the ledger"
    )
    return "\n".join([title, *lines])


def _open(config: Config) -> Stage:
    settings: dict[str, Any] = {
        role: describe_role(_teacher(config, role), config.media.jpeg_quality) for role in ROLES
    }
    settings["media"] = config.media.model_dump(exclude={"jpeg_quality"})
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
    engine = engine_identity(teacher.engine, teacher.model, teacher.revision, media.jpeg_quality)
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
    return Media(
        kind="frames" if role == "vision" else "audio",
        read=partial(_read, config, role, sample),
        file_sha256=files.get(path) if path else None,
        recipe=recipe,
    )


def _read(config: Config, role: Role, sample: Sample) -> Frames | Waveform:
    frames, waveform = load_media(
        sample, config.data.root, config.media, "v" if role == "vision" else "a"
    )
    media = frames if role == "vision" else waveform
    if media is None:
        raise AssertionError(f"{sample.source}: load_media gave no {role} and raised nothing")
    return media


def _judge(
    sample: Sample, outcomes: Mapping[Role, Mapping[str, Outcome]]
) -> tuple[TeacherTrace, TeacherTrace]:
    return (
        _to_trace(sample, "vision", outcomes["vision"][sample.id]),
        _to_trace(sample, "audio", outcomes["audio"][sample.id]),
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
    """A sample is kept when both calls succeeded; strata are counted over those."""
    counts = Counter({"read": len(pairs), "kept": 0, **{f"stratum/{name}": 0 for name in STRATA}})
    for vision, audio in pairs:
        failed = next((trace for trace in (vision, audio) if trace.status != "ok"), None)
        if failed is not None:
            counts[f"failed/{failed.status}"] += 1
        else:
            counts["kept"] += 1
            counts[f"stratum/{stratum_of(vision, audio)}"] += 1
        for trace in (vision, audio):
            counts[f"{trace.role}/{_verdict(trace)}"] += 1
    return counts


def _verdict(trace: TeacherTrace) -> str:
    if trace.status != "ok":
        return "failed"
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
