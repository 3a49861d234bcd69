"""Inspect the stored objects behind a server's rows, without fetching them whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sticky_pi_api.exceptions import StrayLinkError, UnavailableError
from sticky_pi_api.put_images.holdings import StoredObject
from sticky_pi_api.transport.credentials import SignedUrl
from sticky_pi_api.transport.status_codes import OK, Answer

if TYPE_CHECKING:
    from sticky_pi_api.transport.session import Http

_PARTIAL: Final = 206
_NOT_FOUND: Final = (404, 410)
_NO_SUCH_RANGE: Final = 416  # an empty object has no first byte
_NOT_ALLOWED: Final = (401, 403)
_MD5: Final = re.compile(r'"([0-9a-f]{32})"', re.IGNORECASE)
_RANGE: Final = re.compile(r"bytes 0-0/([0-9]{1,18})")
_UNSATISFIED: Final = re.compile(r"bytes \*/([0-9]{1,18})")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


def look_at(http: Http, url: str) -> StoredObject | None:
    """Return the size and md5 of the object behind a row's url; None where this client can't inspect it at all.

    Raises FileNotFoundError where it is gone, and RemoteError where the storage doesn't answer now.
    """
    try:
        link = SignedUrl.of(url, http.address)
    except ValueError:
        return None
    try:
        answer = http.peek(link)
    except StrayLinkError:
        return None
    if answer.status in _NOT_FOUND:
        raise FileNotFoundError(f"{link.address} doesn't have it")
    if answer.status in _NOT_ALLOWED:
        return None
    if answer.status == _NO_SUCH_RANGE:
        found = _UNSATISFIED.fullmatch(answer.headers.get("Content-Range", ""))
        return StoredObject(int(found[1]) if found else 0, None)
    if answer.status not in (OK, _PARTIAL):
        raise UnavailableError(f"{link.address} doesn't show the stored picture (status {answer.status})")
    tag = _MD5.fullmatch(answer.headers.get("ETag", ""))
    return StoredObject(_size(answer), tag and tag[1].lower())


def _size(answer: Answer) -> int | None:
    if answer.status == _PARTIAL:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if _LENGTH.fullmatch(length) else None
