"""All of the page but its items: sections, tables, charts and figures, and data/report.js.

Reads the run directory through the modules of each part; writes nothing by itself but what
`write_content` is asked for.

The decision to question: report.js holds numbers and short texts alone, so that the page opens at
once however large the run is; a label that a data set wrote is cut where it would not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from avrt import __version__
from avrt.config import EvalConfig
from avrt.evaluate.results import ModelResult
from avrt.evaluate.sentences import sentences_of
from avrt.report.accuracy import BenchmarkResults, by_benchmark
from avrt.report.charts import chart_data
from avrt.report.completions import completion_table
from avrt.report.cost import Made, read_calls, read_made
from avrt.report.course import Course, courses_of
from avrt.report.curves import TrainingRun, read_training
from avrt.report.dataset import count_trained
from avrt.report.faults import attempt
from avrt.report.figures import (
    Figure,
    accuracy_figure,
    course_figures,
    funnel_figure,
    held_out_figure,
    training_figure,
)
from avrt.report.funnel import read_attrition, read_funnel
from avrt.report.overview import Claim, Fact, claim_of, facts_of
from avrt.report.paper import Evaluated
from avrt.report.script import cut_texts
from avrt.report.sections import (
    Section,
    cost_section,
    data_section,
    funnel_section,
    result_sections,
    training_section,
)
from avrt.report.shown_experiments import experiment_sections
from avrt.report.side_by_side import runs_sections
from avrt.report.table_files import table_data, write_tables
from avrt.report.tables import Table
from avrt.report.training_charts import titles_of
from avrt.runs import write_atomic

__all__ = ["Content", "Source", "read_content", "report_data", "write_content"]

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """What the page of a run is made from."""

    run: Path
    name: str
    evaluation: EvalConfig
    grpo_init: str
    """Where the training called `grpo` starts."""
    results: Sequence[ModelResult]
    """Without texts."""
    statistics: Table | None
    """Of the dataset."""
    others: Sequence[Evaluated] = ()
    """Runs to stand beside this one."""
    experiments: Sequence[Path] = ()
    """Folders that `avrt experiment` wrote."""


@dataclass(frozen=True)
class Content:
    """Everything that is shown, in order."""

    name: str
    claim: Claim
    facts: Sequence[Fact]
    made: Made
    sections: Sequence[Section]
    figures: Sequence[Figure]
    benchmarks: Sequence[BenchmarkResults]

    @property
    def tables(self) -> dict[str, Table]:
        """Every table by its name."""
        tables = [t for section in self.sections for t in (*section.tables, *section.folded)]
        return {table.name: table for table in tables if table is not None}


def read_content(source: Source, faults: list[str]) -> Content:
    """Read the run, part by part; of a file that cannot be read, `faults` gets a note."""
    run = source.run
    runs = [Evaluated(source.results, source.evaluation, run), *source.others]

    def read(part: Callable[[], T], otherwise: T) -> T:
        return attempt(part, otherwise, faults)

    benchmarks = by_benchmark(source.results, source.evaluation)
    courses = courses_of(source.results, source.evaluation.models)
    said = sentences_of(source.results, source.evaluation, source.grpo_init)
    trainings, calls = read_training(run, faults), read_calls(run)
    steps, attrition = read_funnel(run), read(lambda: read_attrition(run), None)
    titles = titles_of(trainings, _starts(benchmarks))
    trained = read(lambda: count_trained(run, benchmarks), {})
    written = [
        read(partial(completion_table, run, each.name, titles[each.name]), None)
        for each in trainings
    ]
    sections = [
        cost_section(calls, trainings),
        *result_sections(benchmarks, said, trained),
        *training_section(run, trainings, titles, benchmarks, courses, written),
        *read(lambda: data_section(run, source.statistics), []),
        *read(lambda: funnel_section(run, steps, attrition), []),
        *read(lambda: runs_sections(runs), []),
        *read(lambda: experiment_sections(source.experiments), []),
    ]
    return Content(
        name=source.name,
        claim=claim_of(said, benchmarks, attrition),
        facts=facts_of(
            *(attrition, steps),
            [each for each in benchmarks if each.name not in trained],
            *(calls, trainings),
        ),
        made=read(lambda: read_made(run, calls), Made("", "", "", "", "")),
        sections=sections,
        figures=[
            *(accuracy_figure(b) for b in benchmarks if b.modalities),
            *([funnel_figure(steps)] if steps else []),
            *_training_figures(trainings, titles, courses, benchmarks),
        ],
        benchmarks=benchmarks,
    )


def _starts(benchmarks: Sequence[BenchmarkResults]) -> dict[str, str]:
    """`base` and `sft` by their revisions."""
    return {
        revision: model
        for benchmark in benchmarks
        for (model, _), result in benchmark.cells.items()
        if model in ("base", "sft") and (revision := result.settings.model.get("revision"))
    }


def _training_figures(
    trainings: Sequence[TrainingRun],
    titles: Mapping[str, str],
    courses: Sequence[Course],
    benchmarks: Sequence[BenchmarkResults],
) -> list[Figure]:
    accuracy = held_out_figure([t for t in trainings if t.name != "sft"], titles)
    return [
        *course_figures(courses, benchmarks),
        *([accuracy] if accuracy else []),
        *(training_figure(training) for training in trainings),
    ]


def report_data(
    content: Content,
    settings: str,
    faults: Sequence[str] = (),
    prompts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The value of data/report.js; `settings` is the configuration as YAML, `faults` say what could
    not be read, `prompts` are templates that items name by their number.
    """
    shown = [section for section in content.sections if _has_content(section)]
    charts = [chart for section in shown for chart in section.charts if chart is not None]
    picture = next((chart.name for chart in charts if chart.name.endswith("-accuracy")), "")
    data = {
        "schema": 1,
        "run": content.name,
        "version": __version__,
        "made": vars(content.made),
        "claim": vars(content.claim),
        "picture": picture,
        "facts": [vars(fact) for fact in content.facts],
        "missing": [*dict.fromkeys(s for section in shown for s in section.missing), *faults],
        "sections": [_section_data(section) for section in shown],
        "charts": {chart.name: chart_data(chart) for chart in charts},
        "tables": {name: table_data(table) for name, table in content.tables.items()},
        "figures": {figure.name: figure.caption for figure in content.figures},
        "prompts": prompts,
    }
    return {**cut_texts(data), "settings": settings}


def _has_content(section: Section) -> bool:
    parts = (
        *section.charts,
        *section.tables,
        *section.folded,
        *section.missing,
        *section.said,
        *section.pictures,
    )
    return any(part is not None for part in parts)


def _section_data(section: Section) -> dict[str, Any]:
    alternatives = {
        chart.table for chart in section.charts if chart and not chart.data.get("small")
    }
    return {
        "view": section.view,
        "id": section.id,
        "title": section.title,
        "lead": section.lead,
        "said": [{"title": title, "sentences": lines} for title, lines in section.said],
        "missing": section.missing,
        "pictures": [
            {"file": f"figures/{picture.name}.svg", "caption": picture.caption}
            for picture in section.pictures
        ],
        **{
            part: [each.name for each in getattr(section, part) if each is not None]
            for part in ("charts", "tables")
        },
        "folded": [t.name for t in section.folded if t is not None and t.name not in alternatives],
    }


def write_content(report: Path, content: Content) -> dict[str, int]:
    """Write the tables and figures as files of their own; how many of each."""
    write_tables(report / "tables", list(content.tables.values()))
    for picture in (picture for section in content.sections for picture in section.pictures):
        path = report / "figures" / f"{picture.name}.svg"
        write_atomic(path, lambda file, drawn=picture.svg: file.write(drawn.encode()))
    for figure in content.figures:
        for ending, drawn in (("svg", figure.svg.encode()), ("pdf", figure.pdf)):
            path = report / "figures" / f"{figure.name}.{ending}"
            write_atomic(path, lambda file, drawn=drawn: file.write(drawn))
    return {"tables": len(content.tables), "figures": len(content.figures)}
