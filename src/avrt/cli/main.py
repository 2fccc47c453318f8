"""The command `avrt`: its commands in the order of the method, and the handling of their errors.

Nothing heavy is imported before a command needs it, so `avrt --help` answers at once. Errors meant
for a person are printed as one message without a traceback; exit codes are 0 done, 1 failed, 2
wrong use, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
import threading
import time
from typing import Any

import click

from avrt import __version__
from avrt.cli.checkpoint import checkpoint
from avrt.cli.data import export, import_set, ledger, list_known, replay_row
from avrt.cli.demo import demo
from avrt.cli.doctor import doctor
from avrt.cli.evaluate import difficulty, evaluate, rubric, tables
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
from avrt.cli.world import world
from avrt.errors import AvrtError
from avrt.ranks import is_main

__all__ = ["EXTRAS", "cli", "main"]

EXTRAS = {
    "data": ("rapidfuzz",),
    "train": (
        "accelerate",
        "datasets",
        "huggingface_hub",
        "safetensors",
        "tokenizers",
        "torch",
        "torchvision",
        "transformers",
        "trl",
    ),
    "deepspeed": ("deepspeed",),
    "lora": ("peft",),
    "eval": ("scipy",),
    "report": ("jinja2", "matplotlib"),
}
"""Optional groups of packages, and what a command that needs one of them imports."""

_DISK_ERRORS = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)
"""Errors of a full, locked or misnamed folder: no defect of AVRT."""

QUIET_S = 60.0
"""After how long without a line about the work a command says that it is still there."""
GRACE_S = 15.0
"""How long another process than the main one waits before it says why it failed."""


class MethodGroup(click.Group):
    """A group that turns the errors meant for a person into one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the method, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        over = threading.Event()
        threading.Thread(target=_say_still_here, args=(over,), daemon=True).start()
        try:
            return super().invoke(ctx)
        except AvrtError as error:
            _stop(ctx, str(error), error.exit_code)
        except ModuleNotFoundError as error:
            _stop(ctx, _install_advice(error), 2)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            _stop(ctx, f"{error.filename or 'write'}: {error.strerror}", 1)
        except KeyboardInterrupt:
            _stop(ctx, "interrupted; the same command goes on or starts this stage again", 130)
        finally:
            over.set()


def _say_still_here(over: threading.Event) -> None:
    """For work that counts nothing, such as loading a model: a line after each quiet minute."""
    started_s = time.monotonic()
    while not over.wait(QUIET_S):
        from avrt.runs import format_duration, quiet_s, say

        if quiet_s() >= QUIET_S and not sys.stderr.isatty():  # there a bar may stand
            say(f"avrt: at work for {format_duration(time.monotonic() - started_s)}")


def _stop(ctx: click.Context, message: str, exit_code: int) -> None:
    if not is_main():
        # What fails here mostly fails in the main process too, whose end ends this one.
        time.sleep(GRACE_S)
    click.echo(f"avrt: error: {message}", err=True)
    ctx.exit(exit_code)


def _install_advice(error: ModuleNotFoundError) -> str:
    missing = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if missing in packages), None)
    if extra is None:
        raise error
    return (
        f"{missing} is not installed and this command needs it; in a checkout of AVRT run "
        f"`make setup`, or: pip install -c constraints.txt -e '.[{extra}]'"
    )


@click.group(cls=MethodGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avrt")
def cli() -> None:
    """Audio-visual reasoning from single-modality teachers: data, training, evaluation.

    Call a stage as `avrt STAGE [CONFIG.yaml ...] [section.key=value ...]`. Later files win over
    earlier ones, and the values on the command line over all files. A stage works in the run
    directory `run.dir`/`run.name`; repeat the command to resume it.

    Example: avrt sft configs/paper.yaml configs/paper-v2.yaml run.name=mine
    """


for _command in (
    *(prepare, trace, merge, judge, build, generate, stats, ledger, replay_row),
    *(import_set, export, list_known),
    *(sft, grpo, checkpoint),
    *(evaluate, rubric, difficulty, tables, report),
    *(demo, world, doctor),
):
    cli.add_command(_command)


def main() -> None:
    """Entry point of the command `avrt`."""
    cli(prog_name="avrt")
