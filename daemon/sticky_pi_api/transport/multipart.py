"""Send a multipart form with one file, and check the file's bytes on the way."""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from sticky_pi_api.filesystem.safe_open import FileFailedError
from sticky_pi_api.transport.rate_limit import RateLimit

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class FormBody(ABC):
    """A form that is sent to its end only if the file has the announced bytes."""

    def __init__(  # noqa: PLR0917 - the form in its order
        self,
        before: Mapping[str, str],
        name: str,
        filename: str,
        stream: IO[bytes],
        after: Mapping[str, str],
        limit: RateLimit,
        on_sent: Callable[[], object] = lambda: None,
    ) -> None:
        """Read the file from `stream`, between other fields; call `on_sent` before the last block is sent."""
        self.boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={self.boundary}"
        self.begun = False
        """whether its first bytes were sent"""
        self.whole = False
        """whether its last bytes were sent"""
        self._stream = stream
        self._limit = limit
        self._on_sent = on_sent
        self._size = stream.seek(0, os.SEEK_END)
        content = "Content-Type: application/octet-stream\r\n\r\n"
        self._head = f'{self._fields(before)}{self._begin(name)}; filename="{_escaped(filename)}"\r\n{content}'.encode()
        self._tail = f"\r\n{self._fields(after)}--{self.boundary}--\r\n".encode()

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent from its start again, on another connection, without harm."""
        return not self.begun

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks. Raises FileFailedError and the errors of `_check` before the file's last bytes."""
        self.begun = True
        # The part before the file may be longer than one block.
        for start in range(0, len(self._head), self._limit.block):
            piece = self._head[start : start + self._limit.block]
            self._limit.wait(len(piece))
            yield piece
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

    @abstractmethod
    def _digest(self) -> Any:
        """Return a new checksum of the file's bytes, such as one of hashlib's."""

    @abstractmethod
    def _check(self, digest: Any, *, is_whole: bool) -> None:
        """Raise an error unless the bytes are the announced ones; `is_whole` says whether their number is."""

    def _begin(self, name: str) -> str:
        return f'--{self.boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"'

    def _fields(self, values: Mapping[str, str]) -> str:
        return "".join(f"{self._begin(name)}\r\n\r\n{value}\r\n" for name, value in values.items())

    def _blocks(self) -> Iterator[bytes]:
        """Yield the file's blocks, and check them at its end."""
        digest = self._digest()
        left = self._size
        self._stream.seek(0)
        while block := self._read(min(self._limit.block, left)):
            digest.update(block)
            left -= len(block)
            yield block
        self._check(digest, is_whole=not (left or self._read(1)))

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise FileFailedError(error) from error


def _escaped(name: str) -> str:
    return name.translate(_ESCAPES)
