"""MMAR's rubrics: a text model (`rubric`) says which points of its rubric each reply earns.

Reads the benchmarks of MMAR's format and RUN/eval/BENCH/MODEL/*.jsonl; writes
RUN/eval/BENCH/MODEL/rubric/*.jsonl, one line per reply as it is judged, and goes on where it
stopped. A reply that was judged is not judged again while judge and prompt are the same.

The decision to question: what the judge did not say, or said outside a criterion's scale, earns no
point and is counted as unjudged; it is never guessed. An item without a reply earns none either.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import IO

from tqdm import tqdm

from avrt.config import Config
from avrt.datasets import read_items
from avrt.engines import Engine, engine_identity, make_engine
from avrt.errors import ConfigError, DataError
from avrt.evaluate.logs import Line, read_log
from avrt.evaluate.scoring import score
from avrt.evaluate.statistics import Z_95
from avrt.prompts import PromptTemplate, format_options, load_prompt
from avrt.runs import Result, fingerprint, save_config
from avrt.types import BenchmarkItem, Completion, Prompt, Request, Sampling

__all__ = ["Criterion", "Judgement", "ask", "criteria_of", "plan", "read_points", "run"]

_POINTS = re.compile(r"\s*(?:criterion\s+)?(\d+)\s*[:.)]\s*(\d+)(?:\s+points?)?\s*", re.IGNORECASE)
_MARKDOWN = str.maketrans("", "", "*`_")


@dataclass(frozen=True)
class Criterion:
    """One thing that a reply can earn points for."""

    name: str
    scoring_point: str
    note: str
    choices: tuple[int, ...]
    """The points that may be given."""


@dataclass(frozen=True)
class Judgement:
    """What one reply earned."""

    key: str
    """Of the item, the reply, the judge and what it was asked."""
    sample_id: str
    correct: bool
    """Whether the answer was right by the strict score."""
    points: tuple[int | None, ...]
    """By criterion; None where the judge gave no valid points."""
    max_points: int
    text: str
    """What the judge wrote."""
    error_class: str | None = None

    @property
    def share(self) -> float:
        """Points earned of all that there are."""
        return sum(point or 0 for point in self.points) / self.max_points


@dataclass(frozen=True)
class _Work:
    """The replies of one log."""

    name: str
    """Benchmark, model and log, for the summary."""
    path: Path
    """Where their judgements go."""
    replies: Mapping[str, tuple[BenchmarkItem, Line]]
    """By key."""


def run(config: Config) -> Result:
    """Judge the replies in all logs of MMAR and summarise.

    Raises:
        ConfigError: no benchmark of this format, or none of its replies is there.
        DataError: an item without a rubric, or with one that is not MMAR's.
    """
    works, template = _works(config), load_prompt(config.rubric.prompt)
    save_config(config)
    left = {work.path: _left(work) for work in works}
    if any(left.values()):
        role = config.rubric
        engine = make_engine(role.engine, role.model, role.revision, config.media)
        with closing(engine):
            for work in works:
                _judge(engine, config, work, left[work.path], template)
    counts: Counter[str] = Counter()
    lines: list[str] = []
    for work in works:
        judgements = [_read(work.path)[key] for key in work.replies]
        counts["judged"] += len(judgements)
        counts["unjudged"] += sum(None in judgement.points for judgement in judgements)
        lines.append(f"{work.name}: {_summary(judgements)}")
    return Result("\n".join(lines), counts)


def plan(config: Config) -> str:
    """What `run` would do, in words."""
    works = _works(config)
    n = sum(len(work.replies) for work in works)
    n_left = sum(len(_left(work)) for work in works)
    return f"rubric: {n} replies in {len(works)} logs, {n_left} of them to be judged"


def criteria_of(item: BenchmarkItem) -> tuple[Criterion, ...]:
    """The rubric of an item.

    Raises:
        DataError: it has none, as before February 2026, or one of another form.
    """
    try:
        criteria = tuple(
            Criterion(
                str(entry["name"]),
                str(entry["scoring_point"]),
                str(entry.get("note") or ""),
                tuple(int(points) for points in entry["choices"]),
            )
            for entry in item.row["rubric"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{item.sample.source}: no rubric ({type(error).__name__}: {error}); take MMAR-meta of "
            "February 2026 or later"
        ) from error
    if not criteria or any(max(one.choices, default=0) < 1 for one in criteria):
        raise DataError(f"{item.sample.source}: a rubric by which no point can be earned")
    return criteria


def ask(item: BenchmarkItem, reply: str, template: PromptTemplate) -> tuple[str | None, str]:
    """System and user text for the judge."""
    criteria = [
        f"{number}: {one.name}. {one.scoring_point} {one.note} "
        f"Possible points: {', '.join(map(str, one.choices))}."
        for number, one in enumerate(criteria_of(item), start=1)
    ]
    return template.fill(
        question=item.sample.question,
        options=format_options(item.sample.options),
        answer=f"({item.sample.target}) {item.sample.target_text}",
        reply=reply.strip(),
        criteria="\n".join(criteria),
    )


def read_points(text: str, criteria: Sequence[Criterion]) -> tuple[int | None, ...]:
    """The points by criterion; None where there are none, impossible ones, or two different."""
    given: dict[int, set[int]] = {}
    for line in text.rpartition("</think>")[2].translate(_MARKDOWN).splitlines():
        if match := _POINTS.fullmatch(line):
            given.setdefault(int(match[1]), set()).add(int(match[2]))
    points: list[int | None] = []
    for number, criterion in enumerate(criteria, start=1):
        said = given.get(number, set())
        (point,) = said if len(said) == 1 else (None,)
        points.append(point if point in criterion.choices else None)
    return tuple(points)


def _works(config: Config) -> list[_Work]:
    judge = {
        "engine": dict(
            engine_identity(
                config.rubric.engine, config.rubric.model, config.rubric.revision, config.media
            )
        ),
        "sampling": asdict(_sampling(config)),
    }
    template = load_prompt(config.rubric.prompt)
    sets = {name: data for name, data in config.eval.benchmarks.items() if data.format == "mmar"}
    if not sets:
        raise ConfigError(
            "rubric: no benchmark under eval.benchmarks has format mmar, the one with rubrics"
        )
    works: list[_Work] = []
    for name, data in sets.items():
        items = {item.sample.id: item for item in read_items(data)}
        for model in config.eval.models:
            folder = config.run.path / "eval" / name / model
            for log in sorted(folder.glob("*.jsonl")):
                replies: dict[str, tuple[BenchmarkItem, Line]] = {}
                for line in read_log(log):
                    if line.sample_id not in items:
                        raise DataError(f"{log}: item {line.sample_id!r} is not in {data.root}")
                    item = items[line.sample_id]
                    asked = ask(item, line.text, template)
                    key = fingerprint([judge, *asked, line.sample_id, line.k])
                    replies[key] = item, line
                title = f"{name}/{model}/{log.stem.upper()}"
                works.append(_Work(title, folder / "rubric" / log.name, replies))
    if not any(work.replies for work in works):
        raise ConfigError(
            f"{config.run.path}/eval: no replies to {', '.join(sets)} yet; run `avrt eval` first"
        )
    return works


def _left(work: _Work) -> set[str]:
    """The keys without a judgement, and those whose call failed."""
    done = _read(work.path)
    return {key for key in work.replies if key not in done or done[key].error_class is not None}


def _sampling(config: Config) -> Sampling:
    role = config.rubric
    return Sampling(role.temperature, role.top_p, role.max_new_tokens, config.run.seed)


def _judge(
    engine: Engine, config: Config, work: _Work, left: AbstractSet[str], template: PromptTemplate
) -> None:
    """Judge what a log lacks and write each judgement as it comes."""
    with _open(work.path) as file, tqdm(total=len(left), desc=work.name, disable=None) as bar:

        def finish(key: str, completion: Completion | None) -> None:
            judgement = _judgement(key, *work.replies[key], completion)
            file.write(json.dumps(asdict(judgement), ensure_ascii=False) + "\n")
            file.flush()
            bar.update()

        requests: list[Request] = []
        for key in (key for key in work.replies if key in left):
            item, line = work.replies[key]
            if not line.text.strip():
                finish(key, None)
                continue
            system, text = ask(item, line.text, template)
            requests.append(Request(key, Prompt(text, system), _sampling(config)))
        engine.generate(requests, lambda request, completion: finish(request.key, completion))


def _judgement(
    key: str, item: BenchmarkItem, line: Line, completion: Completion | None
) -> Judgement:
    criteria = criteria_of(item)
    if completion is None:  # nothing was said
        points: tuple[int | None, ...] = (0,) * len(criteria)
    else:
        points = read_points(completion.text, criteria)
    return Judgement(
        key,
        line.sample_id,
        score(Completion(line.text, "stop"), item.sample).value == 1.0,
        points,
        sum(max(one.choices) for one in criteria),
        completion.text if completion else "",
        completion.error_class if completion else None,
    )


def _open(path: Path) -> IO[str]:
    """The file of judgements for appending, without what a killed process left unfinished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8", errors="backslashreplace")


def _read(path: Path) -> dict[str, Judgement]:
    """The judgements of a file by key, the last of each.

    Raises:
        DataError: a line that is none.
    """
    if not path.is_file():
        return {}
    found: dict[str, Judgement] = {}
    for row, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            content = json.loads(line)
            judgement = Judgement(**content | {"points": tuple(content["points"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{row}: not a judgement: {error}; delete the file") from error
        found[judgement.key] = judgement
    return found


def _summary(judgements: Sequence[Judgement]) -> str:
    text = f"{_mean([one.share for one in judgements])} of the points, n = {len(judgements)}"
    right = [one.share for one in judgements if one.correct]
    text += f"; {_mean(right)} of the {len(right)} with the right answer"
    n_partly = sum(None in one.points for one in judgements)
    return f"{text}; {n_partly} not fully judged" if n_partly else text


def _mean(shares: Sequence[float]) -> str:
    """The mean with its 95 % interval, which has no width for one value."""
    if not shares:
        return "–"
    mean = fmean(shares)
    margin = Z_95 * stdev(shares) / sqrt(len(shares)) if len(shares) > 1 else 0.0
    low, high = max(mean - margin, 0.0), min(mean + margin, 1.0)
    return f"{100 * mean:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
