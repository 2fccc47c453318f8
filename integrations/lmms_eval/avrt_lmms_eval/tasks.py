"""The functions that the tasks call, and the files of a task.

A task's rows are AVRT's items, each with its question as it is asked and all that its scorers need;
the two metrics are those of `avrt eval`: `strict`, and `official`, the authors' rule with its own
denominator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from avrt.config import DataConfig
from avrt.datasets import read_items
from avrt.evaluate.benchmarks import BENCHMARKS, official_prompt
from avrt.evaluate.scoring import score
from avrt.prompts import format_options, load_prompt
from avrt.types import BenchmarkItem, Completion, Modality, Sample

__all__ = [
    "doc_to_messages",
    "doc_to_target",
    "doc_to_text",
    "official_mean",
    "process_results",
    "strict_mean",
    "write_task",
]

MAX_NEW_TOKENS = 1024


def write_task(data: DataConfig, folder: Path, prompt: str, modality: Modality) -> Path:
    """Write the rows and the YAML file of one task; returns the latter.

    `prompt` is `official` or the name of a packaged prompt or a file.
    """
    items = list(read_items(data))
    name = f"avrt_{data.format}_{modality}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / f"{name}.jsonl"
    lines = (json.dumps(_row(item, data, prompt, modality), ensure_ascii=False) for item in items)
    rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / f"{name}.yaml"
    path.write_text(_task_text(name, rows), encoding="utf-8")
    return path


def doc_to_messages(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """The question as chat messages: media, named by path, before the text."""
    media = [{"type": part["type"], "url": part["url"]} for part in json.loads(doc["media"])]
    content = [*media, {"type": "text", "text": doc["text"]}]
    user = {"role": "user", "content": content}
    if not doc["system"]:
        return [user]
    return [{"role": "system", "content": [{"type": "text", "text": doc["system"]}]}, user]


def doc_to_text(doc: dict[str, Any]) -> str:
    """The question alone, for lmms-eval's log."""
    return doc["text"]


def doc_to_target(doc: dict[str, Any]) -> str:
    """The gold letter."""
    return doc["target"]


def process_results(doc: dict[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """Both verdicts on one reply; an empty reply is a call that failed."""
    item = _item(json.loads(doc["item"]))
    text = results[0] if results[0].strip() else None
    strict = 0.0 if text is None else score(Completion(text, "stop"), item.sample).value
    verdict = BENCHMARKS[doc["format"]].official(text, item)
    return {
        "strict": strict,
        "official": {"correct": verdict.correct, "counted": verdict.counted},
    }


def strict_mean(values: Sequence[float]) -> float:
    """Accuracy; all items are in the denominator."""
    return sum(values) / len(values)


def official_mean(values: Sequence[dict[str, bool]]) -> float:
    """Accuracy by the authors' rule, of the items that they count."""
    counted = [value["correct"] for value in values if value["counted"]]
    return sum(counted) / len(counted) if counted else 0.0


def _row(item: BenchmarkItem, data: DataConfig, prompt: str, modality: Modality) -> dict[str, Any]:
    sample = item.sample
    if prompt == "official":
        system, text = official_prompt(BENCHMARKS[data.format], item, modality)
    else:
        system, text = load_prompt(prompt).fill(
            question=sample.question, options=format_options(sample.options)
        )
    named = {
        "video": sample.video if "v" in modality else None,
        "image": sample.image if "v" in modality and sample.video is None else None,
        "audio": sample.sound_path if "a" in modality else None,
    }
    media = [
        {"type": kind, "url": str((data.root / path).resolve())}
        for kind, path in named.items()
        if path is not None
    ]
    return {
        "id": sample.id,
        "format": data.format,
        "system": system or "",
        "text": text,
        "media": json.dumps(media),
        "target": sample.target,
        "item": json.dumps(asdict(item), ensure_ascii=False),
    }


def _item(content: dict[str, Any]) -> BenchmarkItem:
    sample = content["sample"]
    return BenchmarkItem(
        Sample(**{**sample, "options": tuple(sample["options"])}),
        content["groups"],
        content["row"],
    )


def _task_text(name: str, rows: Path) -> str:
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "generation_kwargs": {
            "max_new_tokens": MAX_NEW_TOKENS,
            "temperature": 0,
            "do_sample": False,
        },
        "metadata": {"version": 1.0},
    }
    module = "avrt_lmms_eval.tasks"
    functions = ("doc_to_messages", "doc_to_text", "doc_to_target", "process_results")
    lines = [f"{function}: !function {module}.{function}" for function in functions]
    lines.append("metric_list:")
    for metric in ("strict", "official"):
        lines += [
            f"  - metric: {metric}",
            f"    aggregation: !function {module}.{metric}_mean",
            "    higher_is_better: true",
        ]
    return yaml.safe_dump(config, sort_keys=False) + "\n".join(lines) + "\n"
