"""Copy machine-learning bundles between folders and a store or server, file by file, where missing or older."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from sticky_pi_api.bundles.files import FileInfo, checked_what, is_same, local_bundle_files_info
from sticky_pi_api.bundles.keys import checked_name, place
from sticky_pi_api.bundles.transfer import receive
from sticky_pi_api.exceptions import NoBundleWarning
from sticky_pi_api.specifications import BaseAPISpec
from sticky_pi_api.types import FilePath, Row

LINKS_LAST: Final = 600.0
"""Seconds for which links are used; storages take them for longer, and others are to be had"""


class BundleClient(BaseAPISpec):
    """The part of all clients that copies bundles."""

    _n_threads: int
    _bundle_clock: Callable[[], float] = staticmethod(time.monotonic)

    def put_ml_bundle_dir(self, bundle_name: str, bundle_dir: FilePath, what: str = "all") -> list[FileInfo]:
        """Send the files of a machine-learning bundle that aren't there yet, or are older there, and return them.

        Which files are part of it, what `data`, `model` or `all` of them is, and what is returned of each (`key`,
        `path`, `md5` and `mtime`), `utils.local_bundle_files_info` says. A file with other bytes goes only if it is
        newer than the one there; nothing is ever removed there. The first error ends the call: what was sent by then
        is there, and not sent again by the next one.

        Raises ValueError for a name or `what` that makes no sense, BundleError (a ValueError) for a file that can't be
        part of a bundle or changes meanwhile, OSError for one that can't be read, and StoreError or RemoteError.
        """
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
        """Fetch what a folder, made if need be, lacks of a machine-learning bundle, and return it.

        That are the files that aren't in the folder, and those with other bytes there unless these are newer: such
        stay, and nothing is removed. A fetched file has the mtime that it was put with. `what` and what is returned
        are as for `put_ml_bundle_dir`, and so is the end by an error. Where there is nothing to be had, a
        NoBundleWarning says so.

        Raises BundleError (a ValueError) for keys that lead out of the folder as well, before anything is fetched.
        """
        checked_name(bundle_name)
        folder = os.path.abspath(os.fsdecode(bundle_dir))
        fetched = []
        for row in self._fresh_rows(bundle_name, folder, checked_what(what)):
            file = {"path": place(folder, row["key"]), **{name: row[name] for name in ("key", "md5", "mtime")}}
            self._fetch_bundle_file(row, partial(receive, **file))
            fetched.append(file)
        return fetched

    def _fresh_links(self, bundle_name: str, waiting: dict[str, FileInfo]) -> Iterator[Row]:
        """Yield the links for the files of `waiting` that are wanted, each in time; the caller takes these out."""
        while waiting:
            asked_at = self._bundle_clock()
            for link in self._get_ml_bundle_upload_links(bundle_name, list(waiting.values())):
                yield link
                if self._bundle_clock() - asked_at > LINKS_LAST:
                    break
            else:
                return

    def _fresh_rows(self, bundle_name: str, folder: str, what: str) -> Iterator[Row]:
        """Yield what the folder lacks of the bundle, each with a link that is good."""
        listed_at = self._bundle_clock()
        rows = self._get_ml_bundle_file_list(bundle_name, what)
        if not rows:
            message = f"there is no bundle '{bundle_name}', or nothing in it (asked for: {what})"
            warnings.warn(message, NoBundleWarning, stacklevel=3)
        by_key = {row["key"]: row for row in rows}
        for key in self._missing(list(by_key.values()), folder):
            if self._bundle_clock() - listed_at > LINKS_LAST:
                listed_at = self._bundle_clock()
                # A file that is gone by now keeps its old link, and fails with it.
                by_key |= {row["key"]: row for row in self._get_ml_bundle_file_list(bundle_name, what)}
            yield by_key[key]

    def _missing(self, rows: Sequence[Row], folder: str) -> list[str]:
        """Return the keys of the rows whose files the folder lacks."""
        from concurrent.futures import ThreadPoolExecutor

        paths = [place(folder, row["key"]) for row in rows]
        with ThreadPoolExecutor(self._n_threads, thread_name_prefix="bundle") as pool:
            lacking = list(pool.map(_is_missing, rows, paths))
        return [row["key"] for row, is_lacking in zip(rows, lacking, strict=True) if is_lacking]


def _is_missing(row: Row, path: str) -> bool:
    try:
        mtime = os.stat(path).st_mtime
    except FileNotFoundError:
        return True
    return bool(mtime <= row["mtime"]) and not is_same(path, row["md5"])
