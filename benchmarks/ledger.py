"""What the ledger promises, tried: kills that lose nothing, and a rebuild that calls nothing.

    python benchmarks/ledger.py kill [--kills 200] [--questions 2200] [--json]
    python benchmarks/ledger.py rebuild [--samples 40000] [--k 1]

`kill` runs the three stages against a chat server in another process, with 16 calls in flight, and
ends them with SIGKILL at random, after a number of further requests that the server's log counts,
so that every kill hits live work, of any stage. Then the run is left to finish. A reply is
*received* when the engine hands it to the ledger, *committed* when it is found there after the
kill.

`rebuild` fills a ledger with made-up replies and then derives traces and dataset from it, in a
process of its own whose time and memory are taken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from avrt.ask.calls import Draft
from avrt.ask.ledger import Ledger, open_ledger
from avrt.ask.payloads import Clips, Kind
from avrt.ask.rows import Call, Carried
from avrt.config import Config, load_config
from avrt.datasets import prepare
from avrt.datasets.prepared import load_prepared, load_usable
from avrt.engines import engine_of_role
from avrt.generate import build, merge, trace
from avrt.generate.records import answers_about
from avrt.runs import fingerprint, read_parquet, write_parquet
from avrt.types import LETTERS, Completion, Prompt
from probing import encode

N_CLIPS = 3
MAX_REBUILD_S, MAX_REBUILD_GB = 60.0, 2.0
WORDS = [*filter(str.isalpha, Path(__file__).with_name("README.md").read_text("utf-8").split())]
SERVER = Path(__file__).with_name("ledger_server.py")
MARKED_GENERATION = """
import os, sys
from avrt.config import load_config
from avrt.generate import build, merge, trace
from avrt.ask.ledger import Ledger

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
record = Ledger.record

def mark(self, key, call, prompt, completion):
    os.write(log, completion.text.encode().split(b"#")[1] + b"\\n")
    record(self, key, call, prompt, completion)

if __name__ == "__main__":
    Ledger.record = mark
    config = load_config(None, tuple(sys.argv[2:]))
    for stage in (trace, merge, build):
        stage.run(config)
"""


def write_data(root: Path, n_questions: int) -> None:
    """A few clips, many questions about them, and prompts."""
    videos = root / "data" / "videos"
    videos.mkdir(parents=True)
    for clip in range(N_CLIPS):
        encode(videos / f"clip{clip}_000001.mp4", seed=clip)
    rows = [
        {
            "id": number,
            "video_name": f"clip{number % N_CLIPS}_000001",
            "video_id": number % N_CLIPS,
            "question_text": f"What is it, asked for the {number}th time?",
            "multi_choice": ["dog", "cat", "car", "rain"],
            "answer": number % 4,
            "question_relation": "Both",
            "question_type": "Which",
        }
        for number in range(1, n_questions + 1)
    ]
    (root / "data" / "train_qa.json").write_text(json.dumps(rows))


def settings_of(root: Path, name: str, engine: dict[str, Any], *more: str) -> tuple[str, ...]:
    """Overrides of a run on that data."""
    roles = ("teachers.vision", "teachers.audio", "merger")
    return (
        f"run.dir={root / 'runs'}",
        f"run.name={name}",
        f"data.root={root / 'data'}",
        "media.n_frames=2",
        "media.workers=1",
        *(f"{role}.model={role}" for role in roles),
        *(f"{role}.engine={json.dumps(engine)}" for role in roles),
        *more,
    )


class Killing:
    """A run that is killed again and again, its server's log, and what became of each request."""

    def __init__(self, root: Path, settings: Sequence[str]) -> None:
        self.settings = settings
        self.run = load_config(None, tuple(settings)).run.path
        self.asked_log, self.received_log = root / "asked.log", self.run / "received.log"

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", MARKED_GENERATION, str(self.received_log), *self.settings]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def finish(self) -> None:
        process = self.start()
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(errors.decode())

    def kill_after(self, n_requests: int) -> bool:
        """Kill when the server has got that many further requests; False: it finished before."""
        wanted = len(self.asked()) + n_requests
        with self.start() as process:
            while process.poll() is None and len(self.asked()) < wanted:
                time.sleep(0.002)
            if process.poll() is not None:
                return False
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        return True

    def asked(self) -> list[str]:
        """The requests that the server has got, by their digests."""
        return self.asked_log.read_text().splitlines()

    def received(self) -> set[str]:
        return (
            set(self.received_log.read_text().splitlines()) if self.received_log.exists() else set()
        )

    def committed(self) -> set[str]:
        path = self.run / "ledger.sqlite"
        if not path.exists():
            return set()
        connection = sqlite3.connect(path)
        try:
            rows = connection.execute("SELECT text FROM calls WHERE finish_reason != 'error'")
            return {text.split("#")[1] for (text,) in rows}
        except sqlite3.OperationalError:  # killed before the tables were made
            return set()
        finally:
            connection.close()


@contextmanager
def serve(log: Path) -> Iterator[str]:
    """The server, in a process of its own; yields its address."""
    command = [sys.executable, str(SERVER), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def kill(n_kills: int, n_questions: int) -> dict[str, Any]:
    """Counts of everything that must be zero, and of what need not be."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "asked.log") as url:
        root = Path(folder)
        write_data(root, n_questions)
        engine = {"kind": "openai", "base_url": url, "concurrency": 16}
        calm, killed = (Killing(root, settings_of(root, name, engine)) for name in ("calm", "hit"))
        prepare.run(load_config(None, tuple(calm.settings)))
        shutil.copytree(calm.run, killed.run)
        calm.finish()
        n_before = len(calm.asked())
        moments = random.Random(0)
        counts: Counter[str] = Counter()
        for n_left in range(n_kills, -1, -1):
            received, committed, n_asked = (
                killed.received(),
                killed.committed(),
                len(killed.asked()),
            )
            if n_left == 0:
                killed.finish()
            else:  # so spread over the calls still to make that none is left without a kill
                n_calls = n_before - len(committed)
                most = max(1, min(2 * n_calls // n_left, n_calls // 2))
                counts["kills"] += killed.kill_after(moments.randint(1, most))
            new = killed.asked()[n_asked:]
            counts["lost"] += len(committed - killed.committed())
            counts["repeated"] += sum(one in committed for one in new)
            counts["received"] += sum(one in received - committed for one in new)
        times = Counter(killed.asked()[n_before:])
        return {
            "calls": n_before,
            "kills of live work": counts["kills"],
            "requests of the killed run": times.total(),
            "committed calls lost": counts["lost"],
            "committed calls asked again": counts["repeated"],
            "received, not committed, asked again": counts["received"],
            "in flight at a kill, asked again": times.total() - len(times),
            "calls missing at the end": len(calm.committed() - killed.committed()),
            "files that differ": _n_different(calm.run, killed.run),
        }


def _n_different(one: Path, other: Path) -> int:
    names = [
        path.relative_to(one)
        for folder in ("traces", "dataset")
        for path in (one / folder).iterdir()
        if path.suffix == ".parquet"
    ]
    return sum((one / name).read_bytes() != (other / name).read_bytes() for name in names)


def rebuild(n_samples: int, k: int) -> dict[str, Any]:
    """Seconds by stage and peak memory of deriving everything from a full ledger."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = settings_of(
            root,
            "full",
            {"kind": "openai"},
            "teachers.vision.temperature=0.7",
            "teachers.audio.temperature=0.7",
            f"teachers.vision.k={k}",
            f"teachers.audio.k={k}",
        )
        config = load_config(None, settings)
        write_data(root, 1)
        prepare.run(config)
        _multiply(config, n_samples)
        n_calls = _fill(config)
        size_gb = (config.run.path / "ledger.sqlite").stat().st_size / 1e9
        before = _digests(config)
        for name in ("traces", "dataset"):
            shutil.rmtree(config.run.path / name)
        for name in ("trace", "merge", "build"):
            (config.run.path / "manifests" / f"{name}.json").unlink()
        command = [sys.executable, __file__, "derive", *settings]
        derived = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return {
            "samples": n_samples,
            "calls in the ledger": n_calls,
            "ledger GB": round(size_gb, 2),
            **derived,
            "files that differ": sum(before[name] != one for name, one in _digests(config).items()),
        }


def derive(settings: Sequence[str]) -> dict[str, Any]:
    """Do all stages; no model can be called, since there is no server."""
    config = load_config(None, tuple(settings))
    seconds: dict[str, Any] = {}
    for stage in (trace, merge, build):
        started = time.monotonic()
        stage.run(config)
        seconds[f"{stage.__name__.split('.')[-1]} s"] = round(time.monotonic() - started, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    cpu_s = sum(time_of(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        **seconds,
        "total s": round(sum(seconds.values()), 1),
        "CPU s of all processes": round(cpu_s, 1),
        "peak GB": round(peak, 2),
    }


def time_of(who: int) -> float:
    """CPU seconds."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _multiply(config: Config, n_samples: int) -> None:
    """Many samples, two for each file, out of the one that was prepared."""
    run = config.run.path
    for name in ("samples", "media"):
        path = run / f"{name}.parquet"
        (row,), schema = read_parquet(path), pq.read_schema(path)
        if name == "samples":
            rows = [
                row
                | {
                    "id": f"avqa-train-{n}",
                    "question": f"What is it, asked for the {n}th time?",
                    "video_id": f"clip{n // 2}",
                    "video": f"videos/clip{n // 2}_000001.mp4",
                    "source": f"train_qa.json:{n}",
                }
                for n in range(n_samples)
            ]
        else:
            rows = [
                row | {"path": f"videos/clip{n}_000001.mp4", "sha256": fingerprint(n)}
                for n in range((n_samples + 1) // 2)
            ]
        write_parquet(path, rows, schema)


def _prose(seed: str, n_words: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n_words))


def _fill(config: Config) -> int:
    """Record a reply to every call: teachers are mostly right, the merger always."""
    usable = load_usable(config.run.path)
    targets = {sample.id: sample.target for sample in usable}
    n_calls = 0

    def record(ledger: Ledger, engine: Mapping[str, Any], draft: Draft, write: Any) -> None:
        nonlocal n_calls
        call = draft.call(engine, _digests_of(ledger, draft))
        prompt = Prompt(call.text, call.system)
        ledger.record(
            call.key, call, Carried.by(prompt), Completion(write(call), "stop", 900, 400, 3.0)
        )
        n_calls += 1

    def teacher(call: Call) -> str:
        seed = f"{call.sample_id}{call.role}{call.k}"
        is_right = random.Random(seed).random() < 0.8
        letter = targets[call.sample_id] if is_right else LETTERS[call.k % 2]
        seen, thought = _prose(seed, 250), _prose(seed, 60)
        return f"Visual Description: {seen}.\nReasoning: {thought}.\nAnswer: ({letter})"

    def merger(call: Call) -> str:
        thought = ".\n".join(_prose(f"{call.sample_id}{n}", 30) for n in range(8))
        return f"<think>{thought}</think>\n<answer>{targets[call.sample_id]}</answer>"

    clips = Clips(config.data.root, config.media, trace._known_files(config.run.path))
    with open_ledger(config.run.path) as ledger:
        ledger._own.execute("PRAGMA synchronous=OFF")  # filling it is not what is timed
        for asked in trace._teachers(config).values():
            engine = engine_of_role(asked.role, config.media).identity
            for draft in asked.drafts(usable, clips):
                record(ledger, engine, draft, teacher)
    trace.run(config)
    samples = load_prepared(config.run.path)
    reasons = merge._select(config.build, config.run.path, samples)
    writer = merge.make_merger(config)
    engine = engine_of_role(writer.role, config.media).identity
    with open_ledger(config.run.path) as ledger:
        ledger._own.execute("PRAGMA synchronous=OFF")
        for sample, answers in answers_about(config.run.path, samples):
            if reasons[sample.id] is None:
                record(ledger, engine, writer.draft(sample, answers), merger)
    merge.run(config)
    build.run(config)
    return n_calls


def _digests_of(ledger: Ledger, draft: Draft) -> dict[Kind, str]:
    """Made-up digests of a draft's media, which the ledger knows from then on."""
    digests: dict[Kind, str] = {}
    for source in filter(None, draft.clip.sources(draft.given)):
        sha256 = source.file.sha256 or ""
        digests[source.kind] = fingerprint(f"{source.kind} of {sha256}")
        if ledger.find_payload(sha256, source.conditions) is None:
            ledger.record_payload(sha256, source.conditions, digests[source.kind])
    return digests


def _digests(config: Config) -> dict[str, str]:
    paths = (path for name in ("traces", "dataset") for path in (config.run.path / name).iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def main() -> None:
    """Parse the command line, print one table, exit with 1 when a bar is missed."""
    if sys.argv[1:2] == ["derive"]:
        print(json.dumps(derive(sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    kills = commands.add_parser("kill")
    kills.add_argument("--kills", type=int, default=200)
    kills.add_argument("--questions", type=int, default=2200)
    rebuilds = commands.add_parser("rebuild")
    rebuilds.add_argument("--samples", type=int, default=40_000)
    rebuilds.add_argument("--k", type=int, default=1)
    for one in (kills, rebuilds):
        one.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.command == "kill":
        row = kill(options.kills, options.questions)
        zero = ("lost", "committed calls asked", "missing", "differ")
        passed = not any(n for name, n in row.items() if any(word in name for word in zero))
    else:
        row = rebuild(options.samples, options.k)
        passed = row["total s"] < MAX_REBUILD_S and row["peak GB"] < MAX_REBUILD_GB
        passed = passed and not row["files that differ"]
    if options.json:
        print(json.dumps(row))
    else:
        width = max(map(len, row))
        print("\n".join(f"{name:<{width}}  {value:>9,}" for name, value in row.items()))
        print("PASS" if passed else "FAIL")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
