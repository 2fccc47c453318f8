"""A mapping on the disk is a dict that takes no memory, and a full disk is named."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.runs import DiskMap, IdSet

FILL = """
import resource, signal
from avrt.errors import AvrtError
from avrt.runs import DiskMap
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
entries = DiskMap()
try:
    for number in range(100_000):
        entries[number] = "x" * 100
except AvrtError as error:
    print(error)
"""
KEYS = st.integers(-9, 9) | st.text(max_size=2) | st.tuples(st.text(max_size=1), st.just(3))
VALUES = st.none() | st.booleans() | st.text() | st.lists(st.binary()) | st.floats(0, 1)


def test_no_room_is_one_message_with_the_remedy() -> None:
    done = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, check=True)
    assert "a temporary file cannot be used" in done.stdout
    assert "SQLITE_TMPDIR" in done.stdout


def test_what_is_not_there_is_a_key_error() -> None:
    entries = DiskMap[str, int]()
    with pytest.raises(KeyError):
        entries["a"]
    with pytest.raises(KeyError):
        del entries["a"]
    assert not entries
    assert entries.get("a") is None


@given(st.lists(st.tuples(KEYS, VALUES, st.booleans())))
def test_it_is_a_dict_in_the_order_of_the_first_time(changes) -> None:
    entries, wanted = DiskMap[object, object](), {}
    for key, value, is_set in changes:
        if is_set:
            entries[key] = wanted[key] = value
        else:
            assert entries.pop(key, None) == wanted.pop(key, None)
    assert list(entries.items()) == list(wanted.items())
    assert list(entries) == list(wanted)
    assert (len(entries), bool(entries)) == (len(wanted), bool(wanted))
    assert [*entries.values()] == [*wanted.values()]
    assert all(key in entries for key in wanted)


def test_equal_texts_are_one_key_however_they_were_made() -> None:
    entries = DiskMap[object, int]()
    entries["clip", "clip"] = 1
    entries["".join(["cl", "ip"]), sys.intern("clip")] = 2
    assert list(entries.items()) == [(("clip", "clip"), 2)]


def test_entries_may_be_set_while_it_is_read_and_from_another_thread() -> None:
    entries = DiskMap[int, int]()
    entries.update((number, 0) for number in range(1200))
    for number in entries:
        entries[number] = number
    writer = threading.Thread(target=entries.update, args=({5: -1, 5000: -2},))
    writer.start()
    writer.join()
    assert (entries[5], entries[5000], entries[1199], len(entries)) == (-1, -2, 1199, 1201)


def test_entries_take_no_memory() -> None:
    entries = DiskMap[str, bytes]()
    tracemalloc.start()
    entries.update((f"sample {number}", bytes(32)) for number in range(20_000))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 1_000_000, "one batch"


@given(st.lists(st.text(max_size=3)), st.text(max_size=3))
def test_an_id_is_in_the_set_as_in_any_other(ids: list[str], other: str) -> None:
    known = IdSet(iter(ids))
    assert (len(known), other in known) == (len(set(ids)), other in ids)
    assert all(id_ in known for id_ in ids)
