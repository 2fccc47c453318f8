"""The commands that show a run: `view` its page in the browser, `watch` it while it works."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avrt.cli.options import echo, find_run, run_argument, stay_silent
from avrt.errors import ConfigError
from avrt.stores import StorePath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from avrt.config import DataConfig

__all__ = ["view", "watch"]

PORT = 8090


def _every_option(text: str) -> Callable[[Any], Any]:
    return click.option(
        "--every",
        "every_s",
        type=click.IntRange(1, 3600),
        default=5,
        show_default=True,
        metavar="SECONDS",
        help=text,
    )


@click.command()
@run_argument
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    metavar="N",
    help="Listen on this port of this machine; 0 takes a free one.",
)
@click.option("--no-browser", is_flag=True, help="Print the address; open no browser.")
@click.option("--live", is_flag=True, help="Show the run at work, as `avrt watch` does.")
@_every_option("With --live, load the state again this often.")
def view(settings: tuple[str, ...], port: int, no_browser: bool, live: bool, every_s: int) -> None:
    """Show the page of a run in the browser.

    Serves RUN/report to this machine alone until Ctrl-C. RUN is the directory of a run; a
    configuration names its run.

    Example: avrt view runs/demo
    """
    from avrt.live.server import Files, open_server

    run, config = find_run(settings)
    roots = {} if config is None else _clip_roots(run, config.data, config.eval.benchmarks)
    files = Files(Path(os.path.realpath(run / "report")), roots)
    if live:
        from avrt.live.page import LivePage

        page = LivePage(run, every_s, files.start if _has_page(run) else None)
        server = open_server(port, files, page.render)
    elif _has_page(run):
        server = open_server(port, files)
    else:
        raise ConfigError(
            f"{run / 'report' / 'index.html'}: no page yet; write it with `avrt report "
            f"{' '.join(settings)}`, or look at the run at work with --live"
        )
    stay_silent()
    with server, suppress(KeyboardInterrupt):
        echo(f"{server.url}\nCtrl-C ends it")
        if not no_browser and _has_browser():
            import webbrowser

            webbrowser.open(server.url)
        server.serve_forever()


@click.command()
@run_argument
@_every_option("Look again this often.")
@click.option("--once", is_flag=True, help="Print the state once and end.")
def watch(settings: tuple[str, ...], every_s: int, once: bool) -> None:
    """Show how far a run is while it works.

    Reads the files of the run alone: stage under way, calls with rate and time left, failures,
    numbers of trainings, accuracies, latest replies. Ctrl-C ends it; the run goes on. RUN is the
    directory of a run; a configuration names its run.

    Example: avrt watch runs/demo --once
    """
    from avrt.live.state import Watcher
    from avrt.live.text import lines_of

    watcher, is_terminal = Watcher(find_run(settings)[0]), sys.stdout.isatty()
    stay_silent()
    with suppress(KeyboardInterrupt):
        while True:
            state = watcher.look()
            size = shutil.get_terminal_size() if is_terminal else None
            lines = lines_of(state, size.columns if size else None)
            if size and not once:
                # Over the lines of before, each cleared to its end, then all below.
                lines = [f"{line}\x1b[K" for line in lines[: size.lines - 1]]
                click.echo("\x1b[H" + "\n".join(lines) + "\x1b[J")
            else:
                click.echo("\n".join(lines) + ("" if once else "\n"))
            if once:
                return
            time.sleep(every_s)


def _has_page(run: Path) -> bool:
    return (run / "report" / "index.html").is_file()


def _clip_roots(
    run: Path, data: DataConfig, benchmarks: Mapping[str, DataConfig]
) -> dict[Path, Path]:
    """By the lists of samples that the run has, the folder of their clips."""
    roots = {run / "samples.parquet": data.root}
    roots |= {run / "eval" / name / "samples.parquet": b.root for name, b in benchmarks.items()}
    # Clips in a store are not served: the page shows their frames and sound, as it has them.
    return {
        samples: root
        for samples, root in roots.items()
        if samples.is_file() and not isinstance(root, StorePath)
    }


def _has_browser() -> bool:
    """Whether a browser has a screen; one for terminals would take this one."""
    if sys.platform != "linux":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
