"""The protocol of all engines: requests in, completions out, in whatever order they finish.

The failure of one prompt is data (a `Completion` with an error class); an engine that cannot work
at all raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from avrt.types import Completion, Prompt, Request, Sampling

__all__ = ["Engine", "OnCompletion", "can_pass", "complete", "failure", "is_of_server"]

OnCompletion = Callable[[Request, Completion], None]
_PASSING = re.compile(r"timeout|connection|server_error|http_(408|425|429|[5-9]\d\d)")
_FINAL = re.compile(r"bad_reply|content_filter|http_\d\d\d")


class Engine(Protocol):
    """A way to reach one model."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides replies besides prompt and sampling: model, revision, form of the media.

        It goes into every call's key, so it holds no address, no concurrency and no path of this
        machine.
        """
        ...

    @property
    def takes_encoded(self) -> bool:
        """Whether it takes media as JPEG, WAV or FLAC, not as pixels and samples."""
        ...

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        """Complete every request; each reply goes to `on_completion` at once, in this thread.

        Requests are taken from the iterable only when there is room for them, perhaps from another
        thread, one at a time. An exception of the iterable or of `on_completion` stops the work and
        is raised unchanged.

        Raises:
            EngineError: the server or model cannot be used at all.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


def failure(error_class: str, error: str, latency_s: float = 0.0) -> Completion:
    """The completion that stands for one failed call."""
    return Completion("", "error", latency_s=latency_s, error_class=error_class, error=error)


def complete(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
    """The replies to some prompts, in their order; nothing is stored.

    Raises:
        EngineError: the server or model cannot be used at all.
    """
    requests = [Request(str(number), prompt, sampling) for number, prompt in enumerate(prompts)]
    replies: dict[str, Completion] = {}
    engine.generate(requests, lambda request, reply: replies.update({request.key: reply}))
    return [replies[request.key] for request in requests]


def can_pass(error_class: str) -> bool:
    """Tell whether the same request may succeed when it is sent again."""
    return _PASSING.fullmatch(error_class) is not None


def is_of_server(error_class: str) -> bool:
    """Tell whether a server, or the way to it, failed the call."""
    return can_pass(error_class) or _FINAL.fullmatch(error_class) is not None
