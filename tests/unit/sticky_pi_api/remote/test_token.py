"""The token that an account gives, for any number of threads."""

import threading

import pytest
from sticky_pi_api.exceptions import AccountError
from sticky_pi_api.remote.responses import WrongShapeError, read_rows, read_token
from sticky_pi_api.remote.server import RENEWED_AFTER, Login
from sticky_pi_api.transport.credentials import Account, Secret


@pytest.fixture
def logins():
    return []


@pytest.fixture
def login(logins, clock):
    def log_in(auth):
        logins.append(auth)
        return f"token{len(logins)}"

    return Login("trap", Secret("pollen"), log_in, clock=clock)


def test_a_token_is_got_once_and_kept_until_it_is_old(login, logins, clock):
    assert [login.token() for _ in range(3)] == [Account.of("token1")] * 3
    assert logins == [Account.of("trap", "pollen")]
    clock.now += RENEWED_AFTER
    assert login.token() == Account.of("token1")
    clock.now += 1
    assert login.token() == Account.of("token2")
    assert RENEWED_AFTER <= 20 * 3600


def test_a_token_that_is_not_taken_is_dropped_unless_there_is_a_newer_one(login):
    old = login.token()
    login.forget(old)
    assert login.token() == Account.of("token2")
    login.forget(old)
    assert login.token() == Account.of("token2")


def test_threads_that_need_a_token_at_once_get_one_between_them(login, logins):
    threads = [threading.Thread(target=login.token) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(logins) == 1


def test_a_failed_login_leaves_no_token(clock):
    def refuse(_):
        raise AccountError("no")

    login = Login("trap", Secret("pollen"), refuse, clock=clock)
    for _ in range(2):
        with pytest.raises(AccountError):
            login.token()


def test_it_shows_no_password(login):
    login.token()
    assert repr(login) == "Login('trap')"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": ""}', b'{"token": "a\\nb"}', b"\xff"])
def test_what_has_no_token_is_no_login(body):
    with pytest.raises(WrongShapeError):
        read_token(body)


def test_a_page_is_told_from_what_is_merely_no_json():
    with pytest.raises(WrongShapeError, match="a web page"):
        read_rows(b"\n<!doctype html>")
    with pytest.raises(WrongShapeError, match="isn't JSON"):
        read_rows(b"hello")


@pytest.mark.parametrize("when", ["2020-06-20_20-19-15", "2020-06-20T20:19:15Z"])
def test_both_generations_datetimes_are_read_and_what_is_not_understood_of_the_rest_stays(when):
    row = b'{"device": "1b74105a", "datetime": "%s", "md5": "%s", "datetime_created": "now"}'
    (read,) = read_rows(b"[%s]" % (row % (when.encode(), b"ABCDEF01" * 4)))
    assert f"{read['datetime']:%Y%m%d%H%M%S}" == "20200620201915"
    assert (read["md5"], read["datetime_created"]) == ("abcdef01" * 4, "now")
