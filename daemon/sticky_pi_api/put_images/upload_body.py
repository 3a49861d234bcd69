"""Make the body of an upload: a form with one picture, read from its file and hashed while it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import IO, Any

from sticky_pi_api.exceptions import ImageChangedError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.images.filename import parse_filename
from sticky_pi_api.transport.multipart import FormBody
from sticky_pi_api.transport.rate_limit import RateLimit


class UploadBody(FormBody):
    """The form with one picture and its md5; only a picture whose bytes have this md5 is sent to its end."""

    def __init__(
        self, image: ImageParser, stream: IO[bytes], limit: RateLimit, on_sent: Callable[[], object] = lambda: None
    ) -> None:
        """Check the picture's name, which servers require. Raises FilenameError."""
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
