"""`avrt doctor`: the parts that AVRT needs of this machine, with a remedy for every missing part.

Reads versions, codecs, memory, disk and the packaged models; writes nothing. Its output is made to
be pasted into a bug report, so it names versions and sizes but no folder outside the package. torch
and torchvision are imported in earnest, because only that shows whether they work together.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from avrt import __version__
from avrt.cli.options import json_option

__all__ = ["Check", "doctor", "examine", "render"]

CORE = (
    "aiohttp",
    "av",
    "click",
    "numpy",
    "pillow",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "soxr",
    "tqdm",
)
TRAIN = ("torch", "torchvision", "transformers", "trl", "accelerate", "datasets", "safetensors")
REPORT = ("jinja2", "matplotlib")
DATA = ("rapidfuzz",)

KNOWN_TO_WORK = {
    "accelerate": ("1.10", "2"),
    "av": ("18", "19"),
    "datasets": ("4", "6"),
    "torch": ("2.9", "2.14"),
    "torchvision": ("0.24", "0.29"),
    "transformers": ("5.21", "5.24"),
    "trl": ("1.16", "1.17"),
}
"""Versions from the first up to, but without, the second. Others may work; they were not tried."""

CODECS: tuple[tuple[str, Literal["r", "w"]], ...] = (
    ("h264", "r"),
    ("aac", "r"),
    ("libx264", "w"),
    ("aac", "w"),
)
"""Codecs to read clips with, and to write those of the world."""

WORLD_MODELS = ("vision_teacher", "audio_teacher", "merger", "student")
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

    Looks at Python, packages, codecs, memory, disk and the packaged models. Exits with code 1 when
    a part is missing that every command needs.

    Example: avrt doctor --json
    """
    checks = examine()
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        click.echo(render(checks))
    if any(check.status == "fail" for check in checks):
        ctx.exit(1)


def examine() -> list[Check]:
    """Look at everything, in the order of the report."""
    return [
        Check("python", "ok", platform.python_version()),
        *_packages(CORE, "fail", "pip install -c constraints.txt -e ."),
        *_packages(DATA, "warn", "pip install -c constraints.txt -e '.[data]'"),
        *_packages(TRAIN, "warn", "pip install -c constraints.txt -e '.[train]'"),
        *_packages(REPORT, "warn", "pip install -c constraints.txt -e '.[report]'"),
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


def _packages(names: tuple[str, ...], if_missing: Status, remedy: str) -> Iterator[Check]:
    import importlib.metadata

    for name in names:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, if_missing, "not installed", remedy)
            continue
        low, high = KNOWN_TO_WORK.get(name, ("0", ""))
        if _release(version) < _release(low) or (high and _release(version) >= _release(high)):
            detail = f"{version}; known to work: {low} up to, without, {high}"
            yield Check(name, "warn", detail, remedy)
        else:
            yield Check(name, "ok", version)


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.13.0+cpu" gives (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _torch() -> Iterator[Check]:
    """Whether torch computes, on what, and whether torchvision loads beside it."""
    try:
        import torch
    except ImportError as error:
        yield Check("torch device", "warn", f"cannot import torch: {error}", "make setup")
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
        yield Check("torchvision", "warn", f"cannot import it: {error}", "make setup")
    except RuntimeError as error:
        yield Check("torchvision", "fail", f"does not fit torch: {error}", "make setup")
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
    remedy = "reinstall AVRT, or train them: avrt world train"
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
