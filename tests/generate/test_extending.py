"""Facts about a traced run that gets more answers, or other teachers beside the old ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from avrt.ask.budget import Budget
from avrt.ask.ledger import read_ledger
from avrt.config import Config
from avrt.datasets.prepared import load_samples
from avrt.errors import ConfigError
from avrt.generate import build, merge, trace
from avrt.generate.records import answers_about, iter_teachers, merged_path, teachers_path
from avrt.generate.views import ViewTable, view_row
from avrt.report.funnel import read_funnel
from avrt.runs import manifest_path
from avrt.types import Prompt
from scripted_run import Answer, MakeConfig

WARM = ("teachers.vision.temperature=1.0", "teachers.audio.temperature=1.0")
MORE = (*WARM, "teachers.vision.k=3", "teachers.audio.k=2")
STAGES = (trace, merge, build)


@pytest.fixture
def asked(use_answers: Callable[[Answer], list[Prompt]]) -> list[str]:
    """The role in every prompt that a model gets; each reply is another one, and all say (B)."""
    roles: list[str] = []

    def answer(prompt: Prompt) -> str:
        roles.append(prompt.text.split()[0])
        return f"<think>Reply {len(roles)} of all.</think>\n<answer>B</answer>"

    use_answers(answer)
    return roles


@pytest.fixture
def third(tmp_path: Path) -> Callable[[Config], str]:
    """Override that adds a blind teacher."""

    def add(config: Config) -> str:
        root = config.data.root.parent
        (root / "third.txt").write_text("THIRD {question}\n{options}")
        engine = {"kind": "scripted", "script": str(root / "script.jsonl")}
        role = {"model": "third", "prompt": str(root / "third.txt"), "modality": "none"}
        return f"teachers.third={json.dumps({**role, 'engine': engine})}"

    return add


def stored(config: Config) -> dict[str, str]:
    """The text of every call in the ledger, by its key."""
    with read_ledger(config.run.path) as ledger:
        return {row["key"]: row["text"] for row in ledger.query("SELECT * FROM calls")}


def test_more_answers_are_asked_for_and_no_old_one_again(
    make_config: MakeConfig, asked: list[str]
) -> None:
    before = make_config(None, *WARM)
    trace.run(before)
    old, more = stored(before), make_config(None, *MORE)
    asked.clear()
    trace.run(more)
    assert Counter(asked) == {"VISION": 2 * 7, "AUDIO": 7}
    assert old.items() <= stored(more).items()
    answers = dict(iter_teachers(more.run.path))["avqa-train-2"]
    assert {name: [one.k for one in traces] for name, traces in answers.items()} == {
        "vision": [0, 1, 2],
        "audio": [0, 1],
    }
    assert "nothing to do" in trace.run(more).summary


def test_a_teacher_that_is_added_is_asked_and_no_other(
    make_config: MakeConfig, asked: list[str], third: Callable[[Config], str]
) -> None:
    before = make_config()
    trace.run(before)
    asked.clear()
    more = make_config(None, third(before))
    assert trace.run(more).counts["kept"] == 7
    assert Counter(asked) == {"THIRD": 7}
    assert list(dict(iter_teachers(more.run.path))["avqa-train-2"]) == ["vision", "audio", "third"]


def test_back_to_fewer_answers_costs_no_call_and_gives_the_old_files_again(
    make_config: MakeConfig, asked: list[str]
) -> None:
    few, more = make_config(None, *WARM), make_config(None, *MORE)
    files = [teachers_path(few.run.path), merged_path(few.run.path)]
    for stage in STAGES:
        stage.run(few)
    old = [path.read_bytes() for path in files]
    for stage in STAGES:
        stage.run(more)
    asked.clear()
    for stage in STAGES:
        stage.run(few)
    assert asked == []
    assert [path.read_bytes() for path in files] == old


def test_the_later_stages_are_done_again_with_what_was_added(
    make_config: MakeConfig, asked: list[str]
) -> None:
    few, more = make_config(None, *WARM), make_config(None, *MORE)
    for stage in STAGES:
        stage.run(few)
    trace.run(more)
    for stage in (merge, build):
        assert "nothing to do" not in stage.run(more).summary
    assert "nothing to do" in build.run(more).summary


@pytest.mark.parametrize("stage", [merge, build])
def test_what_was_added_in_part_is_not_taken_for_the_whole(
    make_config: MakeConfig, asked: list[str], stage
) -> None:
    few, more = make_config(None, *WARM), make_config(None, *MORE)
    for one in STAGES:
        one.run(few)
    trace.run(more, Budget(calls=3))
    with pytest.raises(ConfigError, match=r"audio\.k=1 vision\.k=1, .* vision\.k=3; run `avrt"):
        stage.run(more)
    assert "nothing to do" in stage.run(few).summary
    trace.run(more)
    merge.run(more)
    assert Counter(asked) == {"VISION": 3 * 7, "AUDIO": 2 * 7, "MERGE": asked.count("MERGE")}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("teachers.vision.temperature=0.5", "vision"),
        ("run.seed=1", "seed"),
        ("generate.shuffle_options=true", "shuffle_options"),
        ("media.n_frames=2", "media"),
    ],
)
def test_what_would_ask_everything_anew_is_refused_beside_more_answers(
    make_config: MakeConfig, asked: list[str], change: str, named: str
) -> None:
    trace.run(make_config(None, *WARM))
    asked.clear()
    with pytest.raises(ConfigError, match=rf"other settings \({named}\); choose another"):
        trace.run(make_config(None, *MORE, change))
    assert asked == []


def test_a_teacher_may_not_have_the_name_of_another_setting(
    make_config: MakeConfig, third: Callable[[Config], str]
) -> None:
    added = third(make_config()).replace("teachers.third", "teachers.seed")
    with pytest.raises(ConfigError, match=r"teachers\.seed: that name is taken"):
        trace.run(make_config(None, added))


def test_a_limit_asks_about_the_first_samples_and_can_be_raised(
    make_config: MakeConfig, asked: list[str]
) -> None:
    few = make_config(None, "generate.limit=3")
    assert "trace: 3 samples (4 more are not asked about: generate.limit), 6 calls" in trace.plan(
        few
    )
    counts = trace.run(few).counts
    assert Counter(asked) == {"VISION": 3, "AUDIO": 3}
    wanted = {"read": 7, "kept": 3, "dropped/not_asked": 4, "vision/not_asked": 4}
    assert {name: counts[name] for name in wanted} == wanted
    assert sum(n for name, n in counts.items() if name.startswith("stratum/")) == 3
    assert "already" not in trace.run(few, Budget(samples=1)).summary
    assert merge.run(few).counts["dropped/not_asked"] == 4
    build.run(few)
    funnel = {
        (step.stage, reason): n for step in read_funnel(few.run.path) for reason, n in step.losses
    }
    assert funnel["trace", "dropped: not asked"] == funnel["build", "dropped: not asked"] == 4
    asked.clear()
    for limit, n_new in ((5, 2), (None, 2)):
        more = make_config(None, *(["generate.limit=5"] if limit else []))
        trace.run(more)
        assert Counter(asked) == {"VISION": n_new, "AUDIO": n_new}
        asked.clear()
    assert "limit" not in json.loads(manifest_path(more.run.path, "trace").read_text())["settings"]
    with pytest.raises(ConfigError, match="seed"):
        trace.run(make_config(None, "generate.limit=3", "run.seed=1"))


def test_a_limit_beyond_the_samples_asks_about_all(
    make_config: MakeConfig, asked: list[str]
) -> None:
    assert trace.run(make_config(None, "generate.limit=100")).counts["dropped/not_asked"] == 0
    assert Counter(asked) == {"VISION": 7, "AUDIO": 7}


def test_samples_that_were_not_asked_about_are_in_no_view(
    make_config: MakeConfig, asked: list[str]
) -> None:
    config = make_config(None, "generate.limit=3")
    trace.run(config)
    pairs = answers_about(config.run.path, load_samples(config.run.path))
    rows = [view_row(sample, answers) for sample, answers in pairs]
    with ViewTable(rows) as table:
        assert len(table.matching("here", "stratum IN ('both', 'none')")) <= 3
        assert len(table.matching("here", "vision_k IS NULL AND stratum IS NULL")) == 4
