"""Build the form that uploads a file of a machine-learning bundle to a storage such as S3."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any

from sticky_pi_api.bundles.etag import Etag
from sticky_pi_api.bundles.files import FileInfo
from sticky_pi_api.exceptions import BundleError, printable
from sticky_pi_api.transport.multipart import FormBody
from sticky_pi_api.transport.rate_limit import RateLimit

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class BundleForm(FormBody):
    """The fields that belong to a link, and after them the file; it ends only with the bytes that were announced."""

    def __init__(self, file: FileInfo, fields: Mapping[str, str], stream: IO[bytes], limit: RateLimit) -> None:
        """Read the file from `stream`, and send no faster than `limit` lets it."""
        self._file = file
        self._fields = fields
        super().__init__(stream, limit)

    @property
    def may_repeat(self) -> bool:
        """The same bytes twice are one file."""
        return True

    def _before(self) -> str:
        fields = "".join(
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"\r\n\r\n{value}\r\n'
            for name, value in self._fields.items()
        )
        name = _escaped(os.path.basename(self._file["key"]))
        return (
            f'{fields}--{self.boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )

    def _after(self) -> str:
        return f"\r\n--{self.boundary}--\r\n"

    def _digest(self) -> Any:
        return Etag.like(self._file["md5"])

    def _check(self, digest: Any, *, is_whole: bool) -> None:
        if not is_whole or not digest.matches(self._file["md5"]):
            raise BundleError(
                f"{printable(self._file['path'])}: it has changed since it was looked at; it was not sent"
            )


def _escaped(name: str) -> str:
    return name.translate(_ESCAPES)
