"""Stores that an earlier release made: opened, they get the tables that they lack."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime

import pytest
from program import python
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import StoreError

ALL = [{"device": "%", "start_datetime": "2019-11-01_00-00-00", "end_datetime": "2100-01-01_00-00-00"}]
TABLES = ["images", "uid_annotations", "users"]
OF_THE_FIRST_RELEASE = """
    PRAGMA journal_mode=WAL;
    CREATE TABLE images (
        id INTEGER PRIMARY KEY,
        device TEXT NOT NULL COLLATE NOCASE CHECK (length(device) = 8),
        datetime TEXT NOT NULL,
        md5 TEXT NOT NULL CHECK (length(md5) = 32),
        device_version TEXT,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        alt REAL,
        lat REAL,
        lng REAL,
        temp REAL,
        hum REAL,
        no_flash_shutter_speed REAL,
        no_flash_exposure_time REAL,
        no_flash_bv REAL,
        no_flash_iso INTEGER,
        lum REAL,
        bat NUMERIC,
        but INTEGER CHECK (but IN (0, 1)),
        datetime_created TEXT NOT NULL,
        api_version TEXT NOT NULL,
        api_user TEXT,
        UNIQUE (device, datetime)
    );
    INSERT INTO images (device, datetime, md5, width, height, datetime_created, api_version)
    VALUES
        ('1b74105a', '2020-07-05T10:07:16Z', '0123456789abcdef0123456789abcdef', 160, 120, '2026-01-01T00:00:00Z', '1');
    PRAGMA user_version = 1;
"""
OPEN = "import sys\nfrom sticky_pi_api.client import LocalClient\nLocalClient(sys.argv[1]).close()\n"
DIE_IN_THE_MIDDLE = """if True:
    import os, signal, sys
    from sticky_pi_api.local import schema
    from sticky_pi_api.sqlite import connection as sqlite
    connection = sqlite.connect(sys.argv[1])
    def step(db):
        schema.MIGRATIONS[1](db)
        os.kill(os.getpid(), signal.SIGKILL)
    sqlite.migrate(connection, (schema.MIGRATIONS[0], step))
"""


@pytest.fixture
def store(tmp_path):
    """A store of the first release, with an image in it."""
    folder = tmp_path / "store"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "database.db")) as connection:
        connection.executescript(OF_THE_FIRST_RELEASE)
    return folder


def look(store):
    """Return the schema's number, and the tables there are."""
    with closing(sqlite3.connect(store / "database.db")) as connection:
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return number, [name for (name,) in names]


def test_an_earlier_releases_store_gets_the_tables_it_lacks_and_keeps_its_images(store):
    assert look(store) == (1, ["images"])
    with LocalClient(store) as client:
        (row,) = client.get_image_series(ALL)
        assert row["datetime"] == datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001
        metadata = {"algo_name": "a", "algo_version": "1", "device": row["device"], "datetime": row["datetime"]}
        client.put_uid_annotations([{"annotations": [], "metadata": {**metadata, "md5": row["md5"]}}])
        client.put_users([{"username": "ann", "password": "x"}])
        assert len(client.get_uid_annotations_series(ALL)) == len(client.get_users()) == 1
    assert look(store) == (2, TABLES)


def test_an_old_and_a_new_store_have_the_same_tables(store, tmp_path):
    LocalClient(store).close()
    LocalClient(tmp_path / "new").close()
    columns = []
    for folder in (store, tmp_path / "new"):
        with closing(sqlite3.connect(folder / "database.db")) as connection:
            columns.append({name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in TABLES})
    assert columns[0] == columns[1]
    assert {name for _, name, *_ in columns[0]["uid_annotations"]} == {
        *("id", "parent_image_id", "algo_name", "algo_version", "n_objects", "json"),
        *("datetime_created", "api_version", "api_user"),
    }
    assert {name for _, name, *_ in columns[0]["users"]} == {
        *("id", "username", "email", "password_hash", "is_admin", "can_write", "datetime_created")
    }


def test_a_step_that_is_killed_in_the_middle_leaves_the_store_as_it_was(store):
    assert python(DIE_IN_THE_MIDDLE, store / "database.db").returncode == -signal.SIGKILL
    assert look(store) == (1, ["images"])
    with LocalClient(store) as client:
        assert len(client.get_image_series(ALL)) == 1
    assert look(store) == (2, TABLES)


def test_a_step_that_fails_leaves_the_store_as_it_was(store):
    with closing(sqlite3.connect(store / "database.db")) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    with pytest.raises(StoreError, match="users already exists"):
        LocalClient(store)
    assert look(store) == (1, ["images", "users"])


def test_several_processes_may_open_an_earlier_releases_store_at_once(store):
    processes = [subprocess.Popen([sys.executable, "-c", OPEN, store]) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert look(store) == (2, TABLES)
