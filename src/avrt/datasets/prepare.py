"""Stage `prepare`: read the annotations, probe every media file, mark the usable samples.

Reads `data.root`; writes samples.parquet (every sample, with its usable modalities and the reason
where one is missing) and media.parquet (a row for each file) into the run directory. `usable` is
"av" when picture and sound exist; "a" or "v" alone is enough only where the section `prepare` says
so.

The decision to question: other settings are refused as in every stage, but other files are not.
When files were added, removed or replaced, even by files of the same size, the same command probes
those again and writes both tables anew; later stages see in the tables whether that changed a
sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from avrt.config import Config, DataConfig, MediaConfig, PrepareConfig
from avrt.datasets import (
    SAMPLE_SCHEMA,
    annotation_path,
    annotations_digest,
    media_paths,
    read_samples,
    require_files,
    sample_to_row,
)
from avrt.datasets.faults import REMEDIES, Fault, find_faults, judge, policy_on, reason_of
from avrt.datasets.names import MediaNames, nearest_names
from avrt.datasets.probing import known_probes, probe_files, probe_settings
from avrt.errors import PASSING_CLASSES, AvrtError
from avrt.media import MediaInfo
from avrt.runs import (
    Result,
    Stage,
    alone,
    check_sums,
    open_stage,
    save_config,
    write_parquet,
)
from avrt.stores import listed_once
from avrt.texts import counted
from avrt.types import Sample

__all__ = [
    "MEDIA_SCHEMA",
    "PREPARED_SCHEMA",
    "plan",
    "refuse_faults",
    "run",
]

PREPARED_SCHEMA = pa.schema(
    [
        *SAMPLE_SCHEMA,
        pa.field("has_sound", pa.bool_(), nullable=False),
        pa.field("has_picture", pa.bool_(), nullable=False),
        pa.field("usable", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
MEDIA_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("video_codec", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("shown_width", pa.int32()),
        pa.field("shown_height", pa.int32()),
        pa.field("rotation", pa.int32()),
        pa.field("fps", pa.float64()),
        pa.field("n_frames", pa.int32()),
        pa.field("duration_s", pa.float64()),
        pa.field("audio_codec", pa.string()),
        pa.field("n_audio_tracks", pa.int32(), nullable=False),
        pa.field("sample_rate_hz", pa.int32()),
        pa.field("channels", pa.int32()),
        pa.field("audio_duration_s", pa.float64()),
        pa.field("n_audio_samples", pa.int64()),
        pa.field("audio_start_s", pa.float64()),
        pa.field("rms_dbfs", pa.float64()),
        pa.field("peak_dbfs", pa.float64()),
        pa.field("mono_loss_db", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("notes", pa.list_(pa.string()), nullable=False),
    ]
)
FILES = ("samples.parquet", "media.parquet")
N_EXAMPLES = 3


@alone(lambda config: config.run.path / FILES[0])
@listed_once()
def run(config: Config) -> Result:
    """Prepare the dataset of `config.data` for the run.

    Faults of files are data here, whatever the settings say; `refuse_faults` raises for them.

    Raises:
        ConfigError: there is no dataset or no media file, it was prepared with other settings, or
            another process prepares it.
        DataError: an annotation is malformed.
    """
    run_folder, policies = config.run.path, config.prepare
    counts: Counter[str] = Counter()
    files = MediaNames(config.data.root)
    names, n_samples = _survey(config.data, counts, files)
    stage = _open(config.run.path, config.data, config.prepare, config.media)
    known = known_probes(run_folder, config.data.root, names, config.media)
    if _is_done(run_folder, stage, names, known):
        return Result(f"prepare: nothing to do, {run_folder} is prepared", stage.counts())
    stage.begin()
    save_config(config)
    infos = probe_files(run_folder, config.data.root, names, config.media, cluster=config.cluster)
    outcomes = _Outcomes(counts)
    samples = read_samples(config.data, names=files)  # also if files come in the meantime
    rows = (_to_row(sample, infos, policies, outcomes) for sample in samples)
    write_parquet(run_folder / "samples.parquet", rows, PREPARED_SCHEMA)
    counts["read"] = n_samples + counts["dropped/no_options"]
    check_sums("prepare", counts["read"], counts)
    write_parquet(run_folder / "media.parquet", map(asdict, infos.values()), MEDIA_SCHEMA)
    stage.finish(counts)
    title = (
        f"prepare: {counts['read']} questions about {len(infos)} media files "
        f"({len(infos) - len(known)} probed, {len(known)} known before)"
    )
    lines = [title, *_summarize(policies, counts, outcomes.examples)]
    missing = [name for name, info in infos.items() if info.status == "missing"]
    lines += [f"  {line}" for line in nearest_names(config.data.root, missing, infos)]
    lines.append(f"wrote {' and '.join(FILES)} into {run_folder}")
    fault = _unread_text(infos)
    if not fault and not counts["kept"]:
        fault = f"prepare: none of {counts['read']} questions can be used; mend what is named above"
    return Result("\n".join(lines), counts, fault)


def _unread_text(infos: Mapping[str, MediaInfo]) -> str:
    """How many files could not be read now, for reasons that say nothing about them."""
    lost = [info for info in infos.values() if info.status in PASSING_CLASSES]
    if not lost:
        return ""
    numbers = counted(info.status for info in lost)
    return (
        f"prepare: {len(lost)} files could not be read now ({numbers}; the first: {lost[0].path}: "
        f"{lost[0].reason}); the same command tries them again"
    )


@listed_once()
def plan(config: Config) -> str:
    """Describe what `run` would do; read the annotations, open no media, write nothing."""
    counts: Counter[str] = Counter()
    present = MediaNames(config.data.root)
    names, n_samples = _survey(config.data, counts, present)
    stage = _open(config.run.path, config.data, config.prepare, config.media)
    known = known_probes(config.run.path, config.data.root, names, config.media)
    if _is_done(config.run.path, stage, names, known):
        return f"prepare: nothing to do, {config.run.path} is prepared"
    missing = [name for name in names if not present.has(name)]
    nearest = "".join(f"\n  {line}" for line in nearest_names(config.data.root, missing, names))
    n_read = n_samples + counts["dropped/no_options"]
    policies = ", ".join(f"{name} {policy}" for name, policy in config.prepare)
    return (
        f"prepare: read {n_read} questions from {annotation_path(config.data)}, "
        f"probe {len(names) - len(known)} media files ({len(missing)} missing; {len(known)} more "
        f"are known before), write {' and '.join(FILES)} into {config.run.path}\n"
        f"  questions with faults: {policies}{nearest}"
    )


def refuse_faults(policies: PrepareConfig, counts: Mapping[str, int], strict: bool) -> None:
    """Stop when `run` counted faults whose policy is `fail`; with `strict`, any fault.

    Raises:
        AvrtError: there are such faults; the message has their numbers of questions.
    """
    left_out: Counter[str] = Counter()
    in_use: Counter[str] = Counter()
    for key, n in counts.items():
        kind, _, name = key.partition("/")
        if kind in ("dropped", "failed") and name in REMEDIES:
            left_out[name] = n
        elif kind in ("one_sided", "note"):
            in_use[name] += n
    if strict:
        refused, rule = left_out + in_use, "--strict allows no fault"
    else:
        refused = {name: n for name, n in left_out.items() if policy_on(name, policies) == "fail"}
        rule = "their policy in the section `prepare` is fail"
    if refused:
        numbers = ", ".join(f"{n} {name}" for name, n in sorted(refused.items()))
        raise AvrtError(f"prepare: questions with faults: {numbers}; {rule}")


def _open(run: Path, data: DataConfig, policies: PrepareConfig, media: MediaConfig) -> Stage:
    """Open the stage; shards hold the clips too, so of them the questions are digested, not the
    files.
    """
    is_packed = data.format == "webdataset"
    settings = {
        "format": data.format,
        "split": data.split,
        "limit": data.limit,
        **({} if data.sample is None else {"sample": data.sample}),
        "policies": policies.model_dump(),
        "media": probe_settings(media),
        **({"questions": annotations_digest(data)} if is_packed else {}),
    }
    inputs = [] if is_packed else [annotation_path(data)]
    return open_stage(run, "prepare", settings, inputs)


def _is_done(run: Path, stage: Stage, names: Sequence[str], known: Mapping[str, MediaInfo]) -> bool:
    """Find that no file has changed, and that the derived tables were not deleted."""
    written = all((run / name).is_file() for name in FILES)
    return stage.done and len(known) == len(names) and written


def _survey(data: DataConfig, counts: Counter[str], files: MediaNames) -> tuple[list[str], int]:
    """Read all annotations once: the media files that they name, and the number of samples."""
    n_samples = 0

    def counted() -> Iterator[Sample]:
        nonlocal n_samples
        for sample in read_samples(data, counts, files):
            n_samples += 1
            yield sample

    names = media_paths(counted())
    require_files(data.root, names)
    return names, n_samples


@dataclass(frozen=True)
class _Outcomes:
    """The outcomes of samples: how many of each, and some files that caused it."""

    counts: Counter[str]
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, outcome: str, path: str) -> None:
        self.counts[outcome] += 1
        paths = self.examples.setdefault(outcome, [])
        if len(paths) < N_EXAMPLES and path not in paths:
            paths.append(path)


def _to_row(
    sample: Sample, infos: Mapping[str, MediaInfo], policies: PrepareConfig, outcomes: _Outcomes
) -> dict[str, Any]:
    faults = find_faults(sample, infos, policies)
    picture = infos[sample.picture_path] if sample.picture_path else None
    sound = infos[sample.sound_path] if sample.sound_path else None
    row = {
        **sample_to_row(sample),
        "has_sound": sound is not None and sound.audio_codec is not None,
        "has_picture": picture is not None and picture.video_codec is not None,
        **judge(faults),
    }
    for outcome, path in _account(row, faults):
        outcomes.add(outcome, path)
    return row


def _account(row: Mapping[str, Any], faults: Sequence[Fault]) -> Iterator[tuple[str, str]]:
    """Yield the counts that a row adds to, each with the file that caused it."""
    reason = reason_of(row)
    yield reason or "kept", faults[0].path if faults else ""
    if reason is None:
        if row["status"] != "ok":
            yield f"one_sided/{row['status']}", faults[0].path
        notes = {fault.name: fault.path for fault in faults if fault.policy == "keep"}
        yield from ((f"note/{name}", path) for name, path in notes.items())


def _summarize(
    policies: PrepareConfig, counts: Mapping[str, int], examples: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield a line for each outcome, with examples and the remedy."""
    n_one_sided = sum(n for outcome, n in counts.items() if outcome.startswith("one_sided/"))
    yield f"  {counts['kept'] - n_one_sided:>7} ok"
    if counts["dropped/no_options"]:
        yield f"  {counts['dropped/no_options']:>7} dropped: the row has no options"
    for outcome, paths in sorted(examples.items()):
        kind, _, name = outcome.partition("/")
        if name:
            use = {"one_sided": policy_on(name, policies), "note": "still used"}
            with_use = f"{name}, {use[kind].replace('_', ' ')}" if kind in use else name
            yield f"  {counts[outcome]:>7} {with_use}, such as {', '.join(paths)}"
            yield f"  {'':>7} -> {REMEDIES[name]}"
