"""Translate the statuses of a server, or of a storage, into errors: who is to blame, and when to try again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sticky_pi_api.exceptions import (
    AccountError,
    NotAnAPIError,
    RefusedError,
    RemoteError,
    RequestTooLargeError,
    UnavailableError,
    UnreachableError,
    printable,
)

OK = 200
STORED = frozenset({200, 201, 204})
"""Statuses with which a storage confirms that it has a file"""
UNAUTHORISED = 401
TOO_LARGE = 413

LARGEST_ANSWER = 2**26
"""Largest decompressed answer of a server, in bytes"""

LONGEST_RETRY_AFTER = 3600.0
"""Longest wait that a server can ask for, in seconds; a longer one is cut"""


class Answer(NamedTuple):
    """The answer to a request, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """their names in any case"""
    body: bytes


_NO_API = NotAnAPIError, "there is no Sticky Pi API there: check the address"
_BUSY = UnavailableError, "it can't do that at present"

_BY_STATUS: Mapping[int, tuple[type[RemoteError], str]] = {
    UNAUTHORISED: (AccountError, "it doesn't accept the account '{user}': check the user's name and the password"),
    403: (AccountError, "it doesn't let the account '{user}' do this"),
    404: _NO_API,
    405: _NO_API,
    407: (UnreachableError, "the proxy on the way wants a password"),
    408: _BUSY,
    410: _NO_API,
    425: _BUSY,
    429: (UnavailableError, "it was asked too often"),
    502: _BUSY,
    503: _BUSY,
    504: _BUSY,
    507: (UnavailableError, "its storage is full"),
    511: (NotAnAPIError, "the network wants a login first (a captive portal)"),
    **dict.fromkeys(range(520, 528), _BUSY),
}

_BY_LINK_STATUS: Mapping[int, tuple[type[RemoteError], str]] = {
    400: (RefusedError, "it refused that"),
    403: (UnavailableError, "it doesn't take the link, which may have expired"),
    404: (UnavailableError, "there is nothing where the link leads"),
    407: _BY_STATUS[407],
    TOO_LARGE: (RefusedError, "it takes no file of this size"),
    429: _BY_STATUS[429],
    **dict.fromkeys((408, 500, 502, 503, 504), _BUSY),
    507: _BY_STATUS[507],
    511: _BY_STATUS[511],
}

UNTOUCHED = frozenset({UNAUTHORISED, 403, 404, 405, 407, 410, TOO_LARGE, 429, 511})
"""Statuses, beside redirects, of requests that certainly stored nothing"""


def failure_of(
    answer: Answer, address: str, user: str, clock: Callable[[], float], *, size: int | None = None
) -> RemoteError:
    """Return the error for an answer with a status other than 200; `clock` gives Unix seconds.

    `size` is the number of bytes in an upload's body: where they are too many, a smaller one may pass.
    """
    retry_after = read_retry_after(answer.headers, clock)
    says = f"{address} answers with status {answer.status}"
    if answer.status == TOO_LARGE:
        what = "this size" if size is None else f"{-(-size // 1000):,} kB"
        reason = f"the web server in front of the API accepts no request of {what}"
        message = f"{says}: {reason}: check nginx's client_max_body_size"
        if size is None:
            return UnavailableError(message, retry_after=retry_after)
        return RequestTooLargeError(message, size, retry_after=retry_after)
    kind, meaning = _BY_STATUS.get(answer.status, (RefusedError, "it refused that, and doesn't say why"))
    if answer.status < 400:  # noqa: PLR2004 - statuses have their meaning in hundreds
        kind, meaning = NotAnAPIError, f"not as a Sticky Pi API does{_redirection(answer)}"
    meaning = meaning.format(user=printable(user)) if kind is AccountError else meaning
    return kind(f"{says}: {meaning}", retry_after=retry_after)


def link_failure_of(answer: Answer, address: str, clock: Callable[[], float]) -> RemoteError:
    """Return the error for a link's answer that isn't the expected one; `clock` as of `failure_of`."""
    kind, meaning = _BY_LINK_STATUS.get(answer.status, (UnavailableError, "it doesn't do that"))
    if answer.status < 400:  # noqa: PLR2004 - as above
        kind, meaning = NotAnAPIError, f"not as a storage does{_redirection(answer)}"
    # S3 names the reason in one word.
    if match := re.search(rb"<Code>(\w{1,50})</Code>", answer.body):
        meaning += f" ({match[1].decode()})"
    retry_after = read_retry_after(answer.headers, clock)
    return kind(f"{address} answers with status {answer.status}: {meaning}", retry_after=retry_after)


def leaves_no_doubt(answer: Answer) -> bool:
    """Return whether an upload with this answer certainly stored nothing."""
    return 300 <= answer.status < 400 or answer.status in UNTOUCHED  # noqa: PLR2004


def read_retry_after(headers: Mapping[str, str], clock: Callable[[], float]) -> float | None:
    """Return the seconds that a `Retry-After` asks for, from 0 to an hour; None where it is missing or unreadable."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        then = _unix_time(text)
        if then is None:
            return None
        # The server's own clock counts, where it sends its time: the trap's may be years off.
        now = _unix_time(headers.get("Date", ""))
        seconds = then - (clock() if now is None else now)
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _redirection(answer: Answer) -> str:
    location = answer.headers.get("Location", "")
    return f", but sends to {printable(location)[:100]}" if location else ""


def _unix_time(text: str) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
