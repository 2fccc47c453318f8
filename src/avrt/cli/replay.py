"""The models and folders behind stored calls, for `avrt replay`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from avrt.ask.replay import Sender, replay
from avrt.ask.rows import StoredCall
from avrt.config import Config
from avrt.engines import Engine, LazyEngine, engine_of_role
from avrt.errors import ConfigError
from avrt.evaluate import Choice
from avrt.evaluate.checkpoints import split_name
from avrt.evaluate.models import choose_models

__all__ = ["replay_row"]


def replay_row(config: Config, name: str, send: bool = False) -> str:
    """The calls behind a row or a key, as `replay`, with the folders and models of `config`.

    Raises:
        DataError, ConfigError, EngineError: as `replay`.
    """
    roots = {"": config.data.root}
    roots |= {benchmark: data.root for benchmark, data in config.eval.benchmarks.items()}
    sender = Sender(partial(_engine_of, config), config.media) if send else None
    return replay(config.run.path, name, roots, sender, config.media)


def _engine_of(config: Config, call: StoredCall) -> Engine:
    """The engine of the model that a call's role is configured with now.

    Raises:
        ConfigError: no such role is configured.
    """
    if call.stage == "eval":
        models = config.eval.models
        if named := split_name(call.role):
            models = Choice(checkpoints=named[:1]).restrict(config).eval.models
        chosen = _configured("eval.models", models, call.role)
        (model,) = choose_models(config, {call.role: chosen})
        return LazyEngine(model.engine, model.checkpoint, model.revision, config.media)
    if call.stage == "merge":
        return engine_of_role(config.merger, config.media)
    if call.stage == "judge":
        return engine_of_role(_configured("judges", config.judges, call.role), config.media)
    if call.stage == "rubric":
        return engine_of_role(config.rubric, config.media)
    return engine_of_role(_configured("teachers", config.teachers, call.role), config.media)


def _configured(section: str, roles: Mapping[str, Any], name: str) -> Any:
    if name not in roles:
        known = ", ".join(roles) or "none"
        raise ConfigError(
            f"{section}.{name}: the model of this call is not configured; known: {known}; use the "
            "configuration of the run (its config.yaml)"
        )
    return roles[name]
