"""Exports: the dataset in the formats of other trainers and of the Hub, a folder for each export.

Reads RUN/dataset/*.parquet, the student's prompt, and the clips when media are exported. Writes a
folder that is complete or absent, or that holds the file INCOMPLETE.md because some clips could not
be read now; the same command then writes it anew. Every row that is read is exported, or dropped
with its id and reason, and the numbers are printed.

The decision to question: without `with_media` the folder holds no byte of a clip, and paths are
relative to `data.root`, because users often may not pass clips on, and paths of a machine mean
nothing on another.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avrt.config import Config
from avrt.datasets import dataset_row_to_sample
from avrt.errors import PASSING_CLASSES, AvrtError, ConfigError, DataError
from avrt.exchange.exports.chat import LLAMAFACTORY, MS_SWIFT, TRL
from avrt.exchange.exports.clips import LazyClips, extract_clip, extract_clips
from avrt.exchange.exports.formats import (
    INCOMPLETE,
    Entry,
    ExportFormat,
    ExportOptions,
    drop_reason,
    send_all,
)
from avrt.exchange.exports.hub import HUB
from avrt.exchange.exports.r1 import VIDEO_R1
from avrt.exchange.exports.shards import WEBDATASET
from avrt.prompts import PromptTemplate, format_options, load_prompt
from avrt.runs import (
    Result,
    check_sums,
    fingerprint,
    iter_parquet,
    remove_folder,
    replace_folder,
)
from avrt.stores import StorePath

__all__ = ["FORMATS", "run"]

SPLITS = ("train", "validation")
FORMATS: dict[str, ExportFormat] = {
    "trl": TRL,
    "ms-swift": MS_SWIFT,
    "llamafactory": LLAMAFACTORY,
    "video-r1": VIDEO_R1,
    "webdataset": WEBDATASET,
    "hf": HUB,
}
N_EXAMPLES = 3


def run(config: Config, name: str, options: ExportOptions, output: Path | None = None) -> Result:
    """Write the dataset in the format `name` into `output`, by default RUN/export/NAME.

    Raises:
        ConfigError: the format is unknown or lacks an option, or the folder exists.
        DataError: there is no dataset, or none of its rows can be exported.
    """
    form = _format(name, options)
    run_folder, root = config.run.path, config.data.root
    folder = output or run_folder / "export" / (f"{name}-grpo" if options.grpo else name)
    prompt = load_prompt(config.student.prompt)
    dataset = run_folder / "dataset"
    lost: dict[str, list[str]] = defaultdict(list)
    entries = {
        split: _survey(dataset / f"{split}.parquet", prompt, form, options, lost)
        for split in SPLITS
    }
    kept: dict[str, Collection[Entry]] = dict(entries)
    is_lazy = options.with_media and form.is_sharded  # clips come and go with their shard
    with _output(folder, run_folder) as out:
        if options.with_media:
            extract = partial(
                extract_clip,
                root=root,
                out=out,
                settings=config.media,
                takes_file=form.takes_files,
            )
            if is_lazy:
                kept = {
                    split: LazyClips(kept[split], lost, extract, config.media) for split in kept
                }
            else:
                kept.update(extract_clips(kept, lost, extract, config.media))
        if not is_lazy:
            _refuse_empty(dataset, _count(entries, kept, lost), lost)
        form.write(out, kept, options.with_roots(root, folder), run_folder)
        counts = _count(entries, kept, lost)
        _refuse_empty(dataset, counts, lost)
        if not form.keeps_clips:
            remove_folder(out / "media")  # nothing of it may stay in what is published
        _copy_card(dataset / "README.md", out)
        fault = _unread_text(folder, lost)
        if fault:
            (out / INCOMPLETE).write_text(f"{fault}\n", encoding="utf-8")
    return Result(_summarize(name, form, folder, counts, lost, options), counts, fault)


@contextmanager
def _output(folder: Path, run_folder: Path) -> Iterator[Path]:
    """The folder to write into; for a store, one of this machine whose files are sent at the end.

    Until all are there, the store's folder holds the file INCOMPLETE.md.

    Raises:
        ConfigError: the folder exists, and is whole.
        AvrtError: the store cannot be written.
    """
    is_sent = isinstance(folder, StorePath)
    here = run_folder / "export" / f".{fingerprint(str(folder))[:16]}" if is_sent else folder
    with replace_folder(here) as out:
        if folder.exists() and not (folder / INCOMPLETE).is_file():
            raise ConfigError(f"{folder}: already exists; delete it, or name another --output")
        if not isinstance(folder, StorePath):
            yield out
            return
        try:
            folder.remove_tree()
            (folder / INCOMPLETE).write_bytes(b"This export is being written.\n")
            yield out
            send_all(out, folder)
            if not (out / INCOMPLETE).is_file():
                (folder / INCOMPLETE).unlink()
        except OSError as error:
            raise AvrtError(
                f"{folder}: cannot be written: {error.strerror}; mend that, then repeat the command"
            ) from error
    remove_folder(here)


def _format(name: str, options: ExportOptions) -> ExportFormat:
    if name not in FORMATS:
        raise ConfigError(f"--to {name}: unknown format; known: {', '.join(FORMATS)}")
    form = FORMATS[name]
    if options.grpo and not form.has_grpo:
        known = ", ".join(other for other, each in FORMATS.items() if each.has_grpo)
        raise ConfigError(f"--grpo: the format {name} has no form for GRPO; known: {known}")
    return form


def _read(path: Path, prompt: PromptTemplate) -> Iterator[Entry]:
    for number, row in enumerate(iter_parquet(path), start=1):
        where = f"{path}:{number}"
        try:
            sample = dataset_row_to_sample(row, where)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: not a row of the dataset: {type(error).__name__}: {error}"
            ) from error
        system, text = prompt.fill(question=sample.question, options=format_options(sample.options))
        yield Entry(sample, row["av_reasoning"], system, text, row)


@dataclass(frozen=True)
class _Rows(Collection[Entry]):
    """The entries of a split that are exported, read anew each time: their texts never lie in
    memory together.
    """

    n_read: int
    n_kept: int
    read: Callable[[], Iterator[Entry]]

    def __len__(self) -> int:
        return self.n_kept

    def __iter__(self) -> Iterator[Entry]:
        return self.read()

    def __contains__(self, entry: object) -> bool:
        return any(entry == other for other in self)


def _survey(
    path: Path,
    prompt: PromptTemplate,
    form: ExportFormat,
    options: ExportOptions,
    lost: Mapping[str, list[str]],
) -> _Rows:
    """Read a split once, to count its entries and those that this format cannot hold."""
    n_read = n_kept = 0
    for entry in _read(path, prompt):
        n_read += 1
        if (fault := drop_reason(entry, form, options)) is None:
            n_kept += 1
        else:
            lost[f"dropped/{fault}"].append(entry.sample.id)

    def read() -> Iterator[Entry]:
        entries = _read(path, prompt)
        return (entry for entry in entries if drop_reason(entry, form, options) is None)

    return _Rows(n_read, n_kept, read)


def _count(
    entries: Mapping[str, _Rows],
    kept: Mapping[str, Collection[Entry]],
    lost: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    counts = {
        "read": sum(rows.n_read for rows in entries.values()),
        "kept": sum(len(of_split) for of_split in kept.values()),
        **{reason: len(names) for reason, names in lost.items()},
    }
    check_sums("export", counts["read"], counts)
    return counts | {split: len(of_split) for split, of_split in kept.items()}


def _refuse_empty(
    dataset: Path, counts: Mapping[str, int], lost: Mapping[str, Sequence[str]]
) -> None:
    if not counts["kept"]:
        if fault := _unread_text(dataset, lost):
            raise AvrtError(fault)
        reasons = ", ".join(f"{len(names)} {reason}" for reason, names in lost.items())
        raise DataError(
            f"{dataset}: none of the {counts['read']} rows can be exported: "
            f"{reasons or 'the dataset is empty'}"
        )


def _unread_text(folder: Path, lost: Mapping[str, Sequence[str]]) -> str:
    """How many rows lack a clip for a reason that says nothing about it; empty: none."""
    reasons = [f"failed/{name}" for name in ("missing", *PASSING_CLASSES)]
    names = {reason: lost[reason] for reason in reasons if lost.get(reason)}
    if not names:
        return ""
    numbers = ", ".join(f"{len(ids)} {reason}" for reason, ids in names.items())
    return (
        f"{folder}: rows are left out, since their clips could not be read now ({numbers}; the "
        f"first: {next(iter(names.values()))[0]}); mend that, then repeat the command"
    )


def _copy_card(card: Path, out: Path) -> None:
    """Copy the card under a name that no loader reads; the Hub's format has its own."""
    if card.is_file() and not (out / "README.md").exists():
        shutil.copyfile(card, out / "CARD.md")


def _summarize(
    name: str,
    form: ExportFormat,
    folder: Path,
    counts: Mapping[str, int],
    lost: Mapping[str, Sequence[str]],
    options: ExportOptions,
) -> str:
    sizes = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    lines = [f"export: {counts['read']} rows -> {sizes} as {name}, in {folder}"]
    for reason, names in sorted(lost.items()):
        lines.append(f"  {len(names):>7} {reason}, such as {', '.join(names[:N_EXAMPLES])}")
    if options.absolute:
        lines.append("paths are absolute, and valid on this machine only")
    elif not options.with_media:
        lines.append("paths are relative to data.root; no media are in the folder")
    return "\n".join([*lines, form.note] if form.note else lines)
