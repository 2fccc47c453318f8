"""`avrt plan`: what a configuration takes for so many clips on so many GPUs, before it is started.

Reads the configuration, and the run that it names where there is one; asks nothing, writes nothing.
The formulas are in `arithmetic.py`, the numbers in `rates.py` and `rates.yaml`, and what a run
measured in `measured.py`.

The decision to question: the stages run one after the other, each on all GPUs, and replicas of a
server share the calls evenly. Starting up and repeated calls are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from avrt.config import Config, DataConfig, EvalConfig
from avrt.engines.servers import needed_servers
from avrt.errors import ConfigError
from avrt.evaluate.benchmarks import BENCHMARKS
from avrt.planning.asked import evaluated_models, generating_models
from avrt.planning.generation import Generation, Size
from avrt.planning.known import check_known
from avrt.planning.measured import measured_rates
from avrt.planning.rates import Rate, Rates, model_rates, stated_rates
from avrt.planning.rows import Stage, Store, counted
from avrt.planning.training import Training
from avrt.types import Given

__all__ = ["Plan", "check_size", "make_plan"]

MAX_CLIPS = 10**12
MAX_GPUS = 10**6
UNPUBLISHED = {"avqa": (17_208, "the validation questions of the paper's second version")}
"""Sizes of sets of which sources disagree, by their format."""
OWN_ITEMS = (1_000, "assumed; the set's size is your own")


@dataclass(frozen=True)
class Plan:
    """All of a plan."""

    clips: int
    samples: float
    gpus: int
    stages: tuple[Stage, ...]
    stores: tuple[Store, ...]
    rates: dict[str, Rate] = field(default_factory=dict)
    """All that it was reckoned with."""
    notes: tuple[str, ...] = ()
    """What the settings make of the size that was asked for."""

    @property
    def gb(self) -> float:
        return sum(store.gb for store in self.stores)

    @property
    def storage_price(self) -> float:
        """Per month."""
        return self.gb / 1e3 * self.rates["storage.price"].value


def check_size(clips: float, gpus: float) -> tuple[int, int]:
    """The numbers of clips and GPUs as whole numbers.

    Raises:
        ConfigError: no plan can be made for so many clips or GPUs.
    """
    if not 1 <= clips <= MAX_CLIPS:  # also NaN
        raise ConfigError(f"--clips {clips:g}: expected a number from 1 to 1e12, such as 1e6")
    if clips != int(clips):
        raise ConfigError(f"--clips {clips}: expected a whole number, such as {math.ceil(clips)}")
    if not 1 <= gpus <= MAX_GPUS:
        raise ConfigError(f"--gpus {gpus:g}: expected a number from 1 to 1,000,000, such as 64")
    if gpus != int(gpus):
        raise ConfigError(f"--gpus {gpus}: expected a whole number, such as {math.ceil(gpus)}")
    return int(clips), int(gpus)


def make_plan(config: Config, clips: int, gpus: int, given: dict[str, Rate]) -> Plan:
    """Reckon a plan.

    Raises:
        ConfigError: no teacher, a model whose size is not known or that fits
            on no such GPU, a hosted model without prices.
        DataError: the run that the configuration names is damaged.
    """
    if not any(teacher.modality != "none" for teacher in config.teachers.values()):
        raise ConfigError("teachers: there is none with media, so nothing can be traced; add one")
    servers = needed_servers(config)
    merger = config.merger if config.generate.traces_of is None else None
    asked = [
        *generating_models(servers, config.teachers, merger, config.judges),
        *evaluated_models(servers, config.eval, config.student.prompt),
    ]
    stated = stated_rates() | model_rates("student", config.student.model) | _items(config.eval)
    for each in asked:
        if each.engine.kind != "scripted":
            stated |= model_rates(each.name, each.model)
    measured, too_few = measured_rates(config.run.path, asked)
    rates = Rates(given, measured, stated)
    check_known(rates, asked, config.student.model)
    benchmarks = list(_benchmarks(config.eval, rates))
    size, notes = _size(config.data, config.generate.limit, clips, rates)
    generation = Generation(rates, config.media, asked, benchmarks, size, gpus)
    training = Training(rates, config.student, config.media, gpus)
    n_rows = generation.n_dataset * (1 - config.build.validation_fraction)
    stages = (
        generation.prepare(),
        *generation.calls(),
        generation.build(),
        training.sft(config.sft, n_rows),
        training.grpo(config.grpo),
        *generation.evaluations(),
    )
    n_steps = training.sft_steps(config.sft, n_rows)
    stores = (*generation.stores(), *training.stores(config.sft, config.grpo, n_steps))
    rates.get("storage.price")
    return Plan(
        size.clips, size.samples, gpus, stages, stores, _explained(rates, too_few), tuple(notes)
    )


def _explained(rates: Rates, too_few: dict[str, str]) -> dict[str, Rate]:
    """The rates that were used; one that a run could not measure says so."""
    return {
        name: replace(rate, source=f"{rate.source}; {too_few[name]}")
        if name in too_few and rate.origin in ("stated", "reckoned")
        else rate
        for name, rate in rates.used.items()
    }


def _size(
    data: DataConfig, limit_asked: int | None, n_clips: int, rates: Rates
) -> tuple[Size, list[str]]:
    """What the run reads and asks about, at most what the settings allow, and a line on each limit.

    samples = min(clips x questions, data.sample, data.limit), clips = samples / questions,
    asked samples = min(samples, generate.limit)
    """
    each, notes = rates.get("clip.questions"), []
    samples = n_clips * each
    for name, limit in (("data.sample", data.sample), ("data.limit", data.limit)):
        if limit is not None and limit < samples:
            samples = float(limit)
            n_clips = min(n_clips, math.ceil(samples / each))
            notes.append(
                f"{name}={limit}: {counted(limit, 'sample')} of {counted(n_clips, 'clip')}"
            )
    asked = samples
    if limit_asked is not None and limit_asked < samples:
        asked = float(limit_asked)
        notes.append(
            f"generate.limit={limit_asked}: teachers are asked about "
            f"{counted(limit_asked, 'sample')}"
        )
    return Size(n_clips, samples, asked), notes


def _items(settings: EvalConfig) -> dict[str, Rate]:
    """The rates for the questions of each benchmark."""
    rates = {}
    for name, benchmark in settings.benchmarks.items():
        if size := benchmark.limit or settings.limit or BENCHMARKS[benchmark.format].n_items:
            found = (size, "the published set, or a `limit`")
        else:
            found = UNPUBLISHED.get(benchmark.format, OWN_ITEMS)
        rates[f"eval.{name}.items"] = Rate(float(found[0]), "stated", found[1])
    return rates


def _benchmarks(settings: EvalConfig, rates: Rates) -> Iterator[tuple[float, set[Given]]]:
    """The questions of each benchmark, and the modalities in which they are asked."""
    for name, benchmark in settings.benchmarks.items():
        known = (*BENCHMARKS[benchmark.format].modalities, "none")
        givens: set[Given] = {given for given in settings.modalities if given in known}
        yield rates.get(f"eval.{name}.items"), givens
