"""What every client does with users, whatever is behind it."""

import base64
import hashlib
import json
import sqlite3
import traceback
from contextlib import closing

import pytest
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import AccountError, DoubtfulError, NotAnAPIError, RemoteError
from sticky_pi_api.validation.users import COLUMNS, checked_users

ANN = {"username": "ann", "password": "correct horse", "email": "ann@example.org", "is_admin": True}
BOB = {"username": "bob", "password": "battery staple", "can_write": True}
NASTY = ["'; DROP TABLE users; --", 'a"b', "100 %_", "é" * 10_000, "?", ":username"]


def names(rows):
    return [row["username"] for row in rows]


def test_users_come_back_as_they_were_made_without_password_or_hash(client):
    rows = client.put_users([ANN, {**BOB, "model": "anything"}])
    assert [{name: row[name] for name in COLUMNS[1:-1]} for row in rows] == [
        {"username": "ann", "email": "ann@example.org", "is_admin": True, "can_write": False},
        {"username": "bob", "email": None, "is_admin": False, "can_write": True},
    ]
    assert client.get_users() == rows
    for row in rows:
        assert row.keys() == set(COLUMNS)
        assert row["datetime_created"].tzinfo is None
        assert isinstance(row["is_admin"], bool)
        assert isinstance(row["can_write"], bool)
    assert client.put_users([]) == []


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (None, ["ann", "bob", "hannah"]),
        ({}, ["ann", "bob", "hannah"]),
        ({"username": "%"}, ["ann", "bob", "hannah"]),
        ({"username": "%ANN%"}, ["ann", "hannah"]),
        ({"username": "%ann%", "is_admin": "1"}, ["ann"]),
        ({"username": "%ann%", "is_admin": False}, ["hannah"]),
        ({"username": "_o_"}, ["bob"]),
        ({"username": "b"}, []),
        ({"username": ""}, []),
        ({"email": "%"}, ["ann"]),
        ({"datetime_created": "20%Z"}, ["ann", "bob", "hannah"]),
        ([{"username": "b%"}, {"username": "%b"}, {"email": "ann@%"}], ["ann", "bob"]),
        ([], []),
        ({"username": "%' OR 1=1 --"}, []),
        ({"username": "%\0"}, []),
        ({"username": "%" * 100_000 + "x"}, []),
        ({"username": "%a" * 1000}, []),
    ],
    ids=range(17),
)
def test_users_are_found_by_patterns(client, info, expected):
    client.put_users([ANN, BOB, {"username": "hannah", "password": "x"}])
    assert names(client.get_users(info)) == expected


@pytest.mark.parametrize("field", ["password_hash", "password", "nonsense", "1=1; --"])
def test_what_is_no_field_of_users_is_named(client, field):
    for info in ({field: "%"}, [{"username": "%"}, {field: "%"}]):
        with pytest.raises(ValueError, match=f"there is no field '{field}'"):
            client.get_users(info)


@pytest.mark.parametrize(
    ("info", "message"), [({"username": None}, "'username' isn't text"), (["ann"], "isn't a dict")]
)
def test_what_is_no_pattern_is_named(client, info, message):
    with pytest.raises(ValueError, match=message):
        client.get_users(info)


@pytest.mark.parametrize("again", [ANN, {**BOB, "email": ANN["email"]}])
def test_a_name_or_address_that_exists_is_an_integrity_error_and_nobody_is_added(client, again):
    client.put_users([ANN])
    with pytest.raises(sqlite3.IntegrityError):
        client.put_users([{"username": "carol", "password": "x"}, again])
    assert names(client.get_users()) == ["ann"]


def test_a_name_twice_in_one_call_is_an_integrity_error_and_nobody_is_added(client):
    with pytest.raises(sqlite3.IntegrityError, match="'bob'"):
        client.put_users([ANN, BOB, BOB])
    assert client.get_users() == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"username": "ann"}, "'password' is missing"),
        ({"password": "secret sauce"}, "'username' is missing"),
        ({**ANN, "password": ""}, "'password' isn't text, or empty"),
        ({**ANN, "password": ["secret sauce"]}, "'password' isn't text"),
        ({**ANN, "password": b"secret sauce"}, "'password' isn't text"),
        ({**ANN, "username": ""}, "'username' isn't text, or empty"),
        ({**ANN, "username": "a\0b"}, "'username' isn't text"),
        ({**ANN, "username": "\ud800"}, "'username' isn't text"),
        ({**ANN, "email": 5}, "'email' isn't text"),
        ({**ANN, "is_admin": "yes"}, "'is_admin' is neither"),
        ({**ANN, "pasword": "secret sauce"}, "there is no field 'pasword'"),
        ("secret sauce", "isn't a dict"),
    ],
)
def test_what_is_wrong_with_a_user_is_named_and_its_password_is_not(client, entry, message):
    with pytest.raises(ValueError, match=rf"info\[1\].*{message}") as raised:
        client.put_users([BOB, entry])
    told = "".join(traceback.format_exception(raised.value))
    assert not any(secret in told for secret in ("secret sauce", "correct horse", "battery staple"))
    assert client.get_users() == []


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_text_of_a_caller_is_taken_for_anything_else(client, text):
    client.put_users([ANN])
    (row,) = client.put_users([{"username": text, "password": text, "email": text}])
    assert (row["username"], row["email"]) == (text, text)
    assert names(client.get_users()) == ["ann", text]


def test_a_user_to_be_made_does_not_show_its_password():
    assert "correct horse" not in repr(checked_users([ANN]))


def test_passwords_are_kept_as_salted_hashes_that_can_be_verified(tmp_path):
    with LocalClient(tmp_path / "store") as client:
        client.put_users([ANN, {**ANN, "username": "twin", "email": None}, {**BOB, "password": "\ud800"}])
    with closing(sqlite3.connect(tmp_path / "store" / "passwords.db")) as connection:
        hashes = [row[0] for row in connection.execute("SELECT password_hash FROM passwords ORDER BY username")]
    assert len(set(hashes)) == 3
    for text, password in zip(hashes[::2], [b"correct horse"] * 2, strict=True):
        kind, n, r, p, salt, digest = text.split("$")
        assert kind == "scrypt"
        options = {"n": int(n), "r": int(r), "p": int(p), "maxmem": 2**26, "dklen": 32}
        assert hashlib.scrypt(password, salt=base64.b64decode(salt), **options) == base64.b64decode(digest)
        assert int(n) >= 2**14


# A server


def test_who_may_not_write_adds_nobody_and_is_told_without_the_password(server, remote):
    with pytest.raises(AccountError) as raised:
        remote(server.port, username="guest").put_users([ANN])
    assert "correct horse" not in "".join(traceback.format_exception(raised.value))


def test_nobody_is_sent_whom_the_server_has(server, remote):
    client = remote(server.port)
    client.put_users([ANN])
    with pytest.raises(sqlite3.IntegrityError, match="'ann'"):
        client.put_users([BOB, ANN])
    assert len(server.requests("/put_users")) == 1


def test_a_name_that_the_server_takes_for_another_is_refused_and_the_password_not_told(server, remote):
    client = remote(server.port)
    client.put_users([ANN])
    with pytest.raises(RemoteError, match="status 500") as raised:
        client.put_users([{**BOB, "username": "ANN"}])
    assert "battery staple" not in "".join(traceback.format_exception(raised.value))


def test_what_a_server_tells_of_passwords_is_not_passed_on(server, remote):
    server.set_mode(
        "wrong_json", paths=["/get_users"], json=[{"username": "ann", "password_hash": "x", "is_admin": 1, "more": 2}]
    )
    assert remote(server.port).get_users() == [{"username": "ann", "is_admin": True, "more": 2}]


@pytest.mark.parametrize("email", [["a@example.org"], {}, 7])
def test_a_server_whose_users_make_no_sense_is_no_api(server, remote, email):
    server.set_mode("wrong_json", paths=["/get_users"], json=[{"username": "bob", "email": email}])
    with pytest.raises(NotAnAPIError, match="email"):
        remote(server.port).put_users([ANN])


@pytest.mark.parametrize("rows", [[{"email": "a@example.org"}], [{"username": "bob"}, {"username": None}]])
def test_a_server_whose_users_have_no_name_is_no_api(server, remote, rows):
    server.set_mode("wrong_json", paths=["/get_users"], json=rows)
    with pytest.raises(NotAnAPIError, match="with users that have no username"):
        remote(server.port).get_users()


@pytest.mark.parametrize("made", [["bob"], ["bob", "ann"], ["ann"], ["ann", "bob", "carol"], []])
def test_a_server_that_tells_of_other_users_than_it_got_is_not_believed(server, remote, made):
    server.set_mode("wrong_json", paths=["/put_users"], json=[{"username": name} for name in made])
    with pytest.raises(DoubtfulError, match="without the rows of the users that it got") as raised:
        remote(server.port).put_users([ANN, BOB])
    assert isinstance(raised.value.end, NotAnAPIError)


def test_an_answer_that_is_lost_is_made_good_by_asking_again(server, proxy, remote):
    from fault_proxy import Fault, Rule

    proxy.set(rules=(Rule((Fault("lose_answer"),), path="/put_users", times=1),))
    assert names(remote(proxy.port).put_users([ANN, BOB])) == ["ann", "bob"]
    assert len(server.requests("/put_users")) == 1


def test_only_what_was_said_is_sent(server, remote):
    client = remote(server.port)
    (row,) = client.put_users([{**BOB, "can_write": False, "model": "anything"}])
    assert (row["is_admin"], row["can_write"], row["email"]) == (False, False, None)
    assert json.loads(json.dumps(names(client.get_users()))) == ["bob"]
