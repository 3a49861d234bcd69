"""The client of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING

from sticky_pi_api.client.base import BaseClient
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.put_images.holdings import StoredObject
from sticky_pi_api.remote.api import LOWEST_RATE, PARALLEL, RemoteAPI
from sticky_pi_api.remote.objects import look_at
from sticky_pi_api.transport.credentials import Secret
from sticky_pi_api.types import FilePath, ImageOutcome

if TYPE_CHECKING:
    from sticky_pi_api.transport.cancellation import Timeouts


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
        *,
        ca_file: str | None = None,
        parallel: int = PARALLEL,
        max_rate: float | None = None,
        lowest_rate: float = LOWEST_RATE,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare for a server without connecting to it.

        `ca_file` has the certificates to trust, instead of the system's. At most `parallel` pictures are sent at a
        time. All uploads together use at most `max_rate` bytes a second; requests are ended where all together are
        slower than `lowest_rate`. Raises ValueError, StoreError for `local_dir` and CertificateError for `ca_file`.
        """
        # Tracebacks show arguments.
        secret, password = Secret.of(password), ""
        BaseClient.__init__(self, local_dir, n_threads)
        RemoteAPI.__init__(
            self,
            host,
            username,
            secret,
            protocol,
            port,
            ca_file=ca_file,
            parallel=parallel,
            max_rate=max_rate,
            lowest_rate=lowest_rate,
            timeouts=timeouts,
            clock=clock,
            wall_clock=wall_clock,
            sleep=sleep,
        )

    def _look_at(self, url: str) -> StoredObject | None:
        return look_at(self._server.http, url)

    def _outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        with FileCache(self._cache_dir) as known:
            yield from self._new_batch(self._n_threads, known).outcomes(files)
