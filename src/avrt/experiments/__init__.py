"""Experiments: arms with several seeds, planned, run, compared and written down.

An experiment is a file (`plan.py` has its form). Its arms are resolved into ordinary run
directories (`arms.py`), whose stages are run as ordinary commands (`jobs.py`). What they measured
(`outcome.py`) is tested (`claims.py`) and written to DIR/NAME: results.json, table.md, figure.svg
and experiment.yaml, and as a section into a page.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from avrt.config.files import write_yaml
from avrt.experiments.arms import ROOT, Runs, resolve_runs, settings_of
from avrt.experiments.claims import find_all
from avrt.experiments.figure import draw
from avrt.experiments.jobs import Job, plan_jobs, run_jobs
from avrt.experiments.log import check_page, section, write_section
from avrt.experiments.outcome import read_measured
from avrt.experiments.plan import packaged_experiments, read_experiment
from avrt.experiments.table import by_seed_table, markdown
from avrt.experiments.to_json import results_to_json
from avrt.runs import Result, write_atomic, write_json

__all__ = ["ROOT", "plan", "render_all", "run"]


def run(
    name: str,
    root: Path = ROOT,
    n_jobs: int | None = None,
    page: Path | None = None,
    by_seed: bool = False,
) -> Result:
    """Run the jobs of an experiment that are not done, then write what was measured.

    Raises:
        ConfigError: no such experiment, or a setting that is impossible, before anything starts.
        ModuleNotFoundError: SciPy or matplotlib is not installed.
    """
    for package in ("scipy", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    name, experiment = read_experiment(name)
    runs = resolve_runs(name, experiment, root)
    jobs = plan_jobs(runs)
    if page is not None:
        check_page(page, name)
    lost = run_jobs(jobs, n_jobs or _side_by_side())
    measured = read_measured(runs, jobs)
    findings = find_all(measured)
    tables, figure = markdown(measured, findings), draw(measured)
    folder = root / name
    write_json(folder / "results.json", results_to_json(measured, findings))
    texts = {
        "table.md": f"{tables}\n",
        "figure.svg": figure.svg,
        "experiment.yaml": write_yaml(experiment.model_dump(mode="json", by_alias=True)),
    }
    for file_name, text in texts.items():
        write_atomic(folder / file_name, lambda file, text=text: file.write(text.encode()))
    if page is not None and not lost:
        write_section(page, name, section(measured, tables, f"figures/{name}.svg"), figure)
    parts = [tables, by_seed_table(measured) if by_seed else "", f"written: {folder}"]
    n_failed = sum(job.is_failed for job in lost)
    fault = (
        f"{n_failed} of {len(jobs)} jobs failed, and {len(lost) - n_failed} that need them were "
        "skipped; mend what their logs say, then repeat the command"
    )
    if page is not None:
        fault += f"; {page} is left as it was"
    counts = {"kept": len(jobs) - len(lost), "failed/job": len(lost)}
    return Result("\n\n".join(filter(None, parts)), counts, fault if lost else "")


def plan(name: str, root: Path = ROOT) -> str:
    """The arms of an experiment with their settings, folders and jobs, in words; raises as `run`
    for a wrong file.
    """
    name, experiment = read_experiment(name)
    runs = resolve_runs(name, experiment, root)
    jobs = plan_jobs(runs)
    n_done = sum(job.is_done for job in jobs)
    seeds = ", ".join(map(str, experiment.seeds))
    head = [f"{name}: {experiment.title}", f"{len(jobs)} jobs, {n_done} done; seeds {seeds}"]
    if experiment.settings:
        head += ["\nall arms:", *(f"  {key} = {v}" for key, v in experiment.settings.items())]
    return "\n".join([*head, *(_arm_text(runs, arm, jobs) for arm in experiment.arms)])


def _arm_text(runs: Runs, arm: str, jobs: Sequence[Job]) -> str:
    own = [job for job in jobs if job.run in runs.of(arm)]
    by_stage = {job.stage: [each for each in own if each.stage == job.stage] for job in own}
    done = (
        f"{stage} ({sum(job.is_done for job in each)} of {len(each)} done)"
        for stage, each in by_stage.items()
    )
    shared = runs.experiment.settings
    settings = [
        (key, value)
        for key, value in settings_of(runs.experiment, arm).items()
        if key not in shared or shared[key] != value
    ]
    lines = [
        f"\n{arm}: {runs.of(arm)[0].folder.parent}",
        *([f"  goes on from {start}"] if (start := runs.experiment.arms[arm].start) else []),
        f"  jobs: {', '.join(done) or 'those of another arm, which is equal'}",
        *(f"  {key} = {value}" for key, value in settings),
    ]
    return "\n".join(lines)


def render_all() -> str:
    """The packaged experiments, each with its question."""
    known = {name: read_experiment(name)[1] for name in packaged_experiments()}
    width = max(map(len, known), default=0)
    return "\n".join(f"{name:<{width}}  {each.question}" for name, each in known.items())


def _side_by_side() -> int:
    """Jobs at a time: one for each core; with a GPU one, which needs it whole."""
    return 1 if shutil.which("nvidia-smi") else len(os.sched_getaffinity(0))
