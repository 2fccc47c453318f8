"""The dataset's card: where its rows come from, what was lost and why, which models wrote them.

Writes dataset/README.md in the form the Hub reads. Generated from the counts and from the
manifests of the stages that called the models, so it cannot disagree with the files. Gates and
judges stand in it with their results on labelled traces, and with the leaks that they may have
missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from avrt.config import BuildConfig
from avrt.generate.quality import Check, render_checks
from avrt.generate.records import STRATA
from avrt.generate.views import condition_of
from avrt.runs import write_atomic

__all__ = ["write_card"]

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


_GIVEN = {"v": "frames", "a": "sound", "av": "frames and sound", "none": "text"}


def write_card(
    path: Path,
    build: BuildConfig,
    stages: Mapping[str, Mapping[str, Any]],
    sums: tuple[Mapping[str, int], Mapping[tuple[str, str], int]],
    checks: Sequence[Check],
) -> None:
    """Write the card.

    `stages` holds the settings of `trace` and `merge` in their manifests, and the judges under
    `judge`; `sums` the counts, and the rejected samples by stage and reason.
    """
    counts, losses = sums
    sections = [
        f"---\n{yaml.safe_dump(_header(counts), sort_keys=False)}---\n",
        _introduction(build, bool(stages["judge"]), stages["merge"].get("traces_of"), counts),
        _attrition(counts, losses),
        _strata(counts),
        _quality(checks),
        _models(stages["trace"], stages["merge"], stages["judge"]),
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


def _introduction(
    build: BuildConfig, is_judged: bool, traces_of: str | None, counts: Mapping[str, int]
) -> str:
    judged = (
        " The findings of the judges, with the words that show them, stand in `findings`."
        if is_judged
        else ""
    )
    origin = (
        """Every teacher saw or heard only its own half of a clip; a text model that was
given the right answer merged their texts."""
        if traces_of is None
        else f"""The trace is the text of the teacher `{traces_of}` alone, which
did not know the answer, in this form."""
    )
    return f"""# Audio-visual reasoning traces

Multiple-choice questions about clips, each with a `<think>…</think><answer>X</answer>` trace
(`av_reasoning`). {origin} A row is here when the view `{build.view}` holds,

    {condition_of(build.view, build.views)}

and its trace passed the gates {", ".join(f"`{name}`" for name in build.gates)}. The fault that a
gate sees in a trace stands in the column `gates`, also for gates that reject nothing.{judged}
{counts["train"]} rows for training, {counts["validation"]} for validation; no clip is in both.
`rejected.parquet` holds every other sample with the stage and the reason. Media are named, not
included.
"""


def _attrition(counts: Mapping[str, int], losses: Mapping[tuple[str, str], int]) -> str:
    lines = [
        "## What was lost",
        "",
        "| stage | reason | samples |",
        "| --- | --- | ---: |",
    ]
    lines.append(f"| | read | {counts['read']} |")
    lines += [f"| {stage} | {reason} | -{n} |" for (stage, reason), n in sorted(losses.items())]
    lines.append(f"| | kept | {counts['kept']} |")
    return "\n".join(lines) + "\n"


def _strata(counts: Mapping[str, int]) -> str:
    title = "## Which teacher was right"
    note = "By their first answers, over all samples that were answered, kept or not (`stratum`)."
    lines = [title, "", note, "", "| stratum | samples |", "| --- | ---: |"]
    lines += [f"| {name} | {counts[f'stratum/{name}']} |" for name in STRATA]
    return "\n".join(lines) + "\n"


def _quality(checks: Sequence[Check]) -> str:
    title = "## How the traces were checked"
    note = (
        "Gates are rules, judges are models that quote the words they object to. Precision and "
        "recall are those on labelled traces which no author of a rule or a prompt has read."
    )
    return "\n".join([title, "", note, "", render_checks(checks)])


def _models(traced: Mapping[str, Any], merged: Mapping[str, Any], judges: Mapping[str, Any]) -> str:
    lines = [
        "## Which models wrote it",
        "",
        "| role | given | model | revision | prompt (sha256) | temp. | top-p | tokens | answers |",
        "| --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    roles = {
        f"{name} teacher": role
        for name, role in traced.items()
        if isinstance(role, dict) and "modality" in role
    }
    graders = {f"{name} judge": role for name, role in judges.items()}
    merger = {"merger": merged["merger"]} if "merger" in merged else {}
    for name, role in {**roles, **merger, **graders}.items():
        engine = role["engine"]
        revision = engine.get("revision") or engine.get("script") or "not pinned"
        lines.append(
            f"| {name} | {_GIVEN[role.get('modality', 'none')]} | {engine['model']} "
            f"| {revision[:12]} | {role['prompt'][:12]} | {role['temperature']:g} "
            f"| {role['top_p']:g} | {role['max_new_tokens']} "
            f"| {role.get('k', role.get('votes', 1))} |"
        )
    media = traced["media"]
    seconds = media["max_audio_s"]
    sound = "all sound" if seconds is None else f"{seconds:g} s of sound"
    rate = "" if media.get("fps") is None else f"{media['fps']:g} frames per second, at most "
    recipe = f"{rate}{media['n_frames']} frames and {sound} per clip"
    shown = "another order for every answer" if traced["shuffle_options"] else "the stored order"
    return "\n".join([*lines, "", f"Seed {traced['seed']}; {recipe}; options in {shown}."]) + "\n"


_LICENCE = """## Licence and limits

The terms of the teachers and of the merger flow to the texts they wrote, and those of the source
dataset to its questions; read them before publishing or using this set commercially. Copyright in
the clips stays with their owners. The traces are synthetic: nobody checked that their reasoning is
what the clip shows. "Both teachers right" keeps the questions that one modality can answer alone,
and lets a pure guess of both pass in 1 of 16 cases with four options.
"""
