"""Time and memory of every stage at several numbers of samples, with scripted models.

    python benchmarks/growth.py [--samples 30000 300000] [--folder FOLDER] [--json]
    python benchmarks/growth.py --lean --samples 1000 10000 1000000
    python benchmarks/growth.py --files --samples 1000 10000 1000000

Every sample is a question of its own; a clip, which is a hard link to one of a few real files, has
ten. Each stage is a command in a process of its own, as a user runs it. Replies are as long as real
ones (about 2.5 kB), so that a sample leaves four calls and 10 kB of text behind it.

`--lean` asks one teacher without media, whose replies are short, and merges a quarter of its
answers: what is left is what AVRT itself does and holds. `--files` only prepares, with a file of
its own for every sample, all but one no media, so that nothing is decoded.

Peaks are those of the process that runs the stage: its anonymous memory (what it holds; pages of
files can be dropped at any time), looked at twenty times a second, and the largest resident size of
it and its processes. The bars: anonymous memory grows by at most a fifth or 100 MB from the fewest
samples to the most, and time no faster than the samples.

The decision to question: all models answer at once, from a script of some lines, so that what is
timed is AVRT alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.datasets import SAMPLE_SCHEMA, sample_to_row
from avrt.generate.findings import FINDINGS
from avrt.runs import write_parquet
from avrt.types import LETTERS, Sample
from probing import encode

MAX_GROWTH, MAX_GROWTH_MB = 1.2, 100
MAX_SLOWDOWN = 1.2
"""Most CPU time per sample at the largest number, over that at the smallest of 10,000 or more."""
MIN_TIMED = 10_000
"""With fewer samples, starting a command takes most of the time."""
LOOK_S = 0.05
LINKS_PER_FILE = 20_000
"""File systems allow some ten thousand."""
OPTIONS = ("a dog that barks", "a bell", "rain on a roof", "a passing car")
N_EVALUATED = 30_000
"""Items of the benchmark that is evaluated; real ones are smaller."""
WORDS = [*filter(str.isalpha, Path(__file__).with_name("README.md").read_text("utf-8").split())]
STAGES = {
    "prepare": ["prepare"],
    "trace": ["trace"],
    "merge": ["merge"],
    "judge": ["judge"],
    "build": ["build"],
    "stats": ["stats"],
    "export": ["export", "--to", "trl"],
    "eval": ["eval"],
    "report": ["report"],
}


@dataclass(frozen=True)
class Cost:
    """What a stage took."""

    stage: str
    n_samples: int
    calls: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    """Resident, of the largest process."""
    anon_mb: float
    """Anonymous, of the stage's own process."""
    disk_mb: float
    """Of temporary files without a name, of the same process."""


@dataclass(frozen=True)
class Kind:
    """What is measured."""

    stages: tuple[str, ...]
    per_clip: int
    """Questions about each clip."""
    is_lean: bool = False
    has_media: bool = True
    """Whether more than the first file is a clip."""


KINDS = {
    "full": Kind(tuple(STAGES), 10),
    "lean": Kind(("prepare", "trace", "merge", "judge", "build", "stats"), 1000, is_lean=True),
    "files": Kind(("prepare",), 1, is_lean=True, has_media=False),
}


def write_data(folder: Path, n_samples: int, kind: Kind) -> None:
    """Clips and questions; of every ten samples each teacher is wrong about one."""
    (folder / "videos").mkdir(parents=True)
    for clip in range(-(-n_samples // kind.per_clip)):
        path = folder / _clip(clip)
        if clip % LINKS_PER_FILE == 0 and (kind.has_media or clip == 0):
            encode(path, seed=clip)
        elif clip % LINKS_PER_FILE == 0 or (not kind.has_media and clip == 1):
            path.write_text("no media")
        elif not kind.has_media and clip < LINKS_PER_FILE:
            os.link(folder / _clip(1), path)
        else:
            os.link(folder / _clip(clip - clip % LINKS_PER_FILE), path)
    for split, n in (("train", n_samples), ("bench", min(n_samples, N_EVALUATED))):
        rows = (sample_to_row(sample) for sample in _samples(n, kind))
        write_parquet(folder / f"{split}.parquet", rows, SAMPLE_SCHEMA)


def _clip(number: int) -> str:
    return f"videos/clip{number}_000001.mp4"


def _samples(n_samples: int, kind: Kind) -> Iterator[Sample]:
    for n in range(n_samples):
        hard = {3: " unseen", 7: " unheard"}.get(n % 10, "")
        if kind.is_lean and n // 4 % 4:  # with every letter
            hard = " unseen"
        clip = n // kind.per_clip
        yield Sample(
            id=f"train-{n}",
            question=f"Gold {LETTERS[n % 4]}{hard}: what sounds in moment {n} of the clip?",
            options=OPTIONS,
            answer_index=n % 4,
            question_type=("Which", "Come From", "Happening", "Where")[n // 4 % 4],
            question_relation="both",
            video_id=f"clip{clip}",
            video=_clip(clip),
            image=None,
            audio=None,
            source=f"train.parquet:{n + 1}",
        )


def write_models(folder: Path, is_lean: bool) -> list[str]:
    """Prompts and scripts of all models, and the settings that name them."""
    rng = random.Random(0)
    n_sentences = 2 if is_lean else 28

    def prose(n_sentences: int) -> str:
        sentences = (" ".join(rng.choices(WORDS, k=14)) for _ in range(n_sentences))
        return ".\n".join(sentence.lower() for sentence in sentences) + "."

    found = {name: {"found": False, "quote": ""} for name in FINDINGS}
    lines = [{"match": "JUDGE", "reply": json.dumps(found)}]
    for role, hard in (("VISION", "unseen"), ("AUDIO", "unheard")):
        for letter in "ABCD":
            answers = {f" {hard}:": "ABCD"["BCDA".index(letter)], "": letter}
            for ending, answer in answers.items():
                reply = f"Description: {prose(n_sentences)}\nAnswer: ({answer})"
                lines.append({"match": f"{role} Gold {letter}{ending}", "reply": reply})
    for role in ("MERGE", "STUDENT"):
        for letter in "ABCD":
            reply = f"<think>{prose(n_sentences)}</think>\n<answer>{letter}</answer>"
            lines.append({"match": f"{role} Gold {letter}", "reply": reply})
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ends = {
        "vision": "",
        "audio": "",
        "student": "",
        "merge": "\n{answer}\n{analyses}",
        "judge": "\n{answer}\n{analyses}\n{trace}",
    }
    for name, end in ends.items():
        (folder / f"{name}.txt").write_text(f"{name.upper()} {{question}}\n{{options}}{end}")
    engine = json.dumps({"kind": "scripted", "script": str(script)})
    roles = {"teachers.vision": "vision", "merger": "merge", "judges.reader": "judge"}
    if not is_lean:
        roles["teachers.audio"] = "audio"
    student = {
        "model": "scripted",
        "engine": json.loads(engine),
        "prompt": str(folder / "student.txt"),
    }
    lean = ["teachers.audio=null", "teachers.vision.modality=none", "build.view=vision_right > 0"]
    return [
        *(lean if is_lean else ()),
        *(f"{role}.model=scripted" for role in roles),
        *(f"{role}.engine={engine}" for role in roles),
        *(f"{role}.prompt={folder / name}.txt" for role, name in roles.items()),
        f"eval.models.student={json.dumps(student)}",
    ]


def measure(
    folder: Path, n_samples: int, kind: Kind, stages: Sequence[str], own: Sequence[str]
) -> Iterator[Cost]:
    """The cost of every stage, one after another; data that are there are used."""
    root = folder / str(n_samples)
    if not (root / "data" / "bench.parquet").is_file():
        write_data(root / "data", n_samples, kind)
    bench = {"format": "parquet", "root": str(root / "data"), "split": "bench"}
    settings = [
        f"run.dir={root / 'runs'}",
        "run.name=growth",
        "data.format=parquet",
        f"data.root={root / 'data'}",
        "media.n_frames=2",
        "student.model=org/absent",
        "generate.shuffle_options=false",
        "build.balance_letters=false",
        *write_models(root, kind.is_lean),
        f"eval.benchmarks.own={json.dumps(bench)}",
        "eval.modalities=[none]",
        *own,
    ]
    ledger = root / "runs" / "growth" / "ledger.sqlite"
    n_before = _count_calls(ledger)
    for stage in stages:
        cost = _run([*STAGES[stage], *settings], root / f"{stage}.log")
        n_calls = _count_calls(ledger)
        yield Cost(stage, n_samples, n_calls - n_before, *cost)
        n_before = n_calls


def _run(arguments: list[str], log: Path) -> tuple[float, float, float, float, float]:
    """Wall and CPU seconds of a command with its processes; in MB the resident peak of the largest
    process, and of the command's own the peaks of anonymous memory and of temporary files.
    """
    started = time.monotonic()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "avrt", *arguments]
        actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), stream) for stream in (1, 2)]
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
    anon_mb = disk_mb = 0.0
    ended = 0
    while not ended:
        anon_mb = max(anon_mb, _anonymous_mb(pid))
        disk_mb = max(disk_mb, _unnamed_mb(pid))
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        time.sleep(0 if ended else LOOK_S)
    wall_s = time.monotonic() - started
    if status:
        raise SystemExit(f"avrt {arguments[0]} failed:\n{log.read_text()[-3000:]}")
    return wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, anon_mb, disk_mb


def _anonymous_mb(pid: int) -> float:
    """The anonymous memory of a process now; 0 when it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


def _unnamed_mb(pid: int) -> float:
    """What files without a name take on the disk, of those that a process has open now."""
    n_bytes = 0
    with suppress(OSError):  # it has ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed by now
                status = link.stat()
                if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                    n_bytes += 512 * status.st_blocks
    return n_bytes / (1 << 20)


def _count_calls(ledger: Path) -> int:
    if not ledger.is_file():
        return 0
    connection = sqlite3.connect(ledger)
    try:
        return connection.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
    finally:
        connection.close()


def _show(costs: list[Cost]) -> bool:
    """Print the cost per stage and number of samples, and whether the bars hold."""
    titles = ("samples", "calls", "wall s", "CPU s", "ms/sample", "peak MB", "anon MB", "disk MB")
    print(f"{'stage':<9}" + "".join(f"{title:>10}" for title in titles))
    for cost in costs:
        per_sample = 1000 * cost.cpu_s / cost.n_samples
        print(
            f"{cost.stage:<9}{cost.n_samples:>10,}{cost.calls:>10,}{cost.wall_s:>10.1f}"
            f"{cost.cpu_s:>10.1f}{per_sample:>10.2f}{cost.peak_mb:>10.0f}{cost.anon_mb:>10.0f}"
            f"{cost.disk_mb:>10.0f}"
        )
    passed = True
    for stage in dict.fromkeys(cost.stage for cost in costs if cost.stage != "eval"):
        of_stage = sorted((c for c in costs if c.stage == stage), key=lambda c: c.n_samples)
        first, last = of_stage[0].anon_mb, of_stage[-1].anon_mb
        timed = [c.cpu_s / c.n_samples for c in of_stage if c.n_samples >= MIN_TIMED]
        slowdown = timed[-1] / timed[0] if timed else 1.0
        is_flat = last <= max(MAX_GROWTH * first, first + MAX_GROWTH_MB)
        passed &= is_flat and slowdown <= MAX_SLOWDOWN
        print(
            f"{stage}: anonymous memory {first:.0f} -> {last:.0f} MB (at most x {MAX_GROWTH} or "
            f"+ {MAX_GROWTH_MB}), CPU time per sample x {slowdown:.2f} (at most {MAX_SLOWDOWN})"
        )
    return passed


def main() -> None:
    """Parse the command line, print one table, exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[30_000, 300_000])
    parser.add_argument("--lean", dest="kind", action="store_const", const="lean", default="full")
    parser.add_argument("--files", dest="kind", action="store_const", const="files")
    parser.add_argument("--stages", nargs="+", choices=STAGES, help="only these")
    parser.add_argument("--set", nargs="+", default=[], help="settings, such as generate.limit=9")
    parser.add_argument("--folder", type=Path, help="keep data and runs here, and go on with them")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kind, costs = KINDS[options.kind], list[Cost]()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Any = options.folder or Path(temporary)
        for n_samples in options.samples:
            stages = options.stages or kind.stages
            for cost in measure(folder, n_samples, kind, stages, options.set):
                costs.append(cost)
                print(json.dumps(vars(cost)), file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([vars(cost) for cost in costs]))
        return
    passed = _show(costs)
    print("PASS" if passed else "FAIL")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
