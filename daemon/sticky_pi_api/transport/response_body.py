"""Read the body of a response as it arrives, and decompress no more bytes of it than a response may have.

A body that is compressed twice, or a thousand times, can be 2 GB in 2 kB. The libraries decompress it without a bound.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from typing import Final

import requests

from sticky_pi_api.exceptions import AnswerTooLargeError, NotAnAPIError
from sticky_pi_api.transport.connections import current
from sticky_pi_api.transport.errors import LIBRARIES
from sticky_pi_api.transport.status_codes import OK

_BLOCK: Final = 8192
"""Bytes to wait for at once: at the lowest rate they take some seconds"""

_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_GZIP: Final = ("gzip", "x-gzip")
_PLAIN: Final = ("", "identity")
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class BrokenOffBodyError(Exception):
    """A body ended early; no OSError, which may be the error of the caller that receives the body."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def read_whole(response: requests.Response, address: str, largest: int, rate: float) -> bytes:
    """Return the whole body, decompressed if it is a gzip file; each `rate` bytes extend the deadline by a second.

    Raises AnswerTooLargeError for more than `largest` bytes, and NotAnAPIError where a body with status 200 has another
    compression; with other statuses, '' is returned for it.
    """
    coding = _coding(response)
    if coding not in (*_GZIP, *_PLAIN):
        if response.status_code != OK:
            return b""
        raise NotAnAPIError(f"{address} answers with a compression that the request didn't ask for")
    content, taken = bytearray(), 0
    gzip = zlib.decompressobj(_GZIP_WINDOW) if coding in _GZIP else None
    for block in _blocks(response, rate):
        taken += len(block)
        content += block if gzip is None else _decompress(gzip, block, largest + 1 - len(content))
        # The compressed body may also be endless and contain nothing.
        if max(taken, len(content)) > largest:
            raise AnswerTooLargeError(f"{address} answers with more bytes than any answer of a Sticky Pi API has")
    if gzip is not None and taken and not gzip.eof:
        raise BrokenOffBodyError(ConnectionAbortedError())
    return bytes(content)


def read_file(response: requests.Response, address: str, rate: float) -> Iterator[bytes]:
    """Yield the blocks of a body that is a file. Raises NotAnAPIError where it is compressed."""
    if _coding(response) not in _PLAIN:
        raise NotAnAPIError(f"{address} answers with a compressed file, which the request didn't ask for")
    return _blocks(response, rate)


def _coding(response: requests.Response) -> str:
    return response.headers.get("Content-Encoding", "").strip().lower()


def _blocks(response: requests.Response, rate: float = math.inf) -> Iterator[bytes]:
    guard = current.guard
    pieces = response.raw.stream(_BLOCK, decode_content=False)
    try:
        while True:
            with guard.waiting():
                block = next(pieces, None)
            if block is None:
                break
            guard.deadline.extend(len(block) / rate)
            yield block
        expected = response.headers.get("Content-Length", "")
        if _LENGTH.fullmatch(expected) and response.raw.tell() < int(expected):
            raise ConnectionAbortedError
        # A request that was cancelled looks like a body that has ended.
        guard.cancellation.check()
    except LIBRARIES as error:
        raise BrokenOffBodyError(error) from error
    except ValueError as error:
        # A chunk with a negative length, for example, which the libraries let pass.
        raise _damaged(error) from error


def _decompress(gzip: zlib._Decompress, block: bytes, most: int) -> bytes:
    """Return at most `most` decompressed bytes of a block of one gzip file."""
    try:
        found = gzip.decompress(block, most)
    except zlib.error as error:
        raise _damaged(error) from error
    if gzip.unused_data:
        raise _damaged("there is more behind its end")
    return found


def _damaged(why: object) -> BrokenOffBodyError:
    return BrokenOffBodyError(requests.exceptions.ContentDecodingError(str(why)))
