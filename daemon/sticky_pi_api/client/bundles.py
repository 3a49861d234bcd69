"""Copy machine-learning bundles between a folder and a store or server: the files that are missing or older."""

from __future__ import annotations

import operator
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from sticky_pi_api.exceptions import NoBundleWarning
from sticky_pi_api.specifications import BaseAPISpec
from sticky_pi_api.types import FilePath, Row

if TYPE_CHECKING:
    # Few programs use bundles: their modules are imported with the first one.
    from sticky_pi_api.bundles.files import FileInfo

LINKS_LAST: Final = 600.0
"""Time for which links are used, in seconds, before new ones are asked for; storages accept them for longer"""


class BundleClient(BaseAPISpec):
    """The part of each client that copies bundles."""

    _n_threads: int
    _bundle_clock: Callable[[], float] = staticmethod(time.monotonic)

    def put_ml_bundle_dir(self, bundle_name: str, bundle_dir: FilePath, what: str = "all") -> list[FileInfo]:
        """Send the files of a machine-learning bundle that the destination lacks or has older, and return them.

        `utils.local_bundle_files_info` describes `what` (`data`, `model` or `all`) and the returned items. Nothing is
        ever removed at the destination. The first error ends the call; the next call sends the remaining files.

        Raises ValueError for an impossible name or `what`, BundleError (a ValueError) for a file that can't be part of
        a bundle or changes meanwhile, OSError for one that can't be read, and StoreError or RemoteError.
        """
        from sticky_pi_api.bundles.files import local_bundle_files_info
        from sticky_pi_api.bundles.keys import checked_name

        checked_name(bundle_name)
        files = local_bundle_files_info(bundle_dir, what, n_threads=self._n_threads)
        waiting = {file["key"]: file for file in files}
        sent: list[FileInfo] = []
        for link in self._fresh_links(bundle_name, waiting):
            file = waiting.pop(link["key"])
            self._send_bundle_file(file, link["url"])
            sent.append(file)
        return sent

    def get_ml_bundle_dir(self, bundle_name: str, bundle_dir: FilePath, what: str) -> list[FileInfo]:
        """Fetch the files of a machine-learning bundle that a folder lacks or has older, and return them.

        The folder is made if it doesn't exist, and nothing in it is removed. A fetched file has the mtime that it was
        put with. `what`, the returned items and the errors are those of `put_ml_bundle_dir`; BundleError is raised also
        for keys that lead out of the folder, before anything is fetched. Where there is no such file, a NoBundleWarning
        is given.
        """
        from sticky_pi_api.bundles.files import checked_what
        from sticky_pi_api.bundles.keys import checked_name, place
        from sticky_pi_api.bundles.transfer import receive

        checked_name(bundle_name)
        folder = os.path.abspath(os.fsdecode(bundle_dir))
        fetched = []
        for row in self._fresh_rows(bundle_name, folder, checked_what(what)):
            file = {"path": place(folder, row["key"]), **{name: row[name] for name in ("key", "md5", "mtime")}}
            self._fetch_bundle_file(row, partial(receive, **file))
            fetched.append(file)
        return fetched

    def _fresh_links(self, bundle_name: str, waiting: dict[str, FileInfo]) -> Iterator[Row]:
        """Yield a fresh link for each wanted file of `waiting`; the caller removes it from there."""
        while waiting:
            asked_at = self._bundle_clock()
            for link in self._get_ml_bundle_upload_links(bundle_name, list(waiting.values())):
                yield link
                if self._bundle_clock() - asked_at > LINKS_LAST:
                    break
            else:
                return

    def _fresh_rows(self, bundle_name: str, folder: str, what: str) -> Iterator[Row]:
        """Yield the rows of the files that the folder lacks, each with a fresh link."""
        listed_at = self._bundle_clock()
        rows = self._get_ml_bundle_file_list(bundle_name, what)
        if not rows:
            message = f"there is no bundle '{bundle_name}', or it has no such files (asked for: {what})"
            warnings.warn(message, NoBundleWarning, stacklevel=3)
        by_key = {row["key"]: row for row in rows}
        for key in self._missing(list(by_key.values()), folder):
            if self._bundle_clock() - listed_at > LINKS_LAST:
                listed_at = self._bundle_clock()
                # A file that is gone now keeps its old link, and fails with it.
                by_key |= {row["key"]: row for row in self._get_ml_bundle_file_list(bundle_name, what)}
            yield by_key[key]

    def _missing(self, rows: Sequence[Row], folder: str) -> list[str]:
        """Return the keys of the rows whose files the folder lacks or has older."""
        from concurrent.futures import ThreadPoolExecutor

        from sticky_pi_api.bundles.files import is_outdated
        from sticky_pi_api.bundles.keys import place

        def lacks(row: Row, path: str) -> bool:
            return is_outdated(path, row["md5"], partial(operator.ge, row["mtime"]))

        paths = [place(folder, row["key"]) for row in rows]
        with ThreadPoolExecutor(self._n_threads, thread_name_prefix="bundle") as pool:
            lacking = list(pool.map(lacks, rows, paths))
        return [row["key"] for row, is_lacking in zip(rows, lacking, strict=True) if is_lacking]
