"""The command `avrt`: its commands in the order of the method, and the handling of their errors.

Nothing heavy is imported before a command needs it, so `avrt --help` answers at once. Errors meant
for a person, and faults of the machine, are printed as one message without a traceback; exit codes
are 0 done, 1 failed, 2 wrong use, 130 interrupted (Ctrl-C), 143 ended (SIGTERM), 129 (SIGHUP).
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import click
from click.shell_completion import get_completion_class

from avrt import __version__
from avrt.cli.checkpoint import checkpoint
from avrt.cli.config import config
from avrt.cli.data import export, import_set, ledger, list_known, replay_row
from avrt.cli.demo import demo
from avrt.cli.doctor import doctor
from avrt.cli.evaluate import difficulty, evaluate, rubric, tables
from avrt.cli.experiment import experiment
from avrt.cli.options import OrderedGroup, echo
from avrt.cli.packages import extra_of
from avrt.cli.plan import plan
from avrt.cli.publish import publish
from avrt.cli.serve import serve
from avrt.cli.stages import (
    build,
    generate,
    grpo,
    judge,
    merge,
    prepare,
    report,
    sft,
    stats,
    trace,
)
from avrt.cli.view import view, watch
from avrt.cli.world import world
from avrt.errors import AvrtError, install_command, machine_fault
from avrt.ranks import is_main

__all__ = ["cli", "main"]

QUIET_S = 60.0
"""After how long without a line about the work a command says that it is still there."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_stopped_by: list[int] = []
"""The signal that ends this process, once there was one."""
GRACE_S = 15.0
"""How long another process than the main one waits before it says why it failed."""


class MethodGroup(OrderedGroup):
    """A group that turns the errors meant for a person into one message and an exit code."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, commands in PARTS.items():
            self.write_commands(formatter, title, commands)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = over = threading.Event()
        threading.Thread(target=_say_still_here, args=(over,), daemon=True).start()
        try:
            return super().invoke(ctx)
        except AvrtError as error:
            _stop(ctx, str(error), error.exit_code)
        except ModuleNotFoundError as error:
            _stop(ctx, _install_advice(error), 2)
        except KeyboardInterrupt:
            _stop_interrupted(ctx)
        except Exception as error:
            message = machine_fault(error)
            if message is None:
                raise
            _stop(ctx, message, 1)
        finally:
            over.set()


def _say_still_here(over: threading.Event) -> None:
    """For work that counts nothing, such as loading a model: a line after each quiet minute."""
    started_s = time.monotonic()
    while not over.wait(QUIET_S):
        from avrt.runs import format_duration, quiet_s, say

        if quiet_s() >= QUIET_S and not sys.stderr.isatty():  # there a bar may stand
            say(f"avrt: at work for {format_duration(time.monotonic() - started_s)}")


def _stop_interrupted(ctx: click.Context) -> None:
    what = f"stopped by {signal.Signals(_stopped_by[0]).name}" if _stopped_by else "interrupted"
    message = f"{what}; the same command goes on or starts this stage again"
    echo(f"avrt: error: {message}", err=True)
    ctx.exit(128 + (_stopped_by[0] if _stopped_by else signal.SIGINT))


def _end_as_interrupted(number: int, frame: FrameType | None) -> None:
    """End as by Ctrl-C, which libraries know; a second signal, to the whole group, changes nothing.

    Slurm, systemd and containers send SIGTERM, a terminal that is closed SIGHUP.
    """
    _stopped_by.append(number)
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        interrupt(signal.SIGINT, frame)
    else:  # ignored, as in the background of a script
        raise KeyboardInterrupt


def _stop(ctx: click.Context, message: str, exit_code: int) -> None:
    if not is_main():
        # What fails here mostly fails in the main process too, whose end ends this one.
        time.sleep(GRACE_S)
    echo(f"avrt: error: {message}", err=True)
    ctx.exit(exit_code)


def _install_advice(error: ModuleNotFoundError) -> str:
    missing = (error.name or "").partition(".")[0]
    extra = extra_of(missing)
    if extra is None:
        raise error
    return f"{missing} is not installed and this command needs it; run: {install_command(extra)}"


def _choose_log_level(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Tell the libraries, and the processes that this one starts, through the environment."""
    level = value or "warning"
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY", "HF_HUB_VERBOSITY"):
        os.environ[name] = level if value else os.environ.get(name, level)
    if not sys.stderr.isatty():  # a bar in a file is one endless line
        for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")
    if value or "VLLM_LOGGING_LEVEL" not in os.environ:
        os.environ["VLLM_LOGGING_LEVEL"] = level.upper()
    if value and not ctx.resilient_parsing:
        os.environ["AVRT_LOG"] = level
        logging.basicConfig(level=level.upper())


@click.group(cls=MethodGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avrt", help="Print the version.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="AVRT_LOG",
    expose_value=False,
    callback=_choose_log_level,
    help="Show messages of transformers, vLLM and other libraries from this level on, by default "
    "warning; `error` also leaves out the lines about progress. Also the variable AVRT_LOG.",
)
def cli() -> None:
    """Audio-visual reasoning from single-modality teachers: data, training, evaluation.

    Call a stage as `avrt STAGE [CONFIG.yaml ...] [section.key=value ...]`. Later files win over
    earlier ones, and the values on the command line over all files. A stage works in the run
    directory `run.dir`/`run.name`; repeat the command to resume it. `avrt config list` names the
    packaged configurations, `avrt config copy NAME configs` writes one to configs/NAME.yaml.

    Example: avrt sft configs/paper.yaml configs/paper-v2.yaml run.name=mine
    """


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and settings.

    Write it to a file and source that in the shell's start file, such as ~/.bashrc.

    Example: avrt completion bash > ~/.avrt-completion
    """
    complete = get_completion_class(shell)
    assert complete is not None, "one of click's own"
    click.echo(complete(cli, {}, "avrt", "_AVRT_COMPLETE").source())


PARTS = {
    "Data": (plan, prepare, import_set, export),
    "Asking models": (serve, trace, merge, judge, build, generate, stats, ledger, replay_row),
    "Training": (sft, grpo, checkpoint),
    "Evaluation": (evaluate, rubric, difficulty, tables),
    "Report": (report, view, watch, publish),
    "Tools": (demo, experiment, config, list_known, world, doctor, completion),
}
"""The commands by the parts of the method, in whose order the help shows them."""
for _command in itertools.chain(*PARTS.values()):
    cli.add_command(_command)


def _read_names_as_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale would read names of files otherwise.

    The encoding of the terminal stays as it is.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        os.environ.update(PYTHONUTF8="1", PYTHONIOENCODING=encoding)
        os.execv(sys.executable, sys.orig_argv)


def main() -> None:
    """Entry point of the command `avrt`."""
    _read_names_as_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding may lack a letter of a name
            stream.reconfigure(errors="backslashreplace")
    for number in _ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:  # not under `nohup`
            signal.signal(number, _end_as_interrupted)
    cli(prog_name="avrt")
