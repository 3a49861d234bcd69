"""What a server's answers mean, and when it wants to be asked again."""

import pytest
from requests.structures import CaseInsensitiveDict
from sticky_pi_api.exceptions import (
    AccountError,
    NotAnAPIError,
    RefusedError,
    UnavailableError,
    UnreachableError,
)
from sticky_pi_api.transport.status_codes import Answer, failure_of, leaves_no_doubt, read_retry_after
from sticky_pi_api.types import Blame

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


def answer(status, **headers):
    return Answer(status, CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()}), b"")


def failure(status, **headers):
    return failure_of(answer(status, **headers), "https://host", "tr\x1bap", lambda: NOW)


@pytest.mark.parametrize(
    ("statuses", "error", "blame"),
    [
        ((401, 403), AccountError, Blame.ACCOUNT),
        ((201, 204, 301, 302, 307, 308, 404, 405, 410, 511), NotAnAPIError, Blame.DESTINATION),
        ((407,), UnreachableError, Blame.DESTINATION),
        ((408, 413, 425, 429, 502, 503, 504, 507, 520, 524), UnavailableError, Blame.DESTINATION),
        ((400, 411, 418, 422, 500, 501, 599), RefusedError, Blame.NOTHING),
    ],
)
def test_a_status_is_the_fault_of(statuses, error, blame):
    for status in statuses:
        found = failure(status)
        assert (type(found), found.blame) == (error, blame), status
        assert str(found).startswith(f"https://host answers with status {status}: ")


def test_the_account_and_the_address_that_is_pointed_to_are_named_without_control_characters():
    assert "account 'tr\\x1bap'" in str(failure(401))
    assert str(failure(302, Location="http://login.example/\x1b[2J")).endswith("sends to http://login.example/\\x1b[2J")


def test_only_what_comes_before_the_storing_leaves_no_doubt():
    clear = {status for status in range(200, 600) if leaves_no_doubt(answer(status))}
    assert clear == {*range(300, 400), 401, 403, 404, 405, 407, 410, 413, 429, 511}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("7200", 3600.0),
        ("9" * 400, 3600.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("Tue, 14 Nov 2033 22:00:00 GMT", 3600.0),
        *((text, None) for text in ("", "soon", "-5", "1.5", "²", "Tue, 99 Nov 2023 22:00:00 GMT", "\x00")),
    ],
)
def test_retry_after_is_read_within_bounds(text, seconds):
    assert read_retry_after(answer(503, Retry_After=text).headers, lambda: NOW) == seconds
    # By the server's clock, where it is told, whatever the trap's says.
    assert read_retry_after(answer(503, Retry_After=text, Date=DATE).headers, lambda: 0.0) == seconds
    assert failure(503, Retry_After=text).retry_after == seconds


def test_without_retry_after_nobody_knows():
    assert failure(503).retry_after is None
