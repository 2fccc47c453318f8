"""Compare two evaluated models on the same items, if they were asked in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avrt.config import Config
from avrt.errors import ConfigError
from avrt.evaluate.protocol import differences
from avrt.evaluate.results import MODALITIES, ModelResult, read_results
from avrt.evaluate.statistics import Comparison, bootstrap, compare_paired
from avrt.evaluate.summary import in_order, interval_text, p_text

__all__ = ["compare", "comparison_text"]


def compare(config: Config, first: str, second: str, force: bool = False) -> str:
    """The paired comparison of two models of the run, per benchmark and modality.

    Raises:
        ConfigError: a model has no logs, the two have no item in common, or they were evaluated
            under different protocols and `force` is not set.
    """
    results = {(r.benchmark, r.modality, r.model): r for r in read_results(config)}
    models = {model for _, _, model in results}
    for name in (first, second):
        if name not in models:
            raise ConfigError(
                f"{config.run.path}/eval: no log of model {name!r}; there are: "
                f"{', '.join(sorted(models)) or 'none'}. Run `avrt eval` with it in eval.models"
            )
    pairs = _pairs(config, results, first, second)
    if not pairs:
        raise ConfigError(
            f"{config.run.path}/eval: {first!r} and {second!r} have no evaluated item in common"
        )
    unlike = [text for one, two, _ in pairs for text in _unlike(one, two)]
    if unlike and not force:
        raise ConfigError(
            f"{first!r} and {second!r} were not evaluated alike, so that a test would compare the "
            f"protocols too:\n" + "\n".join(unlike) + "\nEvaluate both in one way, or add --force"
        )
    lines = [f"{second} minus {first}, on the same items", *unlike]
    for one, two, found in pairs:
        lines.append(f"{one.benchmark} {one.modality.upper():2}  {comparison_text(found)}")
        lines.append(f"    {_bootstrap_text(one, two)}, protocol {two.protocol_id}")
    return "\n".join(lines)


def comparison_text(comparison: Comparison) -> str:
    """A paired comparison in one line; says so when the difference is within noise."""
    interval = interval_text(comparison.low, comparison.high, "+")
    more = "more often " if comparison.n_runs > 1 else ""
    noise = "; within noise: no difference is shown" if comparison.is_noise else ""
    return (
        f"{100 * comparison.difference:+.1f} points {interval}, n = {comparison.n}, "
        f"only first right {more}{comparison.b}, only second right {more}{comparison.c}, "
        f"{p_text(comparison.p)} ({comparison.test}){noise}"
    )


def _pairs(
    config: Config,
    results: Mapping[tuple[str, str, str], ModelResult],
    first: str,
    second: str,
) -> list[tuple[ModelResult, ModelResult, Comparison]]:
    present = {benchmark for benchmark, _, _ in results}
    pairs = []
    for benchmark in in_order(present, config.eval.benchmarks):
        for modality in MODALITIES:
            one = results.get((benchmark, modality, first))
            two = results.get((benchmark, modality, second))
            if one and two and (found := compare_paired(one.correct, two.correct)):
                pairs.append((one, two, found))
    return pairs


def _unlike(one: ModelResult, two: ModelResult) -> list[str]:
    """What the protocols of two results do not share; nothing when they have one id."""
    if one.protocol_id == two.protocol_id:
        return []
    found = "; ".join(differences(one.settings.protocol, two.settings.protocol))
    ids = f"{one.protocol_id} / {two.protocol_id}"
    return [f"{one.benchmark} {one.modality.upper():2}  protocols {ids}: {found}"]


def _bootstrap_text(one: ModelResult, two: ModelResult) -> str:
    low, high = bootstrap(_item_differences(one.correct, two.correct))
    return f"bootstrap over items {interval_text(low, high, '+')}"


def _item_differences(
    one: Mapping[str, Sequence[bool]], two: Mapping[str, Sequence[bool]]
) -> list[float]:
    common = sorted(one.keys() & two.keys())
    return [sum(two[i]) / len(two[i]) - sum(one[i]) / len(one[i]) for i in common]
