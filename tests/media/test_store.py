from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from avrt.errors import AvrtError
from avrt.media import store as store_module
from avrt.media.store import PayloadStore
from avrt.types import EncodedFrames, EncodedSound

FRAMES = EncodedFrames((b"one", b"two", b"one"), (0.0, 0.1, 1 / 3), 8.9, False, None, "d1")
SOUND = EncodedSound(b"RIFF", "wav", -0.25, "truncated", "d2", 0.5)
RECIPE = {"kind": "frames", "n_frames": 3, "jpeg_quality": 90}


@pytest.fixture
def store(tmp_path: Path) -> PayloadStore:
    return PayloadStore(tmp_path / "payloads")


def blobs(store: PayloadStore) -> list[Path]:
    return sorted(path for path in store._folder.glob("??/*.*") if path.suffix != ".json")


def test_what_was_never_stored_is_not_there(store):
    assert store.find("aa", RECIPE) is None
    assert not store._folder.exists()


def test_a_payload_comes_back_equal(store):
    store.add("aa", RECIPE, FRAMES)
    store.add("aa", {"kind": "audio"}, SOUND)
    assert store.find("aa", RECIPE) == FRAMES
    assert store.find("aa", {"kind": "audio"}) == SOUND


def test_another_file_recipe_or_library_is_not_there(store, monkeypatch):
    store.add("aa", RECIPE, FRAMES)
    assert store.find("bb", RECIPE) is None
    assert store.find("aa", {**RECIPE, "jpeg_quality": 80}) is None
    versions = {**store_module._versions(), "pillow": "0.1"}
    monkeypatch.setattr(store_module, "_versions", lambda: versions)
    assert store.find("aa", RECIPE) is None


def test_blobs_are_files_that_open_by_their_ending_and_equal_ones_are_kept_once(store):
    store.add("aa", RECIPE, FRAMES)
    store.add("aa", {"kind": "audio"}, SOUND)
    store.add("bb", {"kind": "audio"}, replace(SOUND, format="flac"))
    assert sorted(path.suffix for path in blobs(store)) == [".flac", ".jpg", ".jpg", ".wav"]
    for path in blobs(store):
        assert path.parent.name == path.name[:2]


@pytest.mark.parametrize("content", [b"", b"on", b"One", None])
def test_a_torn_edited_or_deleted_blob_is_noticed_and_made_again(store, content):
    store.add("aa", RECIPE, FRAMES)
    blob = next(path for path in blobs(store) if path.read_bytes() == b"one")
    if content is None:
        blob.unlink()
    else:
        blob.write_bytes(content)
    assert store.find("aa", RECIPE) is None
    store.add("aa", RECIPE, FRAMES)
    assert store.find("aa", RECIPE) == FRAMES


@pytest.mark.parametrize("content", [b"", b'{"blobs": [', b"[]", b"{}", b'{"blobs": ["../../x"]}'])
def test_a_torn_or_foreign_entry_is_as_good_as_none(store, content):
    store.add("aa", RECIPE, FRAMES)
    (entry,) = store._folder.glob("??/*.json")
    entry.write_bytes(content)
    assert store.find("aa", RECIPE) is None


def test_deleting_the_folder_loses_nothing_but_time(store):
    store.add("aa", RECIPE, FRAMES)
    shutil.rmtree(store._folder)
    assert store.find("aa", RECIPE) is None
    store.add("aa", RECIPE, FRAMES)
    assert store.find("aa", RECIPE) == FRAMES


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "payloads").write_text("a file")
    with pytest.raises(AvrtError, match=r"payloads: cannot keep .*: Not a directory; free space"):
        PayloadStore(tmp_path / "payloads").add("aa", RECIPE, FRAMES)
    assert PayloadStore(tmp_path / "payloads").find("aa", RECIPE) is None


def test_a_full_disk_is_one_message_and_leaves_no_half_of_a_file(store):
    resource_limit = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from avrt.errors import AvrtError
        from avrt.media.store import PayloadStore
        from avrt.types import EncodedFrames

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            frames = EncodedFrames((bytes(900), bytes(5000)), (0.0, 1.0), 1.0, False, None, "d")
            PayloadStore(Path(sys.argv[1])).add("aa", {}, frames)
        except AvrtError as error:
            print(error)
    """)
    command = [sys.executable, "-c", resource_limit, str(store._folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot keep encoded media: File too large; free space" in done.stdout
    assert [len(path.read_bytes()) for path in blobs(store)] == [900]
    assert not list((store._folder / "new").iterdir())


def test_what_a_killed_writer_left_is_removed_but_not_what_another_writes_now(store):
    store.remove_leftovers()  # nothing is there yet
    store.add("aa", RECIPE, FRAMES)
    old, new = (store._folder / "new" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    store.remove_leftovers()
    assert not old.exists()
    assert new.exists()
    assert store.find("aa", RECIPE) == FRAMES


def test_any_damage_of_an_entry_is_noticed(store):
    store.add("aa", {"kind": "audio"}, SOUND)
    (entry,) = store._folder.glob("??/*.json")
    content = entry.read_bytes()
    for place in range(len(content) - 1):
        edited = bytearray(content)
        edited[place] ^= 2
        entry.write_bytes(edited)
        assert store.find("aa", {"kind": "audio"}) in (None, SOUND)
    entry.write_bytes(b"[" * 100_000)
    assert store.find("aa", {"kind": "audio"}) is None
    entry.unlink()
    entry.mkdir()
    assert store.find("aa", {"kind": "audio"}) is None


def write_many(folder: Path, barrier) -> None:
    store = PayloadStore(folder)
    barrier.wait()
    for number in range(40):
        shared = replace(FRAMES, jpegs=(b"shared", f"{number}".encode() * 999))
        store.add(f"{number}", RECIPE, shared)
        if store.find(f"{number}", RECIPE) != shared:
            raise AssertionError(f"{number} is torn")


def test_several_processes_write_the_same_payloads_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    writers = [
        context.Process(target=write_many, args=(tmp_path / "payloads", barrier)) for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(blobs(PayloadStore(tmp_path / "payloads"))) == 41
    assert not list((tmp_path / "payloads" / "new").iterdir())
