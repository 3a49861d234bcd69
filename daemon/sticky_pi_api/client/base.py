"""The methods that the clients of a store and of a server share."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

from sticky_pi_api.client.bundles import BundleClient
from sticky_pi_api.exceptions import ConflictWarning, PutImagesError
from sticky_pi_api.filesystem.durable import make_folders
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.local.errors import blaming_the_store
from sticky_pi_api.put_images import checksum_cache as cache
from sticky_pi_api.put_images.holdings import Claim, Holding, StoredObject, verify
from sticky_pi_api.types import FilePath, ImageOutcome, Info, Outcome, Row
from sticky_pi_api.validation.annotations import checked_annotation_what, join_annotations


class BaseClient(BundleClient):
    """A client with a folder of its own on this machine."""

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
        series = list(info)
        checked_annotation_what(what_annotation)
        images = self.get_image_series(series, what_image)
        return join_annotations(images, self.get_uid_annotations_series(series, what_annotation))

    def holdings(self, claims: Sequence[Claim]) -> list[Holding]:
        """Return how claimed pictures are held, in their order: by the rows, and if possible by the stored objects."""
        return verify(self.get_images, self._look_at, claims)

    @abstractmethod
    def _look_at(self, url: str) -> StoredObject | None:
        """Inspect the object behind a row's url, as `verification.Look` says."""

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
