"""A small experiment as a file, for tests to change; nothing in it is run unless a test does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from avrt.experiments.arms import Runs

Resolve = Callable[[dict[str, Any]], Runs]

SMALL: dict[str, Any] = {
    "title": "Small",
    "question": "Does it work?",
    "seeds": [0, 1],
    "world": {"n_train": 8, "n_bench": 4, "n_audio": 2},
    "arms": {
        "data": {"stages": ["world", "prepare", "trace", "merge", "build"]},
        "sft": {"from": "data", "stages": ["sft", "eval"], "settings": {"sft.epochs": 2}},
        "rl": {"from": "sft", "stages": ["grpo", "eval"], "settings": {"grpo.max_steps": 3}},
    },
    "benchmarks": {"world-bench": ["a", "av"]},
}


def write_experiment(folder: Path, tree: dict[str, Any], name: str = "small") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def changed(*path: str, value: Any) -> dict[str, Any]:
    """The experiment with another value at this place."""
    tree = copy.deepcopy(SMALL)
    node = tree
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = value
    return tree
