"""The body of an upload: a form with one picture, streamed from its file and hashed on the way."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from sticky_pi_api.exceptions import ImageChangedError
from sticky_pi_api.filename import parse_filename
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.rate import RateLimit
from sticky_pi_api.utils import open_regular


class ReadFailedError(Exception):
    """The picture's file can't be read to its end; not an OSError, which would be taken for the network's."""

    def __init__(self, error: OSError) -> None:
        """Keep what the file system said."""
        super().__init__(error)
        self.error = error


class UploadBody:
    """The form with one picture and its md5; it ends only if the bytes are those of the md5."""

    def __init__(
        self, image: ImageParser, stream: IO[bytes], limit: RateLimit, on_sent: Callable[[], object] = lambda: None
    ) -> None:
        """Read the picture from `stream`, and send no faster than `limit` lets it.

        `on_sent` is called when its last block goes, so that the next picture's request can follow at once.
        Raises FilenameError for a picture whose name no server takes.
        """
        name = image.filename
        parse_filename(name)
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.begun = False
        """whether any of it was handed to the network"""
        self.whole = False
        """whether its last bytes were handed to the network"""
        self._image = image
        self._stream = stream
        self._limit = limit
        self._on_sent = on_sent
        self._size = stream.seek(0, os.SEEK_END)
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = (
            f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{name}.md5"\r\n\r\n{image["md5"]}'
            f"\r\n--{boundary}--\r\n"
        ).encode()

    def __len__(self) -> int:
        """Return how many bytes there will be."""
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes. Raises ImageChangedError and ReadFailedError before the picture's last ones."""
        self.begun = True
        self._limit.wait(len(self._head))
        yield self._head
        last = b""
        for block in self._blocks():
            if last:
                self._limit.wait(len(last))
                yield last
            last = block
        last += self._tail
        self._limit.wait(len(last))
        self._on_sent()
        self.whole = True
        yield last

    def _blocks(self) -> Iterator[bytes]:
        """Yield the picture's blocks, and fail at its end unless they are the ones that were parsed."""
        digest = hashlib.md5(usedforsecurity=False)
        left = self._size
        self._stream.seek(0)
        while block := self._read(min(self._limit.block, left)):
            digest.update(block)
            left -= len(block)
            yield block
        if left or self._read(1) or digest.hexdigest() != self._image["md5"]:
            raise ImageChangedError(
                self._image.path or self._image.filename,
                f"its bytes are no longer those that were parsed (md5 {self._image['md5']}): it was not sent",
            )

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise ReadFailedError(error) from error


@contextmanager
def open_picture(image: ImageParser) -> Iterator[IO[bytes]]:
    """Open a picture's file, or the bytes of one that has none. Raises ImageError and OSError."""
    with io.BytesIO(image.file_blob) if image.path is None else open_regular(image.path) as stream:
        yield stream
