"""The commands of the machine corpus: what each needs, does, and must leave behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from avrt.media import encode_wav
from avrt.runs import fingerprint
from avrt.types import Waveform
from benchmark_sets import rows_of, write_set
from clips import tone
from hostile.forks import Forks, snapshot
from script_engine import scripted
from scripted_run import overrides, replies, write_dataset, write_script

WARM = (
    *("avrt.cli.main", "avrt.datasets.prepare", "avrt.evaluate", "avrt.evaluate.rubric"),
    *("avrt.generate.judge", "avrt.generate.build", "avrt.generate.stats", "avrt.report.page"),
    *("avrt.exchange.exports", "avrt.exchange.imports", "avrt.evaluate.difficulty"),
    *("avrt.report.paper", "avrt.world.make", "avrt.generate.trace", "avrt.engines.scripted"),
    *("avrt.engines.weights", "avrt.ask.show", "jinja2", "matplotlib.figure", "scipy.stats"),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "datasets"),
)
RUN = "settings.yaml"


@dataclass(frozen=True)
class Case:
    """A command that is disturbed."""

    name: str
    command: Sequence[str]
    before: Sequence[Sequence[str]] = ()
    after: Sequence[Sequence[str]] = ()
    """Commands that must succeed once the disturbed one was repeated."""
    once: bool = False
    """Whether it refuses what it has made."""


PREPARE, TRACE, MERGE, JUDGE, BUILD, STATS = (
    [name, RUN] for name in ("prepare", "trace", "merge", "judge", "build", "stats")
)
GENERATE = (PREPARE, TRACE, MERGE, JUDGE, BUILD)
EVAL, RUBRIC, REPORT = ["eval", RUN], ["rubric", RUN], ["report", RUN]
WARMER = "teachers.audio.temperature=1"
MORE = (WARMER, "teachers.audio.k=2")
SAID = ("--predictions", "said.jsonl", "--model", "p", "--benchmark", "sounds", "--modality", "a")
NONE = 'teachers.audio.engine={"kind": "scripted", "script": "none.jsonl"}'

CASES = (
    Case("prepare", PREPARE),
    Case("trace", TRACE, [PREPARE]),
    Case("merge", MERGE, [PREPARE, TRACE]),
    Case("judge", JUDGE, [PREPARE, TRACE, MERGE]),
    Case("build", BUILD, [PREPARE, TRACE, MERGE, JUDGE]),
    Case("stats", STATS, GENERATE),
    Case(
        "trace more",
        [*TRACE, *MORE],
        [[*command, WARMER] for command in GENERATE],
        [[*command, *MORE] for command in GENERATE[2:]],
    ),
    Case("build another", [*BUILD, "build.validation_fraction=0.6"], GENERATE, [BUILD]),
    Case("eval", EVAL),
    Case("rubric", RUBRIC, [EVAL]),
    Case("predictions", [*EVAL, *SAID]),
    Case("report", REPORT, [*GENERATE, STATS, EVAL]),
    Case("difficulty", ["difficulty", RUN, "--teacher", "m", "--teacher", "n"], [EVAL]),
    Case("tables", ["tables", RUN, "--output", "tables"], [EVAL]),
    Case("export", ["export", RUN, "--to", "trl"], GENERATE, once=True),
    Case(
        "export media",
        ["export", RUN, "--to", "hf", "--with-media", "--output", "out/hf"],
        GENERATE,
        once=True,
    ),
    Case("import", ["import", "avrt-20k", "published", RUN, "run.name=published"]),
    Case(
        "world make",
        ["world", "make", "world", "--n-train", "2", "--n-bench", "1", "--n-audio", "1"],
    ),
    Case(
        "retry",
        ["ledger", "retry", RUN, "--class", "no_reply"],
        [PREPARE, [*TRACE, NONE, "generate.max_failure_rate=1"]],
    ),
)


def write_place(place: Path) -> None:
    """Clips, questions, a benchmark, scripts of all models, and the settings of a run."""
    write_dataset(place)
    write_script(place, replies())
    (place / "none.jsonl").write_text("")
    root = place / "sounds"
    write_set(root, "mmar")
    items = rows_of("mmar")
    for path in {row["audio_path"] for row in items}:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encode_wav(Waveform(tone(0.2))))
    said = [json.dumps({"id": f"mmar-{row['id']}", "text": "<answer>A</answer>"}) for row in items]
    (place / "said.jsonl").write_text("\n".join(said))
    clean = {"leak": {"found": False, "quote": ""}}
    engines: dict[str, Any] = {
        name: scripted(place, {"": reply}, name)
        for name, reply in {
            "m": "<think>heard</think><answer>A</answer>",
            "n": "<answer>C</answer>",
            "rubric": "1: 1\n2: 1",
            "judge": json.dumps(clean),
        }.items()
    }
    _write_published(place / "published")
    settings: dict[str, Any] = {
        "judges": {"reader": {"model": "j", "engine": engines["judge"]}},
        "rubric": {"model": "r", "engine": engines["rubric"]},
        "eval": {
            "benchmarks": {"sounds": {"format": "mmar", "root": str(root), "split": "val"}},
            "models": {
                name: {"model": name, "modality": "a", "engine": engines[name]} for name in "mn"
            },
        },
    }
    for override in overrides(place):
        *sections, name = override.partition("=")[0].split(".")
        section = settings
        for key in sections:
            section = section.setdefault(key, {})
        section[name] = yaml.safe_load(override.partition("=")[2])
    (place / RUN).write_text(yaml.safe_dump(settings))


def _write_published(folder: Path) -> None:
    rows = [
        {
            "id": number,
            "video_name": "clip0_1",
            "video_id": number % 3,
            "question": f"What is it, {number}?",
            "choices": ["A. bell", "B. drum", "C. horn", "D. rain"],
            "answer": str(number % 4),
            "question_relation": "Both",
            "question_type": "Which",
            "av_reasoning": f"<think>Seen.</think>\n<answer>{'ABCD'[number % 4]}</answer>",
        }
        for number in range(6)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")


class Stage:
    """A case in its place, which is put back for every try.

    All cases have the same place; those that begin with the same commands share their outcome.
    """

    def __init__(self, forks: Forks, root: Path, case: Case) -> None:
        self.forks, self.case = forks, case
        self._root, self.place = root, root / "place"
        self._start = self._after(case.before)
        self.reset()
        events = root / "events"
        events.unlink(missing_ok=True)
        self.succeed(*case.command, events=str(events))
        self.writes = events.read_text().splitlines()
        self.undisturbed = self.finish()

    def _after(self, commands: Sequence[Sequence[str]]) -> Path:
        """A copy of the place as it is after these commands."""
        start = self._root / fingerprint(commands)
        if not start.exists():
            if commands:
                self._start = self._after(commands[:-1])
                self.reset()
                self.succeed(*commands[-1])
            else:
                self.place.mkdir()
                write_place(self.place)
            shutil.copytree(self.place, start)
        return start

    def reset(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self._start, self.place)

    def run(self, **how: Any) -> tuple[int, str]:
        """The command, disturbed."""
        return self.forks.run(self.place, *self.case.command, **how)

    def succeed(self, *command: str, **how: Any) -> None:
        code, output = self.forks.run(self.place, *command, **how)
        assert code == 0, f"{' '.join(command)}: {code}\n{output}"

    def finish(self) -> dict[str, Any]:
        """What is there after the commands that follow."""
        for command in self.case.after:
            self.succeed(*command)
        return snapshot(self.place)

    def check(self, what: str) -> None:
        """The repeated command succeeds and leaves what one leaves that nothing disturbed."""
        code, output = self.forks.run(self.place, *self.case.command)
        is_made = self.case.once and "already exists" in output
        assert code == 0 or is_made, f"{what}: repeated: {code}\n{output}"
        assert "Traceback" not in output, f"{what}: repeated: {output}"
        self.compare(what)

    def compare(self, what: str) -> None:
        """What is there now is what is there when nothing disturbed."""
        left = self.finish()
        assert left.keys() == self.undisturbed.keys(), f"{what}: other files"
        differing = [name for name in left if left[name] != self.undisturbed[name]]
        assert not differing, f"{what}: {differing}"

    def sample(self) -> list[int]:
        """The numbers of the first rename, and of the last write of every kind."""
        kinds = [write.partition(" ")[0] for write in self.writes]
        last = {kind: number for number, kind in enumerate(kinds, start=1) if kind != "os.mkdir"}
        first = [kinds.index("os.rename") + 1] if "os.rename" in kinds else []
        return sorted({*last.values(), *first})
