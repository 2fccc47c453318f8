"""The group of all commands: their order, errors as one message with an exit code, settings."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avrt.errors import AvrtError
from avrt.ranks import is_main

if TYPE_CHECKING:
    from avrt.config import Config

__all__ = ["EXTRAS", "MethodGroup", "load_settings", "split_settings"]

GENERATION = ("trace", "merge", "build", "generate", "stats", "ledger", "replay")
DATA = ("import", "export", "teachers", "views")
EVALUATION = ("benchmarks", "eval", "rubric", "difficulty", "tables", "baselines")
STUDENT = ("sft", "grpo", "checkpoint", *EVALUATION, "report")
ORDER = ("prepare", *GENERATION, *DATA, *STUDENT, "demo", "world", "doctor")
"""Every command, as the method goes."""
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
"""What a full, locked or misnamed place answers: no defect of AVRT."""


def split_settings(settings: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """The configuration file, if the first setting is one, and the overrides."""
    if not settings or "=" in settings[0]:
        return None, settings
    return Path(settings[0]), settings[1:]


def load_settings(settings: tuple[str, ...]) -> Config:
    """The configuration of `[CONFIG.yaml] [section.key=value ...]`."""
    from avrt.config import load_config

    return load_config(*split_settings(settings))


GRACE_S = 15.0
"""How long another process than the main one waits before it says why it failed."""


class MethodGroup(click.Group):
    """A group that turns the errors meant for a person into one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the method."""
        return sorted(self.commands, key=ORDER.index)

    def invoke(self, ctx: click.Context) -> Any:
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
