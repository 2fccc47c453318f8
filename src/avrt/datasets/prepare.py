"""Stage `prepare`: read the annotations, probe every media file, mark what can be used.

Reads `data.root`; writes samples.parquet (every sample, with what of it can be used, and why not
all) and media.parquet (one row per file) into the run directory. `usable` is "av" when picture and
sound are there; "a" or "v" alone is enough only where the section `prepare` says so.

The decision to question: other settings are refused as in every stage, but other files are not.
When files were added, removed or replaced, even by some of the same size, the same command looks at
those again and writes both tables anew; later stages see by the tables whether that changed
anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from avrt.config import Config
from avrt.datasets import (
    SAMPLE_SCHEMA,
    annotation_path,
    media_paths,
    read_samples,
    require_media,
    row_to_sample,
    sample_to_row,
)
from avrt.datasets.faults import REMEDIES, Fault, find_faults, judge, policy_on, reason_of
from avrt.datasets.probing import known_probes, probe_files, probe_settings
from avrt.errors import AvrtError
from avrt.media import MediaInfo
from avrt.runs import (
    Result,
    Stage,
    check_sums,
    open_stage,
    read_parquet,
    save_config,
    write_parquet,
)
from avrt.types import Modality, Sample

__all__ = [
    "MEDIA_SCHEMA",
    "PREPARED_SCHEMA",
    "load_prepared",
    "load_usable",
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
        pa.field("audio_start_s", pa.float64()),
        pa.field("rms_dbfs", pa.float64()),
        pa.field("peak_dbfs", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("notes", pa.list_(pa.string()), nullable=False),
    ]
)
FILES = ("samples.parquet", "media.parquet")
N_EXAMPLES = 3


def run(config: Config) -> Result:
    """Prepare the dataset of `config.data` for the run.

    Faults of files are data here, whatever the settings say; `refuse_faults` raises for them.

    Raises:
        ConfigError: no dataset there, no media there, or prepared before with other settings.
        DataError: a malformed annotation.
    """
    counts: Counter[str] = Counter()
    samples = list(read_samples(config.data, counts))
    require_media(config.data.root, samples)
    stage, names = _open(config), media_paths(samples)
    known = known_probes(config.run.path, config.data.root, names, config.media)
    if _is_done(config, stage, names, known):
        return Result(f"prepare: nothing to do, {config.run.path} is prepared", stage.counts())
    stage.manifest_path.unlink(missing_ok=True)  # from here on the tables are not those of before
    save_config(config)
    infos = probe_files(config.run.path, config.data.root, names, config.media)
    faults = [find_faults(sample, infos, config.prepare) for sample in samples]
    rows = [_to_row(sample, found, infos) for sample, found in zip(samples, faults, strict=True)]
    outcomes = list(chain.from_iterable(map(_account, rows, faults)))
    counts.update(outcome for outcome, _ in outcomes)
    counts["read"] = len(rows) + counts["dropped/no_options"]
    check_sums("prepare", counts["read"], counts)
    write_parquet(config.run.path / "samples.parquet", rows, PREPARED_SCHEMA)
    media_rows = [asdict(info) for info in infos.values()]
    write_parquet(config.run.path / "media.parquet", media_rows, MEDIA_SCHEMA)
    stage.finish(counts)
    title = (
        f"prepare: {counts['read']} questions about {len(infos)} media files "
        f"({len(infos) - len(known)} probed, {len(known)} known from before)"
    )
    return Result("\n".join([title, *_summarize(config, counts, outcomes)]), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words; reads the annotations, opens no media, writes nothing."""
    counts: Counter[str] = Counter()
    samples = list(read_samples(config.data, counts))
    require_media(config.data.root, samples)
    stage, names = _open(config), media_paths(samples)
    known = known_probes(config.run.path, config.data.root, names, config.media)
    if _is_done(config, stage, names, known):
        return f"prepare: nothing to do, {config.run.path} is prepared"
    n_missing = sum(not (config.data.root / name).exists() for name in names)
    n_read = len(samples) + counts["dropped/no_options"]
    policies = ", ".join(f"{name} {policy}" for name, policy in config.prepare)
    return (
        f"prepare: read {n_read} questions from {annotation_path(config.data)}, "
        f"probe {len(names) - len(known)} media files ({n_missing} missing; {len(known)} more are "
        f"known from before), write {' and '.join(FILES)} into {config.run.path}\n"
        f"  questions about files with faults: {policies}"
    )


def refuse_faults(config: Config, counts: Mapping[str, int], strict: bool) -> None:
    """Stop when `run` counted faults whose policy is `fail`; with `strict`, any fault.

    Raises:
        AvrtError: their names and numbers of questions.
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
        refused, rule = left_out + in_use, "--strict allows none"
    else:
        policies = config.prepare
        refused = {name: n for name, n in left_out.items() if policy_on(name, policies) == "fail"}
        rule = "the section `prepare` says fail"
    if refused:
        numbers = ", ".join(f"{n} {name}" for name, n in sorted(refused.items()))
        raise AvrtError(f"prepare: questions about files with faults: {numbers}; {rule}")


def load_usable(run: Path) -> list[tuple[Sample, Modality]]:
    """The samples of a prepared run that have at least one usable half, in file order, and which.

    Raises:
        DataError: the run was not prepared.
    """
    rows = read_parquet(run / "samples.parquet")
    return [(row_to_sample(row), row["usable"]) for row in rows if row["usable"] is not None]


def load_prepared(run: Path, modality: Modality = "av") -> list[Sample]:
    """The samples of which at least this modality is usable, in file order.

    Raises:
        DataError: the run was not prepared.
    """
    return [sample for sample, usable in load_usable(run) if set(modality) <= set(usable)]


def _open(config: Config) -> Stage:
    data = config.data
    settings = {
        "format": data.format,
        "split": data.split,
        "limit": data.limit,
        "policies": config.prepare.model_dump(),
        "media": probe_settings(config.media),
    }
    return open_stage(config.run.path, "prepare", settings, [annotation_path(data)])


def _is_done(
    config: Config, stage: Stage, names: Sequence[str], known: Mapping[str, MediaInfo]
) -> bool:
    """Done, no file has changed, and nobody deleted the tables: they are derived, so one may."""
    written = all((config.run.path / name).is_file() for name in FILES)
    return stage.done and len(known) == len(names) and written


def _to_row(
    sample: Sample, faults: Sequence[Fault], infos: Mapping[str, MediaInfo]
) -> dict[str, Any]:
    picture = infos[sample.picture_path] if sample.picture_path else None
    sound = infos[sample.sound_path] if sample.sound_path else None
    return {
        **sample_to_row(sample),
        "has_sound": sound is not None and sound.audio_codec is not None,
        "has_picture": picture is not None and picture.video_codec is not None,
        **judge(faults),
    }


def _account(row: Mapping[str, Any], faults: Sequence[Fault]) -> Iterator[tuple[str, str]]:
    """The counts that a row adds to, each with the file that is to blame."""
    reason = reason_of(row)
    yield reason or "kept", faults[0].path if faults else ""
    if reason is None:
        if row["status"] != "ok":
            yield f"one_sided/{row['status']}", faults[0].path
        notes = {fault.name: fault.path for fault in faults if fault.policy == "keep"}
        yield from ((f"note/{name}", path) for name, path in notes.items())


def _summarize(
    config: Config, counts: Mapping[str, int], outcomes: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """A line for each outcome, with examples and what to do about it."""
    files: dict[str, dict[str, None]] = defaultdict(dict)
    for outcome, path in outcomes:
        files[outcome][path] = None
    n_one_sided = sum(n for outcome, n in counts.items() if outcome.startswith("one_sided/"))
    yield f"  {counts['kept'] - n_one_sided:>7} ok"
    if counts["dropped/no_options"]:
        yield f"  {counts['dropped/no_options']:>7} dropped: the row has no options"
    for outcome, paths in sorted(files.items()):
        kind, _, name = outcome.partition("/")
        if name:
            use = {"one_sided": policy_on(name, config.prepare), "note": "used all the same"}
            with_use = f"{name}, {use[kind].replace('_', ' ')}" if kind in use else name
            examples = ", ".join(list(paths)[:N_EXAMPLES])
            yield f"  {counts[outcome]:>7} {with_use}, such as {examples}"
            yield f"  {'':>7} -> {REMEDIES[name]}"
    yield f"wrote {' and '.join(FILES)} into {config.run.path}"
    if not counts["kept"]:
        yield "no question can be used: mend the files named above, then prepare again"
