"""How a database is named to SQLite as a URI."""

import os
import sqlite3
from contextlib import closing

import pytest
from sticky_pi_api.sqlite.connection import uri


@pytest.mark.parametrize("name", ["%41", "100%", "%25", "a?b", "a#b", "%23#%3f?", "caf\udce9", "a b"])
def test_a_path_is_taken_as_it_is_and_no_other(tmp_path, name):
    folder = os.path.join(tmp_path, name)
    os.mkdir(folder)
    path = os.path.join(folder, "outbox.db")
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE this (one)")
    with closing(sqlite3.connect(uri(path, "mode=ro"), uri=True)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("this",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("CREATE TABLE that (one)")
