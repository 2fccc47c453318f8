"""Recipes: named sets of GRPO's settings, with their sources, in `recipes.yaml`.

`grpo.recipe=NAME` puts them above the defaults; settings given beside it win.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources
from textwrap import fill
from typing import Any

import yaml

from avrt.config.section import Section
from avrt.errors import ConfigError

__all__ = ["Recipe", "find_recipe", "recipes", "render", "render_all"]


class Recipe(Section):
    """Settings that were published together."""

    title: str
    source: str
    settings: dict[str, Any]
    """Settings of `GrpoConfig`."""
    note: str
    """What is not published, or left out."""


@cache
def recipes() -> dict[str, Recipe]:
    """All recipes by name."""
    text = resources.files("avrt.config").joinpath("recipes.yaml").read_text(encoding="utf-8")
    return {name: Recipe.model_validate(tree) for name, tree in yaml.safe_load(text).items()}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in recipes():
        close = difflib.get_close_matches(name.lower(), list(recipes()), n=3, cutoff=0.4)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        raise ConfigError(f"no recipe {name!r}; {meant}`avrt list recipes` lists all")
    return recipes()[name]


def render_all() -> str:
    """All recipes as a table: name, title, source."""
    rows = [("RECIPE", "TITLE", "SOURCE")]
    rows += [(name, recipe.title, recipe.source) for name, recipe in recipes().items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(
        f"{name:<{widths[0]}}  {title:<{widths[1]}}  {source}" for name, title, source in rows
    )


def render(name: str) -> str:
    """The whole recipe, for reading."""
    recipe = find_recipe(name)
    lines = [f"{name}: {recipe.title}", f"use it with grpo.recipe={name}", ""]
    lines += [f"  grpo.{key}: {value}" for key, value in recipe.settings.items()]
    about = f"Source: {recipe.source}. {recipe.note} All other settings are the defaults."
    return "\n".join([*lines, "", fill(about, 96, break_on_hyphens=False)])
