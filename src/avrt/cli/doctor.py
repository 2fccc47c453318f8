"""`avrt doctor`: the parts that AVRT needs of this machine, with a remedy for every missing part.

Reads versions, codecs, memory, disk and the packaged models; writes nothing. Its output is made to
be pasted into a bug report, so it names versions and sizes but no folder outside the package. torch
and torchvision are imported in earnest, because only that shows whether they work together.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from avrt import __version__
from avrt.cli.options import echo, echo_json, json_option
from avrt.cli.packages import requirements
from avrt.errors import install_command

__all__ = ["Check", "doctor", "examine", "render"]

CODECS: tuple[tuple[str, Literal["r", "w"]], ...] = (
    ("h264", "r"),
    ("aac", "r"),
    ("libx264", "w"),
    ("aac", "w"),
)
"""Codecs to read clips with, and to write those of the world."""

WORLD_MODELS = ("vision_teacher", "audio_teacher", "merger", "other_merger", "student")
MIN_DISK_GB = 5
MIN_MEMORY_GB = 4

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """The state of a package, codec or model: `fail` stops the method, `warn` limits it."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check whether this machine has all that AVRT needs.

    Looks at Python, the packages of AVRT and of each of its extras, codecs, memory, disk and the
    packaged models. Exits with code 1 when a part is missing that every command needs.

    Example: avrt doctor --json
    """
    checks = examine()
    if as_json:
        echo_json([asdict(check) for check in checks])
    else:
        echo(render(checks))
    if any(check.status == "fail" for check in checks):
        ctx.exit(1)


def examine() -> list[Check]:
    """Look at everything, in the order of the report."""
    return [
        Check("python", "ok", platform.python_version()),
        *_packages(),
        *_torch(),
        *_codecs(),
        _cores(),
        _memory(),
        _disk(),
        *_world_models(),
    ]


def render(checks: list[Check]) -> str:
    """The checks as lines of a table, and a last line that counts them."""
    width = max(len(check.name) for check in checks)
    lines = [f"avrt {__version__} on {platform.system()} {platform.machine()}"]
    for check in checks:
        lines.append(f"{check.status:<4}  {check.name:<{width}}  {check.detail}")
        if check.remedy and check.status != "ok":
            lines.append(f"{'':<4}  {'':<{width}}  -> {check.remedy}")
    counts = {
        status: sum(check.status == status for check in checks) for status in ("warn", "fail")
    }
    lines.append(f"{len(checks)} checks, {counts['warn']} warnings, {counts['fail']} failures")
    return "\n".join(lines)


def _packages() -> Iterator[Check]:
    """Every package that AVRT's metadata name, then what each group lacks."""
    missing: dict[str, list[str]] = {}
    seen: set[str] = set()
    for required in requirements():
        missing.setdefault(required.extra, [])
        try:
            version = importlib.metadata.version(required.name)
        except importlib.metadata.PackageNotFoundError:
            missing[required.extra].append(required.name)
            continue
        if required.name in seen:
            continue
        seen.add(required.name)
        if required.takes(version):
            yield Check(required.name, "ok", version)
        else:
            detail = f"{version}; AVRT asks for {required}"
            yield Check(required.name, "warn", detail, install_command(required.extra))
    if not missing:
        yield Check("avrt", "warn", "not installed, so no versions are known", install_command())
    for extra, names in missing.items():
        name = f"extra {extra}" if extra else "core packages"
        if names:
            status = "warn" if extra else "fail"
            detail = f"not installed: {', '.join(names)}"
            yield Check(name, status, detail, install_command(extra))
        else:
            yield Check(name, "ok", "complete")


def _torch() -> Iterator[Check]:
    """Whether torch computes, on what, and whether torchvision loads beside it."""
    try:
        import torch
    except ImportError as error:
        yield Check(
            "torch device", "warn", f"cannot import torch: {error}", install_command("train")
        )
        return
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("torch device", "ok", f"CUDA {torch.version.cuda}: {', '.join(names)}")
    else:
        build = "CUDA build, no usable GPU" if torch.version.cuda else "CPU build"
        yield Check("torch device", "ok", f"cpu ({build}, {torch.get_num_threads()} threads)")
    try:
        from avrt.engines import torchcompat

        import torchvision  # isort: skip
    except ImportError as error:
        yield Check("torchvision", "warn", f"cannot import it: {error}", install_command("train"))
    except RuntimeError as error:
        yield Check("torchvision", "fail", f"does not fit torch: {error}", install_command("train"))
    else:
        shim = "operators declared by AVRT" if torchcompat.shimmed else "own operators"
        yield Check("torchvision import", "ok", f"{torchvision.__version__}, {shim}")


def _codecs() -> Iterator[Check]:
    remedy = "install a build of PyAV with FFmpeg's H.264 and AAC: pip install --force-reinstall av"
    try:
        import av
    except ImportError as error:
        yield Check("codecs", "fail", f"cannot import av: {error}", remedy)
        return
    for name, mode in CODECS:
        label = f"{name} {'decoder' if mode == 'r' else 'encoder'}"
        try:
            av.Codec(name, mode)
        except ValueError:
            yield Check(label, "fail" if mode == "r" else "warn", "not in this PyAV", remedy)
        else:
            yield Check(label, "ok", "present")


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("cpu cores", "ok", str(usable))


def _memory() -> Check:
    total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if total_gb < MIN_MEMORY_GB:
        return Check("memory", "warn", f"{total_gb:.1f} GB", f"the demo needs {MIN_MEMORY_GB} GB")
    return Check("memory", "ok", f"{total_gb:.1f} GB")


def _disk() -> Check:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    detail = f"{free_gb:.1f} GB free in the working directory"
    if free_gb < MIN_DISK_GB:
        return Check(
            "disk", "warn", detail, f"free {MIN_DISK_GB} GB, or set run.dir to another disk"
        )
    return Check("disk", "ok", detail)


def _world_models() -> Iterator[Check]:
    remedy = "pip install --force-reinstall --no-deps avrt, or train them: avrt world train"
    weights = Path(__file__).parents[1] / "world" / "weights"
    for name in WORLD_MODELS:
        folder = weights / name
        n_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        if not n_bytes:
            yield Check(f"world:{name}", "warn", "no weights in the package", remedy)
        elif not (folder / "README.md").is_file():
            yield Check(f"world:{name}", "warn", f"{n_bytes / 1e6:.1f} MB, no card", remedy)
        else:
            yield Check(f"world:{name}", "ok", f"{n_bytes / 1e6:.1f} MB, with card")
