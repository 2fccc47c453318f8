"""Write the page of a run: one folder that a browser opens without a server.

Reads the run directory, and the media of the items that are shown with them; writes RUN/report/:
index.html, assets/, data/ (report.js, index.js, items-NNNN.js), media/, tables/, figures/. No model
is called and no clock is read: equal inputs give equal bytes. What a model or a data set wrote is
in data/ alone, as JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from avrt.config import Config
from avrt.errors import PASSING_CLASSES, ConfigError
from avrt.report.content import Source, read_content, report_data, write_content
from avrt.report.dataset import dataset_table
from avrt.report.faults import absent_files, attempt, manifest_faults
from avrt.report.item import roles_of
from avrt.report.items import ItemSources, Written, write_items
from avrt.report.paper import Evaluated, read_runs
from avrt.report.script import write_script
from avrt.report.settings import settings_text
from avrt.report.shown_experiments import check_experiments
from avrt.runs import Result, hold_output, remove_folder, write_atomic
from avrt.texts import counted

__all__ = ["plan", "run"]


def run(
    config: Config,
    folder: Path | None = None,
    with_media: bool = True,
    others: Sequence[str] = (),
) -> Result:
    """Write the page from the finished stages into `folder`, by default RUN/report.

    A page in another folder names no clip, since it is to be given on; without media, it shows
    questions and texts alone. `others`: further runs, by name or folder, beside this one.

    Raises:
        ConfigError: no such run.
    """
    path = config.run.path
    if not path.is_dir():
        raise ConfigError(f"{path}: no such run; set run.dir and run.name, or run `avrt prepare`")
    check_experiments(config.report.experiments)
    faults: list[str] = []
    runs = read_runs(config, others, faults)
    _require_names(runs)
    faults += [
        fault
        for each in runs
        for fault in (*manifest_faults(each.folder), *absent_files(each.folder))
    ]
    report = folder or path / "report"
    with hold_output(report):
        return _write(config, report, runs, folder is not None, with_media, faults)


def _require_names(runs: Sequence[Evaluated]) -> None:
    """Refuse two runs of one name, by which the page tells them apart.

    Raises:
        ConfigError: there are such.
    """
    names = Counter(run.folder.resolve().name for run in runs)
    name, n = names.most_common(1)[0]
    if n > 1:
        raise ConfigError(
            f"{n} of the runs are called {name}, and models are called by the name of their run; "
            "name each run once, and rename the folder of another"
        )


def _write(
    config: Config,
    report: Path,
    runs: Sequence[Evaluated],
    is_published: bool,
    with_media: bool,
    faults: list[str],
) -> Result:
    path, template = config.run.path, _load_template()
    results = runs[0].results
    content = read_content(
        Source(
            run=path,
            name=config.run.name,
            evaluation=config.eval,
            grpo_init=config.grpo.init,
            results=results,
            statistics=attempt(lambda: dataset_table(config), None, faults),
            others=runs[1:],
            experiments=config.report.experiments,
        ),
        faults,
    )
    for name in ("data", "tables", "figures"):  # of an earlier report
        remove_folder(report / name)
    sources = ItemSources(
        run=path,
        root=config.data.root,
        media=config.media,
        evaluation=config.eval,
        roles=roles_of(path, config.teachers, config.merger),
        project=None if is_published else config.run.dir.resolve().parent,
    )
    n_media = config.report.gallery_items if with_media else 0
    written = write_items(sources, results, report, n_media)
    written.faults = _named([*faults, *written.faults], [each.folder for each in runs])
    data = report_data(content, settings_text(path), written.faults, written.prompts)
    write_script(report / "data" / "report.js", "report", data)
    counts = write_content(report, content) | {"items": written.n_items, "media": written.n_media}
    _copy_assets(report / "assets")
    tables = [(name, table.caption) for name, table in content.tables.items()]
    _write_text(report / "index.html", template.render(run_name=config.run.name, tables=tables))
    return Result(f"report: {report / 'index.html'}", counts, _fault(written))


def _named(faults: Sequence[str], runs: Sequence[Path]) -> list[str]:
    """Each fault once, with files named from the run, or of a further run from its folder."""
    for run in runs:
        folder = "" if run == runs[0] else f"{run.name}/"
        faults = [fault.replace(f"{run}/", folder) for fault in faults]
    return list(dict.fromkeys(faults))


def _copy_assets(folder: Path) -> None:
    """The page's own script and styles, as they come with the package."""
    remove_folder(folder)
    packaged = files("avrt.report") / "assets"
    for asset in packaged.iterdir() if packaged.is_dir() else ():
        write_atomic(folder / asset.name, partial(_write_bytes, asset.read_bytes()))


def _write_bytes(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def _fault(written: Written) -> str:
    """What the page lacks although it was there, or the same command may find it."""
    passing = [error for error in written.media_errors if error.error_class in PASSING_CLASSES]
    lines = [f"report: {fault}; the page is written without it" for fault in written.faults]
    if passing:
        numbers = counted(error.error_class for error in passing)
        lines.append(
            f"report: {len(passing)} media files cannot be read now ({numbers}; the first: "
            f"{passing[0]}); the page is written without them: mend that, then repeat the command"
        )
    return "\n".join(lines)


def plan(config: Config) -> str:
    """The files that `run` would write, in words."""
    return f"report: write {config.run.path / 'report' / 'index.html'}, its tables and figures"


def _load_template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("avrt.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _write_text(path: Path, text: str) -> None:
    # A lone surrogate in a model's text cannot be UTF-8; it is shown as its escape.
    write_atomic(path, lambda file: file.write(text.encode("utf-8", errors="backslashreplace")))
