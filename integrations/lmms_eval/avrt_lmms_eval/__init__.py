"""AVRT inside lmms-eval: the model `avrt`, and tasks made from the files that AVRT reads.

`model.py` is the model, `tasks.py` what the tasks' YAML files call; `python -m avrt_lmms_eval`
writes those files.
"""

from __future__ import annotations

from typing import Any

__all__ = ["model_manifest"]


def model_manifest() -> Any:
    """What lmms-eval's entry point `lmms_eval.models` asks for."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="avrt", chat_class_path="avrt_lmms_eval.model.AvrtStudent")
