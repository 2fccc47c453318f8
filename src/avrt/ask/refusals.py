"""Stop before thousands of calls are refused for the same reason.

A server that does not know a key of the request refuses every call, and a login page answers none.
So a command stops when many calls failed and the model never replied, neither now nor to an earlier
command; what other models did says nothing about this one. Where some calls cannot succeed, such as
the longest, the next command asks all others first.
"""

from __future__ import annotations

from avrt.ask.ledger import LedgerReader
from avrt.ask.rows import Call
from avrt.engines.base import is_of_server
from avrt.errors import EngineError
from avrt.texts import counted
from avrt.types import Completion

__all__ = ["MOST_FAILURES", "Refusals"]

MOST_FAILURES = 50
"""Calls that may fail before a model has given its first reply."""


class Refusals:
    """The failed calls of one model, until it replies."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger
        self._failures: list[str] = []
        self._has_replied = False

    def note(self, call: Call, completion: Completion) -> None:
        """Note how a call ended, after it is stored.

        Raises:
            EngineError: many calls failed at the server, and the model never gave a reply.
        """
        error_class = completion.error_class
        if error_class is None:
            self._has_replied = True
        if self._has_replied or error_class is None or not is_of_server(error_class):
            return
        self._failures.append(error_class)
        if len(self._failures) < MOST_FAILURES:
            return
        if self._ledger.has_reply(call):
            self._has_replied = True
            return
        raise EngineError(
            f"{call.stage}, {call.role}: the first {len(self._failures)} calls failed "
            f"({counted(self._failures)}), the last as: {completion.error}; correct the settings, "
            "or repeat the command, which asks the other calls first"
        )
