"""The client of a server."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from sticky_pi_api.client.base import BaseClient
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.remote.api import RemoteAPI
from sticky_pi_api.transport.credentials import Secret
from sticky_pi_api.types import FilePath, ImageOutcome

if TYPE_CHECKING:
    from sticky_pi_api.put_images.holdings import StoredObject


class RemoteClient(BaseClient, RemoteAPI):
    """The client of a Sticky Pi server, of either published generation.

    Use it as a context manager, or close it; threads may share it. `put_images` sends several pictures at a time, and
    never one whose key the server holds; see `put_images.remote`. `close`, called from another thread, cancels its
    requests.
    """

    def __init__(  # noqa: PLR0917 - the published order
        self,
        local_dir: FilePath,
        host: str,
        username: str,
        password: str | Secret,
        protocol: str = "https",
        port: int = 443,
        n_threads: int = 8,
        **options: Any,
    ) -> None:
        """Prepare for a server without connecting to it; `options` are the keyword arguments of RemoteAPI.

        Raises ValueError, StoreError for `local_dir` and CertificateError for `ca_file`.
        """
        # Tracebacks show arguments.
        secret, password = Secret.of(password), ""
        BaseClient.__init__(self, local_dir, n_threads)
        RemoteAPI.__init__(self, host, username, secret, protocol, port, **options)

    def _look_at(self, url: str) -> StoredObject | None:
        from sticky_pi_api.remote.objects import look_at

        return look_at(self._server.http, url)

    def _outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        with FileCache(self._cache_dir) as known:
            yield from self._new_batch(self._n_threads, known).outcomes(files)
