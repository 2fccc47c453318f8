"""The models and folders behind stored calls, for `avrt replay`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avrt.ask.ledger import StoredCall
from avrt.config import Config
from avrt.engines import Engine, LazyEngine, engine_of_role
from avrt.errors import ConfigError
from avrt.evaluate.models import choose_models

__all__ = ["dataset_roots", "engine_of"]


def dataset_roots(config: Config) -> dict[str, Path]:
    """The folder of each evaluation set by its name, and of the run's dataset by the empty name."""
    return {"": config.data.root} | {
        name: data.root for name, data in config.eval.benchmarks.items()
    }


def engine_of(config: Config, call: StoredCall) -> Engine:
    """The engine of the model that a call's role is configured with now.

    Raises:
        ConfigError: no such role is configured.
    """
    if call.stage == "eval":
        chosen = _configured("eval.models", config.eval.models, call.role)
        (model,) = choose_models(config, {call.role: chosen})
        return LazyEngine(model.engine, model.place, model.revision, config.media)
    if call.stage == "merge":
        return engine_of_role(config.merger, config.media)
    if call.stage == "rubric":
        return engine_of_role(config.judge, config.media)
    return engine_of_role(_configured("teachers", config.teachers, call.role), config.media)


def _configured(section: str, roles: Mapping[str, Any], name: str) -> Any:
    if name not in roles:
        known = ", ".join(roles) or "none"
        raise ConfigError(
            f"{section}.{name}: the model of this call is not configured; known: {known}; use the "
            "configuration of the run (its config.yaml)"
        )
    return roles[name]
