"""Files of experiments: typos are refused with the remedy before anything is made."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from avrt.errors import ConfigError
from avrt.experiments.arms import resolve_runs
from avrt.experiments.plan import packaged_experiments, read_experiment
from small_experiment import SMALL, Resolve, changed, write_experiment

CLAIM = {"claim": "RL helps", "better": "rl av", "than": "sft av"}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (changed("tilte", value="x"), r"unknown key 'tilte'; did you mean 'title'\?"),
        (changed("arms", "rl", "stage", value=[]), r"'arms\.rl\.stage'; did you mean 'stages'\?"),
        (changed("arms", "rl", "from", value="stf"), r"from = 'stf': no such name; .*'sft'\?"),
        (changed("arms", "data", "from", value="rl"), r"arms\.data\.from leads back to itself"),
        (changed("arms", "sft", "stages", value=["eval", "sft"]), r"in the order sft, eval"),
        (changed("arms", "sft", "stages", value=["stf"]), r"arms\.sft\.stages\.0 = \"stf\""),
        (changed("arms", "sft", "settings", value={"sft.epoch": 2}), r"arms\.sft.*'sft\.epochs'"),
        (changed("arms", "sft", "settings", value={"sft.epochs": -1}), r"arms\.sft.*greater"),
        (
            changed("arms", "sft", "settings", value={"student.model": "{dta}/sft/model"}),
            r"arms\.sft\.settings: \{dta\} is no other arm; known: data, rl",
        ),
        (changed("settings", value={"sft.epoch": 2}), r"did you mean 'sft\.epochs'"),
        (changed("configs", value=["dmeo"]), r"dmeo: no such configuration"),
        (changed("benchmarks", value={"world-bnch": ["av"]}), r"world-bnch.*'world-bench'\?"),
        (changed("seeds", value=[1, 1]), r"seeds: name one or more, each once"),
        (
            changed("claims", value=[CLAIM | {"better": "lr av"}]),
            r"better = 'lr': no such name; known: sft, rl",
        ),
        (changed("claims", value=[CLAIM | {"than": "sft v"}]), r"'v': no such name; .*'av'\?"),
        (changed("claims", value=[CLAIM | {"metric": "acuracy"}]), r"'accuracy'\?"),
        (changed("claims", value=[CLAIM | {"metric": "kl"}]), r"arm 'sft' evaluates no model of G"),
        (
            changed("claims", value=[CLAIM | {"metric": "errors.walk", "better": "rl a"}]),
            "av alone",
        ),
        (changed("claims", value=[CLAIM | {"factor": 0.5, "at_least": 1}]), r"leave out at_least"),
        (changed("claims", value=[CLAIM | {"factor": 0.5}]), r"factor is for .* unlike accuracy"),
        (changed("claims", value=[CLAIM | {"than": "rl av"}]), r"better and than are the same"),
        (changed("claims", value=[CLAIM | {"than": "rl av world-bench"}]), r"are the same"),
        (changed("claims", value=[CLAIM | {"at_least": 101}]), r"at most 100"),
        (changed("claims", value=[CLAIM | {"at_least": -5}]), r"greater than or equal to 0"),
        (
            changed("claims", value=[CLAIM | {"factor": 1.5, "metric": "tokens"}]),
            r"factor = 1\.5: must be less than or equal to 1",
        ),
        (
            changed("claims", value=[{"claim": "short", "better": "rl av", "metric": "minutes"}]),
            r"less of minutes is better, so name in `than`",
        ),
        (
            changed("claims", value=[{"claim": "moves", "better": "rl av", "metric": "kl"}])
            | {"settings": {"grpo.beta": 0.0}},
            r"arm 'rl' measures none; set grpo\.kl_steps",
        ),
        (changed("seeds", value=[True, False]), r"seeds\.0 = true: must be a valid integer"),
        (
            changed("arms", "sft", "settings", value={"sft": {"limit": 3}}),
            r"arms\.sft\.settings\.sft: a section as a whole .* such as sft\.limit",
        ),
        (
            changed("settings", value={"eval.models.x": "base"}),
            r"settings: eval\.models\.x: models of an arm's own stand in that arm's settings",
        ),
        (
            changed("arms", "sft", "settings", value={"eval.models": {"x": "base"}}),
            r"arms\.sft\.settings: eval\.models: models of an arm's own",
        ),
        (
            changed("arms", "base", value={"stages": ["eval"]}),
            r"benchmarks\.world-bench: arms rl and base would get other items, of .*/seed-0 and",
        ),
        (
            changed("arms", "sft", "settings", value={"student.model": "{RL}/grpo/model"}),
            r"\{RL\} is no other arm",
        ),
        (changed("claims", value=[CLAIM | {"claim": "a\nb"}]), r"a text of one line"),
        (changed("title", value="x <!-- end -->"), r"title.*a text of one line, without"),
        (changed("arms", "sft", "about", value="rl"), r"arms\.rl is called 'rl'.* and so is sft"),
        (changed("benchmarks", value={"world-bench": ["av", "av"]}), r"modalities, each once"),
        (changed("benchmarks", value={}), r"benchmarks.*is empty; name one or more"),
        (changed("benchmarks", value={"world-bench": []}), r"world-bench: name one or more"),
        (changed("benchmarks", value={"world-audio": ["a", "av"]}), r"sound alone, so av would"),
        (changed("seeds", value="1, 2"), r"seeds = \"1, 2\": must be a list"),
        (changed("errors", value=True) | {"benchmarks": {"world-bench": ["a"]}}, r"errors: .* av"),
        (changed("settings", value={"run.seed": 5}), r"settings\.run\.seed: set by .*`seeds`"),
        (
            changed("settings", value={"sft.epochs": date(2026, 1, 1)}),
            r"sft\.epochs = '2026-01-01'",
        ),
        (changed("settings", value={"run": {"dir": "x"}}), r"settings\.run\.dir: set by .*--dir"),
        (
            changed("arms", "sft", "settings", value={"eval.modalities": ["a"]}),
            r"arms\.sft\.settings\.eval\.modalities: set by .*`benchmarks`",
        ),
        (changed("settings", value={"data.root": "mine"}), r"arms\.data: data\.root is set, but"),
        (changed("arms", "sft", "model", value="stf"), r"sft\.model = 'stf': not trained"),
        (changed("arms", "sft", "model", value="grpo"), r"'grpo': not trained.*known: base, sft"),
        (changed("arms", "sft", "stages", value=["world", "sft"]), r"sft\.stages: world begins"),
        (changed("arms", "data", "stages", value=["world"]), r"arms\.sft\.stages: sft needs build"),
        (changed("arms", "rl", "from", value="data"), r"arms\.rl\.stages: grpo needs sft"),
        (
            changed("arms", "more", value={"from": "data", "stages": ["judge"]}),
            r"arms\.more\.stages: judge: the section `judges` names no model",
        ),
        (
            changed("arms", "more", value={"stages": ["world", "eval", "checkpoints"]}),
            r"arms\.more\.stages: checkpoints needs a training",
        ),
        (
            changed("arms", "sft", "settings", value={"student.model": "{rl}/grpo/model"}),
            r"arms\.sft waits for itself: sft -> rl -> sft",
        ),
        (
            changed(
                "arms",
                "short",
                value={
                    "from": "data",
                    "stages": ["sft", "eval"],
                    "settings": {"sft.epochs": 2, "eval.max_new_tokens": 2},
                },
            ),
            r"arms\.short: trains what sft trains, but its settings of `eval` differ",
        ),
        (changed("groups", value=["difficulty"]), r"needs an arm that measures it"),
        (changed("after", value="stage"), r"after = stage: no such .*did you mean 'stages'\?"),
        (changed("after", value="small.yaml"), r"leads back to itself"),
    ],
)
def test_a_slip_is_refused_with_the_remedy(
    resolve: Resolve, tmp_path: Path, tree: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve(tree)
    assert re.search(message, str(refused.value)), refused.value
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"], "nothing was made"


def test_an_unknown_experiment_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no such experiment in the package; .*'stages'\?"):
        read_experiment("stagse")


@pytest.mark.parametrize("name", ["arms", "worlds", "my experiment", "a--b <x>"])
def test_a_file_whose_name_is_no_folder_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="the file's name names the results' folder"):
        read_experiment(str(write_experiment(tmp_path, SMALL, name)))


def test_a_file_named_as_a_packaged_experiment_is_refused(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, SMALL, "stages")
    with pytest.raises(ConfigError, match=r"stages is an experiment of the package.*another name"):
        read_experiment(str(path))
    known = packaged_experiments()["stages"]
    assert read_experiment(str(known)) == read_experiment("stages")


def test_a_file_after_itself_by_another_path_is_refused(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, {**SMALL, "after": f"../{tmp_path.name}/small.yaml"})
    with pytest.raises(ConfigError, match="leads back to itself"):
        read_experiment(str(path))


def test_every_packaged_experiment_resolves_and_those_about_the_stages_share_their_trainings() -> (
    None
):
    folders = {}
    for name in packaged_experiments():
        _, experiment = read_experiment(name)
        assert len(experiment.seeds) >= 3
        assert experiment.world.n_bench >= 1_000
        first = experiment.model_copy(update={"seeds": experiment.seeds[:1]})
        runs = resolve_runs(name, first)
        folders[name] = {arm: runs.of(arm)[0].folder for arm in first.arms}
    for name in ("course", "errors", "difficulty", "sound_only"):
        for arm in ("rl", "sft", "sft_rl"):
            assert folders[name][arm] == folders["stages"][arm]


def test_a_file_after_another_joins_its_arms_and_replaces_the_rest(tmp_path: Path) -> None:
    write_experiment(tmp_path, changed("claims", value=[CLAIM]))
    later = {
        "title": "Later",
        "question": "And now?",
        "after": "small.yaml",
        "seeds": [5],
        "benchmarks": {"world-audio": ["a"]},
        "arms": {"rl": None, "sft": {"settings": {"sft.epochs": 1}}},
    }
    _, experiment = read_experiment(str(write_experiment(tmp_path, later, "later")))
    assert list(experiment.arms) == ["data", "sft"]
    assert experiment.arms["sft"].start == "data"
    assert experiment.arms["sft"].settings == {"sft.epochs": 1}
    assert experiment.seeds == (5,)
    assert experiment.benchmarks == {"world-audio": ("a",)}
    assert experiment.claims == ()


def test_null_takes_no_unknown_arm_out(tmp_path: Path) -> None:
    write_experiment(tmp_path, SMALL)
    later = {"title": "L", "question": "?", "after": "small.yaml", "arms": {"lr": None}}
    with pytest.raises(ConfigError, match=r"arms\.lr: null takes nothing out"):
        read_experiment(str(write_experiment(tmp_path, later, "later")))
