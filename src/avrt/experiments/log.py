"""The section of an experiment in a page of people's own, such as docs/experiments.md.

It stands between two comments, which name it; what stands outside of them stays as it is, so that
lessons can be written below it. A section that is there is replaced where it stands; a new one goes
before all others.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avrt import __version__
from avrt.errors import ConfigError, DataError
from avrt.experiments.arms import Runs
from avrt.experiments.outcome import Measured
from avrt.report.figures import Figure
from avrt.runs import write_atomic
from avrt.texts import read_text

__all__ = ["check_page", "section", "write_section"]

_END = "<!-- end -->"
_FIRST = re.compile(r"^(?:## |<!-- experiment )", re.MULTILINE)
_CODE = re.compile(r"^(```+|~~~+).*?(?:^\1|\Z)", re.MULTILINE | re.DOTALL)


def section(measured: Measured, tables: str, figure: str) -> str:
    """The section's text; `figure` is the figure's path from the page."""
    runs, experiment = measured.runs, measured.runs.experiment
    date = (measured.ended or "")[:10] or "not run yet"
    commits = ", ".join(f"`{commit}`" for commit in measured.commits)
    made_by = f"AVRT {__version__}" + (f", commit {commits}" if commits else "")
    arms = [_arm_text(runs, arm) for arm in experiment.arms]
    settings = _settings_text(experiment.settings)
    parts = [
        f"## {date} · {experiment.title}",
        f"*Question.* {experiment.question}",
        f"*Set-up.* `avrt experiment {runs.name}`; {made_by}. Configuration: "
        f"{', '.join(experiment.configs)}; seeds {', '.join(map(str, experiment.seeds))}"
        f"{_world_text(runs)}." + (f" All arms: {settings}." if settings else ""),
        "\n".join(arms),
        f"![{experiment.title}]({figure})",
        tables,
    ]
    return "\n\n".join(parts)


def _world_text(runs: Runs) -> str:
    if all(run.world is None for run in runs.runs.values()):
        return ", which share their items"
    sizes = runs.experiment.world
    return f", each with a world of its own ({sizes.n_train:,} questions)"


def _arm_text(runs: Runs, name: str) -> str:
    arm = runs.experiment.arms[name]
    about = f"{arm.about}: " if arm.about else ""
    start = f" from {arm.start}" if arm.start else ""
    settings = _settings_text(arm.settings)
    return f"- `{name}`{start}: {about}{', '.join(arm.stages)}" + (
        f"; {settings}" if settings else ""
    )


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in settings.items())


def write_section(page: Path, name: str, text: str, figure: Figure) -> None:
    """Put the section into the page, and the figure into `figures/` beside it.

    Raises:
        ConfigError: the page cannot be read, or the comment that ends the section is not there.
    """
    drawn = figure.svg.encode()
    after = with_section(_read_page(page), name, text)
    write_atomic(page.parent / "figures" / f"{name}.svg", lambda file: file.write(drawn))
    mode = page.stat().st_mode if page.exists() else None
    write_atomic(page.resolve(), lambda file: file.write(after.encode()))
    if mode is not None:
        page.chmod(mode)


def check_page(page: Path, name: str) -> None:
    """Refuse a page that the section cannot be written into; raises as `write_section`."""
    try:
        with_section(_read_page(page), name, "")
    except ConfigError as error:
        raise ConfigError(f"{page}: {error}") from error
    if page.exists() and not page.stat().st_mode & stat.S_IWUSR:
        raise ConfigError(f"--write {page}: the page is for reading only; name another page")
    folder = page.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"--write {page}: {folder} is no folder to write into; name another page")


def _read_page(page: Path) -> str:
    try:
        return read_text(page) if page.exists() else "# Experiments\n"
    except DataError as error:
        raise ConfigError(str(error)) from error


def with_section(page: str, name: str, text: str) -> str:
    """The page with the section of this name.

    Raises:
        ConfigError: the section begins in the page, but does not end, or it begins twice.
    """
    start = f"<!-- experiment {name} -->"
    block = f"{start}\n{text.strip()}\n{_END}"
    places = _places(page, re.compile(rf"^{re.escape(start)}$", re.MULTILINE))
    if len(places) > 1:
        raise ConfigError(f"{start} stands there {len(places)} times; leave one of them")
    if places:
        head, tail = page[: places[0]], page[places[0] + len(start) :]
        old, end, rest = tail.partition(_END)
        if not end or "<!-- experiment " in old:
            raise ConfigError(f"{start} has no {_END} behind it; add it where the section ends")
        return f"{head}{block}{rest}"
    place = (*_places(page, _FIRST), len(page))[0]
    head, rest = page[:place].rstrip(), page[place:]
    return f"{head}\n\n{block}\n" + (f"\n{rest}" if rest else "")


def _places(page: str, pattern: re.Pattern[str]) -> list[int]:
    """Where lines begin that match, outside of blocks of code."""
    code = [found.span() for found in _CODE.finditer(page)]
    starts = (found.start() for found in pattern.finditer(page))
    return [at for at in starts if not any(first <= at < end for first, end in code)]
