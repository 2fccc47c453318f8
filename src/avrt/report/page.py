"""Write the page, the Markdown tables and the figures of a run.

Reads the run directory (and, for the gallery, the media it names); writes RUN/report/:
index.html, tables/*.md, figures/*.svg, media/. No model is called and no clock is read: equal
inputs give equal bytes. The template escapes every text; the only markup passed through is that
of our own figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from avrt import __version__
from avrt.config import Config, EvalConfig, MediaConfig
from avrt.errors import PASSING_CLASSES, ConfigError
from avrt.evaluate.benchmarks import media_of
from avrt.evaluate.results import read_results
from avrt.evaluate.sentences import sentences_of
from avrt.report.accuracy import by_benchmark
from avrt.report.course import courses_of
from avrt.report.dataset import dataset_table
from avrt.report.gallery import NO_MEDIA, GalleryItem, Media, Roots, choose, collect, show_media
from avrt.report.sections import Part, facts, parts_of
from avrt.report.tables import to_markdown
from avrt.runs import Result, hold_output, remove_folder, write_atomic
from avrt.texts import counted

__all__ = ["plan", "run", "settings_text"]

MAX_BYTES = 20_000
"""Most of one text on the page."""


def run(config: Config, folder: Path | None = None, with_media: bool = True) -> Result:
    """Write the page from the finished stages into `folder`, by default RUN/report.

    Without media, the gallery shows questions and texts alone.

    Raises:
        ConfigError: no such run.
        DataError: a file of the run that cannot be read.
    """
    path = config.run.path
    if not path.is_dir():
        raise ConfigError(f"{path}: no such run; set run.dir and run.name, or run `avrt prepare`")
    report = folder or path / "report"
    with hold_output(report):
        return _write(config, report, with_media)


def _write(config: Config, report: Path, with_media: bool) -> Result:
    from markupsafe import escape

    path, template = config.run.path, _load_template()
    results = read_results(config, with_texts=False)
    benchmarks = by_benchmark(results, config.eval)
    courses = courses_of(results, config.eval.models)
    said = sentences_of(results, config.eval, config.grpo.init)
    parts = parts_of(path, dataset_table(config), benchmarks, courses, said)
    roots = {name: data.root for name, data in config.eval.benchmarks.items()}
    all_roots = Roots(config.data.root, roots)
    choice = choose(path, all_roots, benchmarks, config.report.gallery_items)
    shown = by_benchmark(read_results(config, choice.ids), config.eval) if benchmarks else []
    items = collect(path, all_roots, shown, choice)
    for name in ("media", "tables", "figures"):  # of an earlier report
        remove_folder(report / name)
    media = [
        show_media(item, _media_of(item, config.eval, config.media), report / "media")
        if with_media
        else NO_MEDIA
        for item in items
    ]
    page = template.render(
        run_name=config.run.name,
        version=__version__,
        facts=facts(path, benchmarks),
        parts=parts,
        gallery=list(zip(items, media, strict=True)),
        settings=escape(settings_text(path)),  # whole, however long
    )
    counts = _write_parts(report, parts)
    _write_text(report / "index.html", page)
    counts |= {"gallery": len(items)}
    return Result(f"report: {report / 'index.html'}", counts, _fault(media))


def _media_of(item: GalleryItem, evaluation: EvalConfig, media: MediaConfig) -> MediaConfig:
    """The sound as the models got it, and no more frames than a strip has room for."""
    data = evaluation.benchmarks.get(item.origin) if item.group == "evaluated" else None
    if data is None:
        return media
    given = media_of(data, media)
    n_frames = min(given.n_frames, media.n_frames)
    return given.model_copy(update={"fps": None, "n_frames": n_frames})


def _fault(media: Sequence[Media]) -> str:
    """What the page lacks although the same command may find it."""
    errors = [error for item in media for error in item.failures.values()]
    passing = [error for error in errors if error.error_class in PASSING_CLASSES]
    if not passing:
        return ""
    numbers = counted(error.error_class for error in passing)
    return (
        f"report: {len(passing)} files of the gallery cannot be read now ({numbers}; the first: "
        f"{passing[0]}); the page is written without them: mend that, then repeat the command"
    )


def plan(config: Config) -> str:
    """The files that `run` would write, in words."""
    return f"report: write {config.run.path / 'report' / 'index.html'}, its tables and figures"


def _load_template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("avrt.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_cut,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = _with_code
    return environment.get_template("page.html.j2")


def _cut(value: Any) -> Any:
    """What stands on the page for a value; of a text that would fill it, the beginning."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup) or len(value) <= MAX_BYTES // 4:
        return value
    shown = value.encode("utf-8", "surrogatepass")[:MAX_BYTES].decode("utf-8", "ignore")
    if len(shown) == len(value):
        return value
    return f"{shown} … [the first {len(shown):,} of {len(value):,} characters]"


def _with_code(text: str) -> Any:
    """Escaped text in which `words` between backticks are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _write_parts(report: Path, parts: Sequence[Part]) -> dict[str, int]:
    """Write tables and figures as files of their own."""
    tables = [table for part in parts for table in (*part.tables, *part.folded)]
    figures = [figure for part in parts for figure in part.figures]
    for table in tables:
        _write_text(report / "tables" / f"{table.name}.md", to_markdown(table))
    for figure in figures:
        _write_text(report / "figures" / f"{figure.name}.svg", figure.svg)
    return {"tables": len(tables), "figures": len(figures)}


def _write_text(path: Path, text: str) -> None:
    # A lone surrogate in a model's text cannot be UTF-8; it is shown as its escape.
    write_atomic(path, lambda file: file.write(text.encode("utf-8", errors="backslashreplace")))


def settings_text(run: Path) -> str:
    """The run's configuration; paths that tell about this machine are cut to their last part."""
    path = run / "config.yaml"
    if not path.is_file():
        return ""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path}: not valid YAML: {error}; run a stage again to write it"
        ) from error
    return yaml.safe_dump(_without_outer_paths(tree), sort_keys=False, allow_unicode=True)


def _without_outer_paths(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_outer_paths(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_outer_paths(value) for value in tree]
    if isinstance(tree, str) and (PurePath(tree).is_absolute() or tree.startswith("../")):
        return f"…/{PurePath(tree).name}"
    return tree
