"""The dataset in the forms that other trainers and the Hub read, one folder per export.

Reads RUN/dataset/*.parquet, the student's prompt, and the clips when media are exported; writes a
folder that is complete or not there. Every row that is read is exported or dropped by name, and
the numbers are printed.

The decision to question: without `with_media` nothing in the folder holds a byte of a clip, and
paths are relative to `data.root`, because clips are often not ours to give on, and paths of one
machine mean nothing on another.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avrt.config import Config
from avrt.datasets import dataset_row_to_sample
from avrt.errors import ConfigError, DataError
from avrt.exchange.exports.chat import LLAMAFACTORY, MS_SWIFT, TRL
from avrt.exchange.exports.clips import extract_clips
from avrt.exchange.exports.hub import HUB
from avrt.exchange.exports.items import Format, Item, Options, find_fault
from avrt.exchange.exports.r1 import VIDEO_R1
from avrt.exchange.exports.shards import WEBDATASET
from avrt.prompts import format_options, load_prompt
from avrt.runs import Result, check_sums, read_parquet

__all__ = ["FORMATS", "run"]

SPLITS = ("train", "validation")
FORMATS: dict[str, Format] = {
    "trl": TRL,
    "ms-swift": MS_SWIFT,
    "llamafactory": LLAMAFACTORY,
    "video-r1": VIDEO_R1,
    "webdataset": WEBDATASET,
    "hf": HUB,
}
N_EXAMPLES = 3


def run(config: Config, name: str, options: Options, output: Path | None = None) -> Result:
    """Write the dataset in the format `name` into `output`, by default RUN/export/NAME.

    Raises:
        ConfigError: no such format, an option that it does not have, or the folder is there.
        DataError: no dataset, or none of its rows can be exported.
    """
    form = _format(name, options)
    folder = output or config.run.path / "export" / (f"{name}-grpo" if options.grpo else name)
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; delete it, or name another --output")
    items = {split: list(_read(config, split)) for split in SPLITS}
    lost: dict[str, list[str]] = defaultdict(list)
    kept = {
        split: list(_usable(of_split, form, options, lost)) for split, of_split in items.items()
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        if options.with_media:
            kept = extract_clips(config, form, place, kept, lost)
        counts = _count(items, kept, lost)
        _refuse_nothing(config, counts, lost)
        form.write(place, kept, options.placed(config.data.root, folder), config.run.path)
        if not form.keeps_clips:
            shutil.rmtree(place / "media", ignore_errors=True)
        _copy_card(config, place)
        place.chmod(0o755)
        place.rename(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return Result(_summarize(name, form, folder, counts, lost, options), counts)


def _format(name: str, options: Options) -> Format:
    if name not in FORMATS:
        raise ConfigError(f"--to {name}: no such format; known: {', '.join(FORMATS)}")
    form = FORMATS[name]
    if options.grpo and not form.has_grpo:
        known = ", ".join(other for other, one in FORMATS.items() if one.has_grpo)
        raise ConfigError(f"--grpo: {name} has no form of its own for it; these have: {known}")
    return form


def _read(config: Config, split: str) -> Iterator[Item]:
    path = config.run.path / "dataset" / f"{split}.parquet"
    prompt = load_prompt(config.student.prompt)
    for number, row in enumerate(read_parquet(path), start=1):
        where = f"{path}:{number}"
        try:
            sample = dataset_row_to_sample(row, where)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: not a row of the dataset: {type(error).__name__}: {error}"
            ) from error
        system, text = prompt.fill(question=sample.question, options=format_options(sample.options))
        yield Item(sample, row["av_reasoning"], system, text, row)


def _usable(
    items: Sequence[Item], form: Format, options: Options, lost: Mapping[str, list[str]]
) -> Iterator[Item]:
    for item in items:
        fault = find_fault(item, form, options)
        if fault is None:
            yield item
        else:
            lost[f"dropped/{fault}"].append(item.sample.id)


def _count(
    items: Mapping[str, Sequence[Item]],
    kept: Mapping[str, Sequence[Item]],
    lost: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    counts = {
        "read": sum(len(of_split) for of_split in items.values()),
        "kept": sum(len(of_split) for of_split in kept.values()),
        **Counter({reason: len(names) for reason, names in lost.items()}),
    }
    check_sums("export", counts["read"], counts)
    return counts | {split: len(of_split) for split, of_split in kept.items()}


def _refuse_nothing(
    config: Config, counts: Mapping[str, int], lost: Mapping[str, Sequence[str]]
) -> None:
    if not counts["kept"]:
        reasons = ", ".join(f"{len(names)} {reason}" for reason, names in lost.items())
        raise DataError(
            f"{config.run.path / 'dataset'}: none of the {counts['read']} rows can be exported: "
            f"{reasons or 'the dataset is empty'}"
        )


def _copy_card(config: Config, place: Path) -> None:
    """The card goes along under a name that no loader reads; the Hub's format has its own."""
    card = config.run.path / "dataset" / "README.md"
    if card.is_file() and not (place / "README.md").exists():
        shutil.copyfile(card, place / "CARD.md")


def _summarize(
    name: str,
    form: Format,
    folder: Path,
    counts: Mapping[str, int],
    lost: Mapping[str, Sequence[str]],
    options: Options,
) -> str:
    sizes = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    lines = [f"export: {counts['read']} rows -> {sizes} as {name}, in {folder}"]
    for reason, names in sorted(lost.items()):
        lines.append(f"  {len(names):>7} {reason}, such as {', '.join(names[:N_EXAMPLES])}")
    if options.absolute:
        lines.append("paths are absolute: they hold on this machine only")
    elif not options.with_media and form.has_paths:
        lines.append("paths are relative to data.root; no media are in the folder")
    return "\n".join([*lines, form.note] if form.note else lines)
