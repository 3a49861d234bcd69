"""Send and receive the files of machine-learning bundles, and check their bytes on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

from sticky_pi_api.bundles.etag import Etag
from sticky_pi_api.bundles.files import FileInfo
from sticky_pi_api.exceptions import BundleError, printable
from sticky_pi_api.filesystem.durable import placed
from sticky_pi_api.transport.multipart import FormBody
from sticky_pi_api.transport.rate_limit import RateLimit

Receive = Callable[[Iterable[bytes]], None]
"""Take the blocks of a file, from its start. Raises BundleError where they aren't the announced ones"""


class OtherBytesError(BundleError):
    """The received bytes of a file aren't the announced ones."""


def receive(blocks: Iterable[bytes], path: str, key: str, md5: str, mtime: float) -> None:
    """Replace the file at `path` by a received one, once that is complete.

    Raises OSError, and OtherBytesError where the received file's ETag isn't `md5`; then, `path` is unchanged.
    """
    etag = Etag.like(md5)
    with placed(path, mtime) as stream:
        for block in blocks:
            etag.update(block)
            stream.write(block)
        if not etag.matches(md5):
            raise OtherBytesError(
                f"'{printable(key)}': the received bytes (md5 {etag}) aren't the announced ones (md5 {printable(md5)}) "
                "and were discarded; the file may have been changed meanwhile: try again"
            )


class BundleForm(FormBody):
    """The form that uploads a file to a storage such as S3: the fields that belong to a link, then the file."""

    def __init__(self, file: FileInfo, fields: Mapping[str, str], stream: IO[bytes], limit: RateLimit) -> None:
        self._file = file
        super().__init__(fields, "file", os.path.basename(file["key"]), stream, {}, limit)

    @property
    def may_repeat(self) -> bool:
        """Return True: a file that is sent twice is stored once."""
        return True

    def _digest(self) -> Etag:
        return Etag.like(self._file["md5"])

    def _check(self, digest: Any, *, is_whole: bool) -> None:
        if not is_whole or not digest.matches(self._file["md5"]):
            raise BundleError(f"{printable(self._file['path'])}: it has changed since it was listed, and was not sent")
