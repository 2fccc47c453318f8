"""Files in a store (`s3://…`, `gs://…`, `az://…`, `hf://…`, whatever fsspec knows) as paths.

A `StorePath` stands where a `Path` stands: it is joined, compared and sent to other processes like
one, and what AVRT does with data from outside (list, stat, open, read) it does over the network.
Whatever takes it for a file of this machine is refused; `avrt.media.cache` makes a local copy.

Passing faults are tried again with growing pauses. Then, and for whatever else is wrong, an
`OSError` says it as a disk would: ENOENT, EACCES, ETIMEDOUT, EIO. Credentials come from the
environment and from the store's own configuration alone: an address with a key is refused.

The decision to question: it is a subclass of `Path` that has no place on this machine, so that no
signature differs for local data, which never come here and for which fsspec is not imported.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PosixPath
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar

from avrt.errors import AvrtError, ConfigError, install_command

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Listing", "Stamp", "StorePath", "list_folders", "listed_once", "not_listed", "to_path"]

T = TypeVar("T")
Stamp = tuple[int, int]
"""Size and time of change, or what a store has in its place: they differ in another file."""

PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    "hf": "huggingface_hub",
}
"""What fsspec needs for a store, besides itself."""
ATTEMPTS = 5
PAUSE_S = 0.25
"""Before the second attempt; each further pause is twice as long."""
RANGE_BYTES = 16 << 20
"""Of one request for a part of a file."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_VERSIONS = (
    *("ETag", "etag", "e_tag", "md5Hash", "content_md5", "blob_id", "oid", "generation"),
    *("mtime", "LastModified", "last_modified", "updated", "created"),
)
"""Under which stores name what differs in another file, the surest first."""
_CODE = re.compile(r"[A-Za-z]{1,40}|[1-5]\d\d")
_LASTING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _ShortError(Exception):
    """A file came with another size than it has."""


Listing: TypeAlias = Mapping[str, Stamp | None]
"""The stamps of a folder's files by name; None: a folder."""
_listed: ContextVar[dict[StorePath, Listing] | None] = ContextVar("listed", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """In the body a folder of a store is listed once, however often it is asked for, and files in
    it are not asked for one by one.
    """
    token = _listed.set({} if _listed.get() is None else _listed.get())
    try:
        yield
    finally:
        _listed.reset(token)


def list_folders(root: Path, names: Iterable[str]) -> None:
    """List the folders of these files below a store's root, inside `listed_once`.

    Raises:
        AvrtError: one cannot be listed now.
    """
    if isinstance(root, StorePath):
        for folder in {(root / name.partition(".tar/")[0]).parent for name in names}:
            try:
                folder.scan()
            except FileNotFoundError:
                pass  # its files are missing
            except OSError as error:
                raise not_listed(folder, error) from error


def not_listed(folder: Path, error: Exception) -> AvrtError:
    """Why a folder of a store cannot be listed now, for a person."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return AvrtError(
        f"{folder}: cannot be listed: {reason}; check the address, the credentials and the "
        "network, then repeat the command"
    )


def to_path(value: Any) -> Any:
    """A setting's text as a path of this machine or of a store; other values stay.

    Raises:
        ValueError: an address with a key or parameters, of no known store, or without a folder.
    """
    if not isinstance(value, str) or not (found := _ADDRESS.fullmatch(value)):
        return value
    scheme, rest = found[1], found[2]
    if scheme == "file":
        return Path(rest)
    authority = rest.partition("/")[0]
    if "@" in authority or "?" in rest or "#" in rest:
        raise ValueError(
            "an address with a user, a key or parameters; name the store and the folder alone, and "
            "give credentials in the environment or in the store's own configuration"
        )
    if not rest.strip("/"):
        raise ValueError(f"names no folder; write {scheme}://BUCKET/FOLDER")
    if scheme not in PACKAGES and scheme not in _other_schemes():
        raise ValueError(
            f"no known kind of store: {scheme}; known: {', '.join(PACKAGES)}, and what fsspec knows"
        )
    return StorePath(value)


class StorePath(PosixPath):
    """A file or folder of a store; all errors are those that a disk would raise."""

    __slots__ = ()

    def __str__(self) -> str:
        scheme, _, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __fspath__(self) -> str:
        raise TypeError(f"{self}: a file in a store has no path on this machine")

    def resolve(self, strict: bool = False) -> StorePath:  # noqa: ARG002
        return self

    def is_absolute(self) -> bool:
        return True

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002
        """Size, kind and, as `st_mtime_ns`, a number that differs in another file."""
        listing = (_listed.get() or {}).get(self.parent)
        if listing is None:
            info = self._try(lambda store, path: store.info(path))
            stamp = None if info["type"] == "directory" else _stamp(info)
        elif self.name in listing:
            stamp = listing[self.name]
        else:
            raise FileNotFoundError(errno.ENOENT, "not in the store", str(self))
        kind = stat.S_IFDIR if stamp is None else stat.S_IFREG
        size, version = stamp or (0, 0)
        return os.stat_result((kind, *[0] * 5, size, 0, 0, 0), {"st_mtime_ns": version})

    def exists(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        return self._kind() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        return self._kind() == stat.S_IFREG

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        return self._kind() == stat.S_IFDIR

    def _kind(self) -> int | None:
        try:
            return stat.S_IFMT(self.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def scan(self) -> Listing:
        """What the folder holds."""
        known = _listed.get()
        if known is not None and self in known:
            return known[self]
        own, found = self._try(lambda store, path: (path, store.ls(path, detail=True)))
        named = ((info["name"].strip("/"), info) for info in found)
        listing = {
            name.rpartition("/")[2]: None if info["type"] == "directory" else _stamp(info)
            for name, info in named
            if name != own.strip("/")  # the mark of an empty folder, or a file
        }
        if known is not None:
            known[self] = listing
        return listing

    def iterdir(self) -> Iterator[StorePath]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (self / name for name in sorted(self.scan()))

    def glob(self, pattern: str) -> Iterator[StorePath]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The entries of this folder whose names are of the pattern."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def open(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        mode: str = "r",
        buffering: int = -1,  # noqa: ARG002
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Fetch the whole file, and open the copy, which has no name and ends with the handle."""
        if mode not in ("r", "rb", "rt"):
            raise ValueError(f"mode {mode!r}: a file of a store is only read")
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        try:
            self.fetch(Path(name), self.stat().st_size)
            file = open(name, "rb")  # noqa: SIM115  # the caller closes it
        finally:
            os.unlink(name)  # noqa: PTH108
        return file if mode == "rb" else io.TextIOWrapper(file, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        def attempt(store: AbstractFileSystem, path: str) -> bytes:
            content = store.cat_file(path)
            assert isinstance(content, bytes)
            return content

        return self._try(attempt)

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def read_ranges(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several parts at a time, each by its start and its number of bytes."""
        starts, ends = [start for start, _ in places], [start + size for start, size in places]

        def attempt(store: AbstractFileSystem, path: str) -> list[bytes]:
            parts = store.cat_ranges([path] * len(places), starts, ends, on_error="raise")
            for part, (_, size) in zip(parts, places, strict=True):
                if len(part) != size:
                    raise _ShortError(f"{len(part)} of {size} bytes came")
            return parts

        return self._try(attempt) if places else []

    def write_bytes(self, data: Any) -> int:
        """Write the file as a whole: it is never seen in part."""
        self._try(lambda store, path: store.pipe_file(path, bytes(data)))
        return len(data)

    def put(self, local: Path) -> None:
        """Write the file as a whole from one of this machine."""
        self._try(lambda store, path: store.put_file(str(local), path))

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._try(lambda store, path: store.rm_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Remove a folder and all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            self._try(lambda store, path: store.rm(path, recursive=True))

    def fetch(
        self, local: Path, size: int, start: int | None = None, limit_s: float | None = None
    ) -> None:
        """Write the file, or `size` bytes of it from `start`, into a file of this machine.

        Raises:
            OSError: it is not there, may not be read, was not given within `limit_s`, or came with
                another size at every attempt; ENOSPC and the like are of the local file.
        """

        def attempt(store: AbstractFileSystem, path: str) -> None:
            if start is None:
                _call(store, "get_file", limit_s and limit_s / 2, path, str(local))
            else:
                with local.open("wb") as file:
                    for at in range(start, start + size, RANGE_BYTES):
                        end = min(at + RANGE_BYTES, start + size)
                        limit = limit_s and limit_s / 2
                        file.write(_call(store, "cat_file", limit, path, start=at, end=end))
            if (found := local.stat().st_size) != size:
                raise _ShortError(f"{found} of {size} bytes came")

        self._try(attempt, limit_s)

    def _try(
        self,
        action: Callable[[AbstractFileSystem, str], T],
        limit_s: float | None = None,
    ) -> T:
        """Do it, again after passing faults; not beyond `limit_s`."""
        (store, path), began = _reach(self), time.monotonic()
        pause_s = PAUSE_S
        for left in reversed(range(ATTEMPTS)):
            try:
                return action(store, path)
            except _LASTING as error:
                raise _as_of_disk(error, self) from error
            except Exception as error:
                is_late = limit_s is not None and time.monotonic() - began + pause_s > limit_s
                if not left or is_late or not _may_pass(error):
                    raise _as_of_disk(error, self) from error
            time.sleep(pause_s * random.uniform(0.75, 1.25))  # not all processes at once
            pause_s *= 2
        raise AssertionError("the last attempt returns or raises")


def _reach(path: StorePath) -> tuple[AbstractFileSystem, str]:
    """The store as this process reaches it, and the path as its functions take it.

    Raises:
        ConfigError: a package is missing, or the store's settings are refused.
    """
    scheme = path.parts[0][:-1]
    package = PACKAGES.get(scheme, "fsspec")
    try:
        from fsspec.core import url_to_fs

        # Its memory of listings would hide changes; `listed_once` has AVRT's own.
        return url_to_fs(str(path), use_listings_cache=False)
    except ImportError as error:
        how = install_command("s3") if package == "s3fs" else f"pip install {package}"
        raise ConfigError(f"{path}: the package {package} is missing; {how}") from error
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(
            f"{path}: the store's configuration is refused ({type(error).__name__}); correct its "
            "variables in the environment"
        ) from error


@cache
def _other_schemes() -> frozenset[str]:
    """The stores that fsspec knows besides those named here."""
    try:
        from fsspec.registry import known_implementations
    except ImportError:
        return frozenset()
    chained = {"file", "local", "filecache", "simplecache", "blockcache", "cached", "dir"}
    return frozenset(known_implementations) - chained


def _call(
    store: AbstractFileSystem, name: str, limit_s: float | None, *args: Any, **kw: Any
) -> Any:
    """A method of a store, ended after `limit_s` where the store can be interrupted."""
    from fsspec.asyn import AsyncFileSystem, sync

    if limit_s and isinstance(store, AsyncFileSystem):
        return sync(store.loop, getattr(store, f"_{name}"), *args, timeout=limit_s, **kw)
    return getattr(store, name)(*args, **kw)


def _stamp(info: dict[str, Any]) -> Stamp:
    versions = (str(info[name]) for name in _VERSIONS if info.get(name))
    digest = hashlib.sha256(next(versions, "").encode()).digest()
    return int(info.get("size") or 0), int.from_bytes(digest[:7], "big")


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed: not over credentials, names or this machine's disk."""
    number = getattr(error, "errno", None)
    is_own = isinstance(error, TypeError | ConfigError) or "Credential" in type(error).__name__
    return not is_own and number not in _FULL


def _as_of_disk(error: Exception, path: StorePath) -> Exception:
    """The error as a disk would raise it; what a server wrote may hold keys, and is not told."""
    if isinstance(error, ConfigError | TypeError):
        return error
    number = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError):
        number, reason = errno.ENOENT, "not in the store"
    elif isinstance(error, PermissionError):
        number, reason = errno.EACCES, "the store does not allow it"
    elif "Credential" in type(error).__name__:
        number, reason = errno.EACCES, "the store got no credentials"
    elif isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        number, reason = errno.ETIMEDOUT, "the store is too slow"
    elif isinstance(error, IsADirectoryError | NotADirectoryError) or number in _FULL:
        reason = os.strerror(number or errno.EIO)
    else:
        number, reason = errno.EIO, f"the store failed ({_word(error)})"
    return OSError(number, reason, str(path))


def _word(error: BaseException) -> str:
    """What a failure is called, in a word that no server chose freely."""
    if isinstance(error, _ShortError):
        return str(error)
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return type(error).__name__
