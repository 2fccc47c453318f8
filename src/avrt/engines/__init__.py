"""Engines: how models are reached. Callers see `Engine` and `make_engine`, nothing else.

torch and the HTTP client are imported only by the engine that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from avrt.config import EngineConfig, MediaConfig, ModelRole
from avrt.engines.base import Engine, OnCompletion, complete
from avrt.types import Request

if TYPE_CHECKING:
    from avrt.engines.shared_limits import Limits

__all__ = [
    "Engine",
    "Export",
    "LazyEngine",
    "OnCompletion",
    "check_installed",
    "complete",
    "engine_identity",
    "engine_of_role",
    "make_engine",
]

Export: TypeAlias = Callable[[Path, Path], Any]
"""Writes the thinker in a folder into a new folder, in the form that vLLM loads."""


def make_engine(
    engine: EngineConfig,
    model: str,
    revision: str | None,
    media: MediaConfig,
    export: Export | None = None,
    limits: Limits | None = None,
) -> Engine:
    """The engine that the configuration asks for; `export` writes a thinker as vLLM loads it.

    `limits`: of the servers, where other processes ask them too.

    Raises:
        ConfigError: impossible settings, such as a scripted engine without a script.
        EngineError: the model cannot be loaded (transformers), or vLLM is not installed.
    """
    if engine.kind == "scripted":
        from avrt.engines.scripted import read_script

        return read_script(engine.script, model)
    if engine.kind == "openai":
        from avrt.engines.openai import OpenAIEngine

        if limits is not None:
            return OpenAIEngine(engine, model, revision, media, limits.open_servers)
        return OpenAIEngine(engine, model, revision, media)
    if engine.kind == "vllm" and engine.frames_as == "video":
        from avrt.engines.vllm_student import VllmStudentEngine

        return VllmStudentEngine(engine, model, revision, export)
    if engine.kind == "vllm":
        from avrt.engines.vllm import VllmEngine

        return VllmEngine(engine, model, revision, media)
    from avrt.engines.transformers import TransformersEngine

    return TransformersEngine(engine, model, revision)


def check_installed(engine: EngineConfig) -> None:
    """Stop early where the engine's library is missing.

    Raises:
        EngineError: vLLM is not installed.
    """
    if engine.kind == "vllm":
        from avrt.engines.vllm import require_vllm

        require_vllm()


def engine_identity(
    engine: EngineConfig, model: str, revision: str | None, media: MediaConfig
) -> Mapping[str, Any]:
    """The `identity` of the engine that `make_engine` would make, without loading a model."""
    if engine.kind != "transformers":
        return make_engine(engine, model, revision, media).identity
    from avrt.engines.weights import in_process_identity

    return in_process_identity(model, revision, engine.dtype, engine.use_audio_in_video)


class LazyEngine:
    """The engine that the configuration asks for, made when the first request is there.

    With nothing to ask no model is loaded, and its identity is known all the same.
    """

    def __init__(
        self,
        engine: EngineConfig,
        model: str,
        revision: str | None,
        media: MediaConfig,
        export: Export | None = None,
    ) -> None:
        self._settings = (engine, model, revision, media)
        self._export = export
        self._engine: Engine | None = None
        self.identity = dict(engine_identity(*self._settings))
        self.takes_encoded = engine.takes_encoded

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """See `Engine.generate`; loads the model at the first call.

        Raises:
            ConfigError: as `make_engine`.
            EngineError: as `make_engine` and `Engine.generate`.
        """
        if self._engine is None:
            self._engine = make_engine(*self._settings, self._export)
        if dict(self._engine.identity) != self.identity:
            raise AssertionError(f"{self._settings[1]}: identity and engine disagree on keys")
        self._engine.generate(requests, on_completion)

    def close(self) -> None:
        """Free what the engine holds."""
        if self._engine is not None:
            self._engine.close()


def engine_of_role(role: ModelRole, media: MediaConfig) -> LazyEngine:
    """The engine of a teacher, the merger or a judge; no model is loaded yet.

    Raises:
        ConfigError: as `make_engine`.
    """
    return LazyEngine(role.engine, role.model, role.revision, media)
