"""Takes in one file of a machine-learning bundle, so that it is there whole and as it was announced, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sticky_pi_api.bundles.etag import Etag
from sticky_pi_api.exceptions import BundleError, printable
from sticky_pi_api.filesystem.incoming import placed

Receive = Callable[[Iterable[bytes]], None]
"""Takes the blocks of a file, from its start. Raises BundleError where they aren't those that were announced"""


class OtherBytesError(BundleError):
    """What came of a file isn't what was announced."""


def receive(blocks: Iterable[bytes], path: str, key: str, md5: str, mtime: float) -> None:
    """Let what comes of a file replace what lies at `path`, once it has come whole.

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
