"""The dataset's card: where its rows come from, what was lost and why, which models wrote them.

Writes dataset/README.md in the form the Hub reads. Generated from the counts and from the
manifests of the stages that called the models, so it cannot disagree with the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from avrt.generate.records import STRATA
from avrt.runs import write_atomic

__all__ = ["write_card"]

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_VIEWS = {
    "paper": "both teachers answered rightly",
    "either": "at least one teacher answered rightly",
    "unfiltered": "both teachers gave an answer, right or wrong",
}


def write_card(
    path: Path,
    view: str,
    traced: Mapping[str, Any],
    merged: Mapping[str, Any],
    counts: Mapping[str, int],
    losses: Mapping[tuple[str, str], int],
) -> None:
    """Write the card.

    `traced` and `merged` are the settings in the manifests of those stages; `losses` counts the
    rejected samples by stage and reason.
    """
    sections = [
        f"---\n{yaml.safe_dump(_header(counts), sort_keys=False)}---\n",
        _introduction(view, counts),
        _attrition(counts, losses),
        _strata(counts),
        _models(traced, merged),
        _LICENCE,
    ]
    text = "\n".join(sections)
    write_atomic(path, lambda file: file.write(text.encode()))


def _header(counts: Mapping[str, int]) -> dict[str, object]:
    size = next((name for limit, name in _SIZES if counts["kept"] < limit), "n>1M")
    present = [name for name in ("train", "validation") if counts[name]]
    header: dict[str, object] = {
        "license": "other",
        "language": ["en"],
        "task_categories": ["video-text-to-text", "multiple-choice", "visual-question-answering"],
        "tags": ["synthetic", "chain-of-thought", "audio-visual", "distillation"],
        "size_categories": [size],
    }
    if present:
        files = [{"split": name, "path": f"{name}.parquet"} for name in present]
        header["configs"] = [{"config_name": "default", "data_files": files}]
    return header


def _introduction(view: str, counts: Mapping[str, int]) -> str:
    return f"""# Audio-visual reasoning traces

Multiple-choice questions about clips, each with a `<think>…</think><answer>X</answer>` trace
(`av_reasoning`). A vision teacher saw only frames, an audio teacher heard only sound; a text model
that was told the right answer merged what they wrote. A row is here when {_VIEWS[view]} (view
`{view}`) and its trace passed the gates. {counts["train"]} rows for training,
{counts["validation"]} for validation; no clip is in both. `rejected.parquet` holds every other
sample with the stage and the reason. Media are named, not included.
"""


def _attrition(counts: Mapping[str, int], losses: Mapping[tuple[str, str], int]) -> str:
    lines = ["## What was lost", "", "| stage | reason | samples |", "| --- | --- | ---: |"]
    lines.append(f"| | read | {counts['read']} |")
    lines += [f"| {stage} | {reason} | -{n} |" for (stage, reason), n in sorted(losses.items())]
    lines.append(f"| | kept | {counts['kept']} |")
    return "\n".join(lines) + "\n"


def _strata(counts: Mapping[str, int]) -> str:
    title = "## Which teacher was right"
    note = "Over all samples that both teachers answered, kept or not (`stratum`)."
    lines = [title, "", note, "", "| stratum | samples |", "| --- | ---: |"]
    lines += [f"| {name} | {counts[f'stratum/{name}']} |" for name in STRATA]
    return "\n".join(lines) + "\n"


def _models(traced: Mapping[str, Any], merged: Mapping[str, Any]) -> str:
    lines = [
        "## Which models wrote it",
        "",
        "| role | model | revision | prompt (sha256) | temperature | top-p | max. new tokens |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    roles = {
        "vision teacher": traced["vision"],
        "audio teacher": traced["audio"],
        "merger": merged["merger"],
    }
    for name, role in roles.items():
        engine = role["engine"]
        revision = engine.get("revision") or engine.get("script") or "not pinned"
        lines.append(
            f"| {name} | {engine['model']} | {revision[:12]} | {role['prompt'][:12]} "
            f"| {role['temperature']:g} | {role['top_p']:g} | {role['max_new_tokens']} |"
        )
    media = traced["media"]
    recipe = f"{media['n_frames']} frames and {media['max_audio_s']:g} s of sound per clip"
    return "\n".join([*lines, "", f"Seed {traced['seed']}; {recipe}."]) + "\n"


_LICENCE = """## Licence and limits

The terms of the teachers and of the merger flow to the texts they wrote, and those of the source
dataset to its questions; read them before publishing or using this set commercially. Copyright in
the clips stays with their owners. The traces are synthetic: nobody checked that their reasoning is
what the clip shows. "Both teachers right" keeps the questions that one modality can answer alone,
and lets a pure guess of both pass in 1 of 16 cases with four options.
"""
