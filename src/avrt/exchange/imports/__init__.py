"""Imports: published sets become a run, so that stats, training and exports work on them.

    avrt-20k     Parquet with the columns of AVRT-20K: questions about AVQA's clips with one trace
                 each, for every sample, also where a teacher was wrong; or a dataset that AVRT
                 built, from RUN/dataset or an export for the Hub
    avqa-r1-6k   omni_rl_format_{train,valid}.json of AVQA-R1-6K, and any list of the same form:
                 pictures with sounds, no traces; or an export for video-r1

Reads a local folder, or the Hub with `from_hub`; writes RUN/dataset/ as the stage `build` does,
with NULL in columns that the set lacks. Every row that is read goes into exactly one file; a row
that is no question goes into rejected.parquet with the reason.

The decision to question: AVRT-20K does not say which part is validation, so it is split by clip
here, like everything else. AVQA-R1-6K keeps its own split: its rows do not say which of them come
from one clip. What AVRT built keeps its split, too; today's gates read its traces again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from avrt.config import Config
from avrt.datasets.avqa import names_in_folders
from avrt.datasets.names import MediaNames, nearest_names
from avrt.errors import ConfigError
from avrt.exchange.imports.avqa_r1_6k import AVQA_R1_6K
from avrt.exchange.imports.avrt_20k import AVRT_20K, read_hub
from avrt.exchange.imports.columns import SPLITS, MalformedError, Row, Source, texts_of
from avrt.generate.build import validation_clips
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA, question_columns
from avrt.generate.gates import GATES, Case, check
from avrt.runs import (
    Result,
    alone,
    check_sums,
    fingerprint,
    open_stage,
    save_config,
    track,
    write_atomic,
    write_parquet,
)
from avrt.texts import read_text
from avrt.types import Sample

__all__ = ["OWN_SET", "SOURCES", "run"]

SOURCES = {"avrt-20k": AVRT_20K, "avqa-r1-6k": AVQA_R1_6K}
"""Every set that AVRT can import."""
OWN_SET = "AVRT wrote this set; its own card follows."
"""In the card of a set whose terms are not those of the format that it came in."""


@alone(lambda config: config.run.path / "dataset")
def run(config: Config, name: str, folder: Path | str, from_hub: bool = False) -> Result:
    """Import the set `name` from `folder`, which with `from_hub` is an id on the Hub.

    Raises:
        ConfigError: the set is unknown, the folder is absent, or the run has another dataset.
        DataError: the folder does not hold that set.
    """
    if name not in SOURCES:
        raise ConfigError(f"import {name}: unknown set; known: {', '.join(SOURCES)}")
    source, run_folder, root = SOURCES[name], config.run.path, config.data.root
    rejecting, fraction = config.build.gates, config.build.validation_fraction
    if from_hub and name != "avrt-20k":
        raise ConfigError(f"--hub: {name} comes with media; download it, and import its folder")
    if not from_hub and not Path(folder).is_dir():
        raise ConfigError(f"{folder}: no such folder; download the set into it, or use --hub")
    rows = read_hub(str(folder)) if from_hub else source.read(Path(folder))
    if (run_folder / "manifests" / "build.json").is_file():
        raise ConfigError(f"{run_folder}: this run has built its dataset; choose another run.name")
    costly = {"set": name, "rows": fingerprint([(row.id, row.split, row.values) for row in rows])}
    free = {
        "gates": {name: gate.version for name, gate in GATES.items()},
        "rejecting": list(rejecting),
        "validation_fraction": fraction,
        "seed": config.run.seed,
        "root": fingerprint(names_in_folders(root)),
    }
    stage = open_stage(run_folder, "import", costly, [], free)
    dataset = run_folder / "dataset"
    if stage.done and all((dataset / f"{part}.parquet").is_file() for part in SPLITS):
        return Result(f"import: nothing to do, {dataset} is imported", stage.counts())
    converted = _convert(source, rows, source.survey(rows, root), rejecting)
    parts = _split(converted, fraction, config.run.seed)
    counts = _count(rows, parts)
    check_sums("import", len(rows), counts)
    save_config(config)
    stage.begin()
    for part, of_part in parts.items():
        schema = REJECTED_SCHEMA if part == "rejected" else DATASET_SCHEMA
        write_parquet(dataset / f"{part}.parquet", of_part, schema)
    card = _card(name, source, counts, _card_of(Path(folder), rows))
    write_atomic(dataset / "README.md", lambda file: file.write(card.encode()))
    stage.finish(counts)
    sizes = ", ".join(f"{counts[part]} {part}" for part in parts)
    title = f"import: {counts['read']} rows of {name} -> {sizes}, in {dataset}"
    return Result("\n".join([title, *_remarks(counts, parts, root)]), counts)


def _convert(
    source: Source, rows: Sequence[Row], known: Mapping[str, Any], rejecting: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Give every row the columns of the dataset; rejected rows have `stage` and `reason`."""
    used: set[str] = set()
    for row in track(rows, "import", "rows"):
        name = row.id if row.id not in used else f"{row.id}#{row.source}"
        try:
            if name != row.id:
                raise MalformedError("duplicate_id")
            if row.kept.get("reason"):
                yield {**_empty(), **row.kept}
                continue
            sample, trace = source.to_sample(row, known)
        except MalformedError as error:
            yield _blank(row, name) | {"stage": "import", "reason": f"dropped/{error}"}
            continue
        finally:
            used.add(name)
        yield _to_row(row, sample, trace, rejecting) | {"split": row.split}


def _to_row(
    source: Row, sample: Sample, trace: str | None, rejecting: Sequence[str]
) -> dict[str, Any]:
    text = trace.strip() if trace is not None else None
    findings: dict[str, str | None] | None = None
    if text is not None:
        is_cut = (source.kept.get("gates") or {}).get("truncated")
        columns = {"v": "vision_text", "a": "audio_text"}
        teachers = {modality: source.kept.get(name) or "" for modality, name in columns.items()}
        case = Case(
            text,
            sample.question,
            sample.options,
            sample.target,
            "length" if is_cut else "stop",
            {modality: text for modality, text in teachers.items() if text},
        )
        findings = check(case)
    row = {**_empty(), **question_columns(sample, text), **source.kept, "gates": findings}
    objecting = next((name for name in rejecting if findings and findings[name]), None)
    return row | ({"stage": "gate", "reason": f"dropped/{objecting}"} if objecting else {})


def _blank(row: Row, name: str) -> dict[str, Any]:
    """Give the columns of a row that is no question, as far as it has them."""
    values = row.values
    texts = {
        column: str(values.get(column) or "")
        for column in ("video_name", "video_id", "question", "question_relation", "question_type")
    }
    texts["question"] = texts["question"] or str(values.get("problem") or "")
    trace = values.get("av_reasoning")
    kept = {
        "id": name,
        "source": row.source,
        "choices": texts_of(values.get("choices") or values.get("options")),
        **texts,
    }
    return _empty() | kept | {"av_reasoning": trace if isinstance(trace, str) else None}


def _empty() -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(DATASET_SCHEMA.names)
    return row | {"answer": -1, "answer_letter": "", "answer_text": "", "call_keys": []}


def _split(
    rows: Iterator[dict[str, Any]], fraction: float, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Divide rows into train, validation and rejected, as the source says or else by clip."""
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in SPLITS}
    kept: list[dict[str, Any]] = []
    for row in rows:
        (parts["rejected"] if row.get("reason") else kept).append(row)
    held_out = validation_clips(
        [row["video_id"] for row in kept if not row["split"]],
        fraction,
        seed,
    )
    for row in kept:
        split = row.pop("split")
        own = "validation" if row["video_id"] in held_out else "train"
        parts[split or own].append(row)
    return parts


def _count(rows: Sequence[Row], parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    counts = Counter({name: len(part) for name, part in parts.items()})
    counts["read"] = len(rows)
    counts["kept"] = counts["train"] + counts["validation"]
    counts.update(row["reason"] for row in parts["rejected"])
    return dict(counts)


def _remarks(
    counts: Mapping[str, int], parts: Mapping[str, Sequence[Mapping[str, Any]]], root: Path
) -> list[str]:
    """List the rejected rows by reason, missing media, and missing traces."""
    lines = [f"  {n:>7} {reason}" for reason, n in sorted(counts.items()) if "/" in reason]
    kept = [*parts["train"], *parts["validation"]]
    paths = {path for row in kept for kind in ("video", "image", "audio") if (path := row[kind])}
    present = MediaNames(root)
    if missing := sorted(path for path in paths if not present.has(path)):
        lines.append(
            f"{len(missing)} of {len(paths)} media files are missing in {root}; set data.root "
            "to their folder before training"
        )
        lines += (f"  {line}" for line in nearest_names(root, missing, paths))
    if kept and not any(row["av_reasoning"] for row in kept):
        lines.append("this set has no traces, so `avrt sft` cannot train on it")
    return lines


def _card_of(folder: Path, rows: Sequence[Row]) -> str | None:
    """The card of a set that AVRT wrote: it names the models, whose terms go on with the rows."""
    path = folder / "README.md"
    if not any(row.kept for row in rows) or not path.is_file():
        return None
    return read_text(path).removeprefix("---\n").partition("---\n")[2].strip()


def _card(name: str, source: Source, counts: Mapping[str, int], card: str | None) -> str:
    """The card of the import; that of a set that AVRT wrote stands below it as it was."""
    header = {"license": "other", "language": ["en"], "tags": ["audio-visual", "imported"]}
    present = [part for part in ("train", "validation") if counts[part]]
    files = [{"split": part, "path": f"{part}.parquet"} for part in present]
    if files:
        header["configs"] = [{"config_name": "default", "data_files": files}]
    losses = "\n".join(
        f"| {reason} | {n} |" for reason, n in sorted(counts.items()) if "/" in reason
    )
    if card is None:
        remark = "Columns about teachers are NULL: the set has none of their texts."
        card = f"## Licence\n\n{source.licence}"
    else:
        remark = OWN_SET
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# {name}, imported

{counts["read"]} rows were read, {counts["kept"]} are kept: {counts["train"]} for training,
{counts["validation"]} for validation. {remark}

| reason | rows |
| --- | ---: |
{losses}

{card}
"""
