"""What became of drafts: replies by their place in the ledger, failures as they are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass

from avrt.errors import AvrtError, MediaError
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


class Outcomes(MutableMapping[Hashable, Outcome]):
    """Outcomes by draft; of a reply only the 32 bytes of its key are held."""

    def __init__(self) -> None:
        self._held: dict[Hashable, bytes | Outcome] = {}

    def __getitem__(self, id_: Hashable) -> Outcome:
        held = self._held[id_]
        return Outcome(held.hex()) if isinstance(held, bytes) else held

    def __setitem__(self, id_: Hashable, outcome: Outcome) -> None:
        is_reply = outcome.key is not None and outcome.failure is None
        self._held[id_] = bytes.fromhex(outcome.key or "") if is_reply else outcome

    def __delitem__(self, id_: Hashable) -> None:
        del self._held[id_]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._held


def media_failure(error: MediaError, unread: bool = False) -> Outcome:
    """The end of a draft whose media cannot be used: there is no call to make."""
    failure = Completion("", "error", error_class=error.error_class, error=error.detail)
    return Outcome(None, failure, unread)


def unread_text(title: str, outcomes: Iterable[Outcome]) -> str:
    """How many questions lost their media to a failure that may pass; empty when none did."""
    lost = [outcome.failure for outcome in outcomes if outcome.unread and outcome.failure]
    if not lost:
        return ""
    numbers = counted(failure.error_class for failure in lost)
    return (
        f"{title}: {len(lost)} questions were not asked, since their media could not be read now "
        f"({numbers}; the first: {lost[0].error}); the same command tries them again"
    )


def check_failure_rate(title: str, outcomes: Iterable[Outcome], limit: float) -> None:
    """Stop the run when too many of the calls failed; call after everything is stored.

    Raises:
        AvrtError: more than the share `limit` of the calls that were made failed.
    """
    made = [outcome.failure for outcome in outcomes if outcome.key is not None]
    failed = [failure for failure in made if failure is not None]
    if len(failed) > limit * len(made):
        classes = counted(failure.error_class for failure in failed)
        raise AvrtError(
            f"{title}: {len(failed)} of {len(made)} calls failed ({classes}; the first: "
            f"{failed[0].error}), more than generate.max_failure_rate = {limit:g}; the ledger "
            "keeps all replies, and the same command tries the failed calls again"
        )
