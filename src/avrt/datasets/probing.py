"""Probe the files of a dataset in worker processes, and keep the results between runs.

The journal RUN/media.probes.jsonl gets a line as each file is done. A file is not opened again
while its size and time of change equal those of its line. So a run that was killed continues, and
after some files were replaced only those are probed again.

The decision to question: the times are in the journal and in no Parquet file. A copy of a dataset
has other times and the same content, and its tables should have the same bytes. The journal can be
deleted; that costs only the time to probe again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from avrt.config import MediaConfig, RayConfig
from avrt.errors import MediaError
from avrt.media import MediaInfo, probe
from avrt.media.cache import file_stamp
from avrt.media.probe import PROBE_SETTINGS, PROBE_VERSION
from avrt.media.processes import map_files
from avrt.runs import fingerprint, track
from avrt.scale.files import map_files_on

__all__ = ["known_probes", "probe_files", "probe_settings"]

AHEAD = 256
"""Files in progress at a time: enough that the other workers go on while a file hangs."""


def probe_settings(media: MediaConfig) -> dict[str, Any]:
    """Give the settings that the result of a probe depends on, besides the file."""
    return {"version": PROBE_VERSION, **media.model_dump(include=set(PROBE_SETTINGS))}


def known_probes(
    run: Path, root: Path, names: Iterable[str], media: MediaConfig
) -> dict[str, MediaInfo]:
    """Read from the journal the probes of files below `root` that have not changed.

    The journal leaves out what another attempt may change: a file that could not be read now, or
    whose process ended.
    """
    journal = _read_journal(_journal_path(run), media)
    known: dict[str, MediaInfo] = {}
    for name in names:
        info = journal.get(name)
        if info and (info.size_bytes, info.mtime_ns) == file_stamp(root / name):
            known[name] = info
    return known


def probe_files(
    run: Path,
    root: Path,
    names: Sequence[str],
    media: MediaConfig,
    is_enough: Callable[[MediaInfo], bool] = lambda _: True,
    cluster: RayConfig | None = None,
) -> dict[str, MediaInfo]:
    """Probe the files, in their order; paths in the result are relative to `root`.

    A probe of before is used when it `is_enough`: one of an earlier version may lack a property.
    With a `cluster`, its nodes probe; the folder is on a disk that they share.
    """
    root = root if cluster is None else root.absolute()
    infos = known_probes(run, root, names, media)
    infos = {name: info for name, info in infos.items() if is_enough(info)}
    unknown: dict[Path, list[str]] = {}  # "./x" and "x" are one file
    for name in names:
        if name not in infos:
            unknown.setdefault(root / name, []).append(name)
    results = _probe_all(unknown, media, cluster)
    path, settings = _journal_path(run), fingerprint(probe_settings(media))
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(results), path.open("a", encoding="utf-8", buffering=1) as journal:
        journal.write("\n")  # ends the line that a kill may have cut off
        probed = track(results, "prepare: probe", "files", len(names), len(infos))
        for file, info in probed:
            for name in unknown[file]:
                if isinstance(info, MediaError):
                    infos[name] = MediaInfo(name, status=info.error_class, reason=info.detail)
                else:
                    infos[name] = replace(info, path=name)
                    line = {"settings": settings, "info": asdict(infos[name])}
                    journal.write(json.dumps(line) + "\n")
    return {name: infos[name] for name in names}


def _probe_all(
    files: Iterable[Path], media: MediaConfig, cluster: RayConfig | None
) -> Generator[tuple[Path, MediaInfo | MediaError]]:
    function = partial(probe, media=media)  # a module that is light to import in every worker
    if cluster is None:
        return map_files(
            function, files, timeout_s=media.timeout_s, workers=media.workers, ahead=AHEAD
        )
    return map_files_on(cluster, function, files, timeout_s=media.timeout_s)


def _journal_path(run: Path) -> Path:
    return run / "media.probes.jsonl"


def _read_journal(path: Path, media: MediaConfig) -> dict[str, MediaInfo]:
    if not path.is_file():
        return {}
    settings = fingerprint(probe_settings(media))
    journal: dict[str, MediaInfo] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # cut off by a kill
                continue
            fields = entry["info"]
            if entry["settings"] == settings:
                journal[fields["path"]] = MediaInfo(**fields | {"notes": tuple(fields["notes"])})
    return journal
