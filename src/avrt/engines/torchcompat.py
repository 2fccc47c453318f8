"""Make PyPI's torchvision importable beside a CPU build of torch. Import this before torchvision or
transformers.

PyPI carries only a CUDA build of torchvision; next to a CPU torch its compiled part cannot load,
and then `import torchvision` fails because the schemas of two of its operators are missing.
Declaring them is enough for the parts that transformers uses (resizing, padding); the operators
themselves stay unavailable.
"""

from __future__ import annotations

import importlib.util
from ctypes import CDLL
from pathlib import Path

import torch

__all__ = ["shimmed"]

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _compiled_part_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    library = next(Path(spec.origin).parent.glob("_C*.so"), None)
    if library is None:
        return True
    try:
        CDLL(str(library))
    except OSError:
        return False
    return True


def _declare_missing_operators() -> torch.library.Library | None:
    if _compiled_part_loads():
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name, schema in _SCHEMAS.items():
        library.define(name + schema)
    return library


# The schemas exist as long as this object.
_library = _declare_missing_operators()
shimmed = _library is not None
"""True when torchvision's compiled part does not load here and its schemas were declared."""
