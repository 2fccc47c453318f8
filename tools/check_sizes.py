"""Refuse files over 500 lines, functions over 100, and a package that grows in the wrong places.

The wrong places are functions that take the whole configuration, and modules that lie loose at the
top of the package. Prints every excess. Reads the Python files of the repository. The `main` of a
training script may be longer, because a training run is one story that is best read from top to
bottom.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

__all__ = ["count_config_functions", "find_oversized", "loose_modules"]

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 100
TRAINING_SCRIPTS = ("src/avrt/train/sft.py", "src/avrt/train/grpo.py")
FOLDERS = ("src", "tests", "tools", "benchmarks")
MAX_CONFIG_FUNCTIONS = 61
MAX_LOOSE_MODULES = 8
PACKAGE = "src/avrt"


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


def count_config_functions(root: Path) -> Counter[str]:
    """The number of functions with a parameter of type `Config`, by file."""
    counts: Counter[str] = Counter()
    for path in sorted((root / PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            parameters = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            types = (ast.unparse(each.annotation) for each in parameters if each.annotation)
            if any(re.search(r"\bConfig\b", text) for text in types):
                counts[path.relative_to(root).as_posix()] += 1
    return counts


def loose_modules(root: Path) -> list[str]:
    """The modules at the top of the package, without `__init__` and `__main__`."""
    names = sorted(path.name for path in (root / PACKAGE).glob("*.py"))
    return [name for name in names if not name.startswith("__")]


def _check_package(root: Path) -> Iterator[str]:
    counts = count_config_functions(root)
    if counts.total() > MAX_CONFIG_FUNCTIONS:
        most = ", ".join(f"{name} {count}" for name, count in counts.most_common(5))
        yield (
            f"{PACKAGE}: {counts.total()} functions take the whole Config; at most "
            f"{MAX_CONFIG_FUNCTIONS}: unpack it in `run` and `plan`, and give helpers the sections "
            f"they use; most are in: {most}"
        )
    loose = loose_modules(root)
    if len(loose) > MAX_LOOSE_MODULES:
        yield (
            f"{PACKAGE}: {len(loose)} modules lie outside of folders; at most {MAX_LOOSE_MODULES}: "
            f"move some of {', '.join(loose)} into the folder that uses them"
        )


def main() -> None:
    """Print every excess; exit 1 if there is one."""
    problems = [*find_oversized(Path.cwd()), *_check_package(Path.cwd())]
    print("\n".join(problems) or "sizes: ok")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
