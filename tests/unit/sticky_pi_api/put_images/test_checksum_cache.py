# ruff: noqa: DTZ001 - naive datetimes are UTC throughout
"""What put_images remembers between calls: files that aren't read again, and all that must not be believed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from mounted import remount, tmpfs
from sticky_pi_api.client import LocalClient, RemoteClient
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.checksum_cache import SETTLED, FileCache
from sticky_pi_api.put_images.local import PICTURES_PER_QUESTION
from sticky_pi_api.types import Outcome
from sticky_pi_uploader.demo.pictures import make_picture, picture_bytes

TAKEN = datetime(2020, 7, 5, 10, 7, 16)
LONG_AGO = 1_600_000_000
PUT_ALL = (
    "import sys, pathlib\n"
    "from sticky_pi_api.client import LocalClient\n"
    "with LocalClient(sys.argv[1], n_threads=2) as client:\n"
    "    print('ready', flush=True)\n"
    "    client.put_images(sorted(pathlib.Path(sys.argv[2]).glob('*.jpg')))\n"
)

_opened = []
sys.addaudithook(lambda event, arguments: _opened.append(arguments[0]) if event == "open" else None)


@pytest.fixture(autouse=True)
def opened():
    """The pictures that were opened since the test began, or since this was cleared."""

    class Opened:
        def clear(self):
            _opened.clear()

        def __call__(self):
            return sorted({str(path) for path in _opened if str(path).endswith(".jpg")})

    _opened.clear()
    return Opened()


@pytest.fixture
def local_dir(tmp_path):
    return tmp_path / "client"


@pytest.fixture(params=["local", 2023])
def client(request, local_dir, standing_servers):
    if request.param == "local":
        with LocalClient(local_dir, n_threads=3) as client:
            yield client
        return
    server = standing_servers[request.param]
    server.reset()
    with RemoteClient(local_dir, server.host, "trap", "pollen", "http", server.port, n_threads=3) as client:
        yield client


@pytest.fixture
def trap(tmp_path):
    """Make a folder of pictures that were written long ago."""

    def make(count=6, seed=0):
        folder = tmp_path / f"trap{seed}"
        paths = [
            make_picture(folder, f"{i % 3:08x}", TAKEN + timedelta(hours=i), size=(64, 48), seed=seed)
            for i in range(count)
        ]
        for path in paths:
            settle(path)
        return [str(path) for path in paths]

    return make


def settle(path):
    os.utime(path, (LONG_AGO, LONG_AGO))


def outcomes(client, files):
    seen = []
    client.put_images(files, on_outcome=seen.append)
    return sorted((one.file, str(one.outcome)) for one in seen)


def all_are(outcome, files):
    return sorted((str(file), outcome) for file in files)


def test_files_that_did_not_change_are_not_read_again(client, trap, opened):
    files = trap(20)
    assert outcomes(client, files) == all_are("stored", files)
    assert opened() == sorted(files)
    opened.clear()
    assert outcomes(client, files) == all_are("held", files)
    assert client.put_images(files) == []
    assert opened() == []


def test_what_was_found_held_is_remembered_too(client, trap, opened):
    files = trap()
    client.put_images([ImageParser(file) for file in files])
    client.put_images(files)
    opened.clear()
    assert outcomes(client, files) == all_are("held", files)
    assert opened() == []


def test_another_client_on_the_same_folder_remembers(client, local_dir, trap, opened):
    files = trap()
    client.put_images(files)
    with LocalClient(local_dir) as other:
        other.put_images([ImageParser(file) for file in files])
        opened.clear()
        assert outcomes(other, files) == all_are("held", files)
    assert opened() == []


def test_a_file_that_the_destination_does_not_hold_is_read_whatever_is_remembered(client, local_dir, tmp_path, trap):
    files = trap()
    client.put_images(files)
    with LocalClient(tmp_path / "other") as other:
        (local_dir / "cache").rename(tmp_path / "other" / "cache")
        assert outcomes(other, files) == all_are("stored", files)


def grow(path):
    path.write_bytes(path.read_bytes()[:-2] + b"\0\0\xff\xd9")
    settle(path)


def touch_and_change(path):
    path.write_bytes(picture_bytes("00000000", TAKEN, size=(64, 48), seed=9).ljust(path.stat().st_size, b"\0"))
    os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))


def change_in_place(path):
    """Change bytes, and set the mtime back: only the ctime tells."""
    blob = path.read_bytes()
    path.write_bytes(blob[:-3] + bytes([blob[-3] ^ 1]) + blob[-2:])
    settle(path)


def replace(path):
    """Put another file of the same size and mtime in its place."""
    blob = path.read_bytes()
    other = path.with_suffix(".new")
    other.write_bytes(blob[:-3] + bytes([blob[-3] ^ 1]) + blob[-2:])
    settle(other)
    other.rename(path)


@pytest.mark.parametrize("change", [grow, touch_and_change, change_in_place, replace])
def test_a_file_that_changed_is_read_again(client, trap, change):
    first, *others = files = trap()
    client.put_images(files)
    change(Path(first))
    assert outcomes(client, files) == [(first, "conflict"), *all_are("held", others)]


def test_a_file_that_vanished_or_is_no_longer_a_picture_is_named(client, trap):
    gone, cut, *others = files = trap()
    client.put_images(files)
    Path(gone).unlink()
    Path(cut).write_bytes(b"")
    assert outcomes(client, files) == sorted([(gone, "unsent"), (cut, "conflict"), *all_are("held", others)])


def test_a_file_that_was_just_written_is_read_again(client, make_trap_picture, opened):
    path = str(make_trap_picture())
    client.put_images([path])
    opened.clear()
    assert outcomes(client, [path]) == [(path, "held")]
    assert opened() == [path]


@pytest.mark.parametrize(("age", "is_remembered"), [(-1, False), (SETTLED - 0.01, False), (SETTLED, True)])
def test_only_a_file_whose_next_change_would_show_is_remembered(local_dir, trap, age, is_remembered):
    (path,) = trap(1)
    with FileCache(str(local_dir / "cache"), wall_clock=lambda: LONG_AGO + age) as cache:
        cache.remember(cache.sight(path), "0" * 32)
        assert cache.recognised({path: "0" * 32}) == ({path} if is_remembered else set())


def test_a_file_that_changes_while_it_is_read_is_not_remembered(local_dir, trap):
    (path,) = trap(1)
    with FileCache(str(local_dir / "cache")) as cache:
        sighting = cache.sight(path)
        change_in_place(Path(path))
        cache.remember(sighting, "0" * 32)
        assert cache.recognised({path: "0" * 32}) == set()


def test_a_relative_path_is_the_same_file_only_in_the_same_folder(local_dir, trap, monkeypatch):
    here, there = (Path(trap(1, seed=seed)[0]) for seed in (1, 2))
    name, md5 = here.name, "0" * 32
    with FileCache(str(local_dir / "cache")) as cache:
        monkeypatch.chdir(here.parent)
        cache.remember(cache.sight(name), md5)
        assert cache.recognised({name: md5}) == {name}
        assert cache.recognised({str(here): md5}) == {str(here)}
        monkeypatch.chdir(there.parent)
        assert cache.recognised({name: md5}) == set()


def test_a_name_that_is_not_utf8_is_remembered(local_dir, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    Path(path).write_bytes(b"x")
    settle(path)
    with FileCache(str(local_dir / "cache")) as cache:
        cache.remember(cache.sight(path), "0" * 32)
        assert cache.recognised({path: "0" * 32}) == {path}


def test_the_files_read_longest_ago_are_forgotten_first(local_dir, tmp_path):
    paths = [str(tmp_path / f"{number}.jpg") for number in range(30)]
    for path in paths:
        Path(path).write_bytes(b"x")
        settle(path)
    md5s = dict.fromkeys(paths, "0" * 32)
    with FileCache(str(local_dir / "cache"), most_files=10) as cache:
        for path in paths:
            cache.remember(cache.sight(path), "0" * 32)
            cache.recognised(md5s)
        assert cache.recognised(md5s) == set(paths[-10:])


def test_what_is_remembered_together_is_written_in_one_transaction(local_dir, trap):
    """Each would cost a flash card more than the reading of its file does a trap."""
    files = trap(30)
    with FileCache(str(local_dir)) as cache:
        cache.remember(cache.sight(files[0]), "0" * 32)
        cache.recognised({files[0]: "0" * 32})
        before = commits(local_dir)
        for file in files[1:]:
            cache.remember(cache.sight(file), "0" * 32)
        assert cache.recognised(dict.fromkeys(files, "0" * 32)) == set(files)
        assert commits(local_dir) == before + 1


def commits(folder):
    """Count the transactions in the log, by the frames that end one (sqlite.org/fileformat2.html, 4.1)."""
    log = (folder / "put_images.db-wal").read_bytes()
    frame = 24 + int.from_bytes(log[8:12], "big")
    return sum(log[at + 4 : at + 8] != bytes(4) for at in range(32, len(log), frame))


def test_an_entry_that_would_make_a_conflict_is_not_believed(client, local_dir, trap):
    files = trap()
    client.put_images(files)
    with closing(sqlite3.connect(local_dir / "cache" / "put_images.db")) as connection, connection:
        connection.execute("UPDATE files SET md5 = ?", ["0" * 32])
    assert outcomes(client, files) == all_are("held", files)


def test_parsed_pictures_neither_open_nor_make_a_cache(client, local_dir, trap):
    parsed = [ImageParser(file) for file in trap()]
    client.put_images(parsed)
    client.put_images(parsed)
    assert not (local_dir / "cache").exists()


def test_a_parsed_picture_is_not_taken_for_a_file_of_the_same_name(client, trap, monkeypatch):
    (path,) = trap(1)
    (other,) = trap(1, seed=9)
    monkeypatch.chdir(os.path.dirname(path))
    name = os.path.basename(path)
    client.put_images([name])
    parsed = ImageParser(other)
    parsed.path = None
    seen = []
    client.put_images([name, parsed], on_outcome=seen.append)
    assert sorted(one.outcome for one in seen) == [Outcome.CONFLICT, Outcome.HELD]


def test_the_daemon_makes_no_cache(tmp_path, trap):
    folder = os.path.dirname(trap()[0])
    command = [sys.executable, "-m", "sticky_pi_uploader", "drain", "--image-dir", folder]
    subprocess.run([*command, "--state-dir", tmp_path / "state"], check=True, capture_output=True)
    store = tmp_path / "state" / "store"
    assert len(list(store.glob("raw_images/*/*.jpg"))) == 6
    assert not (store / "cache").exists()


def damage_all(database):
    database.write_bytes(b"this is no database" * 1000)


def damage_pages(database):
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (database.stat().st_size - 4096))


def damage_schema(database):
    database.write_bytes(database.read_bytes().replace(b"CREATE TABLE files (", b"CREATE TABLE x \xff\xff\xff\xff("))


def cut(database):
    os.truncate(database, database.stat().st_size // 2)


def of_another_release(database):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE files")
        connection.execute("CREATE TABLE files (name TEXT)")


@pytest.mark.parametrize("damage", [damage_all, damage_pages, damage_schema, cut, of_another_release])
def test_a_damaged_cache_is_made_anew(client, local_dir, trap, opened, damage):
    files = trap(40)
    client.put_images(files)
    damage(local_dir / "cache" / "put_images.db")
    assert outcomes(client, files) == all_are("held", files)
    opened.clear()
    assert outcomes(client, files) == all_are("held", files)
    assert opened() == []
    assert [path.name for path in local_dir.glob("cache*")] == ["cache"]


def test_a_file_in_the_place_of_the_cache_is_no_hindrance_and_deleted_with_it(client, local_dir, trap, opened):
    files = trap()
    (local_dir / "cache").write_bytes(b"")
    client.put_images(files)
    assert outcomes(client, files) == all_are("held", files)
    client.delete_cache()
    client.put_images(files)
    opened.clear()
    client.put_images(files)
    assert opened() == []


@pytest.mark.parametrize("client", ["local"], indirect=True)
def test_a_locked_cache_is_not_waited_for(client, local_dir, trap, opened):
    files = trap(PICTURES_PER_QUESTION + 10)
    client.put_images(files[:1])
    with closing(sqlite3.connect(local_dir / "cache" / "put_images.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert outcomes(client, files[1:]) == all_are("stored", files[1:])
        first = time.monotonic() - began
        other.execute("ROLLBACK")
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert outcomes(client, files) == all_are("held", files)
        other.execute("ROLLBACK")
    assert first < 60  # it takes a second and the pictures' own time
    client.put_images(files)
    opened.clear()
    client.put_images(files)
    assert opened() == []


@pytest.fixture
def small_disk(local_dir):
    """Mount a disk of 100 kB in the place of the cache."""
    with tmpfs(local_dir / "cache", "size=100k") as folder:
        yield folder


@pytest.mark.parametrize("client", ["local"], indirect=True)
def test_a_full_disk_under_the_cache_costs_only_the_reading(client, small_disk, trap):
    files = trap(PICTURES_PER_QUESTION + 10)
    (small_disk / "filler").write_bytes(bytes(60_000))
    assert outcomes(client, files) == all_are("stored", files)
    assert outcomes(client, files) == all_are("held", files)


def test_a_read_only_cache_costs_only_the_reading(client, small_disk, trap):
    files = trap()
    client.put_images(files[:3])
    remount(small_disk, "ro")
    assert outcomes(client, files) == sorted(all_are("held", files[:3]) + all_are("stored", files[3:]))
    assert outcomes(client, files) == all_are("held", files)


def test_a_deleted_cache_is_made_anew(client, local_dir, trap, opened):
    files = trap()
    client.put_images(files)
    client.delete_cache()
    client.delete_cache()
    assert not list(local_dir.glob("cache*"))
    opened.clear()
    assert outcomes(client, files) == all_are("held", files)
    assert opened() == sorted(files)
    opened.clear()
    client.put_images(files)
    assert opened() == []


@pytest.mark.parametrize("client", ["local"], indirect=True)
def test_the_cache_may_be_deleted_while_it_is_in_use(client, local_dir, trap, opened):
    files = trap(PICTURES_PER_QUESTION + 20)
    some = set(files[::40])
    client.put_images(files[:10])

    def delete(outcome):
        if outcome.file in some:
            client.delete_cache()

    seen = []
    client.put_images(files, on_outcome=lambda one: (delete(one), seen.append(one)))
    assert sorted(one.outcome for one in seen) == [Outcome.HELD] * 10 + [Outcome.STORED] * (PICTURES_PER_QUESTION + 10)
    client.put_images(files)
    opened.clear()
    client.put_images(files)
    assert opened() == []
    assert [path.name for path in local_dir.glob("cache*")] == ["cache"]


def start(local_dir, folder):
    process = subprocess.Popen([sys.executable, "-c", PUT_ALL, local_dir, folder], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_process_killed_at_any_moment_leaves_a_cache_that_is_right(local_dir, trap, opened):
    files = trap(PICTURES_PER_QUESTION + 30)
    changed = files[::7]
    kills = 0
    chance = random.Random(1)
    for _ in range(5):
        process = start(local_dir, os.path.dirname(files[0]))
        time.sleep(chance.uniform(0.05, 1))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills
    with LocalClient(local_dir) as client:
        client.put_images(files)
        for path in changed:
            change_in_place(Path(path))
        expected = all_are("conflict", changed) + all_are("held", set(files) - set(changed))
        assert outcomes(client, files) == sorted(expected)
        opened.clear()
        assert outcomes(client, files) == sorted(expected)
    # A conflict is read before it is said.
    assert opened() == sorted(changed)


def test_several_processes_may_share_it(local_dir, trap, opened):
    files = trap(PICTURES_PER_QUESTION + 10)
    processes = [start(local_dir, os.path.dirname(files[0])) for _ in range(3)]
    for process in processes:
        assert process.wait() == 0
        process.stdout.close()
    with LocalClient(local_dir) as client:
        client.put_images(files)
        opened.clear()
        assert outcomes(client, files) == all_are("held", files)
    assert opened() == []
