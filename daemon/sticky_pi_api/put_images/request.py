"""Make the body of an upload: a form with one picture, streamed from its file and hashed on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from sticky_pi_api.exceptions import ImageChangedError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.images.filename import parse_filename
from sticky_pi_api.transport.multipart import FormBody
from sticky_pi_api.transport.rate_limit import RateLimit


class UploadBody(FormBody):
    """The form with one picture and its md5; it ends only if the bytes are those of the md5."""

    def __init__(
        self, image: ImageParser, stream: IO[bytes], limit: RateLimit, on_sent: Callable[[], object] = lambda: None
    ) -> None:
        """Read the picture from `stream`, and send no faster than `limit` lets it.

        `on_sent` is called when its last block goes, so that the next picture's request can follow at once.
        Raises FilenameError for a picture whose name no server takes.
        """
        parse_filename(image.filename)
        self._image = image
        super().__init__(stream, limit, on_sent)

    def _before(self) -> str:
        name = self._image.filename
        return (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )

    def _after(self) -> str:
        name, md5 = self._image.filename, self._image["md5"]
        return (
            f'\r\n--{self.boundary}\r\nContent-Disposition: form-data; name="{name}.md5"\r\n\r\n{md5}'
            f"\r\n--{self.boundary}--\r\n"
        )

    def _digest(self) -> Any:
        return hashlib.md5(usedforsecurity=False)

    def _check(self, digest: Any, *, is_whole: bool) -> None:
        if not is_whole or digest.hexdigest() != self._image["md5"]:
            raise ImageChangedError(
                self._image.path or self._image.filename,
                f"its bytes are no longer those that were parsed (md5 {self._image['md5']}): it was not sent",
            )


@contextmanager
def open_picture(image: ImageParser) -> Iterator[IO[bytes]]:
    """Open a picture's file, or the bytes of one that has none. Raises ImageError and OSError."""
    with image.open() as stream:
        yield stream
