"""The licences that flow into what is published: of models by their role, and of the questions.

Reads the packaged presets, benchmarks and imports, which state a licence for every model and set
that AVRT knows. What they do not know, a person names; nothing is pushed before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.config import DataConfig
from avrt.config.presets import load_preset, preset_names
from avrt.errors import ConfigError
from avrt.evaluate.benchmarks import BENCHMARKS
from avrt.exchange.imports import OWN_SET, SOURCES

__all__ = [
    "Term",
    "base_term",
    "dataset_terms",
    "licence_fields",
    "name_licences",
    "questions_term",
    "terms_table",
]

_OWN = "Apache-2.0: a part of AVRT"
_BASES = {
    "Qwen/Qwen2.5-Omni-3B": "Qwen Research License (check): non-commercial use only, from memory",
    "Qwen/Qwen3-Omni-30B-A3B-Instruct": "Apache-2.0 (check): as pages about the model say",
}
"""Of base students that no preset names."""


@dataclass(frozen=True)
class Term:
    """One part of what is published, and the licence that it brings."""

    role: str
    what: str
    """The model or the set."""
    licence: str | None
    """Its name, a colon, and its meaning; None: AVRT does not know it."""


def dataset_terms(
    run: Path, stages: Mapping[str, Mapping[str, Any]], data: DataConfig
) -> list[Term]:
    """The terms of a run's dataset: of teachers, merger and judges, and of its questions.

    `stages` holds the manifests of the stages that made it out of `data`. The terms of an imported
    set that AVRT wrote stand in its own card, for a person to name.
    """
    if "import" in stages:
        name = stages["import"]["settings"]["set"]
        if OWN_SET in (run / "dataset" / "README.md").read_text(encoding="utf-8"):
            return [Term("set", "a set that AVRT wrote, whose card stands above", None)]
        return [Term("set", name, SOURCES[name].licence)]
    traced, merged = (stages[name]["settings"] for name in ("trace", "merge"))
    judged = stages.get("judge", {}).get("settings", {}).get("judges", {})
    models = {
        name: role for name, role in traced.items() if isinstance(role, dict) and "modality" in role
    } | {"merger": merged["merger"], **judged}
    terms = [_model_term(role, entry["engine"]["model"]) for role, entry in models.items()]
    return [*terms, questions_term("questions", data)]


def questions_term(role: str, data: DataConfig) -> Term:
    """The term of a set of questions; that of a set of one's own is not known."""
    if (data.root / "world.json").is_file():
        return Term(role, "AVRT's world", _OWN)
    is_own = data.format in ("parquet", "webdataset")
    return Term(role, data.format, None if is_own else BENCHMARKS[data.format].licence)


def base_term(model: str) -> Term:
    """The term of the model that a student was trained from."""
    return _model_term("base", model)


def _model_term(role: str, model: str) -> Term:
    if model.startswith("world:"):
        return Term(role, model, _OWN)
    presets = (load_preset(name) for name in preset_names())
    known = (preset.licence for preset in presets if preset.role["model"] == model)
    what = "a folder without a name on the Hub" if model == "local" else model
    return Term(role, what, next(known, _BASES.get(model)))


def name_licences(terms: Sequence[Term], given: Mapping[str, str]) -> list[Term]:
    """The terms with the licences that a person gave, by role.

    Raises:
        ConfigError: no part has that role.
    """
    roles = [term.role for term in terms]
    for role in given:
        if role not in roles:
            raise ConfigError(
                f"--licence {role}=…: no part of it is {role}; known: {', '.join(roles)}"
            )
    return [replace(term, licence=given.get(term.role, term.licence)) for term in terms]


def licence_fields(terms: Sequence[Term]) -> dict[str, str]:
    """The fields about the licence in a card: Apache-2.0 where all parts have it for sure."""
    if all((term.licence or "").partition(":")[0] == "Apache-2.0" for term in terms):
        return {"license": "apache-2.0"}
    return {
        "license": "other",
        "license_name": "terms-of-its-parts",
        "license_link": "LICENSE.md",
    }


def terms_table(terms: Sequence[Term]) -> str:
    """The terms in Markdown."""
    lines = ["| part | model or set | licence |", "| --- | --- | --- |"]
    for term in terms:
        licence = term.licence or "not known to AVRT: ask its authors"
        lines.append(f"| {term.role} | {term.what} | {licence.replace('|', '/')} |")
    return "\n".join(lines)
