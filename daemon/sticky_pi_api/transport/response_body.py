"""Read the body of a response as it arrives, and unpack no more bytes of it than a response may have.

A body that is packed twice, or a thousand times, can be 2 GB in 2 kB. The libraries unpack it without a bound.
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
    """Return the whole body, unpacked if it is packed by gzip; each `rate` bytes extend the deadline by a second.

    Raises AnswerTooLargeError for more than `largest` bytes, and NotAnAPIError where a body with status 200 is packed
    otherwise; with other statuses, '' is returned for it.
    """
    coding = _coding(response)
    if coding not in (*_GZIP, *_PLAIN):
        if response.status_code != OK:
            return b""
        raise NotAnAPIError(f"{address} answers with what is packed in a way that nobody asked for")
    content, taken = bytearray(), 0
    gzip = _Gzip() if coding in _GZIP else None
    for block in _blocks(response, rate):
        taken += len(block)
        content += block if gzip is None else gzip.unpack(block, largest + 1 - len(content))
        # The packed body may also be endless and unpack to nothing.
        if max(taken, len(content)) > largest:
            raise AnswerTooLargeError(f"{address} answers with more than any Sticky Pi API has to say")
    if gzip is not None and taken:
        gzip.end()
    return bytes(content)


def read_file(response: requests.Response, address: str, rate: float) -> Iterator[bytes]:
    """Yield the blocks of a body that is a file. Raises NotAnAPIError where it is packed."""
    if _coding(response) not in _PLAIN:
        raise NotAnAPIError(f"{address} answers with a file that is packed, though nobody asked for that")
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


class _Gzip:
    """Unpack one gzip file."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP_WINDOW)

    def unpack(self, block: bytes, most: int) -> bytes:
        """Return at most `most` unpacked bytes of a block."""
        try:
            found = self._zlib.decompress(block, most)
        except zlib.error as error:
            raise _damaged(error) from error
        if self._zlib.unused_data:
            raise _damaged("there is more behind its end")
        return found

    def end(self) -> None:
        """Raise BrokenOffBodyError where the file isn't complete."""
        if not self._zlib.eof:
            raise BrokenOffBodyError(ConnectionAbortedError())


def _damaged(why: object) -> BrokenOffBodyError:
    return BrokenOffBodyError(requests.exceptions.ContentDecodingError(str(why)))
