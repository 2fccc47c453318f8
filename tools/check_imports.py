"""Refuse circles of imports between the modules of AVRT; print each.

Counts an import inside a function like any other, and none under TYPE_CHECKING. The layers are
held by `lint-imports`, whose rules are in pyproject.toml; it compares folders, so it cannot see a
circle between a package's `__init__` and a module in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

__all__ = ["find_circles"]


def find_circles(imports: Mapping[str, Set[str]]) -> Iterator[list[str]]:
    """Yield circles, each as the modules in the order of their imports, until none is left.

    `imports` holds the modules that each module imports. A circle is cut at its last import before
    the next is looked for.
    """
    left = {module: set(imported) for module, imported in imports.items()}
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]
            yield circle
            left[circle[-2]].remove(circle[-1])
        else:
            return


def main() -> None:
    """Print every circle; exit 1 if there is one."""
    sys.path.insert(0, str(Path.cwd() / "src"))
    graph = grimp.build_graph("avrt", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    circles = [" -> ".join(circle) for circle in find_circles(imports)]
    print("\n".join(f"{circle}: move what both need" for circle in circles) or "imports: ok")
    sys.exit(bool(circles))


if __name__ == "__main__":
    main()
