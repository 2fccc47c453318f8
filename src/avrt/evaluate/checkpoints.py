"""The kept checkpoints of a training as models of their own, and the curves that they make.

The checkpoint of step 50 of `grpo` is the model `grpo@50`, and step 0 the model that the training
started from, where that is still there. Each is asked in the same way as the entry of `eval.models`
that names the training, so that the last point of a curve is that model's own result: equal
weights, equal questions, no second call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avrt.config import EvalModel
from avrt.engines.weights import model_identity, resolve
from avrt.errors import ConfigError
from avrt.evaluate.results import MODALITIES, ModelResult
from avrt.runs import kept_checkpoints
from avrt.texts import read_json

__all__ = ["Curve", "checkpoint_models", "curves_of", "split_name"]

_STAGE = re.compile(r"sft|grpo[A-Za-z0-9_-]*")
_NAME = re.compile(rf"({_STAGE.pattern})@(\d+)")


@dataclass(frozen=True)
class Curve:
    """The evaluated checkpoints of one training, on one benchmark in one modality."""

    benchmark: str
    modality: str
    protocol_id: str
    stage: str
    points: Sequence[tuple[int, ModelResult]]
    """(step, result), in order."""


def split_name(model: str) -> tuple[str, int] | None:
    """The training and the step of a checkpoint's name, such as `grpo@50`; None for other names."""
    match = _NAME.fullmatch(model)
    return (match[1], int(match[2])) if match else None


def checkpoint_models(
    run: Path, stage: str, models: Mapping[str, str | EvalModel], starts: Iterable[str]
) -> dict[str, EvalModel]:
    """The kept checkpoints of a training by name, in order of their steps.

    `models` are those of `eval.models`; `starts`, the models from which a training may start.

    Raises:
        ConfigError: no such training, none of its checkpoints was kept, or its entry in
            `eval.models` is reached by a server.
    """
    folder = run / stage
    kept = kept_checkpoints(folder) if _STAGE.fullmatch(stage) else {}
    if not kept:
        command = "sft" if stage == "sft" else "grpo"
        raise ConfigError(
            f"{folder}: no checkpoints were kept to be evaluated; train with "
            f"{command}.keep_checkpoints=all, or with a number above 2"
        )
    entry = EvalModel(model=stage)
    for name, value in models.items():
        if (value if isinstance(value, str) else value.model) == stage:
            entry = EvalModel(model=value) if isinstance(value, str) else value
            _refuse_server(name, stage, entry)
            break
    steps = _start(folder, starts) | {step: {"model": str(path)} for step, path in kept.items()}
    return {f"{stage}@{step}": entry.model_copy(update=model) for step, model in steps.items()}


def _refuse_server(name: str, stage: str, entry: EvalModel) -> None:
    if entry.engine is not None and entry.engine.kind == "openai":
        raise ConfigError(
            f"eval.models.{name}: a server has {stage}, but its checkpoints are folders here; "
            f"leave out eval.models.{name}.engine to evaluate them in this process"
        )


def _start(folder: Path, starts: Iterable[str]) -> dict[int, dict[str, str | None]]:
    """Step 0: the model that a training started from, if it is among `starts`."""
    student = read_json(folder / "checkpoints" / "stage.json")["settings"]["student"]
    wanted = {key: student[key] for key in ("model", "revision")}
    for start in dict.fromkeys(starts):
        if model_identity(start, wanted["revision"]) == wanted:
            is_folder = Path(resolve(start)).is_dir()
            return {0: {"model": start, "revision": None if is_folder else wanted["revision"]}}
    return {}


def curves_of(results: Iterable[ModelResult]) -> list[Curve]:
    """The curves that the results of checkpoints make; other results are left out.

    Points under different protocols are on different curves.
    """
    points: dict[tuple[str, str, str, str], list[tuple[int, ModelResult]]] = {}
    for result in results:
        if (named := split_name(result.model)) and result.has_media:
            key = (result.benchmark, result.modality, result.protocol_id, named[0])
            points.setdefault(key, []).append((named[1], result))
    keys = sorted(points, key=lambda key: (key[0], MODALITIES.index(key[1]), *key[2:]))
    return [Curve(*key, sorted(points[key], key=lambda point: point[0])) for key in keys]
