"""Checkpoints as bytes: the offset of each tensor in safetensors files, and new files with them.

A file is eight bytes with the length of its header, the header as JSON (number format, shape and
offsets of each tensor), and the tensors one after the other. Tensors are copied in pieces as
stored, so memory stays flat, no bit can change, and no number format has to be known. Only a tensor
that is rounded or worked out imports torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from avrt.errors import DataError
from avrt.runs import track
from avrt.texts import decode, parse_json, read_json

if TYPE_CHECKING:
    import torch

__all__ = [
    "INDEX",
    "NewTensor",
    "StoredTensor",
    "read_file",
    "read_tensors",
    "to_bytes",
    "write_tensors",
]

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHARD_BYTES = 4 << 30
"""Largest file that is written; a larger tensor gets a file of its own."""
_PIECE_BYTES = 16 << 20
_FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""The formats that training uses, and their names in torch."""
_FLOAT_BYTES = {"F32": 4, "BF16": 2, "F16": 2}


class NewTensor(Protocol):
    """A tensor of a file that is to be written."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def new_dtype(self) -> str:
        """Its format in the new file."""
        ...

    @property
    def n_bytes(self) -> int:
        """Its size in the new file."""
        ...

    def write_to(self, file: IO[bytes]) -> None:
        """Write its bytes."""
        ...


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file."""

    file: Path
    dtype: str
    """The name in the file: `BF16`, `F32`, `I64`, ..."""
    shape: tuple[int, ...]
    start: int
    """Offset of its bytes from the start of the file."""
    n_stored: int
    """Bytes in the file."""
    rounded_to: str | None = None
    """Its format in a new file; None: unchanged."""

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def new_dtype(self) -> str:
        """Its format in a new file."""
        return self.rounded_to or self.dtype

    @property
    def n_bytes(self) -> int:
        """Its size in a new file."""
        if self.rounded_to is None:
            return self.n_stored
        return self.n_elements * _FLOAT_BYTES[self.rounded_to]

    def read(self) -> torch.Tensor:
        """Read it, in the format of its file.

        Raises:
            DataError: not a floating-point format of training, or the file was cut off.
        """
        import torch

        if self.dtype not in _FLOATS:
            raise DataError(f"{self.file}: a tensor of {self.dtype}, not of {', '.join(_FLOATS)}")
        data = bytearray(self.n_stored)
        with self.file.open("rb") as source:
            source.seek(self.start)
            if source.readinto(data) != self.n_stored:
                raise DataError(f"{self.file}: cut off while it was read; read it again")
        dtype = getattr(torch, _FLOATS[self.dtype])
        values = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return values.reshape(self.shape)

    def write_to(self, file: IO[bytes]) -> None:
        """Write its bytes as they are, or rounded."""
        if self.rounded_to is not None:
            file.write(to_bytes(self.read(), self.rounded_to))
            return
        with self.file.open("rb") as source:
            source.seek(self.start)
            left = self.n_stored
            while left:
                piece = source.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise DataError(f"{self.file}: cut off while it was read; read it again")
                file.write(piece)
                left -= len(piece)

    def in_format(self, dtype: str) -> StoredTensor:
        """Give the same tensor, to be written in another floating-point format.

        Raises:
            DataError: the old or the new format is not a floating-point format of training.
        """
        if dtype == self.dtype:
            return self
        if dtype not in _FLOATS or self.dtype not in _FLOATS:
            raise DataError(f"{self.file}: a tensor of {self.dtype} cannot be written as {dtype}")
        return replace(self, rounded_to=dtype)


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Find every tensor of a checkpoint by its name there; only headers are read.

    Raises:
        DataError: there are no safetensors weights, a file is missing or cut off, or a file lacks a
            tensor that the index names.
    """
    if (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
        return read_file(folder / SINGLE)
    if not (folder / INDEX).is_file():
        raise DataError(
            f"{folder}: no weights here: neither {SINGLE} nor {INDEX}; name the folder of a "
            "complete checkpoint in the safetensors format"
        )
    shard_of = _read_index(folder / INDEX)
    shards = {name: read_file(folder / name) for name in sorted({*shard_of.values()})}
    for tensor, shard in shard_of.items():
        if tensor not in shards[shard]:
            raise DataError(
                f"{folder / shard}: lacks the tensor {tensor} that {INDEX} names; "
                "download the checkpoint again"
            )
    return {tensor: shards[shard][tensor] for tensor, shard in shard_of.items()}


def _read_index(path: Path) -> dict[str, str]:
    try:
        shard_of = read_json(path)["weight_map"]
        return {str(tensor): str(shard) for tensor, shard in shard_of.items()}
    except (DataError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not the index of a checkpoint: {error}") from error


def read_file(path: Path) -> dict[str, StoredTensor]:
    """Find every tensor of a safetensors file by its name; only the header is read.

    Raises:
        DataError: the file is missing, cut off, or not of this form.
    """
    try:
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if not 2 <= n_header <= size - 8:
                raise ValueError("its header is cut off")
            header: dict[str, Any] = parse_json(decode(file.read(n_header), path), path)
        header.pop("__metadata__", None)
        tensors = {
            name: _to_tensor(path, entry, 8 + n_header, size) for name, entry in header.items()
        }
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: not found, but {INDEX} names it; download the checkpoint again"
        ) from error
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not a complete safetensors file ({error}); download the checkpoint again"
        ) from error
    return tensors


def _to_tensor(path: Path, entry: Mapping[str, Any], offset: int, size: int) -> StoredTensor:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= size - offset:
        raise ValueError("its tensors are cut off")
    return StoredTensor(path, entry["dtype"], tuple(entry["shape"]), offset + begin, end - begin)


def write_tensors(
    folder: Path, tensors: Mapping[str, NewTensor], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a checkpoint's weights: one file, or several with an index."""
    shards = list(_partition(tensors, shard_bytes))
    if len(shards) == 1:
        _write_shard(folder / SINGLE, tensors, shards[0])
        return
    shard_of: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        shard = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(folder / shard, tensors, names)
        shard_of |= dict.fromkeys(names, shard)
    total = sum(tensor.n_bytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shard_of.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _partition(tensors: Mapping[str, NewTensor], shard_bytes: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        if names and size + tensor.n_bytes > shard_bytes:
            yield names
            names, size = [], 0
        names.append(name)
        size += tensor.n_bytes
    yield names


def _write_shard(path: Path, tensors: Mapping[str, NewTensor], names: Sequence[str]) -> None:
    # Widest numbers first, so that every tensor starts at a multiple of its number's size.
    widths = {
        name: tensors[name].n_bytes // max(math.prod(tensors[name].shape), 1) for name in names
    }
    ordered = sorted(names, key=lambda name: (-widths[name], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in ordered:
        tensor = tensors[name]
        begin, end = end, end + tensor.n_bytes
        header[name] = {
            "dtype": tensor.new_dtype,
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in track(ordered, f"write {path.name}", "tensors"):
            tensors[name].write_to(file)


def to_bytes(values: torch.Tensor, dtype: str) -> memoryview:
    """The bytes of a tensor in a floating-point format of training; they share its memory."""
    import torch

    rounded = values.to(getattr(torch, _FLOATS[dtype])).reshape(-1)
    return rounded.view(torch.uint8).numpy().data
