"""The command `avrt`: its commands in the order of the method, and the handling of their errors.

Nothing heavy is imported before a command needs it, so `avrt --help` answers at once. Errors meant
for a person, and faults of the machine, are printed as one message without a traceback; exit codes
are 0 done, 1 failed, 2 wrong use, 130 interrupted (Ctrl-C), 143 ended (SIGTERM), 129 (SIGHUP).
"""

from __future__ import annotations

import signal
import time
from types import FrameType
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
from avrt.errors import AvrtError, machine_fault
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

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_stopped_by: list[int] = []
"""The signal that ends this process, once there was one."""
GRACE_S = 15.0
"""How long another process than the main one waits before it says why it failed."""


class MethodGroup(click.Group):
    """A group that turns the errors meant for a person into one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the method, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AvrtError as error:
            _stop(ctx, str(error), error.exit_code)
        except ModuleNotFoundError as error:
            _stop(ctx, _install_advice(error), 2)
        except KeyboardInterrupt:
            _stop_interrupted(ctx)
        except (OSError, MemoryError, ImportError, RuntimeError) as error:
            message = machine_fault(error)
            if message is None:
                raise
            _stop(ctx, message, 1)


def _stop_interrupted(ctx: click.Context) -> None:
    what = f"stopped by {signal.Signals(_stopped_by[0]).name}" if _stopped_by else "interrupted"
    message = f"{what}; the same command goes on or starts this stage again"
    click.echo(f"avrt: error: {message}", err=True)
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
    for number in _ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:  # not under `nohup`
            signal.signal(number, _end_as_interrupted)
    cli(prog_name="avrt")
