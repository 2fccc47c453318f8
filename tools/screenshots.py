"""Make the two pictures of a run's page that README shows: the overview and an item.

    python tools/screenshots.py runs/demo

Reads RUN/report, which `avrt report` wrote, in headless Chromium; writes docs/figures/page-*.png,
each small enough for a repository. The item is the first of the training set with its media.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from avrt.report.script import read_script

__all__ = ["choose_item", "shrink", "take"]

WIDTH, SHOWN_WIDTH = 1440, 1000
MAX_BYTES = 150_000
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--virtual-time-budget=15000",  # milliseconds of the page's clock, which hardly take as long
)


def choose_item(report: Path) -> int:
    """The place of the first training sample with media; without any, 0."""
    _, index = read_script(report / "data" / "index.js")
    outcomes, media = index["coded"].get("outcome"), index["media"]
    train = outcomes["values"].index("train") if outcomes and "train" in outcomes["values"] else -1
    codes = outcomes["codes"] if outcomes else [-1] * len(media)
    chosen = (i for i, has in enumerate(media) if has and codes[i] == train)
    return next(chosen, next((i for i, has in enumerate(media) if has), 0))


def take(chromium: str, page: Path, address: str, height: int, picture: Path) -> None:
    """A picture of the upper part of a view of the page."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                *(chromium, *FLAGS, f"--user-data-dir={profile}"),
                f"--window-size={WIDTH},{height}",
                *(f"--screenshot={picture}", f"{page.resolve().as_uri()}#/{address}"),
            ],
            check=True,
            capture_output=True,
            timeout=300,
        )


def shrink(picture: Path) -> None:
    """Make a PNG as small as a repository wants it, with fewer colours where that is needed."""
    image = Image.open(picture).convert("RGB")
    height = round(image.height * SHOWN_WIDTH / image.width)
    image = image.resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS)
    for n_colours in (256, 128, 64, 32, 16):
        image.quantize(n_colours, dither=Image.Dither.NONE).save(picture, optimize=True)
        if picture.stat().st_size <= MAX_BYTES:
            return
    raise SystemExit(f"{picture}: {picture.stat().st_size:,} bytes, more than {MAX_BYTES:,}")


def main(run: Path, folder: Path) -> None:
    """Take both pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium here: install it, such as `apt-get install chromium`")
    report = run / "report"
    if not (report / "index.html").is_file():
        raise SystemExit(f"{report}: no page; run `avrt report {run}` first")
    views = {"overview": ("overview", 1000), "item": (f"item/{choose_item(report)}", 1500)}
    for name, (address, height) in views.items():
        picture = folder.resolve() / f"page-{name}.png"
        take(chromium, report / "index.html", address, height, picture)
        shrink(picture)
        print(f"{picture}: {picture.stat().st_size:,} bytes, #/{address}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: screenshots.py RUN [FOLDER]")
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "docs/figures"))
