"""AVRT: audio-visual reasoning data, training and evaluation from single-modality teachers.

`import avrt` offers what a notebook needs, under the names that the modules give it; docs/api.md
shows each in use. A name is imported when it is first used, so that nothing is slow or missing
before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import avrt.evaluate as evaluate
    import avrt.exchange.exports as exports
    import avrt.exchange.imports as imports
    import avrt.report as report
    from avrt.answers import extract_answer
    from avrt.ask.budget import Budget, Shard
    from avrt.ask.calls import Draft, Drafts, Outcome, call_all, sampling_of
    from avrt.ask.ledger import open_ledger, read_ledger
    from avrt.ask.payloads import Clips
    from avrt.config import Config, dump_config, load_config
    from avrt.datasets import prepare, read_samples, write_samples
    from avrt.engines import complete, engine_of_role
    from avrt.errors import AvrtError, ConfigError, DataError, EngineError, MediaError
    from avrt.evaluate import Choice, compare, rubric, score_predictions
    from avrt.evaluate.results import read_results
    from avrt.evaluate.scoring import Score, score
    from avrt.evaluate.to_table import results_table
    from avrt.exchange.exports.formats import ExportOptions
    from avrt.generate import build, judge, merge, stats, trace
    from avrt.media import read_frames, read_waveform
    from avrt.prompts import format_options, load_prompt
    from avrt.runs import Result, iter_parquet
    from avrt.train import grpo, sft
    from avrt.types import Completion, Prompt, Sample, Sampling

__version__ = "0.1.0"

__all__ = [
    "AvrtError",
    "Budget",
    "Choice",
    "Clips",
    "Completion",
    "Config",
    "ConfigError",
    "DataError",
    "Draft",
    "Drafts",
    "EngineError",
    "ExportOptions",
    "MediaError",
    "Outcome",
    "Prompt",
    "Result",
    "Sample",
    "Sampling",
    "Score",
    "Shard",
    "build",
    "call_all",
    "compare",
    "complete",
    "dump_config",
    "engine_of_role",
    "evaluate",
    "exports",
    "extract_answer",
    "format_options",
    "grpo",
    "imports",
    "iter_parquet",
    "judge",
    "load_config",
    "load_prompt",
    "merge",
    "open_ledger",
    "prepare",
    "read_frames",
    "read_ledger",
    "read_results",
    "read_samples",
    "read_waveform",
    "report",
    "results_table",
    "rubric",
    "sampling_of",
    "score",
    "score_predictions",
    "sft",
    "stats",
    "trace",
    "write_samples",
]

_STAGES = {
    "build": "generate.build",
    "evaluate": "evaluate",
    "exports": "exchange.exports",
    "grpo": "train.grpo",
    "imports": "exchange.imports",
    "judge": "generate.judge",
    "merge": "generate.merge",
    "prepare": "datasets.prepare",
    "report": "report",
    "rubric": "evaluate.rubric",
    "sft": "train.sft",
    "stats": "generate.stats",
    "trace": "generate.trace",
}
"""Modules with a function `run`."""
_NAMES = {
    "answers": ("extract_answer",),
    "ask.budget": ("Budget", "Shard"),
    "ask.calls": ("Draft", "Drafts", "Outcome", "call_all", "sampling_of"),
    "ask.ledger": ("open_ledger", "read_ledger"),
    "ask.payloads": ("Clips",),
    "config": ("Config", "dump_config", "load_config"),
    "datasets": ("read_samples", "write_samples"),
    "engines": ("complete", "engine_of_role"),
    "errors": ("AvrtError", "ConfigError", "DataError", "EngineError", "MediaError"),
    "evaluate": ("Choice", "compare", "score_predictions"),
    "evaluate.results": ("read_results",),
    "evaluate.scoring": ("Score", "score"),
    "evaluate.to_table": ("results_table",),
    "exchange.exports.formats": ("ExportOptions",),
    "media": ("read_frames", "read_waveform"),
    "prompts": ("format_options", "load_prompt"),
    "runs": ("Result", "iter_parquet"),
    "types": ("Completion", "Prompt", "Sample", "Sampling"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name at its first use."""
    if name in _STAGES:
        return import_module(f"avrt.{_STAGES[name]}")
    if name in _MODULE_OF:
        return getattr(import_module(f"avrt.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'avrt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
