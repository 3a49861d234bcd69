# ruff: noqa: DTZ001, DTZ901 - naive datetimes are UTC throughout
"""The embedded store behind LocalClient: crashes, company, and a disk that fails."""

import gc
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from mounted import tmpfs
from program import loaded_by
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import StoreError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.local import PICTURES_PER_QUESTION
from sticky_pi_api.types import Outcome
from sticky_pi_uploader.demo.pictures import make_picture

TAKEN = datetime(2020, 7, 5, 10, 7, 16)
ALL = [{"device": "%", "start_datetime": "2019-11-01_00-00-00", "end_datetime": "2100-01-01_00-00-00"}]
PUT_ALL = (
    "import sys, warnings, pathlib\n"
    "from sticky_pi_api.client import LocalClient\n"
    "warnings.simplefilter('ignore')\n"
    "print('ready', flush=True)\n"
    "with LocalClient(sys.argv[1], n_threads=2) as client:\n"
    "    client.put_images(sorted(pathlib.Path(sys.argv[2]).glob('*.jpg')))\n"
)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def client(store):
    with LocalClient(store) as client:
        yield client


@pytest.fixture
def trap(tmp_path):
    """Make a folder of 40 pictures, others for each seed."""

    def make(seed, count=40):
        folder = tmp_path / f"trap{seed}"
        for i in range(count):
            make_picture(folder, f"{i % 3:08x}", TAKEN + timedelta(hours=i), size=(64, 48), seed=seed)
        return folder

    return make


def put_all_in_a_process(store, folder):
    process = subprocess.Popen([sys.executable, "-c", PUT_ALL, store, folder], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def assert_whole(store):
    """Compare every row with its files, and every file with a row."""
    files = {str(path) for path in (store / "raw_images").glob("[!.]*/*.jpg*")}
    with LocalClient(store) as client:
        for row in client.get_image_series(ALL, "image"):
            blob = Path(row["url"]).read_bytes()
            assert hashlib.md5(blob, usedforsecurity=False).hexdigest() == row["md5"]
            expected = ImageParser(row["url"])
            for what in ("thumbnail", "thumbnail_mini"):
                (same,) = client.get_images([row], what)
                assert Path(same["url"]).read_bytes() == getattr(expected, f"{what}_jpeg")
                files.remove(same["url"])
            files.remove(row["url"])
    assert not files


def test_the_layout_is_the_one_that_users_know(store, client, make_trap_picture):
    path = make_trap_picture()
    client.put_images([path])
    folder = store / "raw_images" / "1b74105a"
    names = [path.name, f"{path.name}.thumbnail", f"{path.name}.thumbnail_mini"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert (folder / path.name).read_bytes() == path.read_bytes()
    assert (folder / path.name).stat().st_mode & 0o444 == 0o444
    assert (store / "database.db").is_file()
    assert_whole(store)


def test_a_process_killed_at_any_moment_leaves_nothing_that_the_next_does_not_mend(store, trap):
    folder = trap(0)
    random = Random(1)
    kills = 0
    for _ in range(12):
        process = put_all_in_a_process(store, folder)
        time.sleep(random.uniform(0.01, 0.15))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills
    with LocalClient(store) as client:
        client.put_images(sorted(folder.glob("*.jpg")))
        assert len(client.get_image_series(ALL)) == 40
    assert_whole(store)


def test_a_picture_whose_row_was_lost_in_a_crash_is_put_anew(store, client, make_trap_picture):
    path = make_trap_picture()
    folder = store / "raw_images" / "1b74105a"
    folder.mkdir(parents=True)
    for suffix in ("", ".thumbnail", ".thumbnail_mini"):
        (folder / f"{path.name}{suffix}").write_bytes(b"left by a crash")
    client.put_images([path])
    assert_whole(store)


def test_two_processes_may_put_other_pictures_under_the_same_keys_at_once(store, trap):
    processes = [put_all_in_a_process(store, folder) for folder in [trap(seed) for seed in range(3)]]
    for process in processes:
        assert process.wait() == 0
        process.stdout.close()
    with LocalClient(store) as client:
        assert len(client.get_image_series(ALL)) == 40
    assert_whole(store)


def test_what_was_left_half_written_is_removed_after_an_hour(store, client, make_trap_picture):
    incoming = store / "raw_images" / ".incoming"
    incoming.mkdir(parents=True)
    for name, age in (("old", 3700), ("new", 3500)):
        (incoming / name).write_bytes(b"x")
        os.utime(incoming / name, (time.time() - age,) * 2)
    client.put_images([make_trap_picture()])
    assert [file.name for file in incoming.iterdir()] == ["new"]


def test_storing_without_asking_keeps_to_the_key_and_leaves_the_files_alone(client, make_trap_picture, tmp_path):
    first = make_trap_picture()
    (row,) = client._put_new_images([first])
    assert client.get_images([row]) == [row]
    other = make_trap_picture(tmp_path / "other", when=TAKEN, seed=9)
    with pytest.raises(sqlite3.IntegrityError):
        client._put_new_images([ImageParser(other)])
    assert Path(client.get_images([row], "image")[0]["url"]).read_bytes() == first.read_bytes()
    assert not list((Path(client.local_dir) / "raw_images" / ".incoming").iterdir())


def test_files_are_taken_from_their_iterable_a_chunk_at_a_time(client, tmp_path):
    taken = []
    told = []

    def names():
        for number in range(3 * PICTURES_PER_QUESTION):
            taken.append(number)
            yield tmp_path / f"{number}.jpg"

    client.put_images(names(), on_outcome=lambda _: told.append(len(taken)))
    assert (told[0], told[-1]) == (PICTURES_PER_QUESTION, 3 * PICTURES_PER_QUESTION)


def test_what_is_in_the_way_of_one_device_leaves_the_others_alone(store, client, trap):
    folder = trap(0, count=6)
    (store / "raw_images").mkdir()
    (store / "raw_images" / "00000001").write_bytes(b"not a folder")
    seen = []
    client.put_images(sorted(folder.glob("*.jpg")), on_outcome=seen.append)
    assert [one.outcome for one in seen] == ["stored", "stored", "unsent", "unsent", "stored", "stored"]
    assert isinstance(seen[2].error, StoreError)
    assert "00000001" in str(seen[2].error)
    (store / "raw_images" / "00000001").unlink()
    assert_whole(store)


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for two pictures and no more."""
    with tmpfs(tmp_path / "disk", "size=400k") as folder:
        yield folder


def fill(path):
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


def test_a_full_disk_is_said_and_mended_by_making_room(small_disk, trap):
    folder = trap(0, count=8)
    files = sorted(folder.glob("*.jpg"))
    with LocalClient(small_disk / "store", n_threads=2) as client:
        client.put_images(files[:1])
        filler = small_disk / "filler"
        fill(filler)
        seen = []
        client.put_images(files, on_outcome=seen.append)
        assert [one.outcome for one in seen] == [Outcome.HELD, *[Outcome.UNSENT] * 7]
        assert all("the disk is full" in str(one.error) for one in seen[1:])
        assert str(small_disk / "store") in str(seen[1].error)
        assert not list((small_disk / "store" / "raw_images" / ".incoming").iterdir())
        filler.unlink()
        assert len(client.put_images(files)) == 7
    assert_whole(small_disk / "store")


def test_a_disk_that_is_full_as_the_store_is_opened_is_no_failing_disk(small_disk, trap):
    folder = trap(0, count=2)
    files = sorted(folder.glob("*.jpg"))
    with LocalClient(small_disk / "store") as client:
        client.put_images(files[:1])
    fill(small_disk / "filler")
    with pytest.raises(StoreError, match="the disk is full"), LocalClient(small_disk / "store") as client:
        client.put_images(files)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_database_is_said(store, content):
    store.mkdir()
    (store / "database.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"store in .*store can't be used: its database\.db is damaged"):
        LocalClient(store)
    assert (store / "database.db").read_bytes() == content


def test_a_schema_that_is_no_text_is_damage(store):
    LocalClient(store).close()
    database = store / "database.db"
    database.write_bytes(
        database.read_bytes().replace(b"CREATE TABLE images (", b"CREATE TABLE x " + b"\xff" * 5 + b"(")
    )
    with pytest.raises(StoreError, match=r"its database\.db is damaged"):
        LocalClient(store)


def test_a_newer_releases_store_is_said(store):
    LocalClient(store).close()
    connection = sqlite3.connect(store / "database.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer release"):
        LocalClient(store)


def test_a_file_where_the_folder_should_be_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="can't be used"):
            LocalClient(place)


def test_a_folder_that_may_not_be_written_is_said():
    with pytest.raises(StoreError, match="can't be used"):
        LocalClient("/proc/store")


def test_tables_of_another_program_are_left_alone_and_said(store):
    store.mkdir()
    connection = sqlite3.connect(store / "database.db")
    connection.execute("CREATE TABLE images (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="images already exists"):
        LocalClient(store)


def test_a_store_that_another_process_locks_is_said_and_not_hung_on(store, client, make_trap_picture):
    client._database._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(store / "database.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    seen = []
    client.put_images([make_trap_picture(), make_trap_picture()], on_outcome=seen.append)
    assert [one.outcome for one in seen] == [Outcome.UNSENT] * 2
    assert "locked by another process" in str(seen[0].error)
    other.execute("ROLLBACK")
    other.close()
    assert len(client.put_images([make_trap_picture()])) == 1


def test_a_client_that_nobody_closes_leaves_nothing_open(store):
    before = len(os.listdir("/proc/self/fd"))
    LocalClient(store)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_client_says_so(store):
    client = LocalClient(store)
    client.close()
    client.close()
    with pytest.raises(StoreError, match="closed"):
        client.get_images([{"device": "1b74105a", "datetime": TAKEN}])


def test_reading_a_store_needs_neither_pillow_nor_sqlite_utils(store, client, make_trap_picture):
    client.put_images([make_trap_picture()])
    loaded = loaded_by(
        "import sys\n"
        "from sticky_pi_api.client import LocalClient\n"
        "with LocalClient(sys.argv[1]) as client:\n"
        "    (row,) = client.get_images([{'device': '1b74105a', 'datetime': '2020-07-05_10-07-16'}], 'image')\n"
        "    client.put_images([row['url']])",
        store,
    )
    assert loaded & {"PIL", "piexif", "sqlite_utils", "requests", "concurrent.futures"} == set()


def test_pictures_end_up_where_other_programs_and_links_lead(tmp_path, trap):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with LocalClient(tmp_path / "link") as client:
        assert len(client.put_images(trap(0, count=2).glob("*.jpg"))) == 2
    assert_whole(tmp_path / "elsewhere")


def test_folders_may_have_names_that_are_not_utf8(tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    picture = make_picture(odd, "1b74105a", TAKEN, size=(64, 48))
    with LocalClient(os.path.join(odd, "store")) as client:
        (row,) = client.put_images([picture])
        (found,) = client.get_images([row], "image")
        assert Path(found["url"]).read_bytes() == Path(picture).read_bytes()


def test_a_store_whose_database_is_removed_while_it_is_open_holds_nothing_and_takes_nothing(client, store, trap):
    (picture,) = trap(1, count=1).iterdir()
    client.put_images([picture])
    for file in store.glob("database.db*"):
        file.unlink()
    with pytest.raises(StoreError, match="removed or replaced"):
        client.get_image_series(ALL)
    outcomes = []
    client.put_images([picture], on_outcome=outcomes.append)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.UNSENT]
    with LocalClient(store) as anew:
        assert len(anew.put_images([picture])) == 1


def test_a_series_may_last_from_the_beginning_to_the_end_of_time(client, trap):
    client.put_images(trap(1, count=2).iterdir())
    always = {"device": "%", "start_datetime": datetime.min, "end_datetime": datetime.max}
    assert len(client.get_image_series([always])) == 2
