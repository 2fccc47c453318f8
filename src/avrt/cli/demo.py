"""`avrt demo`: the whole method on the packaged world, from clips to an evaluated student's page.

Nothing here is special to the demo but the order of the stages, and that two trainings are side by
side: each is the same `run(config)` that its own command calls, so a demo that was interrupted goes
on where it stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avrt.cli.options import echo, echo_result, settings_argument, split_settings
from avrt.errors import AvrtError, ConfigError
from avrt.stores import StorePath

if TYPE_CHECKING:
    from avrt.config import Config, DataConfig
    from avrt.runs import Result

__all__ = ["demo", "run"]

RL_ONLY = ("grpo.init=base", "grpo.output=grpo-base")
N_TRAIN, N_BENCH, N_AUDIO = 2_000, 1_000, 400
"""Questions of world-train, items of world-bench and of world-audio; a limit may ask for fewer."""
QUICK = (
    "run.name=demo-quick",
    "data.root=runs/world-quick",
    "eval.benchmarks.world-bench.root=runs/world-quick",
    "eval.benchmarks.world-audio.root=runs/world-quick",
    "eval.benchmarks.world-train.root=runs/world-quick",
    "data.limit=80",
    "eval.limit=6",
    "sft.epochs=1",
    "sft.per_device_batch_size=8",
    "grpo.max_steps=2",
    "grpo.prompts_per_step=4",
    "grpo.per_device_batch_size=16",
    "report.gallery_items=6",
)
"""Settings of --quick: a run and a world of its own, and just enough for every stage to work."""


@click.command()
@settings_argument
@click.option(
    "--quick",
    is_flag=True,
    help="Run every stage on a few questions and items, in a minute; the results mean nothing.",
)
def demo(settings: tuple[str, ...], quick: bool) -> None:
    """Run the whole method on the packaged world.

    From clips to a trained, evaluated student and its page, on two CPU cores. Without a
    configuration, the packaged one is used (`avrt config show demo`).

    Example: avrt demo run.name=mine
    """
    paths, overrides = split_settings(settings)
    if quick and paths:
        raise click.UsageError("--quick shortens the packaged demo: leave out the configuration")
    echo_result(run(paths, [*(QUICK if quick else ()), *overrides]))


def run(paths: Sequence[Path], overrides: Sequence[str] = ()) -> Result:
    """Run every stage of the demo's configuration.

    Raises:
        ConfigError: a setting is impossible, `data.root` holds another set than the world, or
            a benchmark lies elsewhere.
    """
    from avrt.config import load_config
    from avrt.config.packaged import packaged_config
    from avrt.runs import Result

    started = time.monotonic()
    config = load_config(paths or [packaged_config("demo")], overrides)
    _check_roots(config.data.root, config.eval.benchmarks)
    faults: list[str] = []
    with closing(RlOnly()) as rl_only:
        steps = _steps(config, rl_only)
        for number, (title, step) in enumerate(steps, start=1):
            elapsed_s = time.monotonic() - started
            click.secho(f"\n[{number}/{len(steps)}] {title}  ({elapsed_s:.0f} s)", bold=True)
            result = step(config)
            echo(result.summary)
            faults += [result.fault] if result.fault else []
    minutes = (time.monotonic() - started) / 60
    page = config.run.path / "report" / "index.html"
    how = f"open it, or run `avrt view {config.run.path}`"
    text = f"\n{_results(config)}\n\n{minutes:.1f} minutes; page: {page}; {how}"
    return Result(text, {"kept": len(steps)}, "\n".join(faults))


def _results(config: Config) -> str:
    """The stages x modality tables, then what they show and what they do not, in words."""
    from avrt.evaluate.results import read_results
    from avrt.evaluate.sentences import sentences_of
    from avrt.evaluate.summary import summary_text

    results = read_results(config, with_texts=False)
    said = sentences_of(results, config.eval, config.grpo.init)
    table = summary_text(results, config.eval, with_groups=False)
    return f"{table}\n\n{said}" if said else table


def _steps(config: Config, rl_only: RlOnly) -> list[tuple[str, Callable[[Config], Result]]]:
    from avrt import evaluate, report
    from avrt.datasets import prepare
    from avrt.generate import build, judge, merge, stats, trace
    from avrt.train import grpo, sft

    judging = ("Judge: text models look for faults", judge.run)
    return [
        ("Make the world's clips and questions", _make_world),
        ("Prepare: read annotations, probe media", prepare.run),
        ("Trace: two teachers look and listen", trace.run),
        ("Merge: one trace out of two", merge.run),
        *([judging] if config.judges else []),
        ("Build: gates, split, dataset", build.run),
        ("Statistics of the dataset", stats.run),
        ("RL only: GRPO from the base, beside the next two steps", rl_only.start),
        ("SFT on the merged traces", sft.run),
        ("SFT + RL: GRPO from the SFT student", grpo.run),
        ("RL only: wait for its end", lambda _: rl_only.wait()),
        ("Evaluate four students on sound, sight and both", evaluate.run),
        ("Report", report.run),
    ]


class RlOnly:
    """GRPO from the base, as the command `avrt grpo` in a process beside this one.

    Two trainings of a small model, each with half of the cores, end sooner than one after the other
    with all. Its progress goes to RUN/grpo-base.log.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log = Path()
        self._n_threads = 0

    def start(self, config: Config) -> Result:
        """Start the training; this process keeps half of its threads."""
        import torch

        from avrt.runs import Result, save_config

        save_config(config, works=False)
        self._n_threads = torch.get_num_threads()
        half = max(self._n_threads // 2, 1)
        torch.set_num_threads(half)
        words = ["grpo", str(config.run.path / "config.yaml"), *RL_ONLY]
        self._log = config.run.path / "grpo-base.log"
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "avrt", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(half)},
            )
        return Result(f"avrt {' '.join(words)}\nprogress: {self._log}", {})

    def wait(self) -> Result:
        """Wait for the end of the training.

        Raises:
            AvrtError: it failed; the message has the end of its log.
        """
        import torch

        from avrt.runs import Result

        assert self._process
        summary = self._process.communicate()[0]
        torch.set_num_threads(self._n_threads)
        if code := self._process.returncode:
            end = "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
            raise AvrtError(
                f"RL only ended with exit code {code}; mend the cause, then repeat the command; it "
                f"goes on from here. The end of {self._log}:\n{summary}{end}"
            )
        return Result(summary.rstrip(), {})

    def close(self) -> None:
        """End a training that is still at work; it can go on from its last checkpoint."""
        if self._process and self._process.poll() is None:
            self._process.terminate()  # SIGINT is ignored in the background of a script
            self._process.communicate()


def _check_roots(root: Path, benchmarks: Mapping[str, DataConfig]) -> None:
    """The demo makes one world: training and evaluation must both read that one."""
    if isinstance(root, StorePath):
        raise ConfigError(
            f"data.root = {root}: the demo makes its world here; set it to a folder of this machine"
        )
    elsewhere = {
        f"eval.benchmarks.{name}.root": str(data.root)
        for name, data in benchmarks.items()
        if data.root != root
    }
    if elsewhere:
        raise ConfigError(
            f"data.root = {root}, but {elsewhere}; the demo makes its world in "
            f"data.root, so set these to the same folder"
        )


def _make_world(config: Config) -> Result:
    """The world's three sets, as large as `data.limit` and `eval.limit` ask for."""
    from avrt.world import make

    return make.run(
        config.data.root,
        n_train=config.data.limit or N_TRAIN,
        n_bench=config.eval.limit or N_BENCH,
        n_audio=config.eval.limit or N_AUDIO,
        seed=config.run.seed,
    )
