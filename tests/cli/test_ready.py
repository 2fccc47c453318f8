"""Facts about the ready configurations of the paper's experiments: a few lines over paper.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avrt.config import load_config
from avrt.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
OF_ANOTHER_RUN = {"run.name", "run.calls_from", "eval.published"}
DIFFERENCES = {
    "paper-gemma": {
        *OF_ANOTHER_RUN,
        "merger.preset",
        "merger.model",
    },
    "paper-audio-traces": {*OF_ANOTHER_RUN, "generate.traces_of"},
    "paper-vision-traces": {*OF_ANOTHER_RUN, "generate.traces_of"},
    "paper-rl-only": {"grpo.init", "grpo.output"},
    "paper-v2": {
        "run.name",
        *(f"grpo.{name}" for name in ("data", "max_steps", "length_weight")),
    },
}


def leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or prefix == "eval.published":
        return {prefix: tree}
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}.{name}".lstrip("."))
    return found


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_ready_configuration_differs_from_the_papers_in_what_it_is_about(name: str) -> None:
    paths = [CONFIGS / "paper.yaml", CONFIGS / f"{name}.yaml"]
    paper, own = (
        leaves(load_config(files).model_dump(mode="json")) for files in (paths[:1], paths)
    )
    assert {key for key in own | paper if own.get(key) != paper.get(key)} == DIFFERENCES[name]


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_stage_of_a_ready_configuration_can_be_planned(
    name: str, avrt: Any, prepared: Path
) -> None:
    files = [str(CONFIGS / "paper.yaml"), str(CONFIGS / f"{name}.yaml")]
    for command in ("prepare", "generate", "stats", "sft", "grpo", "report"):
        result = avrt(command, *files, f"data.root={prepared / 'data'}", "--dry-run")
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", [*DIFFERENCES, "paper-eval"])
def test_a_file_of_differences_is_refused_alone_and_in_the_place_of_the_first(name: str) -> None:
    """It would be completed with defaults, or lose its settings to the other file."""
    paper, own = CONFIGS / "paper.yaml", CONFIGS / f"{name}.yaml"
    for files in ([own], [own, paper]):
        with pytest.raises(ConfigError, match=f"give that one before it: {paper} {own}"):
            load_config(files)


def test_the_dry_run_of_the_traces_of_one_teacher_promises_no_call_of_the_merger(avrt: Any) -> None:
    files = [str(CONFIGS / "paper.yaml"), str(CONFIGS / "paper-audio-traces.yaml")]
    output = avrt("generate", *files, "--dry-run").output
    assert (
        "merge: no call; the traces of teacher audio about the samples of the view 'paper'"
        in output
    )
