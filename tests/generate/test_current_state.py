"""Facts about derived files: they depend on the settings of now, not on those in between."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from avrt.config import Config
from avrt.generate import build, judge, merge, stats, trace
from avrt.generate.findings import FINDINGS
from avrt.generate.judged import judged_path
from avrt.report import run as report
from scripted_run import MakeConfig, replies, right, wrong

LEAK = f"<think>as the audio description says, joined 3</think>\n<answer>{right(3)}</answer>"
SCRIPT = replies(
    {
        ("VISION", 1): f"Answer: ({wrong(1)})",
        ("AUDIO", 2): "no letter",
        ("MERGE", 3): LEAK,
        ("MERGE", 4): "no form",
    }
)
CLEAN = json.dumps({name: {"found": False, "quote": ""} for name in FINDINGS})
LOOSE = 'build.gates=["truncated"]'
JUDGED = "judges.reader.votes=1"
WARM = "teachers.vision.temperature=0.7"
WARM_JUDGE = "judges.reader.temperature=0.7"
STAGES = {"trace": trace, "merge": merge, "judge": judge, "build": build, "stats": stats}


def run(config: Config, stages: Sequence[str]) -> dict[str, str]:
    """The digests of all derived files after these stages and the report, but for what the run has
    cost: a call that was made once stays there.
    """
    for name in stages:
        STAGES[name].run(config)
    report(config)
    folders = ("traces", "dataset", "report")
    paths = [p for folder in folders for p in (config.run.path / folder).rglob("*") if p.is_file()]
    paths = [path for path in paths if path.stem not in ("cost", "report")]
    return {
        str(path.relative_to(config.run.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def make(make_config: MakeConfig, *changes: str) -> Config:
    """The configuration with a judge that objects to nothing, where one is configured."""
    config = make_config(SCRIPT, *changes)
    script = Path(config.data.root.parent) / "script.jsonl"
    line = json.dumps({"match": "The trace to check:", "reply": CLEAN})
    script.write_text(f"{line}\n{script.read_text()}")
    return config


ALL = tuple(STAGES)


@pytest.mark.parametrize(
    ("first", "then", "between", "back"),
    [
        ((), ("build.view=either",), ALL, ALL),
        ((), ("build.view=either",), ALL, ("build", "stats")),
        ((), ("build.view=unfiltered",), ("merge", "build"), ("build", "stats")),
        ((), ("build.same_size_as=[either]",), ALL, ("build", "stats")),
        ((), (LOOSE,), ALL, ("build", "stats")),
        ((), ("build.gates=[]",), ("build", "stats"), ("build", "stats")),
        ((WARM,), (WARM, "teachers.vision.k=3"), ALL, ALL),
        ((), (JUDGED,), ALL, ALL),
        ((JUDGED,), (JUDGED, LOOSE), ALL, ("build", "stats")),
        ((JUDGED,), (JUDGED, "build.view=either"), ALL, ("build", "stats")),
        ((JUDGED,), (), ALL, ALL),
        ((WARM_JUDGE, JUDGED), (WARM_JUDGE, "judges.reader.votes=3"), ALL, ALL),
        ((), ("report.gallery_items=2",), ("stats",), ("stats",)),
    ],
)
def test_settings_that_change_and_change_back_leave_no_trace(
    make_config: MakeConfig,
    first: tuple[str, ...],
    then: tuple[str, ...],
    between: tuple[str, ...],
    back: tuple[str, ...],
) -> None:
    before = run(make(make_config, *first), ALL)
    run(make(make_config, *then), between)
    after = run(make(make_config, *first), back)
    if "merge" not in back:  # traces and counts of a stage are its own until it runs again
        before, after = (
            {name: digest for name, digest in of.items() if name.startswith("dataset/")}
            for of in (before, after)
        )
    assert after == before


def test_statistics_and_judgements_of_an_earlier_state_go(make_config: MakeConfig) -> None:
    config = make(make_config, JUDGED)
    run(config, ALL)
    statistics = config.run.path / "dataset" / "statistics.json"
    assert statistics.is_file()
    assert judged_path(config.run.path).is_file()
    build.run(make(make_config, JUDGED, "build.findings=[]"))
    assert not statistics.exists()
    judge.run(make(make_config))
    assert not judged_path(config.run.path).exists()


def test_logs_of_models_that_are_configured_no_more_stay(make_config: MakeConfig) -> None:
    config = make(make_config)
    log = config.run.path / "eval" / "clips" / "old" / "av.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("")
    for name in ALL:
        STAGES[name].run(config)
    assert log.is_file()
