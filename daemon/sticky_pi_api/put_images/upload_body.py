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
        name, self._image = image.filename, image
        parse_filename(name)
        super().__init__({}, name, name, stream, {f"{name}.md5": image["md5"]}, limit, on_sent)

    def _digest(self) -> Any:
        return hashlib.md5(usedforsecurity=False)

    def _check(self, digest: Any, *, is_whole: bool) -> None:
        if not is_whole or digest.hexdigest() != self._image["md5"]:
            raise ImageChangedError(
                self._image.path or self._image.filename,
                f"its bytes are no longer those that were parsed (md5 {self._image['md5']}): it was not sent",
            )
