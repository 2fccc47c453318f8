"""Check that the page's committed script and style were built from the present sources in web/.

The first line of both files carries the sha256 of all that they are made from (see web/build.mjs,
which computes the same). Needs no Node.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
ASSETS = ROOT / "src/avrt/report/assets"
SETUP = ("build.mjs", "package-lock.json", "package.json", "tsconfig.json")


def main() -> int:
    expected = f"/* sources: {source_hash(WEB)} */"
    stale = [name for name in ("app.js", "app.css") if first_line(ASSETS / name) != expected]
    for name in stale:
        print(f"{(ASSETS / name).relative_to(ROOT)}: not built from the present web/; run make web")
    return 1 if stale else 0


def source_hash(web: Path) -> str:
    """sha256 over "<path>\\n<content>\\n" of every source, sorted by path."""
    sources = [path for path in (web / "src").rglob("*") if path.is_file()]
    names = sorted([path.relative_to(web).as_posix() for path in sources] + list(SETUP))
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\n".encode() + (web / name).read_bytes() + b"\n")
    return digest.hexdigest()


def first_line(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8") as lines:
        return lines.readline().rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
