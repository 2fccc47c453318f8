"""The samples that a training does without, in dropped.jsonl beside its log.

A line for each sample that was never usable; then, with the `step` whose data it was to be, a line
for each sample whose clip failed while training. A training that is resumed drops the lines beyond
its checkpoint, as of its log, and leaves out the samples of the others from the start.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avrt.errors import PASSING_CLASSES, AvrtError, MediaError
from avrt.ranks import is_main
from avrt.runs import check_sums, say, write_atomic
from avrt.texts import counted
from avrt.train.data import UsableExamples
from avrt.train.log import read_log

__all__ = ["Dropped"]

MIN_FAILED = 8
"""Fewer failing clips stop no training."""
N_SAID = 5
"""Samples that the terminal names."""


class Dropped:
    """The names of the samples that failed while training, of all processes."""

    def __init__(self, path: Path, max_failure_rate: float, checkpoint: str | None = None) -> None:
        """`checkpoint`: the folder from which the training goes on, checkpoint-STEP."""
        self._path = path
        self._max_failure_rate = max_failure_rate
        self._start = 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])
        self._failed: dict[str, str] = {}
        """Reason by sample id."""
        self._tried: set[str] = set()
        """Samples that this process has read in this session, or failed to."""
        self.step = 1
        """The step whose data are taken now."""
        for row in self._rows():
            if row["step"] <= self._start:
                self._failed[row["sample_id"]] = row["reason"]

    def begin(self, lost: Iterable[Mapping[str, Any]]) -> None:
        """Write the file anew: the samples that were never usable, and those of earlier steps."""
        self.step = self._start + 1
        if is_main():
            rows = [*lost, *(row for row in self._rows() if row["step"] <= self._start)]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_atomic(self._path, lambda file: file.write(text.encode()))

    def __contains__(self, name: str) -> bool:
        return name in self._failed

    def tried(self, name: str) -> None:
        """Count a sample of which a clip was read or failed."""
        self._tried.add(name)

    def add(self, name: str, error: MediaError) -> None:
        """Drop a sample from now on.

        Raises:
            AvrtError: too large a share of the clips fails.
        """
        reason = f"failed/{error.error_class}"
        self._failed[name] = reason
        row = {"sample_id": name, "reason": reason, "detail": str(error), "step": self.step}
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, line)  # at once, since other processes write their own
        finally:
            os.close(descriptor)
        if len(self._failed) <= N_SAID:
            say(f"{self._path.parent.name}: sample {name} is dropped: {error}")
        self._tried.add(name)
        # Not those of earlier sessions and of other processes, whose tries are not known here.
        mine = [self._failed[each] for each in self._failed.keys() & self._tried]
        n_failed, n_tried = len(mine), len(self._tried)
        if n_failed >= MIN_FAILED and n_failed > self._max_failure_rate * n_tried:
            raise AvrtError(
                f"{self._path.parent.name}: the clips of {n_failed} of {n_tried} samples cannot be "
                f"read ({self._numbers(mine)}; the last: {error}), more than "
                f"generate.max_failure_rate = {self._max_failure_rate:g}; {self._path} names them; "
                "mend that, then repeat the command: it goes on from the last checkpoint"
            )

    def share(self) -> None:
        """Take over what other processes have dropped; call it where all are at the same step."""
        self._failed |= {row["sample_id"]: row["reason"] for row in self._rows()}

    def counts_after(self, trainer: Any, usable: UsableExamples) -> dict[str, int]:
        """Counts of the training set for the stage's manifest; every process takes part."""
        trainer.accelerator.wait_for_everyone()
        self.share()
        names = {example.sample.id for example in usable.kept}
        failed = Counter(reason for name, reason in self._failed.items() if name in names)
        counts = Counter(usable.counts) + failed
        counts["kept"] -= failed.total()
        check_sums(self._path.parent.name, counts["read"], counts)
        return dict(counts)

    def fault(self) -> str:
        """Say which failures tell nothing about their clips; empty without any."""
        passing = {f"failed/{name}" for name in ("missing", *PASSING_CLASSES)}
        reasons = [reason for reason in self._failed.values() if reason in passing]
        if not reasons:
            return ""
        return (
            f"{self._path.parent.name}: {len(reasons)} samples were dropped while training because "
            f"their clips could not be read then ({self._numbers(reasons)}); {self._path} names "
            "them; the model was trained without them"
        )

    def _rows(self) -> list[dict[str, Any]]:
        """The lines about samples that failed while training."""
        return [row for row in read_log(self._path) if "step" in row]

    def _numbers(self, reasons: Iterable[str]) -> str:
        return counted(reason.removeprefix("failed/") for reason in reasons)
