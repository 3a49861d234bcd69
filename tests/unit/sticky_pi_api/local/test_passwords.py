"""The hashes of passwords lie in a file of their own, the store's owner's alone; earlier stores are changed."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import sticky_pi_api
from program import python
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import StoreError
from tracing import traced

SOURCE = str(Path(sticky_pi_api.__file__).parents[1])
ANN = {"username": "ann", "password": "correct horse", "email": "ann@example.org", "is_admin": True}
BOB = {"username": "bob", "password": "battery staple"}
OLD_HASHES = {name: f"scrypt$32768$8$1$salt$hash-of-{name}-{'x' * 60}" for name in ("ann", "bob", "carol")}
ADD_DORA = """if True:
    import sys
    from sticky_pi_api.client import LocalClient
    with LocalClient(sys.argv[1]) as client:
        client.put_users([{"username": "dora", "password": "x"}])
"""


ADD_UNHASHED = """if True:
    import sys
    from contextlib import closing
    from sticky_pi_api.local.images import ImagesDatabase

    row = {"password_hash": "", "is_admin": 0, "can_write": 0, "datetime_created": "2026-01-01T00:00:00Z"}

    def add_unhashed(store, name):
        with closing(ImagesDatabase(str(store))) as database, database.writing():
            database.add("users", {"username": name, **row})
            database.keep_hashes({name: "a hash"})

    add_unhashed(*sys.argv[1:])
"""
"""Adds a user as `put_users` does, but without the time that a hash takes"""


def hashes(store):
    with closing(sqlite3.connect(store / "passwords.db")) as connection:
        return dict(connection.execute("SELECT username, password_hash FROM passwords"))


def in_users(store):
    with closing(sqlite3.connect(store / "database.db")) as connection:
        return dict(connection.execute("SELECT username, password_hash FROM users ORDER BY id"))


def is_anywhere_readable(store, text):
    """Tell whether a text lies in a file of the store that others may read."""
    return [
        path.name
        for path in store.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and text.encode() in path.read_bytes()
    ]


@pytest.fixture
def old_store(tmp_path):
    """A store of an earlier release, with a hash in each row."""
    store = tmp_path / "old"
    LocalClient(store).close()
    with closing(sqlite3.connect(store / "database.db")) as connection, connection:
        for name, text in OLD_HASHES.items():
            connection.execute(
                "INSERT INTO users (username, email, password_hash, is_admin, can_write, datetime_created)"
                " VALUES (?, ?, ?, 0, 1, '2026-01-01T00:00:00Z')",
                (name, f"{name}@example.org", text),
            )
    return store


def test_hashes_are_the_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        with LocalClient(tmp_path / "store") as client:
            client.put_users([ANN, BOB])
            files = list((tmp_path / "store").glob("passwords.db*"))
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    found = hashes(tmp_path / "store")
    assert set(found) == {"ann", "bob"}
    assert in_users(tmp_path / "store") == {"ann": "", "bob": ""}
    assert not any(is_anywhere_readable(tmp_path / "store", text) for text in found.values())


@pytest.mark.parametrize("what", ["a user", "a picture", "an annotation"])
def test_an_earlier_releases_store_is_changed_at_its_next_write(old_store, make_trap_picture, what):
    with LocalClient(old_store) as client:
        before = client.get_users()
        assert in_users(old_store) == OLD_HASHES, "it was only read"
        if what == "a user":
            client.put_users([{"username": "dora", "password": "x"}])
        else:
            [row] = client.put_images([make_trap_picture()])
        if what == "an annotation":
            metadata = {name: row[name] for name in ("device", "datetime", "md5")}
            client.put_uid_annotations(
                [{"annotations": [], "metadata": {**metadata, "algo_name": "a", "algo_version": "1"}}]
            )
        assert client.get_users({"username": "%a%"})[0] == before[0]
        assert client.get_users()[:3] == before
        # Also while it is open: its log must not have them.
        assert not any(is_anywhere_readable(old_store, text) for text in OLD_HASHES.values())
    assert hashes(old_store).items() >= OLD_HASHES.items()
    assert set(in_users(old_store).values()) == {""}
    with closing(sqlite3.connect(old_store / "database.db")) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(users)")]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert columns == ["id", "username", "email", "password_hash", "is_admin", "can_write", "datetime_created"]


def test_a_change_that_is_killed_at_any_flush_leaves_every_hash_and_the_next_write_ends_it(old_store, tmp_path):
    for at in range(1, 50):
        store = shutil.copytree(old_store, tmp_path / f"killed{at}")
        inject = ["-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", f"inject=fdatasync,fsync:signal=KILL:when={at}"]
        command = [sys.executable, "-c", ADD_UNHASHED, store, "dora"]
        done = traced(inject, command, env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]})
        if done.returncode == 0:
            break
        kept = hashes(store) if has_table(store) else {}
        for name, text in OLD_HASHES.items():
            assert text in {in_users(store).get(name), kept.get(name)}
        python(ADD_UNHASHED, store, "eve", check=True)
        assert {"ann", "bob", "carol", "eve"} <= set(in_users(store))
        assert hashes(store).items() >= OLD_HASHES.items()
        assert set(in_users(store).values()) == {""}
    assert 5 < at < 49


def has_table(store):
    path = store / "passwords.db"
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None


def test_several_processes_may_change_an_earlier_releases_store_at_once(old_store):
    script = ADD_DORA.replace('"dora"', "sys.argv[2]")
    command = [sys.executable, "-c", script, old_store]
    names = [f"user{number}" for number in range(6)]
    processes = [subprocess.Popen([*command, name], env={"PYTHONPATH": SOURCE}) for name in names]
    assert [process.wait() for process in processes] == [0] * 6
    assert set(hashes(old_store)) == {*OLD_HASHES, *names} == set(in_users(old_store))
    assert hashes(old_store).items() >= OLD_HASHES.items()
    assert set(in_users(old_store).values()) == {""}


def test_an_earlier_release_that_adds_a_user_meanwhile_is_understood(old_store):
    with LocalClient(old_store) as client:
        client.put_users([BOB | {"username": "dora"}])
    with closing(sqlite3.connect(old_store / "database.db")) as connection, connection:
        connection.execute("UPDATE users SET password_hash = 'a newer one' WHERE username = 'bob'")
    with LocalClient(old_store) as client:
        client.put_users([BOB | {"username": "eve"}])
    assert hashes(old_store)["bob"] == "a newer one"
    assert hashes(old_store)["ann"] == OLD_HASHES["ann"]


def test_a_user_that_exists_keeps_its_hash(tmp_path):
    with LocalClient(tmp_path) as client:
        client.put_users([BOB])
        before = hashes(tmp_path)
        with pytest.raises(sqlite3.IntegrityError):
            client.put_users([ANN, BOB | {"password": "another"}])
        assert hashes(tmp_path) == before


def test_a_file_of_hashes_that_others_may_read_is_closed_to_them(tmp_path):
    with LocalClient(tmp_path) as client:
        client.put_users([BOB])
    (tmp_path / "passwords.db").chmod(0o644)
    with LocalClient(tmp_path) as client:
        client.put_users([ANN])
    assert stat.S_IMODE((tmp_path / "passwords.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("harm", ["a link", "a pipe", "a folder", "damaged"])
def test_a_file_of_hashes_that_cannot_be_used_fails_for_users_and_not_for_pictures(old_store, make_trap_picture, harm):
    path, target = old_store / "passwords.db", old_store / "target"
    if harm == "a link":
        path.symlink_to(target)
    elif harm == "a pipe":
        os.mkfifo(path)
    elif harm == "a folder":
        path.mkdir()
    else:
        path.write_bytes(os.urandom(8192))
        path.chmod(0o600)
    with LocalClient(old_store) as client:
        assert len(client.put_images([make_trap_picture()])) == 1
        with pytest.raises(StoreError, match=r"passwords\.db"):
            client.put_users([ANN | {"username": "dora", "email": None}])
        assert len(client.get_users()) == 3
    assert in_users(old_store) == OLD_HASHES
    assert not target.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_root_makes_is_the_owners_and_others_read_the_rest(request):
    # Not in tmp_path, which only its owner can enter.
    folder = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(folder))
    folder.chmod(0o755)
    store = folder / "store"
    LocalClient(store).close()
    for path in (store, store / "database.db"):
        os.chown(path, 65534, 65534)
    with LocalClient(store) as client:
        client.put_users([BOB])
    status = (store / "passwords.db").stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (65534, 0o600)
    script = """if True:
        import os, sqlite3, sys
        os.setgid(65533), os.setuid(65533)
        database = sqlite3.connect(f"file:{sys.argv[1]}/database.db?immutable=1", uri=True)
        print(database.execute("SELECT username FROM users").fetchall())
        open(f"{sys.argv[1]}/passwords.db")
    """
    done = python(script, store)
    assert done.stdout == "[('bob',)]\n"
    assert "PermissionError" in done.stderr
