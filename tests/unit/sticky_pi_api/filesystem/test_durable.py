"""What is on the disk before anything relies on it, as the kernel is told."""

import os

import pytest
from flushes import flushes

STORE_ONE = """
import sys, PIL.JpegImagePlugin
from sticky_pi_api.client import LocalClient
folder, picture = sys.argv[1:]
print("begin", flush=True)
with LocalClient(folder) as client:
    print("opened", flush=True)
    assert len(client.put_images([picture])) == 1
    print("stored", flush=True)
"""
PLACE_ONE = """
import sys
from sticky_pi_api.filesystem.durable import placed
print("begin", flush=True)
with placed(sys.argv[1], 1.7e9) as stream:
    stream.write(b"bytes")
"""

KEEP_A_HASH = """
import sys
from sticky_pi_api.local.passwords import keep
print("begin", flush=True)
keep(sys.argv[1], {"ann": "a hash"})
print("kept", flush=True)
"""


@pytest.fixture
def picture(make_trap_picture):
    return str(make_trap_picture())


def test_a_stored_picture_is_on_the_disk_with_its_names_and_the_folders_above_before_its_row(tmp_path, picture):
    store = tmp_path / "new" / "store"
    calls = flushes(tmp_path / "log", STORE_ONE, store, picture)
    opened = calls[: calls.index(("say", "opened"))]
    for above in (tmp_path, tmp_path / "new"):
        assert ("flush", str(above)) in opened
    # The database's own name: SQLite would flush it as well, though it doesn't say so.
    assert opened[-1] == ("flush", str(store))

    storing = calls[calls.index(("say", "opened")) : calls.index(("say", "stored"))]
    device = str(store / "raw_images" / "1b74105a")
    names = [path for call, path in storing if call == "rename"]
    assert [os.path.dirname(name) for name in names] == [device] * 3
    row = max(number for number, call in enumerate(storing) if call == ("flush", str(store / "database.db-wal")))
    placed = max(number for number, (call, _) in enumerate(storing) if call == "rename")
    first = min(number for number, (call, _) in enumerate(storing) if call == "rename")
    assert placed < storing.index(("flush", device)) < row
    incoming = [path for call, path in storing[:first] if call == "flush" and "/.incoming/" in path]
    assert len(set(incoming)) == 3
    for above in (store, store / "raw_images"):
        assert ("flush", str(above)) in storing[:row]


def test_a_file_of_a_bundle_is_on_the_disk_before_it_has_its_name_and_the_name_then(tmp_path):
    (tmp_path / "bundle").mkdir()
    path = tmp_path / "bundle" / "config.yaml"
    calls = flushes(tmp_path / "log", PLACE_ONE, path)
    bytes_first, name, folder = [call for call in calls if call[0] in ("flush", "rename")]
    assert bytes_first[0] == "flush"
    assert os.path.basename(bytes_first[1]).startswith(".incoming-")
    assert (name, folder) == (("rename", str(path)), ("flush", str(path.parent)))


def test_the_file_of_hashes_has_its_name_on_the_disk_before_the_hashes_count_as_kept(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    calls = flushes(tmp_path / "log", KEEP_A_HASH, store)
    kept = calls[: calls.index(("say", "kept"))]
    # SQLite flushes names of its own later, but not this one: the file is there already when it comes.
    assert kept[0] == ("flush", str(store))
    assert ("flush", str(store / "passwords.db")) in kept or ("flush", str(store / "passwords.db-wal")) in kept
