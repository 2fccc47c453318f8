"""Copies of files from a store, or out of a shard, on this machine, within a limit of size.

    FOLDER/ab/KEY-VERSION     a whole copy: KEY of its address, VERSION of what the store has there
    FOLDER/new/….SIZE         a copy that is being fetched, locked by who fetches it
    FOLDER/size               bytes of all, held together by FOLDER/.lock

Any number of processes of a machine share the folder, and it can be deleted when none is at work. A
copy gets its name when it is whole: of the size that the store says, flushed, and of a file that
did not change meanwhile. Each use locks its copy; when room is needed the copies go whose last use
is longest ago, but for those that are locked. Of two processes that want a file, one fetches it.

The decision to question: the size is counted in a file, and the folder is walked only when the
count is over the limit: then a tenth of the limit is freed at once. A kill may leave the count too
high, never too low, and the next walk corrects it.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from avrt.config import MediaConfig
from avrt.errors import AvrtError, MediaError
from avrt.media.failures import machine_failure
from avrt.media.files import check_kind, check_size
from avrt.media.shards import find_member, is_member
from avrt.runs import file_digest
from avrt.stores import Stamp, StorePath

__all__ = ["copy_digest", "file_stamp", "is_here", "local_file"]

FREED = 0.1
"""Share of the limit that is freed at once."""
WAIT_S = 0.05
FETCH_SHARE = 2 / 3
"""Of `media.timeout_s`, for fetching; the rest is for decoding."""


def is_here(path: Path) -> bool:
    """Whether it is a plain file of this machine, or of a mounted disk."""
    return not isinstance(path, StorePath) and not is_member(path)


def file_stamp(path: Path) -> Stamp | tuple[None, None]:
    """Give size and time of the last change, which differ in another file of the same name; None
    where there is no file, or no telling now.
    """
    try:
        return _stamp(path)
    except (OSError, ValueError, MediaError):
        return None, None


@contextmanager
def local_file(
    path: Path, media: MediaConfig, content: str | None = None, stamp: Stamp | None = None
) -> Iterator[Path]:
    """Give the file itself where it lies on this machine, else a copy, which stays in the body.

    A copy whose sha256 is `content` is taken without asking the store; `stamp` is taken as what the
    store has there now. A `MediaError` of the body gets `path` in the place of the copy.

    Raises:
        MediaError: the file is missing, too large, or cannot be had now.
        AvrtError: the cache cannot be written.
    """
    if is_here(path):
        yield path
        return
    folder = media.cache_dir or _default_folder()
    held = _Cache(folder, round(media.cache_gb * 2**30)).hold(path, media, content, stamp)
    try:
        yield held.path
    except MediaError as error:
        detail = error.detail.replace(str(held.path), path.name)
        raise MediaError(error.error_class, str(path), detail) from error
    finally:
        os.close(held.descriptor)


def copy_digest(path: Path, media: MediaConfig) -> str:
    """sha256 of a file's content, wherever it lies; raises as `local_file`."""
    with local_file(path, media) as local:
        return file_digest(local)


def _default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "avrt" / "media"


def _stamp(path: Path) -> Stamp:
    member = find_member(path)
    if member is not None:
        return member.size, member.version
    status = path.stat()
    if isinstance(path, StorePath):  # of others, opening them says so
        check_kind(path, status.st_mode)
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class _Held:
    """A copy that no process removes, until the descriptor is closed."""

    path: Path
    descriptor: int


@dataclass(frozen=True)
class _Cache:
    folder: Path
    limit: int
    """Bytes."""

    def hold(
        self, path: Path, media: MediaConfig, content: str | None, stamp: Stamp | None
    ) -> _Held:
        if "\0" in str(path):
            raise MediaError("missing", str(path), "no such file: a NUL in its name")
        key = sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:40]
        try:
            if content is not None and (held := self._find(key, content)):
                return held
            stamp = stamp or _stamp(path)
            check_size(path, stamp[0], media)
            if stamp[0] > self.limit:
                detail = (
                    f"{stamp[0] / 2**30:.2f} GiB, more than media.cache_gb = {media.cache_gb:g}"
                )
                raise MediaError("unreadable", str(path), f"{detail} holds; raise it")
            return self._get(path, key, stamp, media.timeout_s * FETCH_SHARE, content)
        except _FolderError as error:
            raise AvrtError(
                f"{self.folder}: cannot keep copies of media: {error.__cause__}; free space there, "
                "lower media.cache_gb, or set media.cache_dir to another folder of this machine"
            ) from error
        except OSError as error:
            raise machine_failure(path, error) or MediaError(
                "unreadable", str(path), f"cannot be fetched ({type(error).__name__}); repeat"
            ) from error

    def _find(self, key: str, content: str) -> _Held | None:
        """The copy of whatever version with this content."""
        folder = self.folder / key[:2]
        for copy in folder.glob(f"{key}-*") if folder.is_dir() else ():
            if (held := _lock_copy(copy)) is not None:
                if file_digest(copy) == content:
                    return held
                os.close(held.descriptor)
        return None

    def _get(
        self, path: Path, key: str, stamp: Stamp, limit_s: float, content: str | None
    ) -> _Held:
        """The copy of this version; fetched where there is none, or it is not the content."""
        copy = self.folder / key[:2] / f"{key}-{stamp[1]:x}"
        until = time.monotonic() + limit_s
        is_refused = False
        while True:
            if not is_refused and (held := _lock_copy(copy)) is not None:
                is_whole = os.fstat(held.descriptor).st_size == stamp[0]
                if is_whole and (content is None or file_digest(copy) == content):
                    return held
                os.close(held.descriptor)
                is_refused = True  # torn by a power cut, or the store has another content
            if self._bring(path, copy, stamp, until, anew=is_refused):
                is_refused, content = False, None  # whatever came is what the store has

    def _bring(self, path: Path, copy: Path, stamp: Stamp, until: float, anew: bool) -> bool:
        """Fetch a copy, and give it its name; False when another process just did."""
        new = self.folder / "new" / f"{copy.name}.{stamp[0]}"
        descriptor = _own(new)
        is_done = False
        try:
            if copy.exists() and not anew:
                return False
            self._make_room(stamp[0], path, until)
            _fetch(path, new, stamp, max(1.0, until - time.monotonic()))
            with _writing():
                os.fsync(descriptor)
                copy.parent.mkdir(exist_ok=True)
                new.replace(copy)
            is_done = True
        finally:
            if not is_done:
                new.unlink(missing_ok=True)
            os.close(descriptor)
        return True

    def _make_room(self, n_bytes: int, path: Path, until: float) -> None:
        """Count the bytes of a file that will be fetched; wait while all copies are in use."""
        while True:
            with _writing(), self._counting() as count:
                used = _read_number(count)
                if used + n_bytes > self.limit:
                    used = self._free(self.limit - max(n_bytes, round(FREED * self.limit)), n_bytes)
                if used + n_bytes <= self.limit:
                    os.pwrite(count, b"%020d" % (used + n_bytes), 0)
                    return
            if time.monotonic() > until:
                detail = (
                    "no room for a copy: all others are in use; raise media.cache_gb, or use fewer "
                    "media.workers"
                )
                raise MediaError("unreadable", str(path), detail)
            time.sleep(WAIT_S)

    @contextmanager
    def _counting(self) -> Iterator[int]:
        """The count's descriptor, locked."""
        descriptor = os.open(self.folder / "size", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _free(self, wanted: int, coming: int) -> int:
        """Remove the copies used longest ago, down to `wanted` bytes; the bytes that remain.

        `coming` bytes of the files being fetched are the caller's own, not counted before.
        """
        used = -coming
        for new in (self.folder / "new").iterdir():
            if _is_free(new):  # its process is gone
                new.unlink(missing_ok=True)
            else:
                used += int(new.suffix[1:])
        copies: list[tuple[int, int, str]] = []
        for entry in os.scandir(self.folder):
            if len(entry.name) == 2:
                for copy in os.scandir(entry.path):
                    with suppress(FileNotFoundError):
                        status = copy.stat()
                        copies.append((status.st_mtime_ns, status.st_size, copy.path))
                        used += status.st_size
        heapq.heapify(copies)
        while copies and used > wanted:
            _, size, name = heapq.heappop(copies)
            if _remove_unused(Path(name)):
                used -= size
        return used


class _FolderError(Exception):
    """The cache's folder cannot be written; its cause says why."""


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _FolderError from error


def _fetch(path: Path, new: Path, stamp: Stamp, limit_s: float) -> None:
    """Write the copy of a version.

    Raises:
        OSError, ValueError: as of a disk; another version has come meanwhile.
        _FolderError: the disk of the cache is full.
    """
    member = find_member(path)
    try:
        if member is None:
            assert isinstance(path, StorePath)
            path.fetch(new, stamp[0], limit_s=limit_s)
        else:
            member.copy(new, limit_s)
    except TimeoutError as error:
        detail = (
            f"the store did not give it within {limit_s:.0f} s; repeat the command, or raise "
            "media.timeout_s"
        )
        raise MediaError("timeout", str(path), detail) from error
    except OSError as error:
        if error.filename == str(new) or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _FolderError from error
        raise
    if _stamp(path) != stamp:
        raise MediaError("unreadable", str(path), "it changed while it was fetched; repeat")


def _own(new: Path) -> int:
    """The descriptor of a file to fetch into, which no other process writes while it is open."""
    with _writing():
        while True:
            new.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, new):
                return descriptor
            os.close(descriptor)  # its holder gave it another name, or removed it


def _lock_copy(copy: Path) -> _Held | None:
    """Hold a copy, and note that it is used now."""
    with _writing():
        try:
            descriptor = os.open(copy, os.O_RDWR)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for a process that is about to remove it
        if not _is_at(descriptor, copy):
            os.close(descriptor)
            return None
        os.utime(descriptor)
        return _Held(copy, descriptor)


def _remove_unused(copy: Path) -> bool:
    try:
        descriptor = os.open(copy, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        copy.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_free(path: Path) -> bool:
    """Whether no process fetches into a file."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read_number(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0)
    return int(text) if text.isdigit() else 0
