"""The numbers that a plan is reckoned with, each with the place that it comes from.

Reads rates.yaml of the package, and a file of the user. Of several values of one rate the first
counts: given by the user, measured in the run, stated by the package, reckoned from other rates.

The decision to question: a rate that nobody measured is used all the same, because a plan is wanted
before anything was measured; its source says so beside every result.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from avrt.config.files import read_yaml
from avrt.errors import ConfigError

__all__ = ["Rate", "Rates", "given_rates", "model_rates", "stated_rates"]

OF_ROLE = (
    *("prompt_tokens", "reply_tokens", "gpu_s", "prompt_price", "reply_price"),
    *("parameters_b", "active_b", "trained_b", "cache_kb", "adapter_m"),
)
"""Rates of a role, such as `teachers.vision.reply_tokens`, and of the student."""
OTHERS = (
    *("sft.sample_gpu_s", "grpo.prompt_gpu_s", "checkpoint.gb", "model.gb"),
    *("sample.traces_kb", "sample.dataset_kb", "clip.frames_mb", "clip.sound_mb"),
    "call.stored_kb",
)
"""Rates that are measured or reckoned, never stated."""
NOT_ZERO = (
    *("gpu.memory_gb", "gpu.memory_share", "gpu.tflops", "gpu.compute_share", "gpu.tb_per_s"),
    *("gpu.bandwidth_share", "gpu.cores", "frame.pixels_per_token"),
)
"""Rates by which something is divided."""


@dataclass(frozen=True)
class Rate:
    """A number, and where it is from."""

    value: float
    origin: str
    """given, measured, stated or reckoned."""
    source: str
    unit: str = ""


class Rates:
    """The rates of a plan; it notes which of them are used."""

    def __init__(self, *layers: Mapping[str, Rate]) -> None:
        """Of several layers the first that has a rate counts."""
        self._layers = layers
        self.used: dict[str, Rate] = {}
        """All that were asked for, in that order."""

    def get(self, name: str, reckon: Callable[[], tuple[float, str]] | None = None) -> float:
        """The value of a rate; `reckon` gives it, and the formula, where no layer has it."""
        found = next((layer[name] for layer in self._layers if name in layer), None)
        if found is None:
            if reckon is None:
                raise KeyError(name)
            value, formula = reckon()
            found = Rate(value, "reckoned", formula)
        self.used[name] = found
        return found.value

    def has(self, name: str) -> bool:
        """Whether a layer has the rate."""
        return any(name in layer for layer in self._layers)

    @contextmanager
    def noted(self) -> Iterator[dict[str, Rate]]:
        """The rates that are used inside the block; they stay noted for the whole plan too."""
        before, self.used = self.used, {}
        try:
            yield self.used
        finally:
            self.used = {**before, **self.used}


@cache
def _table() -> dict[str, Any]:
    text = resources.files("avrt.planning").joinpath("rates.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def stated_rates() -> dict[str, Rate]:
    """The rates of the package."""
    return {
        name: Rate(float(rate["value"]), "stated", rate["source"], rate["unit"])
        for name, rate in _table()["rates"].items()
    }


def model_rates(role: str, model: str) -> dict[str, Rate]:
    """The rates of a role that the package states for its model; empty for an unknown model."""
    sizes = _table()["models"].get(model, {})
    sources = {"reply_tokens": f"assumed of {model}"}
    known = f"{model}, from memory: check"
    return {
        f"{role}.{key}": Rate(float(value), "stated", sources.get(key, known))
        for key, value in sizes.items()
    }


def given_rates(path: Path | None, options: Sequence[str], roles: Sequence[str]) -> dict[str, Rate]:
    """The user's rates, those of the command line above those of the file.

    Args:
        path: a YAML file of `NAME: VALUE`.
        options: texts `NAME=VALUE`.
        roles: names of the configuration's roles, such as `teachers.vision`.

    Raises:
        ConfigError: an unreadable file, an unknown name, or a value that no rate can have.
    """
    rates = _read_file(path) if path is not None else {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--rate {option}: expected NAME=VALUE, such as gpu.price=2.5")
        rates[name.strip()] = (text.strip(), "--rate")
    known = {*stated_rates(), *OTHERS, *(f"{role}.{key}" for role in roles for key in OF_ROLE)}
    return {
        name: Rate(_checked(name, value, known), "given", origin)
        for name, (value, origin) in rates.items()
    }


def _read_file(path: Path) -> dict[str, tuple[Any, str]]:
    return {str(name): (value, path.name) for name, value in read_yaml(path).items()}


def _checked(name: str, value: Any, known: set[str]) -> float:
    if name not in known and not (name.startswith("eval.") and name.endswith(".items")):
        close = difflib.get_close_matches(name, sorted(known), n=3)
        meant = f"did you mean {' or '.join(close)}?" if close else "`avrt plan` lists the rates"
        raise ConfigError(f"rate {name}: there is none of this name; {meant}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number < 1e15:
        raise ConfigError(f"rate {name} = {value}: expected a number from 0 on, below 1e15")
    is_share = name.endswith("_share") or name.startswith("kept.") or name == "text.packed"
    if is_share and number > 1:
        raise ConfigError(f"rate {name} = {value}: it is a share, from 0 to 1")
    if number == 0 and (name in NOT_ZERO or name.endswith(("cache_kb", "parameters_b"))):
        raise ConfigError(f"rate {name} = 0: expected a number above 0")
    return number
