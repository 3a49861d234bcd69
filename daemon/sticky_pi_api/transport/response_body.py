"""Reads what is answered as it comes over the wire, and unpacks no more of it than an answer may have.

What is packed twice, or a thousand times, can be 2 GB in 2 kB. The libraries unpack it without a bound.
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
"""bytes that are waited for at once: at the lowest rate some seconds' worth"""

_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_GZIP: Final = ("gzip", "x-gzip")
_PLAIN: Final = ("", "identity")
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class BrokenOffBodyError(Exception):
    """The rest of an answer doesn't come; not an OSError, which might be that of who receives it."""

    def __init__(self, error: Exception) -> None:
        """Keep what ended it."""
        super().__init__(error)
        self.error = error


def read_whole(response: requests.Response, address: str, largest: int, rate: float) -> bytes:
    """Return what is answered, unpacked if it is packed once by gzip; it has more time for what comes at `rate`.

    Raises AnswerTooLargeError for more than `largest` bytes. NotAnAPIError where it is packed otherwise, if anybody
    needs it: what says that something went wrong is no use then, but its status is.
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
        # What comes may also be endless and unpack to nothing.
        if max(taken, len(content)) > largest:
            raise AnswerTooLargeError(f"{address} answers with more than any Sticky Pi API has to say")
    if gzip is not None and taken:
        gzip.end()
    return bytes(content)


def read_file(response: requests.Response, address: str, rate: float) -> Iterator[bytes]:
    """Yield a file that is answered, block by block. Raises NotAnAPIError where it is packed."""
    if _coding(response) not in _PLAIN:
        raise NotAnAPIError(f"{address} answers with a file that is packed, though nobody asked for that")
    return _blocks(response, rate)


def _coding(response: requests.Response) -> str:
    return response.headers.get("Content-Encoding", "").strip().lower()


def _blocks(response: requests.Response, rate: float = math.inf) -> Iterator[bytes]:
    """Yield an answer's body as it comes."""
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
        # What was read may end where it was cut off.
        guard.cancellation.check()
    except LIBRARIES as error:
        raise BrokenOffBodyError(error) from error
    except ValueError as error:
        # Of a chunk with a negative length, say: nobody below takes care of it.
        raise _damaged(error) from error


class _Gzip:
    """Unpacks one gzip file."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP_WINDOW)

    def unpack(self, block: bytes, most: int) -> bytes:
        """Return what a block holds, of that `most` bytes."""
        try:
            found = self._zlib.decompress(block, most)
        except zlib.error as error:
            raise _damaged(error) from error
        if self._zlib.unused_data:
            raise _damaged("there is more behind its end")
        return found

    def end(self) -> None:
        """Check that all of it came."""
        if not self._zlib.eof:
            raise BrokenOffBodyError(ConnectionAbortedError())


def _damaged(why: object) -> BrokenOffBodyError:
    return BrokenOffBodyError(requests.exceptions.ContentDecodingError(str(why)))
