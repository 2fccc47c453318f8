"""Time and memory of every stage at several numbers of samples, with scripted models.

    python benchmarks/growth.py [--samples 30000 300000] [--folder FOLDER] [--json]

Every sample is a question of its own; a clip, which is a hard link to one of a few real files, has
ten. Each stage is a command in a process of its own, as a user runs it. Replies are as long as real
ones (about 2.5 kB), so that a sample leaves four calls and 10 kB of text behind it. The peak is the
largest resident size of any one process; the bars: it stays below 700 MB, and time grows no
faster than the samples.

The decision to question: all models answer at once, from a script of some lines, so that what is
timed is AVRT alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.datasets import SAMPLE_SCHEMA, sample_to_row
from avrt.generate.findings import FINDINGS
from avrt.runs import write_parquet
from avrt.types import LETTERS, Sample
from probing import encode

MAX_PEAK_MB = 700
MAX_SLOWDOWN = 1.3
"""Most time per sample at the largest number, over that at the smallest."""
QUESTIONS_PER_CLIP = 10
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


def write_data(folder: Path, n_samples: int) -> None:
    """Clips and questions; of every ten samples each teacher is wrong about one."""
    (folder / "videos").mkdir(parents=True)
    n_clips = -(-n_samples // QUESTIONS_PER_CLIP)
    for clip in range(n_clips):
        path = folder / _clip(clip)
        if clip % LINKS_PER_FILE == 0:
            encode(path, seed=clip)
        else:
            os.link(folder / _clip(clip - clip % LINKS_PER_FILE), path)
    for split, n in (("train", n_samples), ("bench", min(n_samples, N_EVALUATED))):
        rows = (sample_to_row(sample) for sample in _samples(n))
        write_parquet(folder / f"{split}.parquet", rows, SAMPLE_SCHEMA)


def _clip(number: int) -> str:
    return f"videos/clip{number}_000001.mp4"


def _samples(n_samples: int) -> Iterator[Sample]:
    for n in range(n_samples):
        hard = {3: " unseen", 7: " unheard"}.get(n % 10, "")
        clip = n // QUESTIONS_PER_CLIP
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


def write_models(folder: Path) -> list[str]:
    """Prompts and scripts of all models, and the settings that name them."""
    rng = random.Random(0)

    def prose(n_sentences: int) -> str:
        sentences = (" ".join(rng.choices(WORDS, k=14)) for _ in range(n_sentences))
        return ".\n".join(sentence.lower() for sentence in sentences) + "."

    found = {name: {"found": False, "quote": ""} for name in FINDINGS}
    lines = [{"match": "JUDGE", "reply": json.dumps(found)}]
    for role, hard in (("VISION", "unseen"), ("AUDIO", "unheard")):
        for letter in "ABCD":
            answers = {f" {hard}:": "ABCD"["BCDA".index(letter)], "": letter}
            for ending, answer in answers.items():
                reply = f"Description: {prose(28)}\nAnswer: ({answer})"
                lines.append({"match": f"{role} Gold {letter}{ending}", "reply": reply})
    for role in ("MERGE", "STUDENT"):
        for letter in "ABCD":
            reply = f"<think>{prose(24)}</think>\n<answer>{letter}</answer>"
            lines.append({"match": f"{role} Gold {letter}", "reply": reply})
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ends = {
        "vision": "",
        "audio": "",
        "student": "",
        "merge": "\n{answer}\n{visual_analysis}\n{audio_analysis}",
        "judge": "\n{answer}\n{analyses}\n{trace}",
    }
    for name, end in ends.items():
        (folder / f"{name}.txt").write_text(f"{name.upper()} {{question}}\n{{options}}{end}")
    engine = json.dumps({"kind": "scripted", "script": str(script)})
    roles = {
        "teachers.vision": "vision",
        "teachers.audio": "audio",
        "merger": "merge",
        "judges.reader": "judge",
    }
    student = {
        "model": "scripted",
        "engine": json.loads(engine),
        "prompt": str(folder / "student.txt"),
    }
    return [
        *(f"{role}.model=scripted" for role in roles),
        *(f"{role}.engine={engine}" for role in roles),
        *(f"{role}.prompt={folder / name}.txt" for role, name in roles.items()),
        f"eval.models.student={json.dumps(student)}",
    ]


def measure(folder: Path, n_samples: int) -> Iterator[Cost]:
    """The cost of every stage, one after another."""
    root = folder / str(n_samples)
    write_data(root / "data", n_samples)
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
        *write_models(root),
        f"eval.benchmarks.own={json.dumps(bench)}",
        "eval.modalities=[none]",
    ]
    ledger = root / "runs" / "growth" / "ledger.sqlite"
    n_before = 0
    for stage, command in STAGES.items():
        cost = _run([*command, *settings], root / f"{stage}.log")
        n_calls = _count_calls(ledger)
        yield Cost(stage, n_samples, n_calls - n_before, *cost)
        n_before = n_calls


def _run(arguments: list[str], log: Path) -> tuple[float, float, float]:
    """Wall and CPU seconds of a command with its processes, and the peak of the largest in MB."""
    started = time.monotonic()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "avrt", *arguments]
        actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), stream) for stream in (1, 2)]
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
    wall_s = time.monotonic() - started
    if status:
        raise SystemExit(f"avrt {arguments[0]} failed:\n{log.read_text()[-3000:]}")
    return wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


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
    titles = ("samples", "calls", "wall s", "CPU s", "ms/sample", "peak MB")
    print(f"{'stage':<9}" + "".join(f"{title:>10}" for title in titles))
    for cost in costs:
        per_sample = 1000 * cost.wall_s / cost.n_samples
        print(
            f"{cost.stage:<9}{cost.n_samples:>10,}{cost.calls:>10,}{cost.wall_s:>10.1f}"
            f"{cost.cpu_s:>10.1f}{per_sample:>10.2f}{cost.peak_mb:>10.0f}"
        )
    sizes = sorted({cost.n_samples for cost in costs})
    cpu = {
        n: sum(c.cpu_s for c in costs if c.n_samples == n and c.stage != "eval") / n for n in sizes
    }
    slowdown = cpu[sizes[-1]] / cpu[sizes[0]]
    peak = max(cost.peak_mb for cost in costs)
    print(f"peak {peak:.0f} MB (at most {MAX_PEAK_MB}); CPU time per sample x {slowdown:.2f} "
          f"from {sizes[0]:,} to {sizes[-1]:,} samples (at most {MAX_SLOWDOWN})")  # fmt: skip
    return peak <= MAX_PEAK_MB and slowdown <= MAX_SLOWDOWN


def main() -> None:
    """Parse the command line, print one table, exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[30_000, 300_000])
    parser.add_argument("--folder", type=Path, help="keep data and runs in this new folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder: Any = options.folder or Path(temporary)
        for n_samples in options.samples:
            for cost in measure(folder, n_samples):
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
