"""Published models and their figures: `published.yaml`, and the functions that read it.

A model with a checkpoint is a preset of evaluated models (`eval.models.NAME.preset`). The figures
stand beside those of a run in `avrt tables`; nothing is computed from them.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeAlias, get_args

import yaml

from avrt.config.section import Section
from avrt.errors import ConfigError
from avrt.types import Given

__all__ = [
    "STATES",
    "Baseline",
    "Figure",
    "State",
    "baselines",
    "find_baseline",
    "render",
    "render_all",
    "role_of_baseline",
]


State: TypeAlias = Literal["v1", "v2", "eccv"]
STATES: tuple[State, ...] = get_args(State)
"""The paper as first submitted, on arXiv, and on the page of the published version."""


class Figure(Section):
    """One published accuracy."""

    benchmark: str
    """A format of `eval.benchmarks`."""
    given: Given = "av"
    difficulty: Literal["easy", "medium", "hard"] | None = None
    """Difficulty of the items that were counted; None: all items."""
    value: float
    """Per cent."""
    source: Literal["published", "reproduced", "v1", "v2", "eccv"]
    states: tuple[State, ...] = ()
    """States of the paper that print it; empty: the one that is the source, else all."""

    @property
    def printed_in(self) -> tuple[State, ...]:
        """States of the paper that print it."""
        own: tuple[State, ...] = tuple(state for state in STATES if state == self.source)
        return self.states or own or STATES

    @property
    def label(self) -> str:
        """Whose figure it is, for readers."""
        return ", ".join(self.printed_in) if self.source in STATES else self.source


class Baseline(Section):
    """A published model."""

    title: str
    model: str | None = None
    """Checkpoint of Qwen2.5-Omni's architecture; None: the model has another."""
    served: str | None = None
    """Checkpoint of another architecture, which a server of the user's has to run."""
    prompt: str | None = None
    """Prompt in the form in which its authors ask; None: as any other model is asked."""
    prompt_source: str = ""
    """Where that form is published."""
    teacher: str | None = None
    """Preset of the teacher that it is (`avrt list teachers`)."""
    same_as: str | None = None
    """The published model that it is, in another table's words; its figures are those."""
    figures: tuple[Figure, ...] = ()

    def figures_of(self, benchmark: str, given: str, difficulty: str | None = None) -> list[Figure]:
        """The published figures of a set, input and difficulty."""
        wanted = (benchmark, given, difficulty)
        return [f for f in self.figures if (f.benchmark, f.given, f.difficulty) == wanted]


@cache
def baselines() -> dict[str, Baseline]:
    """All published models by name, in the order of the paper's tables."""
    text = resources.files("avrt.config").joinpath("published.yaml").read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    return {
        name: Baseline.model_validate(
            {"figures": tree[entry.get("same_as", name)]["figures"]} | entry
        )
        for name, entry in tree.items()
    }


def find_baseline(name: str) -> Baseline:
    """The published model of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in baselines():
        close = difflib.get_close_matches(name.lower(), baselines(), n=2, cutoff=0.4)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        raise ConfigError(f"no published model {name!r}; {meant}`avrt list baselines` lists all")
    return baselines()[name]


def render_all() -> str:
    """Every published model with how it is evaluated, in a table."""
    rows = [("BASELINE", "MODEL", "EVALUATED BY")]
    rows += [(name, model.title, _way(name, model)) for name, model in baselines().items()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{a:{widths[0]}}  {b:{widths[1]}}  {way}" for a, b, way in rows)


def render(name: str) -> str:
    """One published model with its figures."""
    model = find_baseline(name)
    lines = [f"{name}: {model.title}", f"evaluated by {_way(name, model)}"]
    lines += [f"asked with {model.prompt}: {model.prompt_source}"] if model.prompt else []
    lines.append("")
    lines += [f"  {_about(f):34}  {f.value:5.1f} %  {f.label}" for f in model.figures]
    return "\n".join(lines)


def _about(figure: Figure) -> str:
    level = f", {figure.difficulty}" if figure.difficulty else ""
    return f"{figure.benchmark}, {figure.given.upper()}{level}"


def _way(name: str, baseline: Baseline) -> str:
    if baseline.model is not None:
        return f"eval.models.NAME.preset={name} ({baseline.model})"
    if baseline.served is not None:
        server = f"and a server of your own ({baseline.served})"
        file = f"or avrt eval --predictions FILE --model {name}"
        return f"eval.models.NAME.preset={name} {server}, {file}"
    if baseline.teacher is not None:
        return f"eval.models.NAME.preset={baseline.teacher}"
    own = name.startswith(("avrt", "merger", "traces"))
    return "its own training run" if own else f"avrt eval --predictions FILE --model {name}"


def role_of_baseline(name: str) -> dict[str, Any]:
    """The settings of an evaluated model that is this baseline.

    Raises:
        ConfigError: it has no checkpoint that AVRT can run.
    """
    baseline = find_baseline(name)
    prompt = {"prompt": baseline.prompt} if baseline.prompt else {}
    if baseline.model is not None:
        return {"model": baseline.model, **prompt}
    if baseline.served is not None:
        return {"model": baseline.served, "engine": {"kind": "openai"}, **prompt}
    raise ConfigError(
        f"baseline {name!r} has no checkpoint that AVRT can run; it is evaluated by: "
        f"{_way(name, baseline)}"
    )
