"""Compare two evaluated models on the same items, if they were asked in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean

from avrt.config import Config
from avrt.errors import ConfigError
from avrt.evaluate.protocol import differ_in_prompt, differences
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
    results = {
        (r.benchmark, r.modality, r.model): r for r in read_results(config, with_texts=False)
    }
    models = {model for _, _, model in results}
    for name in (first, second):
        if name not in models:
            raise ConfigError(
                f"{config.run.path}/eval: no log of model {name!r}; there are: "
                f"{', '.join(sorted(models)) or 'none'}. Run `avrt eval` with it in eval.models"
            )
    pairs = _pairs(results, first, second, config.eval.benchmarks)
    if not pairs:
        raise ConfigError(
            f"{config.run.path}/eval: {first!r} and {second!r} have no evaluated item in common"
        )
    unlike = [text for before, after, _ in pairs for text in _unlike(before, after)]
    by_prompt = all(
        differ_in_prompt(before.settings.protocol, after.settings.protocol)
        for before, after, _ in pairs
        if before.protocol_id != after.protocol_id
    )
    if unlike and not by_prompt and not force:
        raise ConfigError(
            f"{first!r} and {second!r} were not evaluated alike, so that a test would compare the "
            f"protocols too:\n" + "\n".join(unlike) + "\nEvaluate both in one way, or add --force"
        )
    lines = [f"{second} minus {first}, on the same items", *unlike]
    if unlike and by_prompt:
        lines.append("only the prompts differ: the difference is that of model and prompt together")
    for before, after, comparison in pairs:
        title = f"{before.benchmark} {before.modality.upper():2}"
        lines.append(f"{title}  {comparison_text(comparison)}")
        common = sorted(before.correct.keys() & after.correct.keys())
        by_item = [fmean(after.correct[i]) - fmean(before.correct[i]) for i in common]
        low, high = bootstrap(by_item)
        interval = interval_text(low, high, "+")
        lines.append(f"    bootstrap over items {interval}, protocol {after.protocol_id}")
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
    results: Mapping[tuple[str, str, str], ModelResult],
    first: str,
    second: str,
    configured: Iterable[str],
) -> list[tuple[ModelResult, ModelResult, Comparison]]:
    """Both results and their comparison, by benchmark in the configured order and modality."""
    present = {benchmark for benchmark, _, _ in results}
    pairs = []
    for benchmark in in_order(present, configured):
        for modality in MODALITIES:
            before = results.get((benchmark, modality, first))
            after = results.get((benchmark, modality, second))
            if before and after and (test := compare_paired(before.correct, after.correct)):
                pairs.append((before, after, test))
    return pairs


def _unlike(before: ModelResult, after: ModelResult) -> list[str]:
    """The differences between the protocols of two results; nothing when they have one id."""
    if before.protocol_id == after.protocol_id:
        return []
    names = f" ({before.prompt} / {after.prompt})" if before.prompt and after.prompt else ""
    changed = "; ".join(
        text + names if text.startswith("prompt: ") else text
        for text in differences(before.settings.protocol, after.settings.protocol)
    )
    ids = f"{before.protocol_id} / {after.protocol_id}"
    return [f"{before.benchmark} {before.modality.upper():2}  protocols {ids}: {changed}"]
