"""Receive one file of a machine-learning bundle, and keep it only if it is complete and as announced."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sticky_pi_api.bundles.etag import Etag
from sticky_pi_api.exceptions import BundleError, printable
from sticky_pi_api.filesystem.durable import placed

Receive = Callable[[Iterable[bytes]], None]
"""Take the blocks of a file, from its start. Raises BundleError where they aren't the announced ones"""


class OtherBytesError(BundleError):
    """The received bytes of a file aren't the announced ones."""


def receive(blocks: Iterable[bytes], path: str, key: str, md5: str, mtime: float) -> None:
    """Replace the file at `path` by a received one, once that is complete.

    Raises OSError, and OtherBytesError where its ETag isn't `md5`; then, `path` is as it was.
    """
    etag = Etag.like(md5)
    with placed(path, mtime) as stream:
        for block in blocks:
            etag.update(block)
            stream.write(block)
        if not etag.matches(md5):
            raise OtherBytesError(
                f"'{printable(key)}': what came (md5 {etag}) isn't what was announced (md5 {printable(md5)}), and was "
                "not kept; it may have been changed meanwhile: try again"
            )
