"""The check of a folder before it is published: without a network, of the files as they are.

The card is read by the Hub's own classes, the dataset by `datasets`, the model's configuration and
processor by transformers; the weights must be those that the configuration implies. Nothing in the
folder may tell a secret or a path of this machine, or hold media.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avrt.checkpoints.convert import check_complete
from avrt.checkpoints.omni import read_checkpoint
from avrt.config.secrets import find_keys
from avrt.errors import AvrtError
from avrt.publish.provenance import list_files
from avrt.report.script import read_script
from avrt.texts import read_json, shown

__all__ = ["Private", "find_problems"]

MAX_BYTES = 50 << 30
"""Largest file that the Hub takes without asking."""
_TEXTS = {".md", ".csv", ".json", ".yaml", ".txt", ".html", ".svg", ".jinja"}
_ITEM_FILES = ("strip", "sound", "spectrogram")
"""Files that an item of a page names."""
_CODE = {".js", ".css"}
_VOCABULARIES = {"tokenizer.json", "vocab.json", "merges.txt"}
"""Their words may look like anything."""
_MEDIA = {
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts", ".wav", ".flac", ".mp3", ".ogg"),
    *(".opus", ".m4a", ".aac", ".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tar"),
}
_MACHINE_PATH = re.compile(
    r"(?<![\w.:/~-])(?:/(?:home|root|Users|mnt|scratch|workspace|data|tmp)/[\w.]|[A-Z]:\\[\w.])"
)


@dataclass(frozen=True)
class Private:
    """What may stand in no published file."""

    folders: frozenset[str]
    """Absolute paths of this machine."""
    secrets: tuple[str, ...]

    def find(self, text: str) -> str | None:
        """What of it stands in a text, in words."""
        if any(secret in text for secret in self.secrets):
            return "a secret of this machine"
        folder = next((path for path in self.folders if path in text), None)
        return f"the path {folder}" if folder else None


def find_problems(folder: Path, kind: str, private: Private, with_media: bool) -> Iterator[str]:
    """Yield everything that keeps a folder from being published, each with its file."""
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        if path.stat().st_size > MAX_BYTES:
            yield f"{name}: {path.stat().st_size / 2**30:.0f} GiB; the Hub takes at most 50"
        if path.suffix.lower() in _MEDIA and not with_media:
            yield f"{name}: media, which may not be given on unasked"
        if path.suffix == ".parquet":
            yield from _parquet_problems(path, name, private)
        elif path.suffix in _TEXTS and path.name not in _VOCABULARIES:
            yield from _text_problems(path, name, private)
        elif path.suffix in _CODE:
            yield from _code_problems(path, name, private)
    try:
        yield from _card_problems(folder, kind)
        yield from _CHECKS[kind](folder)
    except (OSError, ValueError, KeyError, AvrtError) as error:
        yield f"cannot be read back: {type(error).__name__}: {error}".replace(f"{folder}/", "")


def _text_problems(path: Path, name: str, private: Private) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if found := private.find(text) or next(find_keys(text), None):
        yield f"{name}: holds {found}"
    elif path.suffix != ".html" and (match := _MACHINE_PATH.search(text)):  # a page quotes models
        line = text.count("\n", 0, match.start()) + 1
        yield f"{name}:{line}: holds the path {match.group()}…"


def _code_problems(path: Path, name: str, private: Private) -> Iterator[str]:
    """Code of a page is that of the package; all else is data, whose texts are read as they are
    meant, since an escape can hide what stands in one.
    """
    if name.startswith("assets/"):
        packaged = files("avrt.report") / name
        if not packaged.is_file() or packaged.read_bytes() != path.read_bytes():
            yield f"{name}: not the page's own code"
        return
    try:
        _, value = read_script(path)
    except ValueError:
        yield f"{name}: not a data file of a page"
        return
    texts = "\n".join(_texts_in(value))
    if found := private.find(texts) or next(find_keys(texts), None):
        yield f"{name}: holds {found}"


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _texts_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts_in(part)


def _parquet_problems(path: Path, name: str, private: Private) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        if binary := [field.name for field in file.schema_arrow if _holds_bytes(field.type)]:
            yield f"{name}: columns of bytes ({', '.join(binary)}), which may be media"
            return
        rows = 0
        for batch in file.iter_batches(1024):
            for row in batch.to_pylist():
                rows += 1
                if found := private.find(json.dumps(row, ensure_ascii=False, default=str)):
                    yield f"{name}: row {rows} holds {found}"
                    return


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _card_problems(folder: Path, kind: str) -> Iterator[str]:
    from huggingface_hub import DatasetCard, ModelCard, SpaceCard

    classes: Mapping[str, Any] = {"dataset": DatasetCard, "model": ModelCard, "report": SpaceCard}
    card = classes[kind].load(folder / "README.md")
    fields = card.data.to_dict()
    needed = {
        "dataset": ("license", "configs"),
        "model": ("license", "library_name", "pipeline_tag"),
        "report": ("license", "sdk", "app_file", "title"),
    }
    for name in needed[kind]:
        if not fields.get(name):
            yield f"README.md: the field {name} is missing"
    link = fields.get("license_link")
    if link and not (folder / link).is_file():
        yield f"README.md: license_link names {link}, which is not there"
    if not card.content.strip():
        yield "README.md: has no text"


def _dataset_problems(folder: Path) -> Iterator[str]:
    """Whether `datasets` loads every configuration with every row of its files."""
    import datasets
    from huggingface_hub import DatasetCard

    configurations = DatasetCard.load(folder / "README.md").data.to_dict()["configs"]
    progress = datasets.utils.logging.is_progress_bar_enabled()
    datasets.utils.logging.disable_progress_bar()
    try:
        with tempfile.TemporaryDirectory() as cache:
            for entry in configurations:
                name = entry["config_name"]
                loaded: Any = datasets.load_dataset(str(folder), name, cache_dir=cache)
                for file in entry["data_files"]:
                    n_rows = pq.read_metadata(folder / file["path"]).num_rows
                    n_loaded = len(loaded[file["split"]])
                    if n_loaded != n_rows:
                        yield f"{file['path']}: {n_rows} rows, but {n_loaded} are loaded"
                del loaded
    finally:
        if progress:
            datasets.utils.logging.enable_progress_bar()


def _model_problems(folder: Path) -> Iterator[str]:
    """Whether transformers finds all it needs, and the weights fit the configuration."""
    import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

    import transformers

    from avrt.engines.names import published_name
    from avrt.engines.weights import architecture_of

    config, tensors = read_checkpoint(folder, "thinker")
    check_complete(folder, config, {published_name(name): each for name, each in tensors.items()})
    architecture_of(transformers.AutoConfig.from_pretrained(folder), str(folder))
    processor: Any = transformers.AutoProcessor.from_pretrained(folder)
    if not getattr(processor, "chat_template", None):
        yield "no chat template, so nobody could ask the model"
    if not (folder / "generation_config.json").is_file():
        yield "generation_config.json is missing"


def _report_problems(folder: Path) -> Iterator[str]:
    """Whether the files that the page and its items name are there, and no clip is named."""
    text = (folder / "index.html").read_text(encoding="utf-8")
    for name in re.findall(r'(?:src|href)="([^"#:]+)"', text):
        if not (folder / name).is_file():
            yield f"index.html: names {name}, which is not there"
    for path in sorted((folder / "data").glob("items-*.js")):
        for item in read_script(path)[1]:
            media, where = item["media"], f"data/{path.name}: item {shown(item['id'])}"
            if media.get("clip"):
                yield f"{where}: names the clip {shown(media['clip'])}"
            for name in filter(None, map(media.get, _ITEM_FILES)):
                if not (folder / name).is_file():
                    yield f"{where}: names {name}, which is not there"
    read_json(folder / "avrt.json")


_CHECKS: Mapping[str, Callable[[Path], Iterator[str]]] = {
    "dataset": _dataset_problems,
    "model": _model_problems,
    "report": _report_problems,
}
