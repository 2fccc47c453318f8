"""Experiments: arms with several seeds, planned, run, compared and written down.

An experiment is a file (`plan.py` has its form). Its arms are resolved into ordinary run
directories (`arms.py`), whose stages are run as ordinary commands (`jobs.py`); what came out
(`outcome.py`) becomes tables, a figure and a section of a page.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from avrt.experiments.arms import resolve_runs
from avrt.experiments.jobs import Job, plan_jobs, run_jobs
from avrt.experiments.outcome import find_outcome
from avrt.experiments.plan import read_experiment
from avrt.experiments.table import markdown
from avrt.runs import Result, write_atomic

__all__ = ["plan", "run"]


def run(name: str, root: Path, n_jobs: int | None = None) -> Result:
    """Run the jobs of an experiment that are not done, then write what came out.

    Raises:
        ConfigError: no such experiment, or a setting that is impossible, before anything starts.
    """
    name, experiment = read_experiment(name)
    runs = resolve_runs(name, experiment, root)
    jobs = plan_jobs(runs)
    lost = run_jobs(jobs, n_jobs or _side_by_side())
    outcome = find_outcome(runs, jobs)
    text = markdown(outcome) + "\n"
    folder = root / name
    write_atomic(folder / "table.md", lambda file: file.write(text.encode()))
    fault = f"{len(lost)} of {len(jobs)} jobs were not done; repeat the command" if lost else ""
    return Result(f"{text}\n{folder}", {"kept": len(jobs) - len(lost)}, fault)


def plan(name: str, root: Path) -> str:
    """The arms, their folders and the jobs, in words."""
    name, experiment = read_experiment(name)
    runs = resolve_runs(name, experiment, root)
    jobs = plan_jobs(runs)
    lines = [f"{name}: {experiment.title}; {len(jobs)} jobs"]
    lines += [_line(job) for job in jobs]
    return "\n".join(lines)


def _line(job: Job) -> str:
    return f"{'done' if job.is_done else 'to do':5}  {job.title}  {job.folder}"


def _side_by_side() -> int:
    return 1 if shutil.which("nvidia-smi") else len(os.sched_getaffinity(0))
