"""GRPO's prompts: the samples that are trained on, and those held out for the curve of accuracy.

Reads RUN/dataset/train.parquet and validation.parquet, or RUN/samples.parquet (`grpo.data`), and
for `grpo.view` RUN/traces/teachers.parquet. Clips, not rows, are held out, as the stage `build`
does; of all samples the same share, by the same seeded rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.config import BuildConfig, GrpoConfig
from avrt.datasets.prepared import load_prepared, load_samples
from avrt.errors import ConfigError
from avrt.generate.build import validation_clips
from avrt.generate.records import answers_about, teachers_path
from avrt.generate.views import ViewTable, condition_of, view_row
from avrt.runs import read_table
from avrt.train.data import Example, prompts_path, read_examples, split_path

__all__ = ["GrpoPrompts", "choice_of_prompts", "read_grpo_prompts"]


@dataclass(frozen=True)
class GrpoPrompts:
    """The prompts of a training, in file order."""

    trained: list[Example]
    held_out: list[Example]
    """About clips that are trained on neither here nor, as far as the run knows, in SFT."""


def read_grpo_prompts(run: Path, grpo: GrpoConfig, build: BuildConfig, seed: int) -> GrpoPrompts:
    """Read the prompts of the training that `grpo` describes.

    Raises:
        DataError: as `read_examples`, but a trace may be missing.
        ConfigError: `grpo.view` is no view, or no prompt is in it.
    """
    if grpo.data == "samples":
        prompts = _of_samples(run, build.validation_fraction, seed)
    else:
        trained = read_examples(prompts_path(run, grpo), need_trace=False)
        held_out = []
        if grpo.eval_samples:
            held_out = read_examples(split_path(run, "validation"), need_trace=False)
        prompts = GrpoPrompts(trained, _without(held_out, _clips(trained)))
    if grpo.view is None:
        return prompts
    ids = _ids_in_view(run, grpo.view, condition_of(grpo.view, build.views), prompts.trained)
    chosen = [example for example in prompts.trained if example.sample.id in ids]
    if not chosen:
        raise ConfigError(
            f"grpo.view = {grpo.view!r}: none of the {len(prompts.trained)} prompts is in it; "
            "choose another view, or null for all"
        )
    return GrpoPrompts(chosen, prompts.held_out)


def choice_of_prompts(
    run: Path, grpo: GrpoConfig, build: BuildConfig
) -> tuple[dict[str, Any], list[Path]]:
    """Give the settings beside `grpo` and the files that decide which prompts are trained on."""
    settings: dict[str, Any] = {}
    files = [prompts_path(run, grpo)]
    if grpo.data == "samples":
        settings["held_out"] = build.validation_fraction
    if grpo.view is not None:
        settings["condition"] = condition_of(grpo.view, build.views)
        files += [path for path in (teachers_path(run),) if path.is_file()]
    return settings, files


def _of_samples(run: Path, validation_fraction: float, seed: int) -> GrpoPrompts:
    samples = load_prepared(run, "av")
    clips = validation_clips(samples.column("video_id"), validation_fraction, seed)
    trained = [Example(s, "") for s in samples.where("video_id", lambda clip: clip not in clips)]
    held_out = [Example(sample, "") for sample in samples.where("video_id", clips.__contains__)]
    fine_tuned = split_path(run, "train")
    if fine_tuned.is_file():
        seen = set(read_table(fine_tuned, ["video_id"]).column(0).to_pylist())
        held_out = _without(held_out, seen)
    return GrpoPrompts(trained, held_out)


def _ids_in_view(run: Path, view: str, condition: str, prompts: Sequence[Example]) -> set[str]:
    """The ids of the samples in a view; without traces it has the columns of the questions."""
    if teachers_path(run).is_file():
        pairs = answers_about(run, load_samples(run), with_texts=False)
        rows = (view_row(sample, answers) for sample, answers in pairs)
    else:
        whole = (view_row(example.sample, {}) for example in prompts)
        rows = ({name: row[name] for name in row if name != "stratum"} for row in whole)
    with ViewTable(rows) as table:
        return table.matching(view, condition)


def _clips(examples: Sequence[Example]) -> set[str]:
    return {example.sample.video_id for example in examples}


def _without(examples: Sequence[Example], clips: set[str]) -> list[Example]:
    return [example for example in examples if example.sample.video_id not in clips]
