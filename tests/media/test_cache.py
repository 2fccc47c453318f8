"""Facts about copies of files from a store: whole or not there, never too many, never lost in use.

The store is a real S3 server on loopback, behind a proxy that fails.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from avrt import stores
from avrt.config import MediaConfig
from avrt.errors import AvrtError, MediaError
from avrt.media.cache import copy_digest, file_stamp, local_file
from avrt.stores import to_path
from s3_server import S3, serve_s3

CONTENT = bytes(range(256)) * 1200
GIB = 2**30
TASK = """
import sys
from pathlib import Path
from avrt.config import MediaConfig
from avrt.media.cache import local_file
from avrt.stores import to_path

folder, limit, root, *names = sys.argv[1:]
media = MediaConfig(cache_dir=Path(folder), cache_gb=float(limit), timeout_s=60)
for name in names:
    with local_file(to_path(root) / name, media) as copy:
        content = copy.read_bytes()
        assert content == bytes([int(name) % 256]) * 100_000, name
        assert copy.exists()
print("done")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serve_s3() as s3:
        yield s3


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    monkeypatch.setattr(stores, "PAUSE_S", 0.01)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    server.faults.clear()
    server.always = server.after_get = server.broken = None
    server.slow_s = 1.0
    server.put("data/clip.mp4", CONTENT)
    server.n_gets = server.n_heads = server.n_lists = 0
    return server


@pytest.fixture
def media(tmp_path: Path) -> MediaConfig:
    return MediaConfig(cache_dir=tmp_path / "cache", timeout_s=30)


def files(media: MediaConfig) -> list[Path]:
    """The copies, also unfinished ones."""
    folder = media.cache_dir
    assert folder is not None
    own = (folder / "size", folder / ".lock")
    return [path for path in folder.rglob("*") if path.is_file() and path not in own]


def clip(s3: S3, name: str = "clip.mp4") -> Path:
    return to_path(s3.root) / name


# What fails


@pytest.mark.parametrize("fault", ["503", "truncated", "cut", "slow"])
def test_a_passing_fault_is_tried_again_and_the_copy_is_whole(
    s3: S3, media: MediaConfig, fault: str
) -> None:
    s3.faults.extend([fault])
    with local_file(clip(s3), media) as copy:
        assert copy.read_bytes() == CONTENT
    assert not s3.faults
    assert s3.n_gets == (1 if fault == "slow" else 2)


@pytest.mark.parametrize(
    ("fault", "error_class", "words"),
    [
        ("503", "unreadable", r"the store failed \(SlowDown\); check the network and the store"),
        ("truncated", "unreadable", "153600 of 307200 bytes came"),
        ("403", "permission", "may not be read"),
    ],
)
def test_a_fault_that_stays_ends_in_a_class_that_may_pass_and_leaves_nothing(
    s3: S3, media: MediaConfig, fault: str, error_class: str, words: str
) -> None:
    s3.faults.extend([fault] * 100)
    with pytest.raises(MediaError, match=words) as failed, local_file(clip(s3), media):
        pass
    assert failed.value.error_class == error_class
    assert "secret" not in str(failed.value)
    assert not files(media)


def test_a_store_that_is_too_slow_is_given_up_in_time(s3: S3, media: MediaConfig) -> None:
    s3.always, s3.slow_s = "slow", 3.0
    media = media.model_copy(update={"timeout_s": 1.5})
    stamp = (len(CONTENT), 1)
    with (
        pytest.raises(MediaError, match=r"raise media\.timeout_s") as failed,
        local_file(clip(s3), media, stamp=stamp),
    ):
        pass
    assert failed.value.error_class == "timeout"
    assert not files(media)


def test_what_is_not_there_is_missing(s3: S3, media: MediaConfig) -> None:
    for path in (clip(s3, "none.mp4"), to_path("s3://nobucket/a"), clip(s3, "a\0b")):
        with pytest.raises(MediaError) as failed, local_file(path, media):
            pass
        assert failed.value.error_class == "missing"
    assert file_stamp(clip(s3, "none.mp4")) == (None, None)


def test_a_folder_and_an_empty_file_are_no_media(s3: S3, media: MediaConfig) -> None:
    s3.put("data/folder/a", b"a")
    s3.put("data/empty", b"")
    for name in ("folder", "empty"):
        with pytest.raises(MediaError) as failed, local_file(clip(s3, name), media):
            pass
        assert failed.value.error_class == "not_media"


def test_too_large_a_file_is_refused_before_it_is_fetched(s3: S3, media: MediaConfig) -> None:
    s3.put("data/large", bytes(2 << 20))
    for changes, error_class in (
        ({"max_file_mb": 1}, "too_large"),
        ({"cache_gb": 1 / 1024}, "unreadable"),
    ):
        with (
            pytest.raises(MediaError) as failed,
            local_file(clip(s3, "large"), media.model_copy(update=changes)),
        ):
            pass
        assert failed.value.error_class == error_class
    assert s3.n_gets == 0


def test_a_file_that_changes_while_it_comes_is_not_taken(s3: S3, media: MediaConfig) -> None:
    s3.after_get = lambda: s3.put("data/clip.mp4", CONTENT[::-1])
    with (
        pytest.raises(MediaError, match="changed while it was fetched") as failed,
        local_file(clip(s3), media),
    ):
        pass
    assert failed.value.error_class == "unreadable"
    assert not files(media)
    s3.after_get = None
    with local_file(clip(s3), media) as copy:
        assert copy.read_bytes() == CONTENT[::-1]


def test_a_folder_that_cannot_be_written_stops_the_run(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    media = MediaConfig(cache_dir=tmp_path / "file")
    with (
        pytest.raises(AvrtError, match=r"cannot keep copies of media.*media.cache_dir"),
        local_file(clip(s3), media),
    ):
        pass


def test_a_failure_of_the_reader_names_the_file_in_the_store(s3: S3, media: MediaConfig) -> None:
    with pytest.raises(MediaError) as failed, local_file(clip(s3), media) as copy:
        raise MediaError("undecodable", str(copy), f"{copy} does not decode")
    assert failed.value.path == str(clip(s3))
    assert str(media.cache_dir) not in str(failed.value)


def test_a_kill_in_the_middle_leaves_nothing_that_is_used(s3: S3, media: MediaConfig) -> None:
    s3.faults.extend(["slow"])
    s3.slow_s = 20.0
    command = [sys.executable, "-c", TASK, str(media.cache_dir), "1", s3.root, "clip.mp4"]
    process = subprocess.Popen(command)
    folder = media.cache_dir
    assert folder is not None
    while not (s3.n_gets and list((folder / "new").iterdir())):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (left,) = files(media)
    assert left.parent.name == "new"
    with local_file(clip(s3), media) as copy:
        assert copy.read_bytes() == CONTENT
    assert files(media) == [copy]


# What is kept


def test_a_copy_is_used_again_until_the_store_has_another(s3: S3, media: MediaConfig) -> None:
    for _ in range(3):
        with local_file(clip(s3), media) as copy:
            assert copy.read_bytes() == CONTENT
    assert s3.n_gets == 1
    s3.put("data/clip.mp4", b"x" * len(CONTENT))
    with local_file(clip(s3), media) as copy:
        assert copy.read_bytes() == b"x" * len(CONTENT)


def test_a_copy_of_the_known_content_needs_no_request(s3: S3, media: MediaConfig) -> None:
    digest = copy_digest(clip(s3), media)
    s3.always = "503"
    with local_file(clip(s3), media, content=digest) as copy:
        assert copy.read_bytes() == CONTENT


def test_a_torn_copy_is_fetched_again(s3: S3, media: MediaConfig) -> None:
    digest = copy_digest(clip(s3), media)
    (copy,) = files(media)
    copy.write_bytes(CONTENT[:1000])
    assert copy_digest(clip(s3), media) == digest
    copy.write_bytes(bytes(len(CONTENT)))  # as after a power cut: the size, not the bytes
    with local_file(clip(s3), media, content=digest) as copy:
        assert copy.read_bytes() == CONTENT
    assert s3.n_gets == 3


def test_the_copies_used_longest_ago_go_and_none_in_use(s3: S3, media: MediaConfig) -> None:
    for number in range(12):
        s3.put(f"data/{number}", bytes([number]) * 100_000)
    media = media.model_copy(update={"cache_gb": 500_000 / GIB})
    with local_file(clip(s3, "0"), media) as held:
        for number in range(1, 12):
            with local_file(clip(s3, str(number)), media) as copy:
                assert copy.read_bytes() == bytes([number]) * 100_000
            assert sum(path.stat().st_size for path in files(media)) <= 500_000
        assert held.read_bytes() == bytes(100_000)
    n_gets = s3.n_gets
    with local_file(clip(s3, "11"), media):
        pass
    assert s3.n_gets == n_gets


def test_without_room_beside_those_in_use_it_says_so(s3: S3, media: MediaConfig) -> None:
    media = media.model_copy(update={"cache_gb": 250_000 / GIB, "timeout_s": 1.0})
    with ExitStack() as held:
        for number in range(2):
            s3.put(f"data/{number}", bytes([number]) * 100_000)
            held.enter_context(local_file(clip(s3, str(number)), media))
        s3.put("data/2", bytes(100_000))
        with pytest.raises(MediaError, match="no room for a copy: all others are in use"):
            held.enter_context(local_file(clip(s3, "2"), media))


def test_several_processes_stay_within_the_limit_and_read_whole_files(
    s3: S3, media: MediaConfig
) -> None:
    names = [str(number) for number in range(40)]
    for name in names:
        s3.put(f"data/{name}", bytes([int(name)]) * 100_000)
    s3.faults.extend(["ok", "503", "ok", "truncated", "cut"] * 3)
    limit = 800_000
    orders = [names, names[::-1], names[20:] + names[:20]]
    command = [sys.executable, "-c", TASK, str(media.cache_dir), str(limit / GIB), s3.root]
    processes = [
        subprocess.Popen([*command, *order], stdout=subprocess.PIPE, text=True) for order in orders
    ]
    most = 0
    while any(process.poll() is None for process in processes):
        sizes = []
        for path in files(media) if media.cache_dir and media.cache_dir.is_dir() else ():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        most = max(most, sum(sizes))
        time.sleep(0.005)
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 3
    assert 0 < most <= limit
    assert not list((media.cache_dir / "new").iterdir())


def test_of_two_processes_that_want_a_file_one_fetches_it(s3: S3, media: MediaConfig) -> None:
    s3.put("data/7", bytes([7]) * 100_000)
    s3.faults.extend(["slow"])
    s3.slow_s = 2.0
    command = [sys.executable, "-c", TASK, str(media.cache_dir), "1", s3.root, "7"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 2
    assert s3.n_gets == 1
