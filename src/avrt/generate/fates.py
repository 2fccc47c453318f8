"""What `build` decides about each sample: on the disk, since there may be millions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from avrt.generate.dataset import Entry
from avrt.generate.gates import GATES
from avrt.generate.judged import Judgement
from avrt.generate.quality import Flags
from avrt.generate.records import MergedTrace, stratum_of, trace_outcome
from avrt.runs import DiskMap

__all__ = ["Fate", "Fates", "that_counts"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a sample."""

    stage: str = ""
    """The stage that rejects it; empty: it is kept."""
    reason: str = ""
    faults: Mapping[str, str] | None = None
    """Those that gates see in the trace that counts; None: it was not merged."""
    is_heard: bool = True
    """False: its judgements do not count, since a gate rejects the merged trace."""
    passes: bool = False
    """Whether, in the view or not, it has a trace that nothing rejects."""


@dataclass
class Fates:
    """What becomes of each sample, and all that is counted about them."""

    of: DiskMap[str, Fate] = field(
        default_factory=lambda: DiskMap(attrgetter(*Fate.__slots__), lambda packed: Fate(*packed))
    )
    losses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rejected samples by stage and reason."""
    strata: Counter[str] = field(default_factory=Counter)
    flags: Flags = field(default_factory=Flags)

    def settle(
        self, entry: Entry, stage: str, reason: str, is_heard: bool = True, passes: bool = False
    ) -> None:
        """Count an entry with its trace that counts, rejected or not."""
        faults = {name: fault for name, fault in entry.flagged.items() if fault is not None}
        self.of[entry.sample.id] = Fate(
            stage, reason, faults if entry.flagged else None, is_heard, passes
        )
        if stage:
            self.losses[stage, reason] += 1
        if entry.answers and not trace_outcome(entry.answers):
            self.strata[stratum_of(entry.answers)] += 1
        self.flags.add(entry)

    def reject(self, id_: str, stage: str, reason: str) -> None:
        """Reject a sample that may have been kept so far."""
        fate = self.of[id_]
        if not fate.stage:
            self.losses[stage, reason] += 1
            fate = replace(fate, stage=stage, reason=reason)
        self.of[id_] = replace(fate, passes=False)

    def complete(self, entry: Entry) -> Entry:
        """The entry with the trace that counts and all that was decided about it."""
        fate = self.of[entry.sample.id]
        heard = entry.judgements if fate.is_heard else ()
        faults = fate.faults
        return replace(
            entry,
            merged=that_counts(entry.merged, heard),
            flagged={} if faults is None else {name: faults.get(name) for name in GATES},
            judgements=heard,
            stage=fate.stage,
            reason=fate.reason,
        )


def that_counts(merged: MergedTrace | None, judgements: Sequence[Judgement]) -> MergedTrace | None:
    """The merged trace, or the other try that the judges let take its place."""
    if merged is None or not judgements or judgements[0].key == merged.key:
        return merged
    final = judgements[0]
    return replace(merged, key=final.key, text=final.text, finish_reason=final.finish_reason)
