"""Refuse files over 500 lines and functions over 100; print every one that is.

Reads the Python files of the repository. The `main` of a training script may be longer, because a
training run is one story that is best read from top to bottom.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["find_oversized"]

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 100
TRAINING_SCRIPTS = ("src/avrt/train/sft.py", "src/avrt/train/grpo.py")
FOLDERS = ("src", "tests", "tools", "benchmarks")


def find_oversized(root: Path) -> Iterator[str]:
    """Yield one message for each file or function below `root` that is too long."""
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        source = path.read_text(encoding="utf-8")
        n_lines = len(source.splitlines())
        if n_lines > MAX_FILE_LINES:
            yield f"{name}: {n_lines} lines; at most {MAX_FILE_LINES}: split it"
        for node in ast.walk(ast.parse(source, name)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if name in TRAINING_SCRIPTS and node.name == "main":
                continue
            n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if n_lines > MAX_FUNCTION_LINES:
                yield (
                    f"{name}:{node.lineno}: {node.name} has {n_lines} lines; "
                    f"at most {MAX_FUNCTION_LINES}: take a part out"
                )


def main() -> None:
    """Print what is too long; exit 1 if anything is."""
    problems = list(find_oversized(Path.cwd()))
    print("\n".join(problems) or "sizes: ok")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
