"""Refuse a changelog without entries for the next release, dead links and paths of a machine.

Reads CHANGELOG.md, all Markdown files, and every text file of the repository that git tracks or
would track.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_changelog", "check_links", "check_machine_paths"]

# The paths are spelled in pieces so that this file passes its own check.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:" + "|".join(("home", "root", "Users", "work")) + r")/[\w.]"
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def check_changelog(text: str) -> Iterator[str]:
    """Yield a message unless the section `Unreleased` exists and has an entry."""
    section = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        yield "CHANGELOG.md: no section `## [Unreleased]`"
    elif not re.search(r"^- \S", section.group(1), re.MULTILINE):
        yield "CHANGELOG.md: `[Unreleased]` is empty; add one line per change a user can see"


def check_machine_paths(name: str, text: str) -> Iterator[str]:
    """Yield a message for each line that names a folder of the machine it was written on."""
    for number, line in enumerate(text.splitlines(), start=1):
        if match := MACHINE_PATH.search(line):
            yield f"{name}:{number}: {match.group()!r}... is a path of a single machine"


def check_links(root: Path, name: str, text: str) -> Iterator[str]:
    """Yield a message for each relative link in Markdown that leads to no file."""
    for target in LINK.findall(text):
        if "://" not in target and not (root / name).parent.joinpath(target).exists():
            yield f"{name}: link to {target!r} leads nowhere"


def _repository_files(root: Path) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in listed.split("\0") if name and (root / name).is_file())


def _check(root: Path) -> Iterator[str]:
    yield from check_changelog((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    for name in _repository_files(root):
        try:
            text = (root / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # media and weights
        yield from check_machine_paths(name, text)
        if name.endswith(".md"):
            yield from check_links(root, name, text)


def main() -> None:
    """Print every problem; exit 1 if there is one."""
    problems = list(_check(Path.cwd()))
    print("\n".join(problems) or "texts: ok")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
