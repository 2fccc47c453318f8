"""Drafts: the questions of a stage to a model, before their media are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from avrt.ask.payloads import HALVES, NO_CLIP, Clip, Kind, Source
from avrt.ask.rows import Call
from avrt.config import MediaConfig, ModelRole
from avrt.errors import MediaError
from avrt.types import Completion, Given, Sampling

__all__ = ["Draft", "Drafts", "sampling_of", "seeded", "sources_of", "wanted_of"]


@dataclass(frozen=True)
class Draft:
    """A question to a model whose media are not read yet, so that it has no key."""

    id: Hashable
    """The client's own name for it, under which it gets its outcome."""
    stage: str
    sample_id: str
    role: str
    text: str
    sampling: Sampling
    system: str | None = None
    k: int = 0
    """Which of several answers to the same prompt."""
    given: Given = "none"
    """The media of `clip` that the prompt carries."""
    clip: Clip = NO_CLIP
    dataset: str = ""
    """Name of the evaluation set that the sample belongs to; empty: the run's own dataset."""

    def call(self, engine: Mapping[str, Any], digests: Mapping[Kind, str]) -> Call:
        """The call that this draft becomes with the digests of its decoded media."""
        sources = [source for source in self.clip.sources(self.given) if source is not None]
        files = {source.kind: (source.name, source.file.sha256) for source in sources}
        return Call(
            stage=self.stage,
            sample_id=self.sample_id,
            role=self.role,
            engine=engine,
            system=self.system,
            text=self.text,
            sampling=self.sampling,
            frames=digests["frames"] if "v" in self.given else None,
            audio=digests["audio"] if "a" in self.given else None,
            recipe={source.kind: dict(source.recipe) for source in sources} or None,
            k=self.k,
            dataset=self.dataset,
            files=files,
        )


@dataclass(frozen=True)
class Drafts:
    """All drafts to one model, made one by one: hundreds of thousands do not lie in memory."""

    title: str
    """Of the lines about progress; empty: nothing is said."""
    n: int
    each: Iterable[Draft]
    """Those about the same clip in a row: then every file is read once."""
    media: MediaConfig
    """How the clips are decoded and encoded."""
    keeps: Callable[[Draft, Completion], bool] | None = None
    """Whether a reply can be kept, for the progress line alone."""
    kept: str = "kept"
    """What the progress line calls such a reply."""
    n_later: int = 0
    """Drafts to the same model that follow these, for the forecast."""


def sampling_of(role: ModelRole, run_seed: int, sample_id: str, k: int = 0) -> Sampling:
    """The role's sampling for one answer; see `seeded`."""
    sampling = Sampling(role.temperature, role.top_p, role.max_new_tokens)
    return seeded(sampling, run_seed, sample_id, k)


def seeded(sampling: Sampling, run_seed: int, sample_id: str, k: int = 0) -> Sampling:
    """The sampling with a seed of the answer's own, whatever the other samples or their order;
    greedy decoding needs none.
    """
    if sampling.temperature == 0:
        return sampling
    digest = hashlib.sha256(f"{run_seed}:{sample_id}:{k}".encode()).digest()
    # 31 bits: it fits every engine's signed 32.
    return replace(sampling, seed=int.from_bytes(digest[:4], "big") >> 1)


def sources_of(group: Sequence[Draft]) -> list[Source]:
    """The media that a group about one clip needs, each once."""
    sources = {
        source.kind: source
        for draft in group
        for source in draft.clip.sources(draft.given)
        if source is not None
    }
    return [sources[kind] for kind in HALVES["av"] if kind in sources]


def wanted_of(draft: Draft, media: Mapping[Any, Any]) -> dict[Kind, Any] | MediaError | None:
    """The part of a clip's media (or digests) that a draft carries; an error when one of them is
    an error or not named by the sample, None when one is not known.
    """
    wanted: dict[Kind, Any] = {}
    for kind, source in zip(HALVES[draft.given], draft.clip.sources(draft.given), strict=True):
        if source is None:
            error_class, name = (
                ("no_video", "video and no picture") if kind == "frames" else ("no_audio", "sound")
            )
            return MediaError(error_class, draft.sample_id, f"the sample names no {name}")
        if isinstance(media[kind], MediaError):
            return media[kind]
        wanted[kind] = media[kind]
    return None if None in wanted.values() else wanted
