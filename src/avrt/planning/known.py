"""The rates without which no plan can be made, all named at once. Nothing is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avrt.errors import ConfigError
from avrt.planning.asked import Asked
from avrt.planning.rates import Rates

__all__ = ["check_known"]

EXAMPLES = {
    "reply_tokens": "300",
    "parameters_b": "8",
    "trained_b": "3.4",
    "prompt_price": "0.5",
    "reply_price": "1.5",
}


def check_known(rates: Rates, asked: Sequence[Asked], student: str) -> None:
    """Refuse models about which too little is known.

    Raises:
        ConfigError: with every rate that is missing.
    """
    models = {each.name: each.model for each in asked} | {"student": student}
    missing: dict[str, dict[str, None]] = {}
    for each in asked:
        for name, rate in _needed(rates, each):
            missing.setdefault(name, {})[rate] = None
    for rate in ("parameters_b", "trained_b"):
        missing.setdefault("student", {})[rate] = None
    lines = []
    for name, needed in missing.items():
        lacking = [rate for rate in needed if not rates.has(f"{name}.{rate}")]
        examples = EXAMPLES | ({"parameters_b": "4.7"} if name == "student" else {})
        if lacking:
            options = " ".join(f"--rate {name}.{rate}={examples[rate]}" for rate in lacking)
            more = "" if name == "student" else ", or name a run that has asked it"
            if lacking[-1].endswith("_price"):
                more = ", prices of a million tokens"
            known = f"too little is known about the model {models[name]}"
            lines.append(f"{name}: {known}; give {options}{more}")
    if lines:
        raise ConfigError("\n".join(lines))


def _needed(rates: Rates, each: Asked) -> Iterator[tuple[str, str]]:
    """Names and rates of a role that no formula gives."""
    if each.engine.kind == "scripted":
        return
    if each.sizes != "student":
        yield each.name, "reply_tokens"
    if each.is_hosted:
        yield each.name, "prompt_price"
        yield each.name, "reply_price"
    elif each.n_gpus and not rates.has(f"{each.name}.gpu_s"):
        yield each.sizes, "parameters_b"
