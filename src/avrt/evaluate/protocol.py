"""All that decides a result besides the model, as an id: numbers under equal ids may be compared.

Reads the media files of a set for their digests, each only once: RUN/eval/BENCH/media.json keeps
them under size and time of change. Nothing is written here.

The decision to question: the id holds the content of every file of the set and the way in which
media reach the model (pixels, or JPEG to a server). That is strict: two downloads of a benchmark
that differ in one file have two ids. But that is what made published figures incomparable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from avrt.answers import PARSER_VERSION
from avrt.config import MediaConfig
from avrt.datasets import media_paths
from avrt.errors import PASSING_CLASSES, AvrtError, MediaError
from avrt.media.cache import copy_digest, file_stamp, is_here
from avrt.media.failures import NO_SUCH_FILE
from avrt.media.processes import map_files
from avrt.runs import file_digest, fingerprint, track
from avrt.stores import list_folders, listed_once
from avrt.types import Sample

__all__ = [
    "ABSENT",
    "Files",
    "differ_in_prompt",
    "differences",
    "differing",
    "files_digest",
    "media_cache",
    "protocol_id",
    "questions_digest",
    "read_files",
]

UNKNOWN = "unknown"
ABSENT = "absent"
"""In place of the digest of a file that cannot be read."""

Files: TypeAlias = dict[str, list[Any]]
"""Size and time of change, and digest, of each media file by its name."""


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Twelve digits that stand for a protocol and for this version of the answer parser."""
    return fingerprint({**protocol, "parser": PARSER_VERSION})[:12]


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The differences of two protocols, as `name: of the first / of the second`."""
    return [
        f"{name}: {_text(first, name)} / {_text(second, name)}" for name in differing(first, second)
    ]


def differing(*protocols: Mapping[str, Any]) -> list[str]:
    """The settings in which protocols differ, by name."""
    names = sorted({name for protocol in protocols for name in protocol})
    return [name for name in names if len({fingerprint(p.get(name)) for p in protocols}) > 1]


def differ_in_prompt(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether the prompt, and nothing else, tells two protocols apart."""
    return differing(first, second) == ["prompt"] and "prompt" in first and "prompt" in second


def questions_digest(samples: Sequence[Sample]) -> str:
    """Of every question of a set with its options and its gold answer, in their order."""
    return fingerprint([[s.id, s.question, s.options, s.answer_index] for s in samples])


@listed_once()
def read_files(samples: Sequence[Sample], root: Path, cache: Path, media: MediaConfig) -> Files:
    """Every media file that the questions name; the digest of a missing file is `ABSENT`. Files of
    a store are fetched in worker processes, as `media` says.

    Raises:
        AvrtError: files could not be read now, for a reason that says nothing about them.
    """
    known = _read_cache(cache)
    files: Files = {}
    unread: dict[str, OSError | MediaError] = {}
    names = media_paths(samples)
    list_folders(root, names)
    if any(not is_here(root / name) for name in names):
        known |= _fetched(names, root, known, media, unread)
    tracked = track(names, "eval: digest media", "files")
    for name in chain(tracked, unread):  # what failed is tried once more, after all others
        stamp, entry = list(file_stamp(root / name)), known.get(name)
        if name in unread and not is_here(root / name):
            continue
        if entry is None or entry[0] != stamp:
            try:
                entry = [stamp, _digest(root / name)]
            except OSError as error:
                unread.setdefault(name, error)
                continue
        files[name] = entry
    lost = [error for name, error in unread.items() if name not in files]
    if lost:
        raise AvrtError(
            f"{root}: {len(lost)} media files cannot be read now (the first: {lost[0]}), so "
            "nothing was asked about their set; mend that, then repeat the command"
        )
    return {name: files[name] for name in names}


def _fetched(
    names: Sequence[str],
    root: Path,
    known: Files,
    media: MediaConfig,
    unread: dict[str, OSError | MediaError],
) -> Files:
    """The entries of files of a store or a shard that are not known; `unread` gets the others."""
    stamps = {name: list(file_stamp(root / name)) for name in names}
    unknown = {
        root / name: name for name in names if name not in known or known[name][0] != stamps[name]
    }
    files: Files = {}
    results = map_files(
        partial(copy_digest, media=media),
        unknown,
        timeout_s=media.timeout_s,
        workers=media.workers,
    )
    with closing(results):
        for path, digest in track(results, "eval: fetch media", "files", len(unknown)):
            name = unknown[path]
            if isinstance(digest, str):
                files[name] = [stamps[name], digest]
            elif digest.error_class in PASSING_CLASSES:
                unread[name] = digest
            else:
                files[name] = [stamps[name], ABSENT]
    return files


def files_digest(files: Files) -> str:
    """Of the content of all media files of a set."""
    return fingerprint({name: digest for name, (_, digest) in files.items()})


def media_cache(run: Path, benchmark: str) -> Path:
    """The file that keeps the digests of a set's files between commands; it may be deleted."""
    return run / "eval" / benchmark / "media.json"


def _text(protocol: Mapping[str, Any], name: str) -> str:
    value = protocol.get(name, UNKNOWN)
    return value[:12] if isinstance(value, str) else json.dumps(value)


def _digest(path: Path) -> str:
    """The digest of a file; `ABSENT` where there is none.

    Raises:
        OSError: there may be one, but it cannot be read.
    """
    try:
        return file_digest(path)
    except (IsADirectoryError, ValueError):  # ValueError: a name that no file can have
        return ABSENT
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            return ABSENT
        raise


def _read_cache(path: Path) -> Files:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {
        name: [*entry]
        for name, entry in entries
        if isinstance(entry, list) and len(entry) == 2 and entry[1] != ABSENT
    }
