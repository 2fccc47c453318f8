"""Engines: how models are reached. Callers see `Engine` and `make_engine`, nothing else.

torch and the HTTP client are imported only by the engine that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avrt.config import EngineConfig, MediaConfig
from avrt.engines.base import Engine, OnCompletion

__all__ = ["Engine", "OnCompletion", "engine_identity", "make_engine"]


def make_engine(
    engine: EngineConfig, model: str, revision: str | None, media: MediaConfig
) -> Engine:
    """The engine that the configuration asks for.

    Raises:
        ConfigError: impossible settings, such as a scripted engine without a script.
        EngineError: the model cannot be loaded (transformers), or vLLM is not installed.
    """
    if engine.kind == "scripted":
        from avrt.engines.scripted import read_script

        return read_script(engine.script, model)
    if engine.kind == "openai":
        from avrt.engines.openai import OpenAIEngine

        return OpenAIEngine(engine, model, revision, media)
    if engine.kind == "vllm":
        from avrt.engines.vllm import VllmEngine

        return VllmEngine(engine, model, revision, media)
    from avrt.engines.transformers import TransformersEngine

    return TransformersEngine(engine, model, revision)


def engine_identity(
    engine: EngineConfig, model: str, revision: str | None, media: MediaConfig
) -> Mapping[str, Any]:
    """The `identity` of the engine that `make_engine` would make, without loading a model."""
    if engine.kind != "transformers":
        return make_engine(engine, model, revision, media).identity
    from avrt.engines.weights import in_process_identity

    return in_process_identity(model, revision, engine.dtype)
