"""Published sets as a run of their own, so that stats, training and exports work on them.

    avrt-20k     Parquet with the columns of AVRT-20K: questions about AVQA's clips with one trace
                 each, for every sample, also where a teacher was wrong
    avqa-r1-6k   omni_rl_format_{train,valid}.json of AVQA-R1-6K, and any list of the same form:
                 pictures with sounds, no traces

Reads a local folder (or the Hub, when asked); writes RUN/dataset/ as the stage `build` does. What
teachers would have said is NULL. Every row that is read lies in exactly one file; one that is no
question goes to rejected.parquet under the name of what is wrong with it.

The decision to question: AVRT-20K does not say which part is validation, so it is split by clip
here, like everything else. AVQA-R1-6K keeps its own split: its rows do not say which of them come
from one clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from avrt.config import Config
from avrt.datasets.avqa import names_in_folders
from avrt.errors import ConfigError
from avrt.exchange.imports.avqa_r1_6k import AVQA_R1_6K, SPLITS
from avrt.exchange.imports.avrt_20k import AVRT_20K, read_hub
from avrt.exchange.imports.columns import MalformedError, Row, Source, texts_of
from avrt.generate.build import validation_clips
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA, question_columns
from avrt.generate.gates import GATES, Case, check
from avrt.runs import (
    Result,
    check_sums,
    fingerprint,
    open_stage,
    save_config,
    write_atomic,
    write_parquet,
)
from avrt.types import Sample

__all__ = ["SOURCES", "run"]

SOURCES = {"avrt-20k": AVRT_20K, "avqa-r1-6k": AVQA_R1_6K}
"""Every set that can be imported."""


def run(config: Config, name: str, folder: Path | str, from_hub: bool = False) -> Result:
    """Import the set `name` from its folder, or with `from_hub` from the Hub, where it is an id.

    Raises:
        ConfigError: no such set or folder, another set was imported here, or the run built its own.
        DataError: the folder does not hold that set.
    """
    if name not in SOURCES:
        raise ConfigError(f"import {name}: no such set; known: {', '.join(SOURCES)}")
    source = SOURCES[name]
    if from_hub and name != "avrt-20k":
        raise ConfigError(f"--hub: {name} has media beside it; download it, then import that")
    rows = read_hub(str(folder)) if from_hub else source.read(_existing(Path(folder)))
    _refuse_own_dataset(config)
    costly = {"set": name, "rows": fingerprint([(row.id, row.values) for row in rows])}
    free = {
        "gates": {gate: one.version for gate, one in GATES.items()},
        "rejecting": list(config.build.gates),
        "validation_fraction": config.build.validation_fraction,
        "seed": config.run.seed,
        "root": fingerprint(names_in_folders(config.data.root)),
    }
    stage = open_stage(config.run.path, "import", costly, [], free)
    place = config.run.path / "dataset"
    files = ("train.parquet", "validation.parquet", "rejected.parquet")
    if stage.done and all((place / file).is_file() for file in files):
        return Result(f"import: nothing to do, {place} is imported", stage.counts())
    parts = _split(config, _convert(config, source, rows))
    counts = _count(rows, parts)
    check_sums("import", len(rows), counts)
    save_config(config)
    for part, of_part in parts.items():
        schema = REJECTED_SCHEMA if part == "rejected" else DATASET_SCHEMA
        write_parquet(place / f"{part}.parquet", of_part, schema)
    card = _card(name, source, counts)
    write_atomic(place / "README.md", lambda file: file.write(card.encode()))
    stage.finish(counts)
    return Result(_summarize(config, name, place, counts, parts), counts)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; download the set there, or use --hub")
    return folder


def _refuse_own_dataset(config: Config) -> None:
    path = config.run.path / "manifests" / "build.json"
    if path.is_file():
        raise ConfigError(f"{config.run.path}: has a dataset of its own; choose another run.name")


def _convert(config: Config, source: Source, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Every row with the columns of the dataset; rejected ones have `stage` and `reason`."""
    known = source.survey(rows, config.data.root)
    used: set[str] = set()
    for row in tqdm(rows, desc="import", unit="row", leave=False, disable=None):
        name = row.id if row.id not in used else f"{row.id}#{row.source}"
        try:
            if name != row.id:
                raise MalformedError("duplicate_id")
            sample, trace = source.to_sample(row, known)
        except MalformedError as error:
            yield _blank(row, name) | {"stage": "import", "reason": f"dropped/{error}"}
            continue
        finally:
            used.add(name)
        yield _to_row(config, sample, trace) | {"split": row.split}


def _to_row(config: Config, sample: Sample, trace: str | None) -> dict[str, Any]:
    text = trace.strip() if trace is not None else None
    found: dict[str, str | None] | None = None
    if text is not None:
        case = Case(text, sample.question, sample.options, sample.target)
        found = check(case)
    row = {**_empty(), **question_columns(sample, text), "gates": found}
    objecting = next((name for name in config.build.gates if found and found[name]), None)
    return row | ({"stage": "gate", "reason": f"dropped/{objecting}"} if objecting else {})


def _blank(row: Row, name: str) -> dict[str, Any]:
    """What can be said of a row that is no question."""
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


def _split(config: Config, rows: Iterator[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Train, validation and rejected; as the source says, else by clip."""
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "rejected": []}
    kept: list[dict[str, Any]] = []
    for row in rows:
        (parts["rejected"] if "reason" in row else kept).append(row)
    held_out = validation_clips(
        (row["video_id"] for row in kept if not row["split"]),
        config.build.validation_fraction,
        config.run.seed,
    )
    for row in kept:
        split = row.pop("split")
        own = "validation" if row["video_id"] in held_out else "train"
        parts[SPLITS[split] if split else own].append(row)
    return parts


def _count(rows: Sequence[Row], parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    counts = Counter({name: len(part) for name, part in parts.items()})
    counts["read"] = len(rows)
    counts["kept"] = counts["train"] + counts["validation"]
    counts.update(row["reason"] for row in parts["rejected"])
    return dict(counts)


def _summarize(
    config: Config,
    name: str,
    place: Path,
    counts: Mapping[str, int],
    parts: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    sizes = ", ".join(f"{counts[part]} {part}" for part in parts)
    lines = [f"import: {counts['read']} rows of {name} -> {sizes}, in {place}"]
    lines += [f"  {n:>7} {reason}" for reason, n in sorted(counts.items()) if "/" in reason]
    kept = [*parts["train"], *parts["validation"]]
    paths = {path for row in kept for kind in ("video", "image", "audio") if (path := row[kind])}
    n_missing = sum(not (config.data.root / path).is_file() for path in paths)
    if n_missing:
        lines.append(
            f"{n_missing} of {len(paths)} media files are not in {config.data.root}; "
            "set data.root to their folder before training"
        )
    if kept and not any(row["av_reasoning"] for row in kept):
        lines.append("this set has no traces: there is nothing for `avrt sft` to learn from")
    return "\n".join(lines)


def _card(name: str, source: Source, counts: Mapping[str, int]) -> str:
    header = {"license": "other", "language": ["en"], "tags": ["audio-visual", "imported"]}
    present = [part for part in ("train", "validation") if counts[part]]
    files = [{"split": part, "path": f"{part}.parquet"} for part in present]
    if files:
        header["configs"] = [{"config_name": "default", "data_files": files}]
    losses = "\n".join(
        f"| {reason} | {n} |" for reason, n in sorted(counts.items()) if "/" in reason
    )
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# {name}, imported

{counts["read"]} rows were read, {counts["kept"]} are kept: {counts["train"]} for training,
{counts["validation"]} for validation. Columns about teachers are NULL: the set has none of their
texts.

| reason | rows |
| --- | ---: |
{losses}

## Licence

{source.licence}
"""
