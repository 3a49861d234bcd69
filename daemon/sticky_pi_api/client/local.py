"""The client of the embedded store."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sticky_pi_api.client.base import BaseClient
from sticky_pi_api.configuration import LocalAPIConf
from sticky_pi_api.filesystem.safe_open import file_system_id
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.local.errors import blaming_the_store
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.put_images.local import Batch
from sticky_pi_api.specifications import LocalAPI
from sticky_pi_api.types import FilePath, ImageOutcome
from sticky_pi_api.utils import md5

if TYPE_CHECKING:
    from sticky_pi_api.put_images.holdings import StoredObject


class LocalClient(BaseClient, LocalAPI):
    """The client and the whole API in one process, with a store in a folder: no server, no account.

    Use it as a context manager, or close it; threads may share it, and processes its folder.
    """

    def __init__(self, local_dir: FilePath, n_threads: int = 8, *args: Any, **kwargs: Any) -> None:
        """Open the store in `local_dir`, and make it if it doesn't exist. Raises StoreError where that fails."""
        BaseClient.__init__(self, local_dir, n_threads)
        LocalAPI.__init__(self, LocalAPIConf(LOCAL_DIR=self.local_dir), *args, **kwargs)

    def _look_at(self, url: str) -> StoredObject:
        from sticky_pi_api.put_images.holdings import StoredObject

        with (
            blaming_the_store(self._local_dir),
            suppress(FileNotFoundError, NotADirectoryError),
            self._storage.open_image(url) as file,
        ):
            found = file.fileno()
            return StoredObject(os.fstat(found).st_size, md5(file), file_system_id(found))
        raise FileNotFoundError(url)

    def _outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        with FileCache(self._cache_dir) as known:
            yield from Batch(self.get_images, self._put_if_absent, self._n_threads, known).outcomes(files)
