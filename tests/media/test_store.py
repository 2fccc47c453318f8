from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

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
    return sorted(path for path in store._folder.rglob("*.*") if path.suffix != ".json")


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
    (entry,) = store._folder.rglob("*.json")
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
    with pytest.raises(OSError, match="payloads"):
        PayloadStore(tmp_path / "payloads").add("aa", RECIPE, FRAMES)


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
    assert not list((tmp_path / "payloads").rglob(".new-*"))
