"""Recipes are valid settings, and what a user gives beside them wins."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.config import GrpoConfig, load_config
from avrt.config.packaged import packaged_config
from avrt.config.recipes import recipes
from avrt.errors import ConfigError


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_is_a_set_of_settings_that_takes_effect(name):
    settings = recipes()[name].settings
    grpo = load_config(None, (f"grpo.recipe={name}",)).grpo
    given = grpo.model_dump(include=set(settings), mode="json")
    assert given == settings
    others = set(GrpoConfig.model_fields) - set(settings) - {"recipe"}
    assert grpo.model_dump(include=others) == GrpoConfig().model_dump(include=others)


def test_settings_beside_a_recipe_win_and_a_recipe_wins_over_earlier_files(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("grpo: {beta: 0.5, epsilon: 0.1, max_steps: 7}")
    second.write_text("grpo: {recipe: gspo, epsilon: 0.3}")
    grpo = load_config([first, second]).grpo
    assert (grpo.beta, grpo.epsilon, grpo.max_steps) == (0.0, 0.3, 7)
    grpo = load_config([first], ("grpo.beta=0.2", "grpo.recipe=gspo")).grpo
    assert (grpo.beta, grpo.epsilon, grpo.max_steps) == (0.2, 3e-4, 7)


@pytest.mark.parametrize("name", ["paper", "paper-v2"])
def test_the_packaged_configurations_say_what_the_recipes_say(name):
    files = [packaged_config("paper"), *([packaged_config(name)] if name != "paper" else [])]
    settings = recipes()[name].settings
    grpo = load_config(files).grpo
    assert grpo.model_dump(include=set(settings), mode="json") == settings


def test_an_unknown_recipe_is_refused_with_the_likely_one():
    with pytest.raises(ConfigError, match=r"grpo\.recipe: no recipe 'gsp'; did you mean gspo"):
        load_config(None, ("grpo.recipe=gsp",))


def test_recipes_are_listed_with_their_sources():
    listed = CliRunner().invoke(cli, ["list", "recipes"]).output
    assert all(name in listed and recipe.source in listed for name, recipe in recipes().items())
    shown = CliRunner().invoke(cli, ["list", "recipes", "dapo"]).output
    assert "grpo.epsilon_high: 0.28" in shown
    assert "All other settings are the defaults" in " ".join(shown.split())
