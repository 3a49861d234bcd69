"""How a database is named to SQLite as a URI, and how its schema is migrated."""

import os
import sqlite3
from contextlib import closing

import pytest
from program import python
from sticky_pi_api.sqlite.connection import connect, migrate, uri
from sticky_pi_api.sqlite.errors import NewerSchemaError


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


def one(database):
    database.execute("CREATE TABLE one (number)")


def two(database):
    database["one"].create_index(["number"], "by_number", unique=True)


def fails(database):
    database.execute("CREATE TABLE more (number)")
    raise KeyError("half-way")


@pytest.fixture
def database(tmp_path):
    with closing(connect(str(tmp_path / "database.db"))) as connection:
        yield connection


def look(connection):
    """Return the number of steps, and the names of tables and indices."""
    names = connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    return connection.execute("PRAGMA user_version").fetchone()[0], [name for (name,) in names]


def test_steps_are_functions_on_a_database_of_sqlite_utils(database):
    migrate(database, (one, two))
    assert look(database) == (2, ["by_number", "one"])


def test_the_missing_steps_are_one_transaction(database):
    migrate(database, (one,))
    with pytest.raises(KeyError):
        migrate(database, (one, two, fails))
    assert look(database) == (1, ["one"])
    migrate(database, (one, two))
    assert look(database) == (2, ["by_number", "one"])


def test_a_newer_schema_is_left_alone(database):
    migrate(database, (one, two))
    with pytest.raises(NewerSchemaError, match="schema 2 is newer than this release's 1"):
        migrate(database, (one,))
    assert look(database) == (2, ["by_number", "one"])


def test_only_a_step_imports_sqlite_utils_and_never_what_takes_long_beside_it(tmp_path):
    for name in ("numpy", "pandas"):
        (tmp_path / f"{name}.py").write_text("")
    script = """if True:
        import sys
        from sticky_pi_api.sqlite.connection import connect, migrate
        sys.path.insert(0, ".")
        for _ in range(2):
            migrate(connect("database.db"), (lambda database: database.execute("CREATE TABLE one (number)"),))
            print(*sorted({"numpy", "pandas", "sqlite_utils"} & sys.modules.keys()))
            if sys.argv[1:]:
                break
        import numpy
    """
    for arguments, expected in (("once",), "sqlite_utils\n"), ((), "\n\n"):
        done = python(script, *arguments, cwd=tmp_path)
        assert (done.stdout, done.returncode) == (expected, 0), done.stderr
