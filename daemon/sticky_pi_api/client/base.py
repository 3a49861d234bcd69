"""The methods that the clients of a store and of a server share.

Bundles of machine-learning files are copied between a folder and a store or server: the missing and the older files.
"""

from __future__ import annotations

import operator
import os
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sticky_pi_api.exceptions import ConflictWarning, NoBundleWarning, PutImagesError
from sticky_pi_api.filesystem.durable import make_folders
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.local.errors import blaming_the_store
from sticky_pi_api.put_images import checksum_cache as cache
from sticky_pi_api.specifications import BaseAPISpec
from sticky_pi_api.types import FilePath, ImageOutcome, Info, Outcome, Row

if TYPE_CHECKING:
    # Bundles and holdings are imported with the first one: to send pictures takes neither.
    from sticky_pi_api.bundles.files import FileInfo
    from sticky_pi_api.put_images.holdings import Claim, Holding, StoredObject

LINKS_LAST: Final = 600.0
"""Time for which links are used, in seconds, before new ones are asked for; storages accept them for longer"""


class BaseClient(BaseAPISpec):
    """A client with a folder of its own on this machine."""

    _bundle_clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, local_dir: FilePath, n_threads: int = 8, *_args: Any, **_kwargs: Any) -> None:
        """Make `local_dir` if it doesn't exist; read and decode pictures on at most `n_threads` threads.

        Raises StoreError where the folder can't be made.
        """
        if n_threads < 1:
            raise ValueError(f"n_threads is {n_threads}; it must be at least 1")
        self._local_dir = os.path.abspath(os.fsdecode(local_dir))
        self._n_threads = n_threads
        with blaming_the_store(self._local_dir):
            make_folders(self._local_dir)

    @property
    def local_dir(self) -> str:
        """The client's folder, an absolute path."""
        return self._local_dir

    def delete_cache(self) -> None:
        """Remove the checksums that `put_images` keeps between calls; no stored picture is changed."""
        with blaming_the_store(self._local_dir):
            cache.remove(self._cache_dir)

    @property
    def _cache_dir(self) -> str:
        return os.path.join(self._local_dir, "cache")

    def put_images(
        self,
        files: Iterable[FilePath | ImageParser],
        *,
        on_outcome: Callable[[ImageOutcome], object] | None = None,
    ) -> list[Row]:
        """Store the pictures that are not held yet, and return the metadata of those stored by this call.

        Each of `files` is a path or an ImageParser. A file that hasn't changed since an earlier call isn't read again.
        After a failure, the others are stored all the same. `on_outcome` is called with each picture's ImageOutcome as
        soon as it is known, on the caller's thread; an error of it ends the call, and the pictures without an outcome
        may be stored or not. Without it, a ConflictWarning names each picture whose key is held with other bytes, and
        other failures raise one PutImagesError at the end.
        """
        if isinstance(files, str | bytes | os.PathLike | ImageParser):
            raise TypeError("put_images takes a list of pictures, not one")
        outcomes: list[ImageOutcome] = []
        stored: list[Row] = []
        with closing(self._outcomes(files)) as ready:
            for outcome in ready:
                if outcome.outcome is Outcome.STORED and outcome.row is not None:
                    stored.append(outcome.row)
                elif on_outcome is None and outcome.outcome is not Outcome.HELD:
                    outcomes.append(outcome)
                if on_outcome is not None:
                    on_outcome(outcome)
        _report(stored, outcomes)
        return stored

    def get_images_with_uid_annotations_series(
        self, info: Iterable[Info], what_image: str = "metadata", what_annotation: str = "metadata"
    ) -> list[Row]:
        """Return the rows of the images that devices took in a time, each with the fields of its annotations.

        An image with several annotations has several rows; one without has None in their fields. A field whose name the
        images have as well ends in `_annot`. The rows are sorted by device and datetime. `info` and `what_image` are
        those of `get_image_series`, `what_annotation` is that of `get_uid_annotations`.
        """
        from sticky_pi_api.validation.annotations import checked_annotation_what, join_annotations

        series = list(info)
        checked_annotation_what(what_annotation)
        images = self.get_image_series(series, what_image)
        return join_annotations(images, self.get_uid_annotations_series(series, what_annotation))

    def holdings(self, claims: Sequence[Claim]) -> list[Holding]:
        """Return how claimed pictures are held, in their order: by the rows, and if possible by the stored objects."""
        from sticky_pi_api.put_images.holdings import verify

        return verify(self.get_images, self._look_at, claims)

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

    @abstractmethod
    def _look_at(self, url: str) -> StoredObject | None:
        """Inspect the object behind a row's url, as `put_images.holdings.Look` says."""

    @abstractmethod
    def _outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        """Yield each picture's outcome as soon as it is known; stop when closed."""


def _report(stored: list[Row], others: list[ImageOutcome]) -> None:
    failures = [one for one in others if one.outcome is not Outcome.CONFLICT]
    try:
        for one in others:
            if one.outcome is Outcome.CONFLICT:
                warnings.warn(str(one.error), ConflictWarning, stacklevel=3)
    finally:
        # Also where warnings are errors: the caller must get the rows of the stored pictures.
        if failures:
            raise PutImagesError(stored, failures)
