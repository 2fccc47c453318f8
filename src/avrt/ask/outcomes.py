"""What became of drafts: replies by their place in the ledger, failures as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

from avrt.errors import AvrtError, MediaError
from avrt.runs import DiskMap
from avrt.texts import counted
from avrt.types import Completion

__all__ = ["Outcome", "Outcomes", "check_failure_rate", "media_failure", "unread_text"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a draft: a reply in the ledger, or a failure."""

    key: str | None
    """Of the call in the ledger; None when the media failed, so that there was none."""
    failure: Completion | None = None
    """None: there is a reply, in the ledger."""
    unread: bool = False
    """The media could not be read now, for a reason that says nothing about the files."""

    @property
    def status(self) -> str:
        """`ok`, or the class of the failure."""
        return "ok" if self.failure is None else self.failure.error_class or "unknown"


class Outcomes(DiskMap[Hashable, Outcome]):
    """Outcomes by draft, on the disk: memory does not grow with them."""

    def __init__(self) -> None:
        super().__init__(_packed, _unpacked)


def _packed(outcome: Outcome) -> Any:
    if outcome.key is not None and outcome.failure is None:
        return bytes.fromhex(outcome.key)
    failure = None if outcome.failure is None else astuple(outcome.failure)
    return outcome.key, failure, outcome.unread


def _unpacked(packed: Any) -> Outcome:
    if isinstance(packed, bytes):
        return Outcome(packed.hex())
    key, failure, unread = packed
    return Outcome(key, None if failure is None else Completion(*failure), unread)


def media_failure(error: MediaError, unread: bool = False) -> Outcome:
    """The end of a draft whose media cannot be used: there is no call to make."""
    failure = Completion("", "error", error_class=error.error_class, error=error.detail)
    return Outcome(None, failure, unread)


def unread_text(title: str, outcomes: Iterable[Outcome]) -> str:
    """How many questions lost their media to a failure that may pass; empty when none did."""
    lost = (outcome.failure for outcome in outcomes if outcome.unread and outcome.failure)
    n_by_class, first = _failures(lost)
    if first is None:
        return ""
    numbers = counted(n_by_class.elements())
    return (
        f"{title}: {n_by_class.total()} questions were not asked, since their media could not be "
        f"read now ({numbers}; the first: {first.error}); the same command tries them again"
    )


def check_failure_rate(title: str, outcomes: Iterable[Outcome], limit: float) -> int:
    """How many of the calls failed; stops the run when too many did. Call after everything is
    stored.

    Raises:
        AvrtError: more than the share `limit` of the calls that were made failed.
    """
    n_made = 0

    def failed() -> Iterator[Completion]:
        nonlocal n_made
        for outcome in outcomes:
            n_made += outcome.key is not None
            if outcome.key is not None and outcome.failure is not None:
                yield outcome.failure

    n_by_class, first = _failures(failed())
    n_failed = n_by_class.total()
    if first is not None and n_failed > limit * n_made:
        numbers = counted(n_by_class.elements())
        raise AvrtError(
            f"{title}: {n_failed} of {n_made} calls failed ({numbers}; the first: "
            f"{first.error}), more than generate.max_failure_rate = {limit:g}; the ledger "
            "keeps all replies, and the same command tries the failed calls again"
        )
    return n_failed


def _failures(failures: Iterable[Completion]) -> tuple[Counter[str | None], Completion | None]:
    """How many failures there are of each class, and the first."""
    n_by_class: Counter[str | None] = Counter()
    first = None
    for failure in failures:
        first = first or failure
        n_by_class[failure.error_class] += 1
    return n_by_class, first
